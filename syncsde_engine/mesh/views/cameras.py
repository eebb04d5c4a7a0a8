# SPDX-License-Identifier: GPL-3.0-or-later
"""Cameras around a normalized mesh, and the conventions of space for everyone.

World      right-handed, y up; azimuth 0 is the front view, which looks along -z.
Camera     right-handed, x right, y up, looks along -z; depth is -z > 0.
Clip       OpenGL: -w <= x, y, z <= w; z / w is -1 near and +1 far. In perspective w is the depth,
           orthographic it is 1 and z / w is linear in the depth.
Image      (C, H, W), row 0 at the top, pixel centers at half-integers:
           x / w = 2 (column + 0.5) / W - 1,  y / w = 1 - 2 (row + 0.5) / H.
Texture    row 0 at the top, where v = 1; texel centers at u = (column + 0.5) / W,
           v = 1 - (row + 0.5) / H, so the texel of u is floor(u W), as in Blender and OpenGL.
Angles     degrees in every interface.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

BACK, FRONT = 0, 4  # places in paper_cameras()
NEAREST = 0.01  # of the radius: what is closer to a camera, or behind it, is not seen
SAME = 1e-6  # relative length that is none

Direction = Literal["front", "side", "back", "top", "bottom"]
Float64 = NDArray[np.float64]


@dataclass(frozen=True)
class Camera:
    """A perspective or orthographic view of a target from somewhere around it."""

    azimuth: float  # degrees; 0 sees the front, 90 sees the side at +x
    elevation: float  # degrees above the horizon, within +-90
    distance: float = 2.0  # from the target
    fov: float = 60.0  # degrees, full angle across the shorter side of the image
    target: tuple[float, float, float] = (0.0, 0.0, 0.0)
    roll: float = 0.0  # degrees; positive turns the camera counter-clockwise, the image clockwise
    ortho_scale: float | None = None  # orthographic: what the shorter side shows; `fov` is unused
    aspect: float = 1.0  # width of the image as a multiple of its height
    layer: int = 0  # which surface along its rays it shows: 0 the nearest, 1 the one behind, ...

    @property
    def toward(self) -> Float64:
        """From the target to the camera, (3,) float64 of length 1."""
        azimuth, elevation = np.radians(self.azimuth), np.radians(self.elevation)
        horizontal = np.cos(elevation)
        x, y, z = horizontal * np.sin(azimuth), np.sin(elevation), horizontal * np.cos(azimuth)
        return np.array([x, y, z], np.float64)

    @property
    def eye(self) -> Float64:
        """Where the camera stands, (3,) float64."""
        return np.array(self.target) + self.distance * self.toward

    @property
    def basis(self) -> Float64:
        """Right, up and viewing direction in the world, the rows of (3, 3) float64."""
        azimuth, roll = np.radians(self.azimuth), np.radians(self.roll)
        right = np.array([np.cos(azimuth), 0.0, -np.sin(azimuth)])  # also where it looks down
        forward = -self.toward
        up = np.cross(right, forward)
        turned = np.cos(roll) * right + np.sin(roll) * up
        axes = np.stack([turned, np.cross(turned, forward), forward])
        return axes.astype(np.float64)

    @property
    def orthographic(self) -> bool:
        return self.ortho_scale is not None

    @property
    def focal(self) -> float:
        """Half the shorter side of the image over what it shows: at depth 1, or orthographic."""
        if self.ortho_scale is not None:
            return 2 / self.ortho_scale
        return float(1 / np.tan(np.radians(self.fov) / 2))

    @property
    def magnification(self) -> Float64:
        """`focal` in x and in y, as fractions of half the width and half the height, (2,)."""
        return self.focal * np.array([min(1.0, 1 / self.aspect), min(1.0, self.aspect)])

    @property
    def view(self) -> Float64:
        """World to camera, (4, 4) float64 for column vectors."""
        right, up, forward = self.basis
        matrix = np.eye(4)
        matrix[:3, :3] = right, up, -forward
        matrix[:3, 3] = -matrix[:3, :3] @ self.eye
        return matrix

    def depths(self, radius: float = 1.0) -> tuple[float, float]:
        """Near and far, which enclose what lies before the camera of a sphere at the origin."""
        middle = float(self.eye @ self.toward)
        near = max(0.99 * (middle - radius), NEAREST * radius)
        return near, max(1.01 * (middle + radius), 2 * near)

    def projection(self, radius: float = 1.0) -> Float64:
        """Camera to clip, (4, 4) float64."""
        near, far = self.depths(radius)
        matrix = np.diag([*self.magnification, 0.0, 0.0])
        if self.orthographic:
            matrix[2, 2:] = 2 / (near - far), (far + near) / (near - far)
            matrix[3, 3] = 1.0
        else:
            matrix[2, 2:] = (far + near) / (near - far), 2 * far * near / (near - far)
            matrix[3, 2] = -1.0
        return matrix

    def frame(self, short: int) -> tuple[int, int]:
        """Rows and columns of an image whose shorter side has so many pixels."""
        return round(short * max(1.0, 1 / self.aspect)), round(short * max(1.0, self.aspect))

    def footprint(self, depth: Tensor | float, short: int) -> Tensor | float:
        """Side of a pixel's square at a depth, in an image of so many pixels on its short side."""
        return (1.0 if self.orthographic else depth) * (2 / (self.focal * short))

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


def look_at(
    position: Sequence[float],
    target: Sequence[float],
    up: Sequence[float] = (0.0, 1.0, 0.0),
    *,
    fov: float = 60.0,
    ortho_scale: float | None = None,
    aspect: float = 1.0,
) -> Camera:
    """A camera at a point that looks at another, turned so that `up` points up in its image.

    Raises ValueError if the points are one, or if `up` points along the view.
    """
    offset = np.subtract(position, target).astype(np.float64)
    distance = float(np.linalg.norm(offset))
    if distance <= SAME * max(1.0, float(np.abs(target).max())):
        raise ValueError("it stands where it looks at")
    x, y, z = offset / distance
    level = Camera(
        float(np.degrees(np.arctan2(x, z))),
        float(np.degrees(np.arctan2(y, np.hypot(x, z)))),
        distance,
        fov,
        (float(target[0]), float(target[1]), float(target[2])),
        ortho_scale=ortho_scale,
        aspect=aspect,
    )
    upward = np.asarray(up, np.float64)
    right, above, _ = level.basis @ upward
    if np.hypot(right, above) <= SAME * np.linalg.norm(upward):
        raise ValueError("its up points along its view")
    return replace(level, roll=float(np.degrees(np.arctan2(-right, above))))


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
