# SPDX-License-Identifier: GPL-3.0-or-later
"""A real denoiser without weights: the exact posterior mean over a small data set."""

from dataclasses import dataclass

import torch
from torch import Tensor

from syncsde_engine.method import noise
from syncsde_engine.method.coupling import Overlap
from syncsde_engine.method.schedule import Step

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


class GaussianDenoiser:
    """eps_theta(y, t) when the data are independent normal numbers of unit variance."""

    def predict_noise(self, y: Tensor, step: Step) -> Tensor:
        return (1 - step.alpha) ** 0.5 * y


def random_overlap(count: int, size: int, seed: int = 0, compose="blend") -> Overlap:
    """Views that see one random pixel of about half of the others, and themselves."""
    generator = torch.Generator().manual_seed(seed)
    looks = torch.arange(count * size).repeat(count)
    pixel = torch.randint(size, (count, count * size), generator=generator)
    source = pixel + size * torch.arange(count)[:, None]
    weight = torch.rand(count, count * size, generator=generator)
    seen = torch.rand(count, count * size, generator=generator) < 0.5
    own = looks.view(count, -1) // size == torch.arange(count)[:, None]
    source = torch.where(own, looks.view(count, -1), source)
    keep = ((seen | own) & (weight > 0)).flatten()
    return Overlap(
        count, size, looks[keep], source.flatten()[keep], weight.flatten()[keep], compose
    )


def start(count: int, shape: tuple[int, ...], seed: int = 1) -> Tensor:
    """Initial noise (N, *shape)."""
    return torch.stack([noise.gaussian(seed, i, 0, shape) for i in range(count)])
