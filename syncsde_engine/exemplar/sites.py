# SPDX-License-Identifier: GPL-3.0-or-later
"""Where patches are taken: fixed lists of neighbors, made once before sampling.

A site is a pixel of a trajectory that shows the material. Rows and columns of the picture lie on it
in some direction and size (its frame), which the lists hold: on a flat image they are the image's
own, on a mesh those of the surface.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .picture import RADIUS

Index = NDArray[np.int32]
Floats = NDArray[np.float32]

PATCH = [(r, c) for r in range(-RADIUS, RADIUS + 1) for c in range(-RADIUS, RADIUS + 1)]
NEAR = [(r, c) for r in (-1, 0, 1) for c in (-1, 0, 1)]
SHRINK = (1.0, 0.6, 0.3)  # of a place in a patch, until there is a site


@dataclass(frozen=True)
class Sites:
    """The n sites of one scale. Offsets are (row, column) in pixels of the picture's scale."""

    view: Index  # (n,) the trajectory of each, not falling
    pixel: NDArray[np.int64]  # (n,) counted through (trajectory, row, column)
    patch: Index  # (n, 49) the sites that show its patch, in the order of PATCH
    near: Index  # (n, 9) the sites of the pixels around it, in the order of NEAR; -1 for none
    offset: Floats  # (n, 9, 2) from there to here
    parent: Index  # (n,) its site in the next coarser scale; empty at the coarsest
    inside: Floats  # (n, 2) from the middle of the parent to here, in pixels of this scale
    quadrant: Index  # (n, 3) places in NEAR of the parent's neighbors that are closest to here

    @property
    def count(self) -> int:
        return len(self.pixel)


@dataclass(frozen=True)
class Ground:
    """Sites of all scales, the finest first, and where those of the finest lie."""

    sites: list[Sites]
    number: Index  # (N, h, w) the site of every pixel of the trajectories; -1 for none
    position: Floats  # (n, 3)
    across: Floats  # (n, 3) how far the picture's columns go on along each axis, in its pixels
    down: Floats  # (n, 3) and its rows
    object: Index  # (n,) what does not mix with others; 0 where there is but one


def flat_ground(count: int, height: int, width: int, levels: int, *, wrap: bool = False) -> Ground:
    """`count` images, upright; positions are (column, row, 0) of pixel centers."""
    row, column = np.mgrid[:height, :width].reshape(2, -1) + np.float32(0.5)
    position = np.stack([column, row, 0 * row], axis=1).astype(np.float32)
    axes = np.eye(3, dtype=np.float32)
    return Ground(
        flat(count, height, width, levels, wrap=wrap),
        np.arange(count * height * width, dtype=np.int32).reshape(count, height, width),
        np.tile(position, (count, 1)),
        np.tile(axes[0], (count * len(position), 1)),
        np.tile(axes[1], (count * len(position), 1)),
        np.zeros(count * len(position), np.int32),
    )


def flat(count: int, height: int, width: int, levels: int, *, wrap: bool = False) -> list[Sites]:
    """Sites of `count` images of (height, width), every pixel one; the finest scale first.

    With `wrap` the right edge goes on at the left. Sides that cannot be halved lose their last row
    or column in the coarser scales, whose sites then stand for three pixels.
    """
    return [
        _flat(count, _half(height, level), _half(width, level), level == levels - 1, wrap)
        for level in range(levels)
    ]


def _half(side: int, times: int) -> int:
    for _ in range(times):
        side = max(1, side // 2)
    return side


def _flat(count: int, height: int, width: int, coarsest: bool, wrap: bool) -> Sites:
    row, column = np.mgrid[:height, :width].reshape(2, -1)

    def at(rows: float, columns: float) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
        y, x = row + round(rows), column + round(columns)
        x = x % width if wrap else x
        beyond = (y < 0) | (y >= height) | (x < 0) | (x >= width)
        return np.where(beyond, 0, y * width + x), beyond

    def patched(rows: int, columns: int) -> NDArray[np.int64]:
        found = row * width + column
        for share in reversed(SHRINK):
            there, beyond = at(share * rows, share * columns)
            found = np.where(beyond, found, there)
        return found

    patch = np.stack([patched(*step) for step in PATCH], axis=1)
    near = np.stack([np.where(at(*step)[1], -1, at(*step)[0]) for step in NEAR], axis=1)
    offset = np.broadcast_to(-np.array(NEAR, np.float32), (len(row), 9, 2))
    tall, across = max(1, height // 2), max(1, width // 2)
    above, beside = np.minimum(row // 2, tall - 1), np.minimum(column // 2, across - 1)
    inside = np.stack([row - (2 * above + 0.5), column - (2 * beside + 0.5)], axis=1)
    first = np.arange(count)[:, None, None] * len(row)
    parent = above * across + beside
    return Sites(
        view=np.repeat(np.arange(count, dtype=np.int32), len(row)),
        pixel=np.arange(count * len(row)),
        patch=(patch + first).reshape(-1, len(PATCH)).astype(np.int32),
        near=np.where(near < 0, -1, near + first).reshape(-1, 9).astype(np.int32),
        offset=np.tile(offset, (count, 1, 1)).astype(np.float32),
        parent=np.empty(0, np.int32)
        if coarsest
        else (parent + first[:, :, 0] // len(row) * (tall * across)).reshape(-1).astype(np.int32),
        inside=np.tile(inside, (count, 1)).astype(np.float32),
        quadrant=np.tile(quadrants(inside), (count, 1)),
    )


def quadrants(inside: NDArray[np.floating]) -> Index:
    """Which neighbors of a parent (rows, columns, diagonal) lie towards `inside` (n, 2)."""
    row, column = (np.where(inside[:, axis] < 0, -1, 1) for axis in (0, 1))
    return np.stack([(row + 1) * 3 + 1, 3 + column + 1, (row + 1) * 3 + column + 1], axis=1).astype(
        np.int32
    )
