# SPDX-License-Identifier: GPL-3.0-or-later
"""Smooth random functions of space: the raw material of every procedural texture and landscape.

Points are (3, N) float32 tensors throughout this package: one contiguous row per coordinate is
several times faster on a CPU than (N, 3).
"""

from __future__ import annotations

from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor

_PERIOD = 32
_CELLS = 4096


@lru_cache
def _lattice(device: str) -> Tensor:
    """A periodic 32^3 block of random values with its first faces repeated, (1, 1, 33, 33, 33)."""
    values = torch.rand(_PERIOD, _PERIOD, _PERIOD, generator=torch.Generator().manual_seed(1))
    for axis in range(3):
        values = torch.cat([values, values.narrow(axis, 0, 1)], axis)
    return values[None, None].contiguous().to(device)


@lru_cache
def _table(device: str) -> Tensor:
    return torch.rand(_CELLS, generator=torch.Generator().manual_seed(2)).to(device)


def value_noise(points: Tensor) -> Tensor:
    """Smooth noise of period 32 with one feature per unit. (3, N) -> (N,) in [0, 1]."""
    cell = torch.floor(points)
    inside = points - cell
    eased = inside * inside * (3 - 2 * inside)
    where = (cell % _PERIOD + eased) * (2 / _PERIOD) - 1
    lattice = _lattice(str(points.device))
    grid = where.T.reshape(1, 1, 1, -1, 3)
    return F.grid_sample(lattice, grid, align_corners=True, padding_mode="border").view(-1)


def fractal_noise(points: Tensor, octaves: int = 3) -> Tensor:
    """A sum of ever finer and weaker value noises. (3, N) -> (N,) in [0, 1], mean about 0.5."""
    total, weight = torch.zeros_like(points[0]), 0.5
    for octave in range(octaves):
        total += weight * value_noise(points * 2.03**octave + 17.3 * octave)
        weight /= 2
    return total / (1 - 0.5**octaves)


def cell_value(*indices: Tensor) -> Tensor:
    """A random number in [0, 1) for every cell of an integer lattice, given as float indices."""
    mixed = torch.zeros_like(indices[0], dtype=torch.long)
    for axis, index in enumerate(indices):
        mixed = mixed * 31 + index.long() * (17 + 6 * axis)
    return _table(str(mixed.device))[(mixed * 37) % _CELLS]


def soft_step(x: Tensor, width: float) -> Tensor:
    """A linear ramp from 0 to 1 of the given width, centerd on x = 0."""
    return (x / width + 0.5).clamp(0, 1)
