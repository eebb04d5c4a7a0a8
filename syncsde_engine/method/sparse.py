# SPDX-License-Identifier: GPL-3.0-or-later
"""A sparse matrix over all pixels of all trajectories, applied slot by slot.

Rows with most entries come first, so that slot k, the k-th entry of every row that has one, is a
prefix: as little work as a sparse product, in an order of sums that is the same on every device.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor


class Conditional(NamedTuple):
    """The Gaussian p(X~ | y) of every trajectory, up to lambda (1 - alpha) (Eq. 7)."""

    mean: Tensor  # (N, C, h, w): mean_i; 0 where the precision is 0
    precision: Tensor  # (N, 1, h, w): diagonal of M_i in {0, 1}: 1 where there is a source


class Slot(NamedTuple):
    """One source each for the first rows of a coupling."""

    pixel: Tensor  # (R_k,) int64, counted through (trajectory, row, column)
    weight: Tensor  # (R_k, 1) float32


@dataclass(frozen=True)
class Coupling:
    """A sparse matrix over all pixels of all trajectories, kept as the rows that have sources.

    Rows with most sources come first, so that slot k, the k-th strongest source, is a prefix: as
    little work as a sparse product, in an order of sums that is the same on every device.
    """

    rows: Tensor  # (R,) int64, counted through (trajectory, row, column)
    slots: tuple[Slot, ...]  # R = R_0 >= R_1 >= ...; a row's weights sum to 1

    def gather(self, y: Tensor) -> Conditional:
        """Look at the sources of every pixel. (N, C, h, w) -> Conditional."""
        count, channels, height, width = y.shape
        pixels = y.movedim(1, -1).reshape(-1, channels)
        seen = pixels.new_zeros(len(self.rows), channels)
        for slot in self.slots:
            seen[: len(slot.pixel)] += pixels[slot.pixel] * slot.weight
        mean = pixels.new_zeros(pixels.shape).index_copy_(0, self.rows, seen)
        precision = pixels.new_zeros(len(pixels), 1).index_fill_(0, self.rows, 1.0)
        shape = (count, height, width, -1)
        return Conditional(
            mean.view(shape).movedim(-1, 1).contiguous(),
            precision.view(shape).movedim(-1, 1).contiguous(),
        )

    def replace(self, y: Tensor) -> Tensor:
        """Put every pixel's sources in its place; pixels without any stay. (N, C, h, w)."""
        mean, precision = self.gather(y)
        return torch.where(precision > 0, mean, y)

    def sharpen(self, exponent: float) -> Coupling:
        """Raise the weights to a power: more weight to the sources that see best."""
        powers = [slot.weight**exponent for slot in self.slots]
        total = torch.zeros(len(self.rows), 1, device=self.rows.device)
        for power in powers:
            total[: len(power)] += power
        return Coupling(
            self.rows,
            tuple(
                Slot(slot.pixel, power / total[: len(power)])
                for slot, power in zip(self.slots, powers, strict=True)
            ),
        )

    def to(self, device: torch.device) -> Coupling:
        slots = (Slot(slot.pixel.to(device), slot.weight.to(device)) for slot in self.slots)
        return Coupling(self.rows.to(device), tuple(slots))


def weighted_means(
    rows: Tensor,
    sources: Tensor,
    weight: Tensor,
    strength: Tensor,
    pixels: int,
    slots: int,
) -> Coupling:
    """The coupling that gives each of some pixels the weighted mean of its sources.

    Args:
        rows: (E,) int64, the pixel that looks; sources: (E,) int64, what it looks at.
        weight: (E,) float32 > 0.
        strength: (E,) which sources come first, and stay if there are more than `slots`.
        pixels: of all trajectories together.
        slots: the most sources of a pixel.
    """
    order = strength.argsort(descending=True, stable=True)
    order = order[rows[order].argsort(stable=True)]
    rows, sources, weight = rows[order], sources[order], weight[order]

    lengths = torch.bincount(rows, minlength=pixels)
    rank = torch.arange(len(rows), device=rows.device) - (lengths.cumsum(0) - lengths)[rows]
    lengths = lengths.clamp(max=slots)
    longest_first = lengths.argsort(descending=True, stable=True)
    position = torch.empty_like(longest_first)
    position[longest_first] = torch.arange(pixels, device=rows.device)
    chosen = []
    for k in range(int(lengths.max()) if len(rows) else 0):
        entries = (rank == k).nonzero()[:, 0]
        entries = entries[position[rows[entries]].argsort()]
        chosen.append(Slot(sources[entries], weight[entries, None]))
    coupling = Coupling(longest_first[: int((lengths > 0).sum())], tuple(chosen))
    return coupling.sharpen(1.0)
