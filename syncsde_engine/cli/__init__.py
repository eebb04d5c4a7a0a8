# SPDX-License-Identifier: GPL-3.0-or-later
"""The command line. A task's flags are the fields of its Config, as are those of a job file.

Exit codes: 0 done, 1 internal, 2 bad input, 3 model or device not available, 4 out of memory,
5 cancelled, 6 partly done.
"""

from __future__ import annotations

import argparse
import ast
import contextlib
import importlib.metadata
import importlib.util
import json
import os
import re
import signal
import sys
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path

from .. import __version__, output, plugins, tasks
from ..config import CONFIGS
from ..errors import SyncSDEError
from ..hashes import add_sources
from ..request import build
from . import batch, compare, library, models, recording, replay, table, verify
from .console import Console
from .flags import Parser, add_task, parameters
from .input_files import mesh_options, naming_files, read_inputs
from .room import require_space

CANCELLED = 5
PARTLY_DONE = 6
COMMANDS = "syncsde.commands"  # entry points of packages above the engine, e.g. "serve"


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    console = Console("--json" in arguments)
    os.environ.setdefault("HF_HUB_OFFLINE", "1")  # nothing is downloaded unasked
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # idle threads leave the cores to others,
    os.environ.setdefault("GOMP_SPINCOUNT", "30000")  # but not at once: they are soon called again
    try:
        with _ending_like_ctrl_c():
            return _run(arguments, console)
    except SyncSDEError as error:
        console.error(error)
        return error.exit_code
    except KeyboardInterrupt:
        console.cancelled()
        return CANCELLED
    except BrokenPipeError:  # whoever read our lines has gone
        _forget_stdout()
        return CANCELLED
    except OSError as error:
        _forget_stdout()
        print(f"syncsde: Cannot write what there is to say: {error.strerror}.", file=sys.stderr)
        return 1


def _run(arguments: list[str], console: Console) -> int:
    try:
        plugins.load()
        for command in importlib.metadata.entry_points(group=COMMANDS):
            if arguments[:1] == [command.name]:
                return command.load()(arguments[1:])
        options = parser(arguments).parse_args(arguments)
        return options.command(options, console)
    finally:
        sys.stdout.flush()  # while it can still be told that this does not work


def _forget_stdout() -> None:
    """Nobody takes what is still to be written: Python would complain about it at its end."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


@contextlib.contextmanager
def _ending_like_ctrl_c() -> Iterator[None]:
    """Clean up when told to end, or when the terminal is closed; the caller's handlers come back.

    What is ignored, as under nohup, stays so.
    """
    names = ("SIGTERM", "SIGHUP") if threading.current_thread() is threading.main_thread() else ()
    before = {}
    for number in (getattr(signal, name) for name in names if hasattr(signal, name)):
        if signal.getsignal(number) != signal.SIG_IGN:
            before[number] = signal.signal(number, signal.default_int_handler)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def parser(arguments: Sequence[str] | None = None) -> argparse.ArgumentParser:
    """Make the parser: all of it, or the parts that `arguments` come to, which takes less time."""

    def wanted(*command: str) -> bool:
        return arguments is None or tuple(arguments[: len(command)]) == command

    main = Parser(prog="syncsde", description="Synchronized diffusion for meshes and images.")
    main.add_argument("--version", action="version", version=f"syncsde {__version__}")
    commands = main.add_subparsers(metavar="COMMAND", required=True, title="commands")
    for task in CONFIGS:
        command = add_command(commands, task)
        if wanted(task):
            add_task(command, task)
            add_files(command, compared=False)
        command.set_defaults(command=run_task)
    comparison = commands.add_parser(
        "compare", help="run a task with several strategies or strengths, side by side"
    )
    compared = comparison.add_subparsers(metavar="TASK", required=True, title="tasks")
    for task in CONFIGS:
        command = add_command(compared, task)
        if wanted("compare", task):
            compare.add_flags(command, task)
            add_task(command, task)
            add_files(command, compared=True)
        command.set_defaults(command=run_comparison)
    batch.add_to(commands)
    models.add_to(commands)
    library.add_to(commands)
    replay.add_to(commands)
    verify.add_to(commands)
    for command in importlib.metadata.entry_points(group=COMMANDS):
        commands.add_parser(command.name, help=described(command))
    return main


def described(command: importlib.metadata.EntryPoint) -> str | None:
    """What another package's command does, by its source: importing it would take too long."""
    spec = importlib.util.find_spec(command.module)
    if spec is None or spec.origin is None:
        return None
    tree = ast.parse(Path(spec.origin).read_bytes())
    functions = (node for node in tree.body if isinstance(node, ast.FunctionDef))
    found = next((node for node in functions if node.name == command.attr), None)
    return None if found is None else about(ast.get_docstring(found))


def about(documentation: str | None) -> str:
    """Its first line, as a help text."""
    line = re.split(r"\n|; | \(", documentation or "")[0].rstrip(".")
    return line[:1].lower() + line[1:]


def add_command(commands: argparse._SubParsersAction, task: str) -> argparse.ArgumentParser:
    documented = (CONFIGS[task].__doc__ or "").partition("\n")[0]
    command = commands.add_parser(
        task, help=about(CONFIGS[task].__doc__), description=documented, add_help=False
    )
    command.set_defaults(task=task)
    return command


def add_files(command: argparse.ArgumentParser, compared: bool) -> None:
    inside = ", in the folder of each run" if compared else ""
    files = command.add_argument_group("results")
    files.add_argument(
        "--output", type=result_folder, required=True, metavar="DIR", help="result folder"
    )
    files.add_argument(
        "--save-latents",
        type=Path,
        metavar="FILE",
        help=f"write the final state of every trajectory{inside}: safetensors, tensor latents",
    )
    files.add_argument(
        "--trace",
        type=Path,
        metavar="DIR",
        help=f"write the states after every step{inside}: step_000.safetensors and so on",
    )
    files.add_argument("--json", action="store_true", help="one JSON object a line as progress")
    files.add_argument("-h", "--help", action="help", help="show this and leave")


def result_folder(text: str) -> Path:
    if not text.strip():
        raise argparse.ArgumentTypeError("the folder has no name")
    return Path(text)


def run_task(options: argparse.Namespace, console: Console) -> int:
    config = build(options.task, parameters(options.task, options))
    paths, inputs = read_inputs(options)
    with output.staging(options.output) as stage, recording.beside(options) as recorder:
        require_space(options.output, config)
        with console.showing() as show, naming_files(paths):
            artifacts = tasks.follow(tasks.run(options.task, config, inputs), show, recorder.watch)
        recorder.finish()
        artifacts = add_sources(artifacts, paths, options.output, **mesh_options(options))
        for name, content in artifacts.items():
            stage.add(name, content)
        output.publish([stage, *recorder.stages])
    report = json.loads(artifacts["report.json"])
    told = {name: report[name] for name in ("coverage", "timings") if name in report}
    disagreement = report.get("disagreement")
    console.event("done", output=str(options.output), disagreement=disagreement, **told)
    made = [name for name in artifacts if name in ("texture.png", "image.png", "motion.bvh")]
    place = options.output / (made[0] if made else "textures")
    sentence = f"{place}: {report['timings']['total']:.1f} s"
    if disagreement is not None:
        sentence += f", disagreement {disagreement:.4f}"
    if "coverage" in report:
        sentence += f", seen {report['coverage']['seen']:.1%}"
    if "materials" in report:
        files = {name: path.name for name, path in paths.items()}
        shown = dict.fromkeys(str(files.get(name, name)) for name in report["materials"].values())
        sentence += f", like {', '.join(shown)}"
    console.say(sentence)
    return 0


def run_comparison(options: argparse.Namespace, console: Console) -> int:
    variants = compare.variants(options, parameters(options.task, options))
    configs = [config for variant in variants for config in variant.configs]
    paths, inputs = read_inputs(options)
    with output.staging(options.output) as stage:
        require_space(options.output, configs[0], len(configs))
        with naming_files(paths):
            results = compare.run(options, console, variants, inputs, stage)
        output.publish([stage])
    console.event("done", output=str(options.output), **table.entries(results))
    console.say(f"{table.markdown(results)}\n\n{options.output / 'compare.png'}")
    return 0 if all(result.report for result in results) else PARTLY_DONE
