# SPDX-License-Identifier: GPL-3.0-or-later
"""A shared picture that trajectories look at through exact maps of pixels (section 3.2).

Crops, rotations, layers of one image: whatever sends every pixel of a trajectory to one cell.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from .coupling import Overlap


@dataclass(frozen=True)
class Canvas:
    """Where N trajectories look (the views f_i) and where they paint (their layers).

    One rule makes every task: compose the layers of the trajectories before i, look at the
    composite through view i. Its values are mean_i; M_i is 1 where one of them paints. The same
    composition over all of them is the result, phi.
    """

    height: int  # cells
    width: int
    cells: Tensor  # (N, h, w) int64: view i sends a pixel to this cell, row * width + column
    weight: Tensor  # (N, h, w) float32 >= 0: how much trajectory i says there; 0 is nothing

    def overlap(self, compose: Literal["over", "blend"] = "over") -> Overlap:
        """Find every pair of pixels that look at the same cell."""
        count, height, width = self.cells.shape
        cells, weight = self.cells.flatten(), self.weight.flatten()
        painters = (weight > 0).nonzero()[:, 0]
        painters = painters[cells[painters].argsort(stable=True)]
        number = torch.bincount(cells[painters], minlength=self.height * self.width)
        begin = number.cumsum(0) - number
        # Every pixel looks at all painters of its cell: a run of `number` places from `begin`.
        length = number[cells]
        looks = torch.arange(len(cells)).repeat_interleave(length)
        place = torch.arange(len(looks)) - (length.cumsum(0) - length)[looks]
        source = painters[begin[cells[looks]] + place]
        return Overlap(count, height * width, looks, source, weight[source], compose)

    def composed(self, y: Tensor) -> Tensor:
        """Lay the trajectories over each other, later ones on top. (N, C, h, w) -> (C, H, W)."""
        canvas = y.new_zeros(self.height * self.width, y.shape[1])
        for cells, weight, patch in zip(self.cells, self.weight, y, strict=True):
            painted = weight > 0
            canvas[cells[painted]] = patch.movedim(0, -1)[painted]
        return canvas.view(self.height, self.width, -1).movedim(-1, 0)

    def seen(self, canvas: Tensor) -> Tensor:
        """Look at a canvas through every view. (C, H, W) -> (N, C, h, w)."""
        return canvas.flatten(1)[:, self.cells].movedim(0, 1)
