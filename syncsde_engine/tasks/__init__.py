# SPDX-License-Identifier: GPL-3.0-or-later
"""The tasks, by name: modules with `run(config, inputs)`. Importing this loads no torch."""

from __future__ import annotations

import importlib
from collections.abc import Generator, Mapping
from typing import NamedTuple

from ..config import CONFIGS, TaskConfig
from ..errors import InvalidRequest

Artifacts = dict[
    str, bytes
]  # file name -> content, e.g. "texture.png", "views/00.png", "report.json"


class Progress(NamedTuple):
    """One step of a stage is done (or, with step 0, the stage begins)."""

    stage: str  # "load", "geometry", "views", "bake", "write"
    step: int
    total: int
    preview: bytes | None = None  # PNG


def run(
    task: str, config: TaskConfig, inputs: Mapping[str, bytes]
) -> Generator[Progress, None, Artifacts]:
    """Run a task on its input blobs, yielding after every step; closing the generator cancels it.

    `inputs` holds the blobs that `CONFIGS[task].inputs` names; for "texture", "mesh" is a
    safetensors blob as `mesh.io.from_safetensors` reads it. Returns the task's files.
    """
    missing = [name for name in CONFIGS[task].inputs if name not in inputs]
    if missing:
        raise InvalidRequest(
            f"Task {task!r} needs the input {missing[0]!r}.", field=f"inputs.{missing[0]}"
        )
    module = importlib.import_module(f"{__name__}.{task}")
    return (yield from module.run(config, inputs))
