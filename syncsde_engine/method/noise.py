# SPDX-License-Identifier: GPL-3.0-or-later
"""Counter-based noise: (seed, trajectory, step) gives the same numbers in whatever order.

Batching, chunking and resuming therefore cannot change a result.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from .schedule import Step
from .sparse import Coupling


def gaussian(seed: int, trajectory: int, step: int, shape: Sequence[int]) -> Tensor:
    """Draw standard normal numbers on the CPU, float32 of the given shape, from Philox."""
    key = np.array([seed, (trajectory << 32) | step], dtype=np.uint64)
    generator = np.random.Generator(np.random.Philox(key=key))
    return torch.from_numpy(generator.standard_normal(tuple(shape), dtype=np.float32))


@dataclass(frozen=True)
class Noise:
    """All random numbers of a run, one slice for each trajectory."""

    seed: int
    shape: tuple[int, int, int, int]  # (N, C, h, w)
    device: torch.device
    shared: Coupling | None = None  # where given, trajectories look at one canvas of noise

    def initial(self) -> Tensor:
        """y_T: (N, C, h, w) float32."""
        return self._draw(0)

    def fresh(self, step: Step) -> Tensor | None:
        """What a step adds, or None if it adds nothing."""
        return self._draw(step.index + 1) if step.sigma else None

    def _draw(self, step: int) -> Tensor:
        count, *shape = self.shape
        parts = [gaussian(self.seed, i, step, shape) for i in range(count)]
        noise = torch.stack(parts).to(self.device)
        return noise if self.shared is None else self.shared.replace(noise)
