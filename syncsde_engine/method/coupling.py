# SPDX-License-Identifier: GPL-3.0-or-later
"""How trajectories see each other: static, sparse, linear operators (Eqs. 7 and 13 to 21).

They depend on where the trajectories look, not on what they show, so each is built once before
sampling.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from .sparse import Coupling, Slot, weighted_means


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
    pixels = overlap.count * overlap.pixels
    return weighted_means(looks, source, weight, strength[keep], pixels, slots or overlap.count)
