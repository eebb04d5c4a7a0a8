# SPDX-License-Identifier: GPL-3.0-or-later
"""Pictures of the textured mesh, as the cameras that painted it see it."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import grid_sample

from ..raster.buffers import on_faces
from ..raster.layers import rasterize_layers
from .cameras import clip_positions
from .scene import Scene


def render(scene: Scene, textures: Tensor, size: int, background: float = 0.2) -> Tensor:
    """Draw the mesh unlit with `textures` (K, H, W, 3) in [0, 1]. -> (N, 3, H, W) float32.

    `size` is the shorter side of the pictures.
    """
    assert scene.mesh.uvs is not None
    assert scene.mesh.uv_triangles is not None
    clip = clip_positions(scene.positions, scene.cameras)
    frame, layers = scene.frame(size), [camera.layer for camera in scene.cameras]
    raster = rasterize_layers(scene.rasterizer, clip, scene.triangles, frame, layers)
    uvs, corners, owner = (
        torch.tensor(array, device=textures.device)
        for array in (scene.mesh.uvs, scene.mesh.uv_triangles, scene.mesh.owners("texture"))
    )
    seen = raster.face >= 0
    face = raster.face[seen]
    uv = on_faces(uvs, corners, face, raster.bary[seen])
    color = sample(textures, owner[face.long()], uv)
    images = textures.new_full((*seen.shape, 3), background)
    images[seen] = color
    return images.movedim(-1, 1).contiguous()


def sample(textures: Tensor, number: Tensor, uv: Tensor) -> Tensor:
    """Bilinear colors (P, 3) of textures (K, H, W, 3) at P places: which one, and where."""
    grid = torch.stack([2 * uv[:, 0] - 1, 1 - 2 * uv[:, 1]], dim=-1)
    color = textures.new_zeros(len(uv), 3)
    for k, texture in enumerate(textures):
        mine = (number == k).nonzero()[:, 0]
        sampled = grid_sample(
            texture.movedim(-1, 0)[None],
            grid[mine][None, None],
            padding_mode="border",
            align_corners=False,
        )
        color[mine] = sampled[0, :, 0].T
    return color
