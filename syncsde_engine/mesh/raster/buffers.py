# SPDX-License-Identifier: GPL-3.0-or-later
"""Which face every pixel sees and where on it: the interface of every backend."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor


@dataclass(frozen=True)
class Raster:
    """B images of what is nearest at every pixel center; conventions as in `cameras`."""

    face: Tensor  # (B, H, W) int32, -1 where empty
    bary: Tensor  # (B, H, W, 2) float32, weights of corners 0 and 1, perspective-correct
    z: Tensor  # (B, H, W) float32, z / w in [-1, 1]; +1 where empty
    w: Tensor  # (B, H, W) float32, clip w = view depth; +inf where empty


class Rasterizer(Protocol):
    """A backend. Nothing is culled; of faces at equal depth the lower id is meant to win."""

    @property
    def name(self) -> str: ...

    @property
    def device(self) -> torch.device: ...

    @property
    def subpixel_bits(self) -> int:
        """Vertices snap to 1 / 2**bits of a pixel before coverage is decided."""
        ...

    def rasterize(self, clip: Tensor, triangles: Tensor, size: tuple[int, int]) -> Raster:
        """Rasterize clip-space vertices (B, V, 4) float32 and triangles (F, 3) int32 at (H, W)."""
        ...


def interpolate(attribute: Tensor, raster: Raster, triangles: Tensor) -> Tensor:
    """Interpolate (V, C) over the faces seen, (B, H, W, C) float32; 0 where empty."""
    seen = raster.face >= 0
    image = attribute.new_zeros(*raster.face.shape, attribute.shape[1])
    image[seen] = on_faces(attribute, triangles, raster.face[seen], raster.bary[seen])
    return image


def on_faces(attribute: Tensor, triangles: Tensor, face: Tensor, bary: Tensor) -> Tensor:
    """Interpolate (V, C) at P points, given by face (P,) and bary (P, 2). -> (P, C)."""
    a, b, c = (
        attribute.index_select(0, triangles[:, corner].index_select(0, face)) for corner in range(3)
    )
    u, v = bary[:, :1], bary[:, 1:]
    return c + u * (a - c) + v * (b - c)


def uv_clip(uvs: Tensor) -> Tensor:
    """Clip space (1, T, 4) that rasterizes texture coordinates (T, 2) into texture images."""
    zeros, ones = torch.zeros_like(uvs[:, :1]), torch.ones_like(uvs[:, :1])
    return torch.cat([2 * uvs - 1, zeros, ones], dim=1)[None]
