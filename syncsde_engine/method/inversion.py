# SPDX-License-Identifier: GPL-3.0-or-later
"""From a picture to the noise that it came from: deterministic steps walked backwards (Eq. 3)."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from ..errors import NumericalFailure
from .sampler import Denoiser, State
from .schedule import Schedule, Step


def ascend(y_prev: Tensor, eps: Tensor, step: Step) -> Tensor:
    """The state from which a deterministic step with noise `eps` leads to `y_prev`. Eq. 3."""
    straight = math.sqrt(step.alpha_prev / step.alpha)
    rho = math.sqrt((1 - step.alpha_prev) / (1 - step.alpha))
    return (y_prev + math.sqrt(1 - step.alpha) * (straight - rho) * eps) / straight


def levels(schedule: Schedule, steps: Sequence[Step]) -> list[Step]:
    """What the network is told about the state that each of `steps` arrives at.

    That is the step after it; for the clean end it is the cleanest level of the training.
    """
    cleanest = dataclasses.replace(
        steps[-1], timestep=0, time=0.0, decay=0.0, alpha=float(schedule.alphas[0])
    )
    return [*steps[1:], cleanest]


def invert(
    clean: Tensor, schedule: Schedule, steps: Sequence[Step], denoiser: Denoiser
) -> Iterator[State]:
    """Walk `steps`, which are given noisiest first, from their clean end to their noisy one.

    `clean` is (N, C, h, w). Yields the state before each step, cleanest first. All of them, the
    noisiest first, are what the sampler takes as `recorded`: replayed, they end in `clean` exactly.
    Raises NumericalFailure.

    Paper: the authors walk 48 of 50 levels, each taken for the next, and then sample the source
    anew from the noise, which ends beside the picture, and read attention there. We walk all, read
    attention on the way, and replay the walk.
    """
    y = clean
    for step, level in zip(reversed(steps), reversed(levels(schedule, steps)), strict=True):
        y = ascend(y, denoiser.predict_noise(y, level), step)
        if not torch.isfinite(y).all():
            raise NumericalFailure(
                f"The inversion is not finite at step {step.index + 1} of {step.total}.",
                hint="Choose another precision or model.",
            )
        yield State(step, y)
