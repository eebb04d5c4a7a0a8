# SPDX-License-Identifier: GPL-3.0-or-later
"""A small picture of a run while it goes on, at less than a hundredth of the cost of a step.

What the states are about to become (Eq. 2), each latent cell as one pixel.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d, interpolate

from . import pictures
from .method.sampler import Denoiser
from .method.schedule import Step

LONGEST_SIDE = 512  # pixels
ACROSS = 5  # trajectories side by side

Picture = Callable[[Tensor], Tensor]  # (N, C, h, w) clean states -> (C, H, W)


@dataclass
class Watched:
    """A denoiser, and what it said last: the noise that tells what a state is about to become."""

    denoiser: Denoiser
    eps: Tensor | None = None

    def predict_noise(self, y: Tensor, step: Step) -> Tensor:
        self.eps = self.denoiser.predict_noise(y, step)
        return self.eps

    def clean(self, before: Tensor, step: Step, recorded: Tensor | None) -> Tensor:
        """The clean states (N, C, h, w) that a step from `before` had in mind. Eq. 2.

        What is `recorded` (steps + 1, K, C, h, w) for the first K is known already.
        """
        assert self.eps is not None
        known = before[:0] if recorded is None else recorded[-1]
        return torch.cat([known, step.tweedie(before[len(known) :], self.eps)])


@dataclass(frozen=True)
class Preview:
    """One step, to be drawn if somebody wants to see it."""

    clean: Tensor  # (N, C, h, w)
    to_rgb: Callable[[Tensor], Tensor]  # (N, C, h, w) -> (N, 3, h, w) about in [0, 1]
    picture: Picture | None = None

    def png(self) -> bytes:
        clean = self.clean.cpu()
        whole = side_by_side(clean) if self.picture is None else self.picture(clean)
        image = self.to_rgb(whole[None])
        longest = max(image.shape[-2:])
        if longest > LONGEST_SIDE:
            image = interpolate(image, scale_factor=LONGEST_SIDE / longest, mode="area")
        return pictures.png(pictures.to_bytes(image[0]))


def side_by_side(y: Tensor) -> Tensor:
    """(N, C, h, w) -> (C, H, W), ACROSS in a row; places without a trajectory are 0."""
    count, channels, height, width = y.shape
    across = min(count, ACROSS)
    rows = -(-count // across)
    grid = y.new_zeros(rows * across, channels, height, width)
    grid[:count] = y
    grid = grid.view(rows, across, channels, height, width)
    return grid.permute(2, 0, 3, 1, 4).reshape(channels, rows * height, across * width)


@dataclass(frozen=True)
class Projection:
    """The linear map from an autoencoder's latents to the colors that they mean."""

    matrix: Tensor  # (3, C) float32, on the CPU
    offset: Tensor  # (3,)

    def __call__(self, latents: Tensor) -> Tensor:
        """(N, C, h, w) -> (N, 3, h, w), about in [0, 1]."""
        colors = torch.einsum("rc,nchw->nrhw", self.matrix, latents.float().cpu())
        return colors + self.offset[:, None, None]

    @classmethod
    def fit(cls, encode: Callable[[Tensor], Tensor], scale: int) -> Projection:
        """Fit the map by least squares to what an encoder makes of plain and of soft colors.

        `encode` takes (1, 3, H, W) images in [0, 1] to latents of 1 / `scale` the size.
        """
        random = np.random.Generator(np.random.Philox(key=0))
        rows, targets = [], []
        for cells, mode in ((8, "nearest"), (16, "bicubic")):
            colors = torch.from_numpy(random.random((1, 3, cells, cells), dtype=np.float32))
            image = interpolate(colors, size=(32 * scale, 32 * scale), mode=mode).clamp(0, 1)
            rows.append(encode(image)[0].float().cpu().flatten(1).T)
            targets.append(avg_pool2d(image, scale)[0].flatten(1).T)
        latents = torch.cat(rows)
        latents = torch.cat([latents, torch.ones(len(latents), 1)], dim=1)
        solution = torch.linalg.lstsq(latents.double(), torch.cat(targets).double()).solution.T
        return cls(solution[:, :-1].float(), solution[:, -1].float())
