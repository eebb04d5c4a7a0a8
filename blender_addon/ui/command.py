# SPDX-License-Identifier: GPL-3.0-or-later
"""`blender --command syncsde`: the operators, for shells and farms.

blender scene.blend --command syncsde texture --object Suzanne --prompt "brick" --output out/
"""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

import bpy

from .. import NAME
from ..client.protocol import EXIT_CODES
from ..jobs import session
from ..jobs.job import STAGES
from ..properties import sampling
from ..properties.image import AmbiguousLines, MaskLines, WideLines
from ..properties.motion import MotionLines
from ..properties.texture import TextureLines

log = logging.getLogger(__name__)

PROGRAM = "blender --command syncsde"
INVALID = EXIT_CODES["invalid_request"]
IMAGES = {"image", "mask", "extend", "like", "keep", "keep_mask", "repaint_mask"} | {
    f"mask_{number}" for number in range(2, 9)
}
SEVERAL = {  # what a task takes several of, a line for each
    "texture": sampling.fields(TextureLines),
    "mask": ("mask", *sampling.fields(MaskLines)),
    "wide": sampling.fields(WideLines),
    "ambiguous": sampling.fields(AmbiguousLines),
    "motion": ("bones", *sampling.fields(MotionLines)),
}

_handle: Any = None


class Refused(Exception):
    """The arguments cannot be used; the text says why."""


class Parser(argparse.ArgumentParser):
    """Raises Refused where argparse would end Blender."""

    def error(self, message: str) -> NoReturn:
        raise Refused(f"{message}. See {self.prog} --help.")

    def exit(self, status: int = 0, message: str | None = None) -> NoReturn:
        raise SystemExit(status)


def main(arguments: Sequence[str]) -> int:
    """Run one command and return its exit code."""
    _tell_in_shell()
    try:
        options = vars(_parser().parse_args(list(arguments)))
        return _run(options.pop("task"), options)
    except Refused as refused:
        log.error("%s", refused)
        return INVALID
    except SystemExit as ended:  # --help
        return int(ended.code or 0)


def _tell_in_shell() -> None:
    """What the add-on logs, such as the stage of a job, goes to stderr."""
    logger = logging.getLogger(NAME)
    if not logger.handlers:
        handler = logging.StreamHandler(sys.stderr)
        handler.setFormatter(logging.Formatter("syncsde: %(message)s"))
        logger.addHandler(handler)
        logger.setLevel(logging.INFO)


def _run(task: str, options: dict[str, Any]) -> int:
    save = options.pop("save")
    names = options.pop("objects", None)
    if save == "" and not bpy.data.filepath:
        raise Refused("There is no file to save to: open one, or name it after --save.")
    if names:
        _select(names)
    asked = {name: value for name, value in options.items() if value is not None}
    for name in asked:
        several = name in SEVERAL.get(task, ())
        values = asked[name] if several else [asked[name]]
        if name in IMAGES:
            values = [_image(value) for value in values]
        asked[name] = "\n".join(values) if several else values[0]
    if "directory" in asked:
        asked["directory"] = str(Path(asked["directory"]).resolve())
    try:
        getattr(bpy.ops.syncsde, task)(**asked)
    except RuntimeError as error:  # what the operator reports
        log.error("%s", _plain(str(error)))
        return EXIT_CODES.get(session.last_code or "invalid_request", 1)
    if session.outcome is not None:
        log.info("%s", session.outcome.text)
        for warning in session.outcome.warnings:
            log.warning("%s", warning)
    if save is not None:
        bpy.ops.wm.save_as_mainfile(filepath=str(Path(save or bpy.data.filepath).resolve()))
    return 0


def _plain(reported: str) -> str:
    """The sentence in what Blender makes of a report."""
    text = reported.strip().removeprefix("Error: ")
    if "poll() failed" in text:
        text = text.partition("poll() failed")[2].partition(", ")[2] or "Select a mesh object"
    return text


def _select(names: Sequence[str]) -> None:
    """Select the objects of these names and no others; the first is the active one."""
    layer = bpy.context.view_layer
    missing = [name for name in names if name not in layer.objects]
    if missing:
        known = ", ".join(sorted(obj.name for obj in layer.objects)[:10])
        raise Refused(f"The scene has no object {missing[0]!r}. It has: {known}.")
    for obj in layer.objects:
        obj.select_set(obj.name in names)
        if obj.name in names and not obj.select_get():
            raise Refused(f"{obj.name!r} cannot be selected: it is hidden or locked.")
    layer.objects.active = layer.objects[names[0]]


def _image(value: str) -> str:
    """The name of an image of the file; a picture file becomes one."""
    if value in bpy.data.images:
        return value
    try:
        return bpy.data.images.load(str(Path(value).resolve()), check_existing=True).name
    except RuntimeError:
        raise Refused(f"{value!r} is no image of the blend file and no picture file.") from None


def _parser() -> Parser:
    main_parser = Parser(prog=PROGRAM, description="Paint in this blend file by SyncSDE.")
    tasks = main_parser.add_subparsers(dest="task", metavar="TASK", required=True)
    for task in STAGES:
        kind = getattr(bpy.ops.syncsde, task).get_rna_type()
        command = tasks.add_parser(task, help=kind.description, description=kind.description)
        if task in ("texture", "motion"):
            command.add_argument(
                "--object",
                dest="objects",
                action="append",
                metavar="NAME",
                help="object to use in place of those selected in the file (repeat it for more)",
            )
        command.add_argument(
            "--save",
            nargs="?",
            const="",
            metavar="FILE",
            help="save the blend file afterwards, under its own name or another",
        )
        for known in kind.properties:
            if known.identifier != "rna_type":
                _add(command, task, known)
    return main_parser


def _add(command: argparse.ArgumentParser, task: str, known: Any) -> None:
    """One flag from a property of an operator."""
    name, told = known.identifier, known.description.replace("%", "%%")
    flag = "--output" if name == "directory" else f"--{name.replace('_', '-')}"
    options: dict[str, Any] = {"dest": name, "default": None, "help": told}
    if known.type == "BOOLEAN":
        command.add_argument(flag, action=argparse.BooleanOptionalAction, **options)
        return
    if known.type == "ENUM":
        options["choices"] = [item.identifier for item in known.enum_items]
    elif known.type in ("INT", "FLOAT"):
        options |= {"type": int if known.type == "INT" else float, "metavar": "N"}
    else:
        options["metavar"] = "DIR" if name == "directory" else "TEXT"
        if name in IMAGES:
            options["metavar"] = "IMAGE"
        if name in SEVERAL.get(task, ()):
            options["action"] = "append"
    command.add_argument(flag, **options)


def register() -> None:
    """Make the command known to Blender."""
    global _handle
    _handle = bpy.utils.register_cli_command("syncsde", main)


def unregister() -> None:
    """Forget the command."""
    bpy.utils.unregister_cli_command(_handle)
