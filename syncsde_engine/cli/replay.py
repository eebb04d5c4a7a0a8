# SPDX-License-Identifier: GPL-3.0-or-later
"""`syncsde replay`: make a result again from its report, or say what is not as it was then."""

from __future__ import annotations

import argparse
import contextlib
import json
import platform
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from .. import __version__, output, tasks
from ..config import CONFIGS, TaskConfig
from ..errors import InvalidRequest
from ..hashes import REPORT, add_sources, sha256
from ..inputs import OF_MESH
from ..request import build
from .console import Console
from .flags import Rows
from .input_files import naming_files, read_paths
from .reports import read_report
from .room import require_space

MOST_THREADS = 1024


def add_to(commands: argparse._SubParsersAction) -> None:
    command = commands.add_parser(
        "replay", help="make a result again from its report, and compare byte by byte"
    )
    command.add_argument("report", type=Path, help="report.json of a result, or its folder")
    command.add_argument(
        "--input",
        action=Rows,
        kinds=(str, str),
        metavar=("NAME", "FILE"),
        help="where an input is now, as --input mesh chair.glb; may be repeated",
    )
    command.add_argument(
        "--output", type=Path, metavar="DIR", help="write the files here, too, if they are equal"
    )
    command.add_argument("--json", action="store_true", help="one JSON object a line as progress")
    command.set_defaults(command=replay)


def replay(options: argparse.Namespace, console: Console) -> int:
    """Run it again and compare. Raises InvalidRequest that names what differs."""
    report = read_report(options.report)
    folder = options.report if options.report.is_dir() else options.report.parent
    task = report["task"]
    config = build(task, report["parameters"] | report["asked"])
    paths = sources(report, folder, getattr(options, "input", []))
    how = {name: report[name] for name in OF_MESH if name in report}
    inputs = read_paths(paths, **how)
    told = [*differences(report, config), *changed_inputs(report, paths, inputs)]
    if told:
        raise InvalidRequest(f"This would not be the same run: {'; '.join(told)}.", field="report")
    place: Path | None = getattr(options, "output", None)
    with contextlib.ExitStack() as opened:
        stage = None if place is None else opened.enter_context(output.staging(place))
        if place is not None:
            require_space(place, config)
        with console.showing() as show, naming_files(paths), as_many_threads(report):
            files = tasks.follow(tasks.run(task, config, inputs), show)
        require_equal(report, files)
        if stage is not None and place is not None:
            for name, content in add_sources(files, paths, place, **how).items():
                stage.add(name, content)
            output.publish([stage])
    console.event("done", files=len(report["files"]))
    console.say(f"{', '.join(report['files'])}: the same, byte for byte")
    return 0


@contextlib.contextmanager
def as_many_threads(report: Mapping[str, Any]) -> Iterator[None]:
    """Let torch have the threads that it had: on a CPU, other numbers round sums otherwise."""
    import torch

    count = torch.get_num_threads()
    threads = report.get("threads")
    if type(threads) is int and 0 < threads <= MOST_THREADS:
        torch.set_num_threads(threads)
    try:
        yield
    finally:
        torch.set_num_threads(count)


def sources(
    report: Mapping[str, Any], folder: Path, given: list[tuple[str, str]]
) -> dict[str, Path]:
    """Where each input is: as given now, else as the report says. Raises InvalidRequest."""
    known = CONFIGS[report["task"]]
    paths = {name: folder / place for name, place in report.get("sources", {}).items()}
    for name, place in given:
        if name not in report["inputs"]:
            takes = ", ".join(report["inputs"]) or "none"
            raise InvalidRequest(
                f"That run had no input {name!r}.", hint=f"Its inputs: {takes}.", field="input"
            )
        paths[name] = Path(place)
    for name in report["inputs"]:
        if name not in paths or name not in (*known.inputs, *known.optional_inputs):
            raise InvalidRequest(
                f"The report does not say where the input {name!r} was.",
                hint=f"Say it: --input {name} FILE.",
                field="input",
            )
    return {name: paths[name] for name in report["inputs"]}


def differences(report: Mapping[str, Any], config: TaskConfig) -> Iterator[str]:
    """What of this program and machine is not as it was. Raises MissingWeights and the like."""
    import torch

    from ..models.devices import pick_device

    here = {
        "version": __version__,
        "torch": torch.__version__,
        "machine": platform.machine(),
        "device": str(pick_device(config.device)),
    }
    for name, value in here.items():
        if report.get(name) != value:
            yield f"{name} was {report.get(name)!r} and is {value!r}"
    networks = report.get("model") != "exemplar" and not getattr(config, "upscaler", None)
    if networks and report.get("model_sha256") != tasks.model_sha256(config):
        yield f"the weights of the model {report.get('model')!r} have changed"


def changed_inputs(
    report: Mapping[str, Any], paths: Mapping[str, Path], inputs: Mapping[str, bytes]
) -> Iterator[str]:
    for name, expected in report["inputs"].items():
        if sha256(inputs[name]) != expected:
            yield f"the input {name!r}, {str(paths[name])!r}, has changed"


def require_equal(report: Mapping[str, Any], files: Mapping[str, bytes]) -> None:
    """Raise InvalidRequest that names the files that are not as they were."""
    made = {name: sha256(content) for name, content in files.items() if name != REPORT}
    expected = report["files"]
    other = sorted(name for name in made | expected if made.get(name) != expected.get(name))
    if not other:
        return
    model = json.loads(files[REPORT]).get("model_sha256")
    reason = "though version, model, device and inputs are as they were"
    if model != report.get("model_sha256"):
        reason = "because the pictures or weights of its model have changed"
    raise InvalidRequest(f"Not the same: {', '.join(other)}, {reason}.", field="report")
