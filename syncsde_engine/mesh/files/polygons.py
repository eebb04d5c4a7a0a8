# SPDX-License-Identifier: GPL-3.0-or-later
"""From polygons to triangles: convex ones as a fan, others by earcut, with holes on bridges."""

from __future__ import annotations

from typing import NamedTuple

import mapbox_earcut
import numpy as np
from numpy.typing import NDArray

from ...errors import InvalidMesh

MOST_CORNERS = 65_536  # of one polygon: the worst of that size takes seconds

Float = NDArray[np.float64]
Int = NDArray[np.int64]


class Triangulation(NamedTuple):
    """Triangles in the order of their polygons."""

    corners: Int  # (T, 3) places among the corners of all polygons
    polygon: Int  # (T,) the polygon that each is of


def triangulate(points: Float, vertex: Int, sizes: Int) -> Triangulation:
    """Cut polygons into triangles that keep their winding and cover what the polygons do.

    `vertex` (C,) has the corners of all polygons one after another, as places in `points` (V, 3);
    `sizes` (P,) has how many each has, none fewer than three. What a corner of a missing vertex is
    does not matter. A polygon of n corners gives n - 2 triangles, or fewer where corners coincide.
    Raises InvalidMesh for a polygon of more than MOST_CORNERS.
    """
    if len(sizes) and sizes.max() > MOST_CORNERS:
        raise InvalidMesh(
            f"A polygon of the mesh has {sizes.max()} corners, and {MOST_CORNERS} are the most.",
            hint="Triangulate it before the export.",
        )
    points = np.concatenate([points, np.zeros((1, 3))])
    vertex = np.where((vertex < 0) | (vertex >= len(points)), len(points) - 1, vertex)
    starts = np.cumsum(sizes) - sizes
    corners, polygon = [np.zeros((0, 3), np.int64)], [np.zeros(0, np.int64)]
    for size in np.unique(sizes):
        chosen = np.flatnonzero(sizes == size)
        outlines = points[vertex[starts[chosen, None] + np.arange(size)]]  # (P, size, 3)
        normal, convex = _shapes(outlines)
        fan = np.stack([np.zeros(size - 2, int), np.arange(1, size - 1), np.arange(2, size)], 1)
        if size == 4:  # one diagonal or the other
            other = chosen[~convex]
            corners.append((starts[other, None, None] + [[0, 1, 3], [1, 2, 3]]).reshape(-1, 3))
            polygon.append(np.repeat(other, 2))
            chosen, convex = chosen[convex], convex[convex]
        fanned = chosen[convex]
        corners.append((starts[fanned, None, None] + fan).reshape(-1, 3))
        polygon.append(np.repeat(fanned, size - 2))
        for p in np.flatnonzero(~convex):
            cut = _cut(outlines[p], normal[p])
            corners.append(starts[chosen[p]] + cut)
            polygon.append(np.full(len(cut), chosen[p]))
    owner = np.concatenate(polygon)
    order = np.argsort(owner, kind="stable")
    return Triangulation(np.concatenate(corners)[order], owner[order])


def strip_corners(first: Int, number: Int) -> Int:
    """Places (T, 3) of the corners of triangles of a strip, from where each begins (T,).

    Every second in its strip, by `number` (T,), is wound the other way.
    """
    odd = number % 2
    return np.stack([first, first + 1 + odd, first + 2 - odd], axis=1)


def _shapes(outlines: Float) -> tuple[Float, NDArray[np.bool_]]:
    """Newell normals (P, 3) of outlines (P, size, 3), and which may be cut as a fan (P,).

    Quads may as long as their halves do not face apart, as in Blender.
    """
    if outlines.shape[1] == 3:
        return np.zeros((len(outlines), 3)), np.ones(len(outlines), bool)
    with np.errstate(over="ignore", invalid="ignore"):
        outlines = outlines - outlines[:, :1]
        if outlines.shape[1] == 4:
            halves = np.cross(outlines[:, 1:3], outlines[:, 2:4])
            return halves.sum(axis=1), ~((halves[:, 0] * halves[:, 1]).sum(axis=1) < 0)
        following, before = np.roll(outlines, -1, axis=1), np.roll(outlines, 1, axis=1)
        normal = np.cross(outlines, following).sum(axis=1)
        turn = np.cross(outlines - before, following - outlines)
        left = np.einsum("pkc,pc->pk", turn, normal)
        # What is no number, or has no area, has no shape to respect.
        return normal, ~(left < 0).any(axis=1) | ~np.isfinite(left).all(axis=1)


def _cut(outline: Float, normal: Float) -> Int:
    """Triangles (T, 3) of one polygon (size, 3) that is not convex, seen along its normal (3,)."""
    normal = normal / np.abs(normal).max()
    normal /= np.linalg.norm(normal)
    across = np.cross(normal, np.eye(3)[np.abs(normal).argmin()])
    across /= np.linalg.norm(across)
    flat = (outline - outline[0]) @ np.stack([across, np.cross(normal, across)], axis=1)
    flat /= np.abs(flat).max()
    found = mapbox_earcut.triangulate_float64(flat, np.array([len(flat)], np.uint32))
    triangles = found.astype(np.int64).reshape(-1, 3)
    a, b, c = flat[triangles].swapaxes(0, 1)
    turned = (b - a)[:, 0] * (c - a)[:, 1] - (b - a)[:, 1] * (c - a)[:, 0] < 0
    triangles[turned] = triangles[turned, ::-1]
    return triangles
