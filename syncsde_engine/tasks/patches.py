# SPDX-License-Identifier: GPL-3.0-or-later
"""Square patches that cover a canvas of cells (Eqs. 13 to 15)."""

from __future__ import annotations

import torch

from ..method.canvas import Canvas


def crops(height: int, width: int, side: int, tops: list[int], lefts: list[int]) -> Canvas:
    """Square patches of `side` cells, column after column.

    Those that reach over the right edge go on at the left one.
    """
    reach = torch.arange(side)
    cells = torch.stack(
        [
            (top + reach)[:, None] * width + (left + reach)[None, :] % width
            for left in lefts
            for top in tops
        ]
    )
    return Canvas(height, width, cells, torch.ones(cells.shape))


def starts(length: int, side: int, stride: int) -> list[int]:
    """Where patches begin; the last one ends at the edge, however far that is."""
    return [*range(0, length - side, stride), length - side]
