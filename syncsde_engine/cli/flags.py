# SPDX-License-Identifier: GPL-3.0-or-later
"""Flags made of the fields of a task, and a task's parameters made of flags. Loads no torch."""

from __future__ import annotations

import argparse
import dataclasses
import textwrap
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, NoReturn, Union, get_args, get_origin, get_type_hints

from .. import inputs
from ..config import CONFIGS, Sampling
from ..errors import InvalidRequest
from ..library.map_names import KINDS
from .input_files import (
    FILES,
    LIKE_BACKGROUND,
    LIKE_FOR,
    LIKE_FOR_MASK,
    LIKE_MAP,
    MASKS,
    NUMBERED,
    OF_MESH,
    PICTURED,
    VIEW_FOR,
    read_job,
    read_list,
)

# Files that are given for something, by task: flag, what each is given for, its metavar, help.
FILES_FOR = {
    "texture": (
        ("like-for", str, "NAME", LIKE_FOR),
        ("view-for", int, "N", VIEW_FOR),
        ("like-map", str, "KIND", f"{LIKE_MAP}; one of {', '.join(KINDS)}; may be repeated"),
    ),
    "mask": (("like-for", int, "N", LIKE_FOR_MASK),),
}
SHORT = 24  # characters of choices that are shown in place of a metavar


class Formatter(argparse.HelpFormatter):
    """Wraps between words only, so that names with hyphens stay whole."""

    def __init__(self, prog: str) -> None:
        super().__init__(prog, max_help_position=30)

    def _split_lines(self, text: str, width: int) -> list[str]:
        return textwrap.wrap(text, width, break_on_hyphens=False)


class Parser(argparse.ArgumentParser):
    """Reports wrong usage in the one way every other bad input is reported."""

    def __init__(self, **options: Any) -> None:
        super().__init__(
            allow_abbrev=False,
            argument_default=argparse.SUPPRESS,
            formatter_class=Formatter,
            **options,
        )

    def error(self, message: str) -> NoReturn:
        raise InvalidRequest(
            f"{message.removeprefix('argument ')}.", hint=f"See {self.prog} --help."
        )


class Rows(argparse.Action):
    """Collects flags of several values, like `--prompt-at 512 TEXT`, each of its own kind."""

    def __init__(self, *, kinds: Sequence[type], **options: Any) -> None:
        super().__init__(nargs=len(kinds), **options)
        self.kinds = kinds

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: Any,
        option_string: str | None = None,
    ) -> None:
        try:
            row = [READERS[kind](value) for kind, value in zip(self.kinds, values, strict=True)]
        except argparse.ArgumentTypeError as error:
            parser.error(f"{option_string}: {error}")
        setattr(namespace, self.dest, [*getattr(namespace, self.dest, []), row])


class Joined(argparse.Action):
    """Collects a flag that may be repeated as one text, separated by commas."""

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: Any,
        option_string: str | None = None,
    ) -> None:
        before = getattr(namespace, self.dest, None)
        setattr(namespace, self.dest, values if before is None else f"{before},{values}")


def whole(text: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number") from None


def number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number") from None


READERS = {int: whole, float: number, str: str, list: read_list}
METAVARS = {int: "N", float: "X", str: "TEXT", list: "FILE.json"}


def add_task(command: argparse.ArgumentParser, task: str) -> None:
    """Give a command all that can be said of a task: its own fields, the sampler's, and files."""
    config = CONFIGS[task]
    shared = {field.name for field in dataclasses.fields(Sampling)}
    fields = dataclasses.fields(config)
    own, sampling, files = (
        command.add_argument_group(title) for title in (task, "sampling", "files")
    )
    for name in config.inputs:
        if name in ("mesh", "image"):
            own.add_argument(name, type=Path, metavar=name.upper(), help=FILES[name])
    required = [field for field in fields if field.default is dataclasses.MISSING]
    for field in [*required, *(field for field in fields if field not in required)]:
        if field.name in PICTURED:  # come with their pictures
            continue
        add_field(sampling if field.name in shared else own, config, field)
    if task == "mask":
        files.add_argument("--mask", type=Path, action="append", metavar="FILE", help=MASKS)
    for name, key, metavar, told in FILES_FOR.get(task, ()):
        files.add_argument(
            f"--{name}", action=Rows, kinds=(key, str), metavar=(metavar, "FILE"), help=told
        )
    for name in config.optional_inputs:
        if not name.startswith(NUMBERED):
            told = LIKE_BACKGROUND if (task, name) == ("mask", "like") else FILES[name]
            files.add_argument(f"--{flag(name)}", type=Path, metavar="FILE", help=told)
    if "mesh" in config.inputs:
        for name in inputs.OF_MESH:
            told, options = OF_MESH[name]
            files.add_argument(f"--{flag(name)}", help=told, **options)
    files.add_argument("--job", type=Path, metavar="FILE.json", help="fields as JSON; flags win")
    command.usage = usage(command.prog, task)


def usage(prog: str, task: str) -> str:
    """Only what every run needs; all the rest is told below it."""
    config = CONFIGS[task]
    inputs = [name.upper() for name in config.inputs if name != "mask"]
    needed = [
        f"--{flag(field.name)} TEXT"
        for field in dataclasses.fields(config)
        if field.default is dataclasses.MISSING
    ]
    masks = ["--mask FILE"] if "mask" in config.inputs else []
    if not needed and "like" in config.optional_inputs:
        needed = ["(--prompt TEXT | --like FILE)"]
    return " ".join([prog, *inputs, *needed, *masks, "--output DIR", "[options]"])


def add_field(group: Any, config: type, field: dataclasses.Field[Any]) -> None:
    """Make a flag of a field: `inverse_lambda: float` becomes `--inverse-lambda X`."""
    hint = _hints(config)[field.name]
    kind = plain(hint)
    notes = []
    arguments: dict[str, Any] = {}
    if get_origin(kind) is tuple and dataclasses.is_dataclass(get_args(kind)[0]):
        kind = list
    elif get_origin(kind) is tuple:
        kind = plain(get_args(kind)[0])
        arguments["action"] = "append"
        notes.append("may be repeated")
    if field.name == "lora":
        arguments |= {"action": Joined, "metavar": "FILE[:WEIGHT]"}
        notes.append("may be repeated")
    elif get_origin(kind) is Literal:
        choices = [str(choice) for choice in get_args(kind)]
        short = len(",".join(choices)) <= SHORT
        arguments["metavar"] = "{" + ",".join(choices) + "}" if short else "NAME"
        if not short:
            notes.append(f"one of {', '.join(choices)}")
    elif get_origin(kind) is tuple:
        kinds = [plain(part) for part in get_args(kind)]
        first = {str: "NAME"}.get(kinds[0], METAVARS[kinds[0]])
        metavar = (first, *(METAVARS[part] for part in kinds[1:]))
        arguments |= {"action": Rows, "kinds": kinds, "metavar": metavar}
    elif kind is bool:
        arguments["action"] = argparse.BooleanOptionalAction
    else:
        arguments |= {"type": READERS[kind], "metavar": METAVARS[kind]}
    if field.default is dataclasses.MISSING:
        notes.insert(0, "required")
    elif field.default is True or field.default is False:
        notes.append(f"default: {'on' if field.default else 'off'}")
    elif field.default not in (None, (), ""):
        notes.append(f"default: {field.default}")
    text = get_args(hint)[-1].description + (f" ({'; '.join(notes)})" if notes else "")
    group.add_argument(f"--{flag(field.name)}", help=text.replace("%", "%%"), **arguments)


@cache
def _hints(config: type) -> dict[str, Any]:
    return get_type_hints(config, include_extras=True)


def plain(hint: Any) -> Any:
    """What a type is below its constraints, and without None."""
    if get_origin(hint) is Annotated:
        return plain(get_args(hint)[0])
    if get_origin(hint) in (Union, UnionType):
        return plain(next(part for part in get_args(hint) if part is not NoneType))
    return hint


def flag(name: str) -> str:
    return name.replace("_", "-")


def parameters(task: str, options: argparse.Namespace) -> dict[str, Any]:
    """Merge the job file and the flags, which win. Raises InvalidRequest."""
    given = vars(options)
    job = read_job(options.job) if "job" in given else {}
    fields = {field.name for field in dataclasses.fields(CONFIGS[task])}
    flags = {name: value for name, value in given.items() if name in fields}
    for name in PICTURED.keys() & flags.keys():
        flags[name] = [of for of, _ in flags[name]]
    return job | flags
