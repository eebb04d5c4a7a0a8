# SPDX-License-Identifier: GPL-3.0-or-later
"""The loop: time outside, all trajectories together, one state yielded after every step.

Trajectory i needs only the states of earlier ones *before* the step, so finishing the trajectories
one after another (as the paper tells it) and stepping them together give the same result.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from .coupling import Coupling
from .errors import NumericalFailure
from .schedule import Step
from .strategies import Strategy


class Denoiser(Protocol):
    def predict_noise(self, y: Tensor, step: Step) -> Tensor:
        """Guided eps_theta for all trajectories. (N, C, h, w) float32 -> the same."""
        ...


class State(NamedTuple):
    step: Step  # the step just taken
    y: Tensor  # (N, C, h, w) float32 at `step.alpha_prev`


def sample(
    y: Tensor, steps: Sequence[Step], denoiser: Denoiser, strategy: Strategy, coupling: Coupling
) -> Iterator[State]:
    """Sample all trajectories from noise `y`, or from a saved state and the steps that remain.

    Raises NumericalFailure as soon as a state is not finite.
    """
    for step in steps:
        eps = denoiser.predict_noise(y, step)
        y = strategy.advance(y, eps, step, coupling)
        if not torch.isfinite(y).all():
            raise NumericalFailure(
                f"The state is not finite after step {step.index + 1} of {step.total}.",
                hint="Lower inverse_lambda or guidance_scale, or keep correction at clamped.",
            )
        yield State(step, y)
