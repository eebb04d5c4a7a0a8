# SPDX-License-Identifier: GPL-3.0-or-later
"""What each view shows of the surface: faces, depths, positions, normals, pixel by pixel."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from ..raster.layers import rasterize_layers
from .cameras import Camera, clip_positions
from .scene import Scene, view_depth


class Rays(NamedTuple):
    """Where the pixel centers of one camera look; both broadcast to (3, H, W) float32."""

    origin: Tensor
    direction: Tensor  # of depth 1


@dataclass(frozen=True)
class ViewMaps:
    """Images of the surface at pixel centers; all 0 where empty unless said otherwise."""

    scene: Scene
    size: int  # of the shorter side
    face: Tensor  # (N, H, W) int32, -1 where empty
    depth: Tensor  # (N, H, W) float32, view depth; +inf where empty

    @property
    def coverage(self) -> Tensor:
        """Where there is surface, (N, H, W) bool."""
        return self.face >= 0

    @cached_property
    def position(self) -> Tensor:
        """Points of the surface, (N, 3, H, W) float32, in the space of the normalized mesh."""
        position = torch.empty_like(self.depth[:, None].expand(-1, 3, -1, -1))
        for camera, image, depth in zip(self.scene.cameras, position, self.depth, strict=True):
            origin, direction = (part.to(image) for part in rays_of(camera, self.size))
            torch.mul(direction, depth, out=image).add_(origin)
            image.masked_fill_(torch.isinf(depth), 0.0)
        return position

    @cached_property
    def normal(self) -> Tensor:
        """Geometric unit normals, (N, 3, H, W) float32."""
        return normal_map(self.scene, self.face)

    def taken(self, numbers: Sequence[int]) -> ViewMaps:
        """The maps of some of the views, in this order."""
        some = list(numbers)
        return ViewMaps(self.scene.taken(some), self.size, self.face[some], self.depth[some])


def view_maps(scene: Scene, size: int) -> ViewMaps:
    """Rasterize all views, `size` pixels on their shorter side."""
    clip = clip_positions(scene.positions, scene.cameras)
    frame, layers = scene.frame(size), [camera.layer for camera in scene.cameras]
    raster = rasterize_layers(scene.rasterizer, clip, scene.triangles, frame, layers)
    return ViewMaps(scene, size, raster.face, view_depth(scene.cameras, raster))


def normal_map(scene: Scene, face: Tensor) -> Tensor:
    """Normals (N, 3, H, W) of the faces (N, H, W) seen, 0 where empty."""
    table = torch.nn.functional.pad(scene.normals, (0, 0, 1, 0))
    return torch.stack([table[:, axis][face + 1] for axis in range(3)], dim=1)


def object_of(scene: Scene, face: Tensor) -> Tensor:
    """The objects, int32, that faces of any shape belong to; -1 where empty."""
    owners = torch.from_numpy(np.append(scene.mesh.owners("object"), np.int32(-1)))
    return owners.to(face.device)[face.long()]  # the last entry is that of face -1


def rays_of(camera: Camera, size: int) -> Rays:
    """Viewing rays of the pixel centers of an image whose shorter side has `size` pixels."""
    axes = torch.tensor(camera.basis, dtype=torch.float32)[:, :, None, None]
    eye = torch.tensor(camera.eye, dtype=torch.float32)[:, None, None]
    x, y = (
        (2 * (torch.arange(side) + 0.5) / side - 1) / magnification
        for side, magnification in zip(
            camera.frame(size)[::-1], camera.magnification.tolist(), strict=True
        )
    )
    right, up, forward = axes
    across = right * x[None, None, :] - up * y[None, :, None]
    return Rays(eye + across, forward) if camera.orthographic else Rays(eye, forward + across)
