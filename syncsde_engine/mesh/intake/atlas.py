# SPDX-License-Identifier: GPL-3.0-or-later
"""Texture coordinates of K textures, put together from kept and new ones."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from ..mesh import Mesh
from .uvs import tile_numbers

Int = NDArray[np.int64]


@dataclass
class Texture:
    """One of the K textures: whose it is, and where its coordinates come from."""

    name: str
    material: str
    objects: list[str]
    tile: int | None  # UDIM number
    uv: Literal["own", "xatlas", "charts"]
    overlapping_percent: float = 0.0
    mirrored_percent: float = 0.0


class Atlas:
    """Collects, for the faces of a mesh, their texture and their coordinates in it.

    The artist's coordinates keep their numbers; all others come after them.
    """

    def __init__(self, mesh: Mesh) -> None:
        """All faces have a texture triangle without area until they get another."""
        self.mesh = mesh
        self.textures: list[Texture] = []
        self.face_texture = np.zeros(len(mesh.triangles), np.int32)
        old = np.zeros((0, 2), np.float32) if mesh.uvs is None else mesh.uvs
        old = np.where(np.isfinite(old), old, np.float32(0))
        self.uvs = np.concatenate([old, np.zeros((1, 2), np.float32)])
        self.corners = np.full((len(mesh.triangles), 3), len(old), np.int64)

    def keep(
        self,
        name: str,
        material: str,
        objects: list[str],
        faces: Int,
        kept: Int,
        cell: Int,
        tiled: bool,
    ) -> None:
        """Give the `kept` ones among some faces their own coordinates.

        If `tiled`, every UDIM tile becomes a texture of its own, moved into the unit square; `cell`
        (len(kept), 2) is the tile.
        """
        assert self.mesh.uv_triangles is not None
        self.corners[kept] = self.mesh.uv_triangles[kept]
        tiles, tile_of = np.unique(tile_numbers(cell), return_inverse=True)
        self.face_texture[faces] = len(self.textures)
        self.face_texture[kept] = len(self.textures) + tile_of
        for tile in tiles.tolist():
            label, tile = (f"{name}.{tile}", tile) if tiled else (name, None)
            self.textures.append(Texture(self._unused(label), material, objects, tile, "own"))
        if tiled:
            # Tiles that meet may share a coordinate: it becomes one in each.
            pair = self.corners[kept] * len(tiles) + tile_of[:, None]
            _, first, corner = np.unique(pair, return_index=True, return_inverse=True)
            coordinate = self.corners[kept].ravel()[first]
            moved = self.uvs[coordinate] - cell[first // 3]
            self._append(kept, moved, corner.reshape(-1, 3))

    def add(
        self,
        name: str,
        material: str,
        objects: list[str],
        faces: Int,
        uvs: NDArray[np.float32],
        corners: NDArray[np.int32],
        by: Literal["xatlas", "charts"],
    ) -> None:
        """Give faces new coordinates, (T, 2) and (len(faces), 3) into them, in a new texture."""
        self.face_texture[faces] = len(self.textures)
        self.textures.append(Texture(self._unused(name), material, objects, None, by))
        self._append(faces, uvs, corners)

    def finish(self) -> Mesh:
        """The mesh with its textures."""
        return replace(
            self.mesh,
            uvs=self.uvs,
            uv_triangles=self.corners.astype(np.int32),
            face_texture=self.face_texture,
            textures=tuple(texture.name for texture in self.textures),
        )

    def _append(self, faces: Int, uvs: NDArray, corners: NDArray) -> None:
        self.corners[faces] = corners.astype(np.int64) + len(self.uvs)
        self.uvs = np.concatenate([self.uvs, uvs.astype(np.float32)])

    def _unused(self, name: str) -> str:
        taken = {texture.name for texture in self.textures}
        names = [name, *(f"{name}_{number}" for number in range(2, len(taken) + 3))]
        return next(each for each in names if each not in taken)
