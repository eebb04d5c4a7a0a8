# SPDX-License-Identifier: GPL-3.0-or-later
"""The loop: time outside, all trajectories together, one state yielded after every step.

Trajectory i needs only the states of earlier ones *before* the step, so finishing the trajectories
one after another (as the paper tells it) and stepping them together give the same result.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from ..errors import NumericalFailure
from .schedule import Step
from .sparse import Coupling
from .strategies import Strategy


class Denoiser(Protocol):
    def predict_noise(self, y: Tensor, step: Step) -> Tensor:
        """Guided eps_theta of all trajectories. (N, C, h, w) float32 -> the same."""
        ...


class State(NamedTuple):
    step: Step  # the step just taken
    y: Tensor  # (N, C, h, w) float32 at `step.alpha_prev`


def sample(
    y: Tensor,
    steps: Sequence[Step],
    denoiser: Denoiser,
    strategy: Strategy,
    coupling: Coupling,
    fresh: Callable[[Step], Tensor | None] = lambda step: None,
    recorded: Tensor | None = None,
) -> Iterator[State]:
    """Sample all trajectories from noise `y`, or from a saved state and the steps that remain.

    `fresh` draws the noise of a step whose sigma is not 0. `recorded` (total + 1, K, C, h, w) holds
    every state of the first K trajectories, noisiest first: they are read, never sent to the
    network. Raises NumericalFailure as soon as a state is not finite.
    """
    given = 0 if recorded is None else recorded.shape[1]
    for step in steps:
        if recorded is None:
            eps = denoiser.predict_noise(y, step)
            y = strategy.advance(y, eps, step, coupling, fresh(step))
        else:
            y = torch.cat([recorded[step.index], y[given:]])
            known = step.noise_between(y[:given], recorded[step.index + 1])
            eps = torch.cat([known, denoiser.predict_noise(y[given:], step)])
            y = strategy.advance(y, eps, step, coupling, fresh(step))
            y = torch.cat([recorded[step.index + 1], y[given:]])
        if not torch.isfinite(y).all():
            raise NumericalFailure(
                f"The state is not finite after step {step.index + 1} of {step.total}.",
                hint="Lower inverse_lambda or guidance_scale, or keep correction at clamped.",
            )
        yield State(step, y)
