# SPDX-License-Identifier: GPL-3.0-or-later
"""One call for every task: from parameters and files to the files of the result."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from . import inputs, output, plugins, tasks
from .config import CONFIGS, TaskConfig
from .errors import InvalidRequest
from .request import build
from .tasks import Progress

if TYPE_CHECKING:
    from PIL import Image

PICTURES = ("texture.png", "image.png", "contact_sheet.png")  # the first that there is is shown


@dataclass(frozen=True)
class Result:
    """What a run made."""

    task: str
    config: TaskConfig
    files: Mapping[str, bytes]  # by name, such as "texture.png" and "views/00.png"

    @cached_property
    def report(self) -> dict[str, Any]:
        """The content of report.json."""
        return json.loads(self.files["report.json"])

    @property
    def image(self) -> Image.Image:
        """The texture or image; the contact sheet of what is neither."""
        from PIL import Image

        name = next(name for name in PICTURES if name in self.files)
        return Image.open(io.BytesIO(self.files[name]))

    def save(self, folder: str | Path) -> list[Path]:
        """Write all files into a folder, or none. Returns where they are.

        Raises InvalidRequest if the folder cannot be written.
        """
        with output.staging(Path(folder), "folder") as stage:
            for name, content in self.files.items():
                stage.add(name, content)
            output.publish([stage])
        return [Path(folder) / name for name in self.files]


def run(
    task: str,
    config: TaskConfig | None = None,
    *,
    on_progress: Callable[[Progress], object] | None = None,
    **given: Any,
) -> Result:
    """Run a task to its end: run("wide", prompt="mountains at sunset", width=1024).

    Args:
        task: "texture", "mask", "edit", "wide", "ambiguous", "motion", or one from elsewhere.
        config: the task's Config, in place of parameters.
        on_progress: is called after every step. An exception that it raises ends the run and
            goes through; nothing else has to be cleaned up.
        given: parameters by the names of the Config's fields, and inputs by theirs: "mesh",
            "image", "mask", "like" and so on. An input is a path, the content of a file (bytes),
            or an image of Pillow's. "up", "front" and "uv_set" say how a mesh file is meant.

    Raises:
        InvalidRequest, InvalidMesh: a parameter or an input is wrong; `field` names it.
        MissingWeights, DeviceUnavailable, OutOfMemory: what the machine lacks.
    """
    plugins.load()
    if task not in CONFIGS:
        build(task, {})  # raises
    names = {*CONFIGS[task].inputs, *CONFIGS[task].optional_inputs}
    how = {name: given.pop(name) for name in inputs.OF_MESH if name in given and "mesh" in names}
    parameters = {name: value for name, value in given.items() if name not in names}
    if config is None:
        config = build(task, parameters)
    elif parameters or not isinstance(config, CONFIGS[task]):
        wrong = next(iter(parameters), "config")
        raise InvalidRequest(
            f"Task {task!r} takes a {CONFIGS[task].__name__}, or parameters in its place.",
            hint="dataclasses.replace(config, ...) makes a changed one.",
            field=wrong,
        )
    blobs = {
        name: inputs.read(name, value, **how) for name, value in given.items() if name in names
    }
    watchers = [on_progress] if on_progress else []
    return Result(task, config, tasks.follow(tasks.run(task, config, blobs), *watchers))
