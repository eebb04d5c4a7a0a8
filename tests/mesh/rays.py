# SPDX-License-Identifier: GPL-3.0-or-later
"""An oracle that shares no code with the rasterizer: float64 rays against every triangle."""

from typing import NamedTuple

import numpy as np

from syncsde_engine.mesh.mesh import Mesh
from syncsde_engine.mesh.views.cameras import Camera


class Hits(NamedTuple):
    face: np.ndarray  # (R,) int, -1 for a miss
    distance: np.ndarray  # (R,) in lengths of the direction, inf for a miss
    bary: np.ndarray  # (R, 2) weights of corners 0 and 1


def cast(mesh: Mesh, origin: np.ndarray, direction: np.ndarray, beyond: float = 1e-9) -> Hits:
    """Nearest hit of rays (R, 3) by Moeller and Trumbore, both sides of the faces."""
    origin = np.broadcast_to(origin, direction.shape)
    nearest = np.full(len(direction), np.inf)
    face, bary = np.full(len(direction), -1), np.zeros((len(direction), 2))
    for f, (a, b, c) in enumerate(mesh.positions.astype(np.float64)[mesh.triangles]):
        side = np.cross(direction, c - a)
        determinant = side @ (b - a)
        with np.errstate(divide="ignore", invalid="ignore"):
            u = np.einsum("rc,rc->r", origin - a, side) / determinant
            across = np.cross(origin - a, b - a)
            v = np.einsum("rc,rc->r", direction, across) / determinant
            t = across @ (c - a) / determinant
        hit = (u >= 0) & (v >= 0) & (u + v <= 1) & (t > beyond) & (t < nearest)
        nearest[hit], face[hit] = t[hit], f
        bary[hit] = np.stack([1 - u - v, u], axis=1)[hit]
    return Hits(face, nearest, bary)


def pixel_rays(azimuth: float, elevation: float, fov: float, size: int) -> np.ndarray:
    """Directions of depth 1 through the pixel centers, (size * size, 3), written out by hand."""
    a, e = np.radians(azimuth), np.radians(elevation)
    forward = -np.array([np.cos(e) * np.sin(a), np.sin(e), np.cos(e) * np.cos(a)])
    right = np.cross(forward, [0.0, 1.0, 0.0])
    right /= np.linalg.norm(right)
    up = np.cross(right, forward)
    place = (2 * (np.arange(size) + 0.5) / size - 1) * np.tan(np.radians(fov) / 2)
    rows, columns = np.meshgrid(-place, place, indexing="ij")
    return (forward + rows[..., None] * up + columns[..., None] * right).reshape(-1, 3)


def rays_of(camera: Camera, size: int) -> np.ndarray:
    return pixel_rays(camera.azimuth, camera.elevation, camera.fov, size)
