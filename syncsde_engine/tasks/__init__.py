# SPDX-License-Identifier: GPL-3.0-or-later
"""The tasks, by name: modules with `run(config, inputs)`. Importing this loads no torch."""

from __future__ import annotations

import importlib
from collections.abc import Generator, Mapping
from typing import TYPE_CHECKING, NamedTuple

from ..config import TaskConfig, check_inputs

if TYPE_CHECKING:
    from torch import Tensor

    from ..sampler import State

Artifacts = dict[str, bytes]  # file name -> content, e.g. "image.png", "views/00.png"


class Progress(NamedTuple):
    """One step of a stage is done (or, with step 0, the stage begins)."""

    stage: str  # "load", "geometry", "invert", "views", "upscale", "bake", "write"
    step: int
    total: int
    preview: bytes | None = None  # PNG
    state: State | None = None  # of the sampler, after each of its steps: what a run resumes from
    start: Tensor | None = None  # with a state: what its trajectories started from


def run(
    task: str, config: TaskConfig, inputs: Mapping[str, bytes]
) -> Generator[Progress, None, Artifacts]:
    """Run a task on its input blobs, yielding after every step; closing the generator cancels it.

    `inputs` holds the blobs that the task's Config names: "mesh" is a safetensors blob as
    `mesh.io.from_safetensors` reads it, "noise" one with a tensor `noise` (N, C, h, w), all others
    are pictures as PNG, JPEG, WebP or TIFF. Returns the task's files.
    """
    check_inputs(task, inputs)
    module = importlib.import_module(f"{__name__}.{task}")
    from ..usage import memory_named

    with memory_named():
        return (yield from module.run(config, inputs))
