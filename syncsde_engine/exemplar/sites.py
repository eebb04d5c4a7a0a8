# SPDX-License-Identifier: GPL-3.0-or-later
"""Where patches are taken: fixed lists of neighbors, made once before sampling.

A site is a pixel of a trajectory that shows the material. Rows and columns of the picture lie on it
in some direction and size (its frame), which the lists hold: on a flat image they are the image's
own, on a mesh those of the surface.
"""

from __future__ import annotations

from collections.abc import Sequence
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


def flat_points(height: int, width: int, scale: int) -> Floats:
    """Where the pixels of an image (height, width) lie in it, (height, width, 3).

    `scale` of its pixels, along a side, go to one of the ground's.
    """
    points = np.zeros((height, width, 3), np.float32)
    points[..., 0] = (np.arange(width) + 0.5) / scale
    points[..., 1] = (np.arange(height)[:, None] + 0.5) / scale
    return points


def flat_ground(count: int, height: int, width: int, levels: int, *, wrap: bool = False) -> Ground:
    """`count` images, upright; positions are (column, row, 0) of pixel centers."""
    shown = np.ones((height, width), np.bool_)
    return _ground(shown, np.arange(count), count, flat(count, height, width, levels, wrap=wrap))


def region_ground(
    shown: NDArray[np.bool_], views: Sequence[int], count: int, levels: int
) -> Ground:
    """A region (h, w) of an image that some of `count` trajectories show; else as `flat_ground`.

    Patches stay in the region, as they do inside an image.
    """
    numbers = np.array(views, np.int32)
    return _ground(shown, numbers, count, region(shown, numbers, levels))


def _ground(
    shown: NDArray[np.bool_], views: NDArray[np.integer], count: int, sites: list[Sites]
) -> Ground:
    row, column = np.nonzero(shown)
    position = np.stack([column + 0.5, row + 0.5, 0 * row], axis=1).astype(np.float32)
    number = np.full((count, *shown.shape), -1, np.int32)
    for place, view in enumerate(views):
        number[view][shown] = np.arange(len(row)) + place * len(row)
    axes = np.eye(3, dtype=np.float32)
    return Ground(
        sites,
        number,
        np.tile(position, (len(views), 1)),
        np.tile(axes[0], (len(views) * len(row), 1)),
        np.tile(axes[1], (len(views) * len(row), 1)),
        np.zeros(len(views) * len(row), np.int32),
    )


def flat(count: int, height: int, width: int, levels: int, *, wrap: bool = False) -> list[Sites]:
    """Sites of `count` images of (height, width), every pixel one; the finest scale first.

    With `wrap` the right edge goes on at the left. Sides that cannot be halved lose their last row
    or column in the coarser scales, whose sites then stand for three pixels.
    """
    shown = np.ones((height, width), np.bool_)
    return region(shown, np.arange(count, dtype=np.int32), levels, wrap=wrap)


def region(
    shown: NDArray[np.bool_], views: Index, levels: int, *, wrap: bool = False
) -> list[Sites]:
    """Sites of the pixels `shown` (h, w), the same in all `views`; else as `flat`.

    A site of a coarser scale stands for those of its pixels that are shown.
    """
    grids = [shown]
    for _ in range(levels - 1):
        grids.append(_halved(grids[-1]))
    above = [*grids[1:], None]
    return [_region(*pair, views, wrap) for pair in zip(grids, above, strict=True)]


def _halved(shown: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Where the scale of half the size shows anything."""
    tall, across = (max(1, side // 2) for side in shown.shape)
    row, column = np.nonzero(shown)
    halved = np.zeros((tall, across), np.bool_)
    halved[np.minimum(row // 2, tall - 1), np.minimum(column // 2, across - 1)] = True
    return halved


def _numbered(shown: NDArray[np.bool_]) -> NDArray[np.int64]:
    """The number of each pixel (h, w) among those shown; -1 for the others."""
    return np.where(shown, np.cumsum(shown).reshape(shown.shape) - 1, -1)


def _region(
    shown: NDArray[np.bool_], halved: NDArray[np.bool_] | None, views: Index, wrap: bool
) -> Sites:
    height, width = shown.shape
    number = _numbered(shown)
    row, column = np.nonzero(shown)

    def at(rows: float, columns: float) -> NDArray[np.int64]:
        y, x = row + round(rows), column + round(columns)
        x = x % width if wrap else x
        beyond = (y < 0) | (y >= height) | (x < 0) | (x >= width)
        return np.where(beyond, -1, number[np.where(beyond, 0, y), np.where(beyond, 0, x)])

    def patched(rows: int, columns: int) -> NDArray[np.int64]:
        found = number[row, column]
        for share in reversed(SHRINK):
            there = at(share * rows, share * columns)
            found = np.where(there < 0, found, there)
        return found

    patch = np.stack([patched(*step) for step in PATCH], axis=1)
    near = np.stack([at(*step) for step in NEAR], axis=1)
    offset = np.broadcast_to(-np.array(NEAR, np.float32), (len(row), 9, 2))
    tall, across = max(1, height // 2), max(1, width // 2)
    above, beside = np.minimum(row // 2, tall - 1), np.minimum(column // 2, across - 1)
    inside = np.stack([row - (2 * above + 0.5), column - (2 * beside + 0.5)], axis=1)
    count = len(views)
    place = np.arange(count)[:, None]
    first = place[..., None] * len(row)
    parent = np.empty(0, np.int32)
    if halved is not None:
        parent = _numbered(halved)[above, beside] + place * np.count_nonzero(halved)
    return Sites(
        view=np.repeat(views, len(row)).astype(np.int32),
        pixel=(views[:, None].astype(np.int64) * shown.size + row * width + column).reshape(-1),
        patch=(patch + first).reshape(-1, len(PATCH)).astype(np.int32),
        near=np.where(near < 0, -1, near + first).reshape(-1, 9).astype(np.int32),
        offset=np.tile(offset, (count, 1, 1)).astype(np.float32),
        parent=parent.reshape(-1).astype(np.int32),
        inside=np.tile(inside, (count, 1)).astype(np.float32),
        quadrant=np.tile(quadrants(inside), (count, 1)),
    )


def quadrants(inside: NDArray[np.floating]) -> Index:
    """Which neighbors of a parent (rows, columns, diagonal) lie towards `inside` (n, 2)."""
    row, column = (np.where(inside[:, axis] < 0, -1, 1) for axis in (0, 1))
    return np.stack([(row + 1) * 3 + 1, 3 + column + 1, (row + 1) * 3 + column + 1], axis=1).astype(
        np.int32
    )
