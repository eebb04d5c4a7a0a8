# SPDX-License-Identifier: GPL-3.0-or-later
"""What the artist's texture coordinates are like: absent, in one tile, in UDIM tiles, tiling.

Corner coordinates here are (F, 3, 2) float64, v = 1 at the top row of tile 1001, which is the
unit square. A texel that several faces share belongs to the lowest of them: copies laid over each
other, or mirrored, show what the views painted on the first.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from ..mesh import NO_AREA, UV_TOLERANCE, Mesh
from ..raster.buffers import uv_clip
from ..raster.builtin import BuiltinRasterizer

TILES_ACROSS = 10  # UDIM: tile 1001 + column + 10 * row
OVERLAP_SIZE = 1024  # texels, for finding faces that land on each other

Bools = NDArray[np.bool_]
Float = NDArray[np.float64]
Int = NDArray[np.int64]


class Layout(NamedTuple):
    """How faces are laid out over the tiles."""

    kind: Literal["unit", "udim", "tiling"]
    cell: Int  # (F, 2) column and row of each face's tile
    outside: int  # faces that are not within the unit square


class Sharing(NamedTuple):
    """Shares of a texture's used area, in percent."""

    overlapping: float  # texels of more than one face
    mirrored: float  # wound the other way round than the face


class Corners(NamedTuple):
    """Coordinates of the corners of all faces; 0 where there are none."""

    uvs: Float  # (F, 3, 2)
    there: Bools  # (F,) has numbers
    usable: Bools  # (F,) has numbers and, in the texture, an area


def corners_of(mesh: Mesh) -> Corners:
    """Look up the texture coordinates of every face, whatever is in the arrays."""
    count = len(mesh.triangles)
    if mesh.uvs is None or mesh.uv_triangles is None or len(mesh.uvs) == 0:
        return Corners(np.zeros((count, 3, 2)), *np.zeros((2, count), bool))
    index = mesh.uv_triangles
    there = np.all((index >= 0) & (index < len(mesh.uvs)), axis=1)
    corners = mesh.uvs.astype(np.float64)[np.where(there[:, None], index, 0)]
    there &= np.all(np.abs(corners) < 1e6, axis=(1, 2))  # and no NaN: that compares false
    corners[~there] = 0
    return Corners(corners, there, there & (np.abs(doubled_areas(corners)) > NO_AREA))


def doubled_areas(corners: Float) -> Float:
    """Twice the signed areas of texture triangles, (F,); negative where clockwise."""
    first, second = corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]
    return first[:, 0] * second[:, 1] - first[:, 1] * second[:, 0]


def layout(corners: Float, places: Int | None) -> Layout:
    """Tell UDIM tiles from a texture that repeats; `places` (F, 3) are the welded vertices.

    In both, coordinates leave the unit square. UDIM: every face is within one tile, 1001 or later,
    and no island goes on in another tile. An island is faces that share a vertex and coordinate;
    without `places` they are not looked at.
    """
    cell = np.floor(corners.mean(axis=1))
    low = (corners.min(axis=1) >= cell - UV_TOLERANCE).all(axis=1)
    high = (corners.max(axis=1) <= cell + 1 + UV_TOLERANCE).all(axis=1)
    outside = int((~(low & high) | (cell != 0).any(axis=1)).sum())
    numbered = (cell >= 0).all() and (cell[:, 0] < TILES_ACROSS).all()
    if outside == 0:
        kind = "unit"
    elif not (low & high).all() or not numbered:
        kind = "tiling"
    else:
        goes_on = places is not None and _crosses(corners, places, cell)
        kind = "tiling" if goes_on else "udim"
    return Layout(kind, cell.astype(np.int64), outside)


def _crosses(corners: Float, places: Int, cell: Float) -> bool:
    """Whether faces of different tiles share a vertex with one coordinate."""
    spot = np.concatenate([places[..., None], np.round(corners / UV_TOLERANCE)], axis=2)
    tile = (cell[:, 0] + TILES_ACROSS * cell[:, 1]).repeat(3)
    rows = spot.reshape(-1, 3)
    order = np.lexsort((tile, *rows.T))
    same = (rows[order][1:] == rows[order][:-1]).all(axis=1)
    return bool((same & (tile[order][1:] != tile[order][:-1])).any())


def flat_cells(corners: Float, found: Layout) -> tuple[Bools, Int]:
    """Which faces without area (F, 3, 2) lie in the tiles of the others, and in which (F, 2)."""
    cell = np.floor(corners.mean(axis=1)).astype(np.int64)
    if found.kind == "unit":
        cell[:] = 0  # what lies on the far border is in there, too
    inside = np.abs(corners - cell[:, None] - 0.5).max(axis=(1, 2)) <= 0.5 + UV_TOLERANCE
    return inside & np.isin(tile_numbers(cell), tile_numbers(found.cell)), cell


def tile_numbers(cell: Int) -> Int:
    """The UDIM numbers of tiles (..., 2)."""
    return 1001 + cell[..., 0] + TILES_ACROSS * cell[..., 1]


def sharing(mesh: Mesh, faces: Int) -> Sharing:
    """How much of one texture, that of `faces`, several of them share."""
    assert mesh.uvs is not None
    assert mesh.uv_triangles is not None
    triangles = mesh.uv_triangles[faces]
    lowest, highest = owners_of_texels(mesh.uvs, triangles, np.arange(len(faces)))
    used = max(int((lowest >= 0).sum()), 1)
    area = doubled_areas(mesh.uvs.astype(np.float64)[triangles])
    mirrored = float(np.maximum(-area, 0).sum() / max(np.abs(area).sum(), 1e-300))
    return Sharing(100 * int((lowest != highest).sum()) / used, 100 * mirrored)


def owners_of_texels(
    uvs: NDArray, triangles: NDArray, owner: Int
) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """The lowest and the highest of the owners (F,) whose faces cover each texel, -1 where none.

    Faces (F, 3) have their coordinates in `uvs` (T, 2), within the unit square.
    """
    clip = uv_clip(torch.from_numpy(uvs.astype(np.float32)))
    upward = np.argsort(owner, kind="stable")
    found = []
    for order in (upward, upward[::-1]):  # of faces at one depth, the first one wins
        faces = torch.from_numpy(triangles[order].astype(np.int32))
        raster = BuiltinRasterizer().rasterize(clip, faces, (OVERLAP_SIZE, OVERLAP_SIZE))
        face = raster.face.numpy().ravel()
        found.append(np.where(face >= 0, owner[order][face], -1).astype(np.int32))
    return found[0], found[1]
