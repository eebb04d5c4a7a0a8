# SPDX-License-Identifier: GPL-3.0-or-later
"""The tasks, by name: modules with `run(config, inputs)`. Importing this loads no torch."""

from __future__ import annotations

import contextlib
import importlib
from collections.abc import Callable, Generator, Mapping
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, NamedTuple

from ..config import TaskConfig
from ..hashes import add_hashes
from ..memory import memory_named
from ..request import check_inputs

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor

    from ..method.sampler import State

MODULES: dict[str, str] = {}  # of tasks from elsewhere, by name; ours are in this folder
Artifacts = dict[str, bytes]  # file name -> content, e.g. "image.png", "views/00.png"


class Progress(NamedTuple):
    """One step of a stage is done (or, with step 0, the stage begins)."""

    stage: str  # "load", "geometry", "invert", "views", "upscale", "bake", "write"
    step: int
    total: int
    preview: Callable[[], bytes] | None = None  # makes a small PNG of the state, at little cost
    state: State | None = None  # of the sampler, after each of its steps: what a run resumes from
    start: Tensor | None = None  # what the trajectories of this stage started from


class Saved(NamedTuple):
    """A state of the sampler, kept outside of the process that made it."""

    stage: str
    step: int  # number of steps taken
    y: np.ndarray  # (N, C, h, w) float32


def saved(progress: Progress) -> Saved | None:
    """What to keep of a step so that a run can go on from there, if it can."""
    if progress.state is None:
        return None
    y = progress.state.y.detach().cpu().numpy()
    return Saved(progress.stage, progress.state.step.index + 1, y)


def run(
    task: str, config: TaskConfig, inputs: Mapping[str, bytes], resume: Saved | None = None
) -> Generator[Progress, None, Artifacts]:
    """Run a task on its input blobs, yielding after every step; closing the generator cancels it.

    With `resume`, of an earlier run of the same config and inputs, all stages before the saved one
    are run again and that one goes on from there: the result is the same, byte for byte.

    `inputs` holds the blobs that the task's Config names: "mesh" is a safetensors blob as
    `mesh.io.from_safetensors` reads it, "noise" one with a tensor `noise` (N, C, h, w), all others
    are pictures as PNG, JPEG, WebP or TIFF. Returns the task's files.
    """
    check_inputs(task, config, inputs)
    module = module_of(task)
    _settle_threads()
    with memory_named():
        files = yield from _resumed(module.run(config, inputs), resume)
    return add_hashes(files, config, inputs)


def module_of(task: str) -> ModuleType:
    """The module with the task's `run`. Imports torch."""
    return importlib.import_module(MODULES.get(task, f"{__name__}.{task}"))


def _settle_threads() -> None:
    from ..compiled import settle_threads  # imports numba

    settle_threads()


def _resumed(
    steps: Generator[Progress, Saved | None, Artifacts], resume: Saved | None
) -> Generator[Progress, None, Artifacts]:
    """Send a saved state into the stage that it is of, when that begins."""
    answer = None
    with contextlib.closing(steps):
        while True:
            try:
                progress = steps.send(answer)
            except StopIteration as end:
                return end.value
            begins = progress.step == 0 and progress.start is not None
            matches = resume is not None and progress.stage == resume.stage
            answer = resume if begins and matches else None
            yield progress


def follow(
    run: Generator[Progress, None, Artifacts], *watchers: Callable[[Progress], object]
) -> Artifacts:
    """Drive a run to its end; every watcher sees every step. A watcher's error cancels it."""
    with contextlib.closing(run):
        while True:
            try:
                progress = next(run)
            except StopIteration as end:
                return end.value
            for watch in watchers:
                watch(progress)


def model_sha256(config: TaskConfig) -> str:
    """SHA-256 of all weights that a run of `config` reads. Raises MissingWeights."""
    from .session import weights_sha256

    return weights_sha256(config)


def preload(task: str, config: TaskConfig) -> None:
    """Load the model that a run would load, and keep it. Raises what the run would raise."""
    from .session import preload

    preload(task, config)


def devices() -> list[str]:
    """What a config's `device` may name here, the best first."""
    from ..models.devices import devices

    return devices()


def offer_models(folders: Mapping[str, Path]) -> None:
    """Let configs name the models, ControlNets and upscalers in these folders."""
    from ..models import catalog

    catalog.OFFERED.update(folders)
