# SPDX-License-Identifier: GPL-3.0-or-later
"""How trajectories see each other: static, sparse, linear operators (Eqs. 7 and 13 to 21).

They depend on where the trajectories look, not on what they show, so each is built once before
sampling.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch
from torch import Tensor


@dataclass(frozen=True)
class Overlap:
    """Which pixels of all trajectories look at the same spot of the canvas.

    Pixels are counted through (trajectory, row, column). Each entry says: where pixel `looks` of
    one trajectory looks, pixel `source` of another (or of the same) paints with `weight`.
    """

    count: int  # N trajectories
    pixels: int  # h * w
    looks: Tensor  # (E,) int64
    source: Tensor  # (E,) int64
    weight: Tensor  # (E,) float32 > 0
    # A later layer hides the earlier ones, their mean counts, or the one of most weight.
    compose: Literal["over", "blend", "best"]


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


def earlier(overlap: Overlap) -> Coupling:
    """What the trajectories before each one paint: X~ and M of Eq. 7 for every task.

    Paper: Eqs. 13 and 20 call M_i the part that does not overlap, yet use it as a precision; that
    would leave Eq. 14's mean zero wherever it counts. The precision is the overlap.
    Paper: Eq. 18's mask is static in print; it is what earlier views painted (appendix A.5).
    """
    keep = overlap.source // overlap.pixels < overlap.looks // overlap.pixels
    if overlap.compose == "blend":
        return _couple(overlap, keep, overlap.weight)
    strength = overlap.source if overlap.compose == "over" else overlap.weight
    return _couple(overlap, keep, strength, slots=1)


def everyone(overlap: Overlap) -> Coupling:
    """The weighted mean of what all trajectories paint, one's own included."""
    return _couple(overlap, torch.ones_like(overlap.source, dtype=torch.bool), overlap.weight)


def first(overlap: Overlap) -> Coupling:
    """What the first of all trajectories paints: with it, many can share one canvas of noise.

    The first that a pixel sees may itself see an earlier one: each is followed to its root.
    """
    keep = torch.ones_like(overlap.source, dtype=torch.bool)
    coupling = _couple(overlap, keep, -overlap.source, slots=1)
    roots = torch.arange(overlap.count * overlap.pixels, device=overlap.looks.device)
    for slot in coupling.slots:
        roots[coupling.rows] = slot.pixel
    for _ in range(overlap.count.bit_length()):
        roots = roots[roots]
    return Coupling(
        coupling.rows,
        tuple(Slot(roots[coupling.rows], slot.weight) for slot in coupling.slots),
    )


def disagreement(y: Tensor, overlap: Overlap) -> float:
    """Mean absolute difference between the trajectories and what earlier ones paint there."""
    mean, precision = earlier(overlap).to(y.device).gather(y)
    painted = float(precision.sum()) * y.shape[1]
    return float((precision * (y - mean)).abs().sum()) / max(painted, 1.0)


def _couple(overlap: Overlap, keep: Tensor, strength: Tensor, slots: int | None = None) -> Coupling:
    """Weigh the entries in `keep` to means, strongest first, of the strongest `slots` only."""
    looks, source, weight = (part[keep] for part in (overlap.looks, overlap.source, overlap.weight))
    order = strength[keep].argsort(descending=True, stable=True)
    order = order[looks[order].argsort(stable=True)]
    looks, source, weight = looks[order], source[order], weight[order]

    lengths = torch.bincount(looks, minlength=overlap.count * overlap.pixels)
    rank = torch.arange(len(looks), device=looks.device) - (lengths.cumsum(0) - lengths)[looks]
    lengths = lengths.clamp(max=slots or overlap.count)
    rows = lengths.argsort(descending=True, stable=True)
    position = torch.empty_like(rows)
    position[rows] = torch.arange(len(rows), device=rows.device)
    chosen = []
    for k in range(int(lengths.max()) if len(looks) else 0):
        entries = (rank == k).nonzero()[:, 0]
        entries = entries[position[looks[entries]].argsort()]
        chosen.append(Slot(source[entries], weight[entries, None]))
    coupling = Coupling(rows[: int((lengths > 0).sum())], tuple(chosen))
    return coupling.sharpen(1.0)
