# SPDX-License-Identifier: GPL-3.0-or-later
"""Pictures of the textured mesh, as the cameras that painted it see it."""

from __future__ import annotations

import torch
from torch import Tensor

from .cameras import clip_positions
from .project import Scene
from .raster import interpolate


def render(scene: Scene, texture: Tensor, size: int, background: float = 0.2) -> Tensor:
    """Draw the mesh unlit with `texture` (H, W, 3) in [0, 1]. -> (N, 3, size, size) float32."""
    assert scene.mesh.uvs is not None
    assert scene.mesh.uv_triangles is not None
    clip = clip_positions(scene.positions, scene.cameras)
    raster = scene.rasterizer.rasterize(clip, scene.triangles, (size, size))
    uvs, corners = (
        torch.tensor(array, device=texture.device)
        for array in (scene.mesh.uvs, scene.mesh.uv_triangles)
    )
    uv = interpolate(uvs, raster, corners)
    grid = torch.stack([2 * uv[..., 0] - 1, 1 - 2 * uv[..., 1]], dim=-1)
    images = torch.nn.functional.grid_sample(
        texture.movedim(-1, 0).expand(len(grid), -1, -1, -1),
        grid,
        padding_mode="border",
        align_corners=False,
    )
    return images.where((raster.face >= 0)[:, None], background)
