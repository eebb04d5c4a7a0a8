# SPDX-License-Identifier: GPL-3.0-or-later
"""Ways to turn a square picture that only move its pixels (section 3.3.4 of the paper)."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from ..config import TransformName
from .canvas import Canvas


def skew(grid: Tensor) -> Tensor:
    """Roll column j of (n, n) down by 1.5 (j - n / 2) pixels, rounded towards zero.

    Where n is a number of latent cells this is not the skew of the pixels they stand for, which
    moves in finer steps.
    """
    size = len(grid)
    columns = torch.arange(size)
    shift = (1.5 * (columns - size / 2)).trunc().long()
    rows = (columns[:, None] - shift[None, :]) % size
    return grid[rows, columns]


TRANSFORMS: dict[TransformName, Callable[[Tensor], Tensor]] = {
    "rotate_cw": lambda grid: grid.rot90(-1),
    "rotate_ccw": lambda grid: grid.rot90(),
    "rotate_180": lambda grid: grid.rot90(2),
    "flip": lambda grid: grid.flip(0),  # upside down
    "skew": skew,
}


def turned(transforms: Sequence[TransformName], size: int) -> Canvas:
    """Look at an n x n canvas as it is, and after each transform: the views f_i of Eq. 16.

    Everyone paints everywhere, so X~^i is f_i f_{i-1}^-1 (y^{i-1}) with a precision of 1 (Eq. 17).
    """
    upright = torch.arange(size * size).view(size, size)
    cells = torch.stack([upright, *(TRANSFORMS[name](upright) for name in transforms)])
    return Canvas(size, size, cells, torch.ones(cells.shape))
