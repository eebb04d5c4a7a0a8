# SPDX-License-Identifier: GPL-3.0-or-later
"""What the autoencoder sees: crops of rendered views, and of the library's photographs."""

from __future__ import annotations

from functools import cache
from random import Random

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from syncsde_engine import library
from syncsde_engine.library.colors import COLORS

from .data import Renders
from .plan import Plan
from .textures import picture

SIDES = (64, 128, 256)  # pixels of a crop
_SMALL_SHARE = 0.6  # of the steps: small crops show many edges for little time
_SIZES = (176, 256, 384, 512)  # pixels of a photograph's width, as views show it
_RECOLORED = 0.35  # of the photographs that may be


class Crops:
    """Draws crops that depend on nothing but the plan's seed and the step."""

    def __init__(self, plan: Plan, renders: Renders) -> None:
        self._plan, self._renders = plan, renders
        self._trained = len(renders) - plan.held_back
        self._materials = library.materials()

    def draw(self, step: int) -> Tensor:
        """A batch of (N, 3, side, side) float32 in [-1, 1]; large ones cost what small ones do.

        Group normalization sees other statistics in a view than in a crop, so there are some of
        every size in the end.
        """
        plan, rng = self._plan, Random(self._plan.seed * 1_000_003 + step)
        small = step < _SMALL_SHARE * plan.vae_steps
        side = min(SIDES[0] if small else rng.choice(SIDES), plan.size)
        count = max(1, plan.vae_batch * SIDES[0] ** 2 // side**2)
        return torch.stack([self._one(side, self._trained, rng) for _ in range(count)])

    def held_back(self, count: int) -> tuple[Tensor, Tensor]:
        """Crops of held-back views, around their middle, and of photographs; always the same."""
        side = min(SIDES[1], self._plan.size)
        edge = (self._plan.size - side) // 2
        rows = np.linspace(self._trained, len(self._renders) - 1, count).astype(int)
        views = [
            self._renders.image(row)[:, edge : edge + side, edge : edge + side] for row in rows
        ]
        rng = Random(1)
        flat = [self._photograph(side, rng) for _ in range(count)]
        return to_pixels(np.stack(views)), torch.stack(flat)

    def _one(self, side: int, end: int, rng: Random) -> Tensor:
        if rng.random() < self._plan.flat_share:
            return self._photograph(side, rng)
        image = self._renders.image(rng.randrange(end))
        span = image.shape[-1] - side
        top, left = rng.randint(0, span), rng.randint(0, span)
        return to_pixels(image[:, top : top + side, left : left + side])

    def _photograph(self, side: int, rng: Random) -> Tensor:
        material = rng.choice(self._materials)
        recolored = material.tint and rng.random() < _RECOLORED
        color = rng.choice(list(COLORS)) if recolored else None
        image = _sized(material.name, color, rng.choice(_SIZES))
        top, left = (rng.randrange(length) for length in image.shape[-2:])
        rows = (torch.arange(side) + top) % image.shape[-2]
        columns = (torch.arange(side) + left) % image.shape[-1]
        return image[:, rows][:, :, columns].float() / 127.5 - 1


@cache
def _sized(name: str, color: str | None, width: int) -> Tensor:
    """A photograph at some width, (3, H, W) uint8; never enlarged."""
    image = picture(name, color)
    width = min(width, image.shape[-1])
    height = max(1, round(image.shape[-2] * width / image.shape[-1]))
    smaller = F.interpolate(image[None], (height, width), mode="bilinear", antialias=True)[0]
    return (smaller.clamp(0, 1) * 255).round().to(torch.uint8)


def to_pixels(images: np.ndarray) -> Tensor:
    """uint8 to float32 in [-1, 1]."""
    return torch.tensor(np.ascontiguousarray(images)).float() / 127.5 - 1
