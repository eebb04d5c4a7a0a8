# SPDX-License-Identifier: GPL-3.0-or-later
"""The command line. A task's flags are the fields of its Config, as are those of a job file.

Exit codes: 0 done, 1 internal, 2 bad input, 3 model or device not available, 4 out of memory,
5 cancelled.
"""

from __future__ import annotations

import argparse
import dataclasses
import importlib.metadata
import json
import os
import signal
import sys
from collections.abc import Generator, Sequence
from pathlib import Path
from types import NoneType
from typing import Annotated, Any, Literal, NoReturn, get_args, get_origin, get_type_hints

from . import __version__
from .config import CONFIGS, TaskConfig, TextureConfig, build
from .errors import InvalidRequest, SyncSDEError
from .tasks import Artifacts, Progress

CANCELLED = 5
COMMANDS = "syncsde.commands"  # entry points of packages above the engine, e.g. "serve"


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    as_json = "--json" in arguments
    os.environ.setdefault("HF_HUB_OFFLINE", "1")  # nothing is downloaded unasked
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        for command in importlib.metadata.entry_points(group=COMMANDS):
            if arguments[:1] == [command.name]:
                return command.load()(arguments[1:])
        options = parser().parse_args(arguments)
        return options.command(options)
    except SyncSDEError as error:
        if as_json:
            print(json.dumps({"event": "error", **error.as_dict()}))
        else:
            print(f"syncsde: {error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        print("syncsde: cancelled, nothing written", file=sys.stderr)
        return CANCELLED
    except BrokenPipeError:  # whoever read our lines has gone
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return CANCELLED


class Parser(argparse.ArgumentParser):
    """Reports wrong usage in the one way every other bad input is reported."""

    def error(self, message: str) -> NoReturn:
        raise InvalidRequest(f"{message}.", hint=f"See {self.prog} --help.")


def parser() -> argparse.ArgumentParser:
    main = Parser(prog="syncsde", description="Synchronised diffusion for meshes and images.")
    main.add_argument("--version", action="version", version=f"syncsde {__version__}")
    commands = main.add_subparsers(metavar="COMMAND", required=True)
    texture = commands.add_parser(
        "texture", help="texture a mesh", argument_default=argparse.SUPPRESS
    )
    texture.add_argument("mesh", type=Path, metavar="MESH", help=".obj, .glb, .gltf, .ply or .stl")
    add_common(texture)
    add_fields(texture, TextureConfig)
    texture.set_defaults(command=texture_command)
    for command in importlib.metadata.entry_points(group=COMMANDS):
        commands.add_parser(command.name, help=f"see syncsde {command.name} --help")
    return main


def add_common(command: argparse.ArgumentParser) -> None:
    command.add_argument("--output", type=Path, required=True, metavar="DIR", help="result folder")
    command.add_argument("--job", type=Path, metavar="FILE.json", help="fields as JSON; flags win")
    command.add_argument("--json", action="store_true", help="one JSON object a line as progress")


def add_fields(command: argparse.ArgumentParser, config: type[TaskConfig]) -> None:
    """Make a flag of every field: `inverse_lambda: float` becomes `--inverse-lambda X`."""
    hints = get_type_hints(config, include_extras=True)
    for field in dataclasses.fields(config):
        kind, description = get_args(hints[field.name])
        options = [option for option in get_args(kind) or (kind,) if option is not NoneType]
        if get_origin(options[0]) is Annotated:
            options = [get_args(options[0])[0]]
        arguments: dict[str, Any] = {"help": description.description}
        if field.default not in (dataclasses.MISSING, None):
            arguments["help"] += f" (default: {field.default})"
        if get_origin(kind) is Literal:
            arguments["choices"] = options
        elif options[0] is bool:
            arguments["action"] = argparse.BooleanOptionalAction
        else:
            arguments["type"] = options[0]
            arguments["metavar"] = {int: "N", float: "X", str: "TEXT"}[options[0]]
        command.add_argument("--" + field.name.replace("_", "-"), **arguments)


def read_config(task: str, options: argparse.Namespace) -> TaskConfig:
    """Merge the job file and the flags, which win. Raises InvalidRequest."""
    given = vars(options)
    parameters = read_job(options.job) if "job" in given else {}
    fields = {field.name for field in dataclasses.fields(CONFIGS[task])}
    parameters |= {name: value for name, value in given.items() if name in fields}
    return build(task, parameters)


def read_job(path: Path) -> dict[str, Any]:
    try:
        parameters = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InvalidRequest(f"Cannot read {str(path)!r}: {error.strerror}.", field="job") from None
    except (ValueError, RecursionError) as error:
        raise InvalidRequest(f"{str(path)!r} is not JSON: {error}.", field="job") from None
    if not isinstance(parameters, dict):
        raise InvalidRequest(f"{str(path)!r} must hold one JSON object.", field="job")
    return parameters


def texture_command(options: argparse.Namespace) -> int:
    config = read_config("texture", options)
    assert isinstance(config, TextureConfig)
    from . import output  # these import torch: wrong flags are answered before
    from .mesh import io
    from .tasks import texture

    mesh = io.load(options.mesh)
    with output.staging(options.output) as stage:
        output.require_space(options.output, texture.output_bytes(config))
        artifacts = report_progress(texture.texture(config, mesh), "json" in vars(options))
        output.write(options.output, stage, artifacts)
    report = json.loads(artifacts["report.json"])
    summary = {name: report[name] for name in ("coverage", "disagreement", "timings")}
    if "json" in vars(options):
        print(json.dumps({"event": "done", "output": str(options.output), **summary}))
    else:
        print(f"{options.output / 'texture.png'}: {report['timings']['total']:.1f} s, ", end="")
        print(f"disagreement {report['disagreement']:.4f}, ", end="")
        print(f"seen {report['coverage']['seen']:.1%}")
    return 0


def report_progress(run: Generator[Progress, None, Artifacts], as_json: bool) -> Artifacts:
    """Drive a task to its end, showing a bar on a terminal or JSON lines on request."""
    from tqdm import tqdm

    bar: tqdm[NoReturn] | None = None
    stage = ""
    while True:
        try:
            progress = next(run)
        except StopIteration as end:
            if bar is not None:
                bar.close()
            return end.value
        if as_json:
            line = {"event": "progress", "stage": progress.stage, "step": progress.step}
            print(json.dumps({**line, "total": progress.total}), flush=True)
        elif progress.stage != stage and sys.stderr.isatty():
            if bar is not None:
                bar.close()
            stage = progress.stage
            bar = tqdm(total=progress.total, initial=progress.step, desc=f"{stage:<10}")
        elif bar is not None:
            bar.update(progress.step - bar.n)
