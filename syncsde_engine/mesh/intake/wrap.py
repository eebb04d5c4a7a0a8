# SPDX-License-Identifier: GPL-3.0-or-later
"""Coordinates that leave the unit square a little: a texture that repeats shows them all the same.

Faces are cut where they cross its border, and every piece is moved in. That is done where hardly
any texel is then shared by pieces of two tiles; of a layout that truly tiles, most are.
"""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..mesh import NO_AREA, UV_TOLERANCE, Mesh
from .sanitize import part
from .uvs import owners_of_texels

LITTLE = 0.05  # of the used texels, which pieces of two tiles may share
MOST_TILES = 4  # in a row
MOST_CUT = 50_000  # faces

Bools = NDArray[np.bool_]
Float = NDArray[np.float64]
Int = NDArray[np.int64]


class Pieces(NamedTuple):
    """The pieces of faces, each within a tile."""

    face: Int  # (P,) of which face
    weights: Float  # (P, 3, 3): of a corner, the shares of the corners of its face
    uvs: Float  # (P, 3, 2) within the unit square
    shared: float  # of the used texels, by pieces of two tiles


def pieces_of(corners: Float) -> Pieces | None:
    """Cut faces (F, 3, 2) at the borders of tiles; None if they reach over too many of them."""
    low, high = np.floor(corners.min(axis=(0, 1))), np.ceil(corners.max(axis=(0, 1)))
    cell = np.floor(corners.mean(axis=1))
    inside = (np.abs(corners - cell[:, None] - 0.5) <= 0.5 + UV_TOLERANCE).all(axis=(1, 2))
    if (high - low).max() > MOST_TILES or (~inside).sum() > MOST_CUT:
        return None
    face, weights = [np.flatnonzero(inside)], [np.tile(np.eye(3), (int(inside.sum()), 1, 1))]
    for number in np.flatnonzero(~inside):
        for polygon in _cut(corners[number]):
            fan = [polygon[[0, k, k + 1]] for k in range(1, len(polygon) - 1)]
            face.append(np.full(len(fan), number))
            weights.append(np.array(fan))
    owner, shares = np.concatenate(face), np.concatenate(weights)
    uvs = shares @ corners[owner]
    sides = uvs[:, 1:] - uvs[:, :1]
    whole = np.abs(sides[:, 0, 0] * sides[:, 1, 1] - sides[:, 0, 1] * sides[:, 1, 0]) > NO_AREA
    owner, shares, uvs = owner[whole], shares[whole], uvs[whole]
    order = np.argsort(owner, kind="stable")
    owner, shares, uvs = owner[order], shares[order], uvs[order]
    tile = np.floor(uvs.mean(axis=1)).astype(np.int64)
    moved = np.clip(uvs - tile[:, None], 0, 1)
    _, number = np.unique(tile, axis=0, return_inverse=True)
    triangles = np.arange(3 * len(moved)).reshape(-1, 3)
    first, last = owners_of_texels(moved.reshape(-1, 2), triangles, number.ravel())
    shared = (first != last).sum() / max((first >= 0).sum(), 1)
    return Pieces(owner, shares, moved, float(shared))


def wrapped(mesh: Mesh, pieces: Pieces) -> tuple[Mesh, Int, Bools]:
    """The mesh with pieces in place of those of its faces that have some, in their order.

    Returns also, of every face of the new one, the face that it is of, and whether it is a piece.
    Vertices and coordinates keep their numbers, those of the cuts come after them.
    """
    assert mesh.uvs is not None
    assert mesh.uv_triangles is not None
    rest = np.setdiff1d(np.arange(len(mesh.triangles)), pieces.face)
    owner = np.concatenate([rest, pieces.face])
    order = np.argsort(owner, kind="stable")
    triangles = mesh.triangles[pieces.face].astype(np.int64)
    corner = pieces.weights.argmax(axis=2)
    old = pieces.weights.max(axis=2) == 1
    vertex = np.take_along_axis(triangles, corner, axis=1)
    points = pieces.weights @ mesh.positions.astype(np.float64)[triangles]
    vertex[~old] = len(mesh.positions) + np.arange(int((~old).sum()))
    uv = len(mesh.uvs) + np.arange(pieces.uvs[..., 0].size).reshape(-1, 3)
    cut = part(mesh, owner)
    return (
        replace(
            part(cut, order),
            positions=np.concatenate([mesh.positions, points[~old].astype(np.float32)]),
            triangles=np.concatenate([mesh.triangles[rest], vertex])[order].astype(np.int32),
            uvs=np.concatenate([mesh.uvs, pieces.uvs.reshape(-1, 2).astype(np.float32)]),
            uv_triangles=np.concatenate([mesh.uv_triangles[rest], uv])[order].astype(np.int32),
        ),
        owner[order],
        order >= len(rest),
    )


def _cut(uvs: Float) -> list[Float]:
    """Convex polygons (n, 3) of shares of the corners (3, 2), none across a border."""
    polygons = [np.eye(3)]
    for axis in range(2):
        low, high = uvs[:, axis].min(), uvs[:, axis].max()
        for line in range(int(np.floor(low)) + 1, int(np.ceil(high))):
            parts = [
                _side(polygon, sign * (polygon @ uvs[:, axis] - line))
                for polygon in polygons
                for sign in (-1, 1)
            ]
            polygons = [polygon for polygon in parts if len(polygon) > 2]
    return polygons


def _side(polygon: Float, height: Float) -> Float:
    """The part of a convex polygon (n, 3) whose heights (n,) are not negative."""
    kept = []
    for k in range(len(polygon)):
        here, there = height[k - 1], height[k]
        if here * there < 0:
            kept.append((polygon[k - 1] * there - polygon[k] * here) / (there - here))
        if there >= 0:
            kept.append(polygon[k])
    return np.array(kept).reshape(-1, 3)
