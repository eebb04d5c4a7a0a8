# SPDX-License-Identifier: GPL-3.0-or-later
"""Perspective cameras around a normalised mesh, and the conventions of space for everyone.

World      right-handed, y up; azimuth 0 is the front view, which looks along -z.
Camera     right-handed, x right, y up, looks along -z; depth is -z > 0.
Clip       OpenGL: -w <= x, y, z <= w with w = depth; z / w is -1 near and +1 far.
Image      (C, H, W), row 0 at the top, pixel centres at half-integers:
           x / w = 2 (column + 0.5) / W - 1,  y / w = 1 - 2 (row + 0.5) / H.
Texture    row 0 at the top, where v = 1; texel centres at u = (column + 0.5) / W,
           v = 1 - (row + 0.5) / H, so the texel of u is floor(u W), as in Blender and OpenGL.
Angles     degrees in every interface.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

BACK, FRONT = 0, 4  # places in paper_cameras()

Direction = Literal["front", "side", "back", "top", "bottom"]
Float64 = NDArray[np.float64]


@dataclass(frozen=True)
class Camera:
    """A square perspective view of the origin from a sphere around it."""

    azimuth: float  # degrees; 0 sees the front, 90 sees the side at +x
    elevation: float  # degrees above the horizon, within +-90
    distance: float = 2.0
    fov: float = 60.0  # degrees, full angle

    @property
    def eye(self) -> Float64:
        """Where the camera stands, (3,) float64."""
        azimuth, elevation = np.radians(self.azimuth), np.radians(self.elevation)
        direction = [
            np.cos(elevation) * np.sin(azimuth),
            np.sin(elevation),
            np.cos(elevation) * np.cos(azimuth),
        ]
        return self.distance * np.array(direction)

    @property
    def basis(self) -> Float64:
        """Right, up and viewing direction in the world, the rows of (3, 3) float64."""
        azimuth = np.radians(self.azimuth)
        right = np.array([np.cos(azimuth), 0.0, -np.sin(azimuth)])  # also where it looks down
        forward = -self.eye / self.distance
        return np.stack([right, np.cross(right, forward), forward])

    @property
    def focal(self) -> float:
        """1 / tan(fov / 2)."""
        return float(1 / np.tan(np.radians(self.fov) / 2))

    @property
    def view(self) -> Float64:
        """World to camera, (4, 4) float64 for column vectors."""
        right, up, forward = self.basis
        matrix = np.eye(4)
        matrix[:3, :3] = right, up, -forward
        matrix[:3, 3] = -matrix[:3, :3] @ self.eye
        return matrix

    def projection(self, radius: float = 1.0) -> Float64:
        """Camera to clip, (4, 4) float64; near and far enclose a sphere of `radius` at 0."""
        near = max(0.99 * (self.distance - radius), 0.01 * self.distance)
        far = 1.01 * (self.distance + radius)
        matrix = np.diag([self.focal, self.focal, (far + near) / (near - far), 0.0])
        matrix[2, 3] = 2 * far * near / (near - far)
        matrix[3, 2] = -1.0
        return matrix

    @property
    def direction(self) -> Direction:
        """The word that a prompt gets appended for this view."""
        if self.elevation > 30:
            return "top"
        if self.elevation < -30:
            return "bottom"
        off_front = abs((self.azimuth + 180) % 360 - 180)
        if off_front <= 30:
            return "front"
        return "back" if off_front >= 120 else "side"


def paper_cameras() -> tuple[Camera, ...]:
    """The ten views in the paper's order of trajectories: the unconstrained first is the back.

    A ring of eight, 45 degrees apart, from the back over -x to the front (4) and over +x, then
    front and back from 30 degrees above.
    """
    ring = [
        Camera(azimuth, 0.0) for azimuth in (180.0, 225.0, 270.0, 315.0, 0.0, 45.0, 90.0, 135.0)
    ]
    return (*ring, Camera(0.0, 30.0), Camera(180.0, 30.0))


def clip_positions(positions: Tensor, cameras: tuple[Camera, ...], radius: float = 1.0) -> Tensor:
    """World positions (V, 3) in the clip space of every camera, (N, V, 4) float32."""
    matrices = np.stack([camera.projection(radius) @ camera.view for camera in cameras])
    homogeneous = torch.nn.functional.pad(positions.cpu().double(), (0, 1), value=1.0)
    return (homogeneous @ torch.from_numpy(matrices).mT).float().to(positions.device)
