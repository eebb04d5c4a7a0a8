# SPDX-License-Identifier: GPL-3.0-or-later
"""How trajectories see each other: one static, linear, causal operator (Eqs. 7, 18, 19).

For trajectory i the operator gathers the states of earlier trajectories j < i where both look at
the same spot of the canvas. It depends on geometry only, so it is built once before sampling.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor


class Conditional(NamedTuple):
    """The Gaussian p(X~ | y) of every trajectory, up to lambda (1 - alpha) (Eq. 7)."""

    mean: Tensor  # (N, C, h, w): mean_i; 0 where the precision is 0
    precision: Tensor  # (N, 1, h, w): diagonal of M_i in {0, 1}: 1 where an earlier one painted


@dataclass(frozen=True)
class Pairs:
    """Which pixel of trajectory j each pixel of trajectory i looks at, for every pair (i, j)."""

    index: Tensor  # (N, N, h * w) int64: [i, j, p] is a pixel of j; anything where the weight is 0
    weight: Tensor  # (N, N, h * w) float32 >= 0: how well j sees that spot; 0 if it does not


class Slot(NamedTuple):
    """One source each for the first rows of a coupling."""

    pixel: Tensor  # (R_k,) int64, counted through (trajectory, pixel)
    weight: Tensor  # (R_k, 1) float32


@dataclass(frozen=True)
class Coupling:
    """A sparse matrix over all pixels of all trajectories, kept as the rows that have sources.

    Rows with most sources come first, so that slot k, the k-th strongest source, is a prefix: as
    little work as a sparse product, in an order of sums that is the same on every device.
    """

    rows: Tensor  # (R,) int64, counted through (trajectory, pixel)
    slots: tuple[Slot, ...]  # R = R_0 >= R_1 >= ...; a row's weights sum to 1

    def condition_on_earlier(self, y: Tensor) -> Conditional:
        """Gather mean and precision for every trajectory. (N, C, h, w) -> Conditional."""
        count, channels, height, width = y.shape
        pixels = y.movedim(1, -1).reshape(-1, channels)
        seen = pixels.new_zeros(len(self.rows), channels)
        for slot in self.slots:
            seen[: len(slot.pixel)] += pixels[slot.pixel] * slot.weight
        mean = pixels.new_zeros(pixels.shape).index_copy_(0, self.rows, seen)
        precision = pixels.new_zeros(len(pixels), 1).index_fill_(0, self.rows, 1.0)
        shape = (count, height, width, -1)
        return Conditional(mean.view(shape).movedim(-1, 1), precision.view(shape).movedim(-1, 1))

    def to(self, device: torch.device) -> Coupling:
        slots = (Slot(slot.pixel.to(device), slot.weight.to(device)) for slot in self.slots)
        return Coupling(self.rows.to(device), tuple(slots))


def couple(pairs: Pairs) -> Coupling:
    """Keep only earlier trajectories as sources and weigh them to a mean (Eqs. 18, 19)."""
    count, _, size = pairs.index.shape
    causal = torch.ones(count, count).tril(-1).to(pairs.weight)
    weight = (pairs.weight * causal[:, :, None]).transpose(1, 2).reshape(count * size, count)
    offset = torch.arange(count, device=pairs.index.device)[None, :, None] * size
    pixel = (pairs.index + offset).transpose(1, 2).reshape(count * size, count)

    rows = (weight > 0).sum(1).argsort(descending=True, stable=True)
    rows = rows[: int((weight > 0).any(1).sum())]
    weight, order = weight[rows].sort(dim=1, descending=True, stable=True)
    pixel = pixel[rows].gather(1, order)
    share = weight / weight.sum(1, keepdim=True)
    lengths = (weight > 0).sum(0).tolist()
    return Coupling(
        rows,
        tuple(
            Slot(pixel[:length, k].clone(), share[:length, k, None].clone())
            for k, length in enumerate(lengths)
            if length
        ),
    )
