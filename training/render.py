# SPDX-License-Identifier: GPL-3.0-or-later
"""Sphere tracing of one object through the engine's cameras: color, coverage and control depth.

What is traced can be painted again and again: `trace` finds the surface, `paint` puts a material on
it. Every pixel is the mean of `FINER` x `FINER` rays, because photographs alias otherwise.

Camera and depth follow the engine exactly: perspective of 60 degrees, two units from the origin,
inverse view-space depth stretched per image so that the nearest visible point is 1, the farthest 0,
background 0.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from .materials import Surface, albedo
from .shapes import Sdf, gradient, norm

FIELD_OF_VIEW = 60.0
DISTANCE = 2.0
FINER = 2  # rays across a pixel
_MAX_STEPS = 40
_HIT = 2e-3
_BLOCK = 8  # pixels
_SLOPE = math.tan(math.radians(FIELD_OF_VIEW / 2))


class Camera(NamedTuple):
    azimuth: float = 0.0  # degrees; 0 looks at the object's front (+z)
    elevation: float = 0.0  # degrees above the horizon
    distance: float = DISTANCE
    shift: tuple[float, float] = (0.0, 0.0)  # moves the object in the picture, in half views


class Paint(NamedTuple):
    material: str
    color: str
    scale: float
    offset: Tensor  # (3, 1)


class View(NamedTuple):
    """A surface as a camera sees it, not painted yet."""

    size: int  # pixels of the view
    rays: Tensor  # (M,) rays that meet the surface, counted over (size * FINER) ** 2
    points: Tensor  # (3, M)
    normals: Tensor  # (3, M)
    facing: Tensor  # (M,) cosine between normal and ray, [0, 1]
    coverage: Tensor  # (size, size), share of a pixel that shows the object
    depth: Tensor  # (size, size), [0, 1], the engine's control image
    density: float  # rays on a unit of length, at the object's middle


def trace(sdf: Sdf, camera: Camera, size: int) -> View:
    """Find what is visible of an object that fits the unit sphere."""
    fine = size * FINER
    eye, forward, rays = _rays(camera, fine)
    hit, distances = _march(sdf, camera, fine)
    directions = rays[:, hit]
    points = eye + directions * distances
    normals = gradient(sdf, points)
    inside, away = torch.zeros(2, fine**2)
    inside[hit] = 1.0
    away[hit] = (directions * forward).sum(0) * distances
    coverage, away = (_shrunk(values.view(1, fine, fine))[0] for values in (inside, away))
    # Half of a pixel's rays must meet the object for it to have a depth: their mean.
    shown, depth = coverage >= 0.5, torch.zeros(size, size)
    depth[shown] = normalized_inverse_depth(away[shown] / coverage[shown])
    facing = -(normals * directions).sum(0).clamp(-1, 0)
    density = fine / (2 * _SLOPE * camera.distance)
    return View(size, hit, points, normals, facing, coverage, depth, density)


def paint(view: View, coat: Paint, backdrop: Tensor) -> Tensor:
    """Put a material on a traced object before a backdrop. Returns (3, size, size), [0, 1]."""
    surface = Surface(view.points, view.normals, coat.scale, coat.offset, view.density)
    # Almost no shading: what is painted on a texture should be its color, not one lamp's light.
    lit = albedo(coat.material, coat.color, surface).clamp(0, 1) * (0.8 + 0.2 * view.facing)
    fine = view.size * FINER
    color = torch.zeros(3, fine**2)
    color[:, view.rays] = lit
    return _shrunk(color.view(3, fine, fine)) + backdrop * (1 - view.coverage)


def _shrunk(fine: Tensor) -> Tensor:
    """(C, size * FINER, size * FINER) -> (C, size, size), means."""
    return F.avg_pool2d(fine[None], FINER)[0]


def normalized_inverse_depth(z: Tensor) -> Tensor:
    """View-space foreground depths to control values: nearest 1, farthest 0. (N,) -> (N,)."""
    if not z.numel():
        return z
    inverse = 1 / z
    low, high = inverse.min(), inverse.max()
    return (inverse - low) / (high - low).clamp(min=1e-6)


def _rays(camera: Camera, size: int) -> tuple[Tensor, Tensor, Tensor]:
    """Eye (3, 1), forward direction (3, 1) and unit rays (3, size * size), row 0 at the top."""
    azimuth, elevation = math.radians(camera.azimuth), math.radians(camera.elevation)
    back = torch.tensor(
        [
            math.cos(elevation) * math.sin(azimuth),
            math.sin(elevation),
            math.cos(elevation) * math.cos(azimuth),
        ]
    )
    right = torch.tensor([math.cos(azimuth), 0.0, -math.sin(azimuth)])
    up = torch.linalg.cross(back, right)
    line = ((torch.arange(size) + 0.5) / size * 2 - 1) * _SLOPE
    x = (line - camera.shift[0] * _SLOPE)[None, :].expand(size, size).reshape(-1)
    y = (-line - camera.shift[1] * _SLOPE)[:, None].expand(size, size).reshape(-1)
    rays = right[:, None] * x + up[:, None] * y - back[:, None]
    rays = rays / norm(rays)
    return (back * camera.distance)[:, None], -back[:, None], rays


class _March(NamedTuple):
    """Rays that reached the surface, or a cone's width from it."""

    rays: Tensor  # (M,) indices
    distances: Tensor  # (M,)


def _march(sdf: Sdf, camera: Camera, size: int) -> _March:
    """Find the visible surface: a cone per block of pixels, then rays in blocks that met it."""
    coarse = size // _BLOCK
    eye, _, cones = _rays(camera, coarse)
    middle = -(cones * eye).sum(0)
    nearest = norm(eye + cones * middle)
    spread = 1.5 * _SLOPE / coarse  # sine of the angle that holds the whole block, with some margin
    active = torch.nonzero(nearest < 1 + spread * camera.distance)[:, 0]
    start = torch.full_like(active, camera.distance - 1.05, dtype=torch.float32)
    blocks = _follow(sdf, eye, cones, active, start, camera.distance + 1.1, spread)

    _, _, rays = _rays(camera, size)
    reached = torch.full((coarse * coarse,), torch.inf)
    reached[blocks.rays] = blocks.distances
    reached = reached.view(coarse, 1, coarse, 1).expand(-1, _BLOCK, -1, _BLOCK).reshape(-1)
    active = torch.nonzero(reached.isfinite())[:, 0]
    return _follow(sdf, eye, rays, active, reached[active], camera.distance + 1.1, 0.0)


def _follow(
    sdf: Sdf, eye: Tensor, rays: Tensor, active: Tensor, along: Tensor, end: float, spread: float
) -> _March:
    hit_rays, hit_distances = [], []
    directions = rays[:, active]
    for step in range(_MAX_STEPS):
        last = step == _MAX_STEPS - 1
        distance = sdf(eye + directions * along)
        near = 2 * spread * along if spread else (6 * _HIT if last else _HIT)
        hit = distance < near
        if not spread:
            along = along + 0.95 * distance
        if step % 2 or last:
            hit_rays.append(active[hit])
            hit_distances.append(along[hit])
            keep = ~hit & (along < end)
            active, along, directions = active[keep], along[keep], directions[:, keep]
            distance = distance[keep]
            if active.numel() < 8:
                break
        if spread:
            # A cone must not pass the surface its edge rays still have to find.
            along = along + (0.9 * distance - spread * along).clamp(min=0)
    return _March(torch.cat(hit_rays), torch.cat(hit_distances))
