# SPDX-License-Identifier: GPL-3.0-or-later
"""Photographs that do not tile: their opposite borders are faded into each other."""

from __future__ import annotations

import torch
from torch import Tensor

STEP = 1.25  # times the largest mean difference of neighboring lines: more is a seam
MARGIN = 8  # a side's share that is faded is one of so many
ENOUGH = 96  # lines of a picture that can spare them


def margins(image: Tensor) -> tuple[int, int]:
    """Rows and columns of a picture (3, H, W) to fade so that it tiles; 0 where it does already."""
    found = []
    for axis in (1, 2):
        side = image.shape[axis]
        lines = image.movedim(axis, 0)
        most = float((lines[1:] - lines[:-1]).abs().mean((1, 2)).max())
        border = float((lines[0] - lines[-1]).abs().mean())
        found.append(side // MARGIN if side >= ENOUGH and border > STEP * most else 0)
    return found[0], found[1]


def joined(image: Tensor, rows: int, columns: int) -> Tensor:
    """A picture or map (C, H, W) that has given up margins: (C, H - rows, W - columns).

    What is cut off at the end fades into what it meets there, the beginning.
    """
    for axis, margin in ((1, rows), (2, columns)):
        if margin:
            rest = image.shape[axis] - margin
            share = (torch.arange(margin, dtype=image.dtype) + 0.5) / margin
            share = share[:, None] if axis == 1 else share
            image, end = image.narrow(axis, 0, rest).clone(), image.narrow(axis, rest, margin)
            image.narrow(axis, 0, margin).mul_(share).add_(end * (1 - share))
    return image
