# SPDX-License-Identifier: GPL-3.0-or-later
"""The states of a run as files, for comparing it with another implementation step by step.

--save-latents has the final states as `latents`. A trace has the states after every step under the
same name, and as `noise` what the trajectories started from, as --noise takes it.
"""

from __future__ import annotations

import argparse
import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import InvalidRequest
from ..output import Stage, staging
from ..tasks import Progress

if TYPE_CHECKING:
    from torch import Tensor


@dataclass
class Recorder:
    """Watches a run and saves the states (N, C, h, w) float32 of its trajectories."""

    add_latents: Callable[[bytes], None] | None = None
    add_step: Callable[[str, bytes], None] | None = None  # a file of the trace, by its name
    stages: list[Stage] = field(default_factory=list)  # to be published
    last: Progress | None = None

    def watch(self, progress: Progress) -> None:
        if progress.state is None or progress.stage != "views":
            return
        step, y = progress.state
        if self.add_step is not None:
            if self.last is None and progress.start is not None:
                self.add_step("noise.safetensors", encode("noise", progress.start))
            content = encode(
                "latents", y, index=step.index, timestep=step.timestep, total=step.total
            )
            self.add_step(f"step_{step.index:03}.safetensors", content)
        self.last = progress

    def finish(self) -> None:
        """Save the final states, where that was asked for."""
        if self.add_latents is not None and self.last is not None and self.last.state is not None:
            self.add_latents(encode("latents", self.last.state.y, total=self.last.total))


@contextlib.contextmanager
def beside(options: argparse.Namespace) -> Iterator[Recorder]:
    """Open the places that --save-latents and --trace name. Raises InvalidRequest."""
    recorder = Recorder()
    latents: Path | None = getattr(options, "save_latents", None)
    trace: Path | None = getattr(options, "trace", None)
    with contextlib.ExitStack() as places:
        if latents is not None:
            if latents.is_dir():
                raise InvalidRequest(
                    f"{str(latents)!r} is a folder.", hint="Name a file.", field="save_latents"
                )
            stage = places.enter_context(staging(latents.parent, "save_latents"))
            recorder.stages.append(stage)
            recorder.add_latents = lambda content: stage.add(latents.name, content)
        if trace is not None:
            # A shorter run must not leave the last steps of a longer one.
            steps = places.enter_context(staging(trace, "trace", replaces="step_*.safetensors"))
            recorder.stages.append(steps)
            recorder.add_step = steps.add
        yield recorder


def inside(options: argparse.Namespace, stage: Stage, folder: str) -> Recorder:
    """Record into a folder of a stage: there a comparison keeps the states of each of its runs."""
    recorder = Recorder()
    latents: Path | None = getattr(options, "save_latents", None)
    trace: Path | None = getattr(options, "trace", None)
    if latents is not None:
        recorder.add_latents = lambda content: stage.add(f"{folder}/{latents.name}", content)
    if trace is not None:
        recorder.add_step = lambda name, content: stage.add(
            f"{folder}/{trace.name}/{name}", content
        )
    return recorder


def encode(name: str, tensor: Tensor, **metadata: int) -> bytes:
    import safetensors.torch

    tensors = {name: tensor.detach().float().cpu().contiguous()}
    return safetensors.torch.save(tensors, {key: str(value) for key, value in metadata.items()})
