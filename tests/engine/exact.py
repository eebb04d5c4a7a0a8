# SPDX-License-Identifier: GPL-3.0-or-later
"""A real denoiser without weights: the exact posterior mean over a small data set."""

from dataclasses import dataclass

import torch
from torch import Tensor

from syncsde_engine.coupling import Pairs
from syncsde_engine.schedule import Step

STABLE_DIFFUSION = {
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
    "num_train_timesteps": 1000,
    "set_alpha_to_one": False,
    "steps_offset": 1,
}


@dataclass(frozen=True)
class ExactDenoiser:
    """eps_theta(y, t) when the data are exactly `samples` (K, C, h, w), per trajectory."""

    samples: Tensor

    def predict_noise(self, y: Tensor, step: Step) -> Tensor:
        data = self.samples.flatten(1).to(y)
        flat = y.flatten(1)
        distance = torch.cdist(flat[None], step.alpha**0.5 * data[None])[0] ** 2
        clean = torch.softmax(-distance / (2 * (1 - step.alpha)), dim=1) @ data
        return ((flat - step.alpha**0.5 * clean) / (1 - step.alpha) ** 0.5).view_as(y)


def random_pairs(count: int, size: int, seed: int = 0) -> Pairs:
    """Views that see random pixels of each other, about half of them."""
    generator = torch.Generator().manual_seed(seed)
    index = torch.randint(size, (count, count, size), generator=generator)
    weight = torch.rand(count, count, size, generator=generator)
    weight = weight * (torch.rand(count, count, size, generator=generator) < 0.5)
    return Pairs(index, weight)
