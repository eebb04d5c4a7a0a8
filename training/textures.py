# SPDX-License-Identifier: GPL-3.0-or-later
"""Photographs of the engine's picture library on surfaces: wrapped lookups, from three sides.

Pictures lie in object space, so that all views of one object show the same surface.
"""

from __future__ import annotations

import math
from functools import cache, lru_cache

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from syncsde_engine import library

from .noise import cell_value

_SHARPNESS = 8  # exponent of the normal's components, by which the three sides are mixed
_LEAST = 0.02  # of a side's weight
_SCALES = "scales"  # a picture that is drawn
_BRIGHTNESS = (0.299, 0.587, 0.114)


@lru_cache(maxsize=64)  # recolored ones are many
def picture(name: str, color: str | None = None) -> Tensor:
    """A picture of the library, recolored on request. (3, H, W) float32 in [0, 1]."""
    if name == _SCALES:
        pixels = _scales().expand(3, -1, -1).permute(1, 2, 0).numpy()
    else:
        with Image.open(_materials()[name].path) as file:
            pixels = np.asarray(file.convert("RGB"), np.float32) / 255
    if color is not None:
        pixels = library.recolor(pixels, color)
    return torch.from_numpy(np.ascontiguousarray(pixels.transpose(2, 0, 1)))


@cache
def _materials() -> dict[str, library.Material]:
    return {material.name: material for material in library.materials()}


@cache
def levels(name: str, color: str | None = None) -> tuple[Tensor, ...]:
    """A picture at full, half, quarter... size, its first row and column repeated at the end."""
    image, sizes = picture(name, color)[None], []
    while min(image.shape[-2:]) >= 4:
        sizes.append(F.pad(image, (0, 1, 0, 1), mode="circular").contiguous())
        height, width = image.shape[-2:]
        image = F.interpolate(image, (height // 2, width // 2), mode="area")
    return tuple(sizes)


def look_up(
    name: str, u: Tensor, v: Tensor, density: float, tile: float, color: str | None = None
) -> Tensor:
    """Colors of a picture at places of an endless plane, v downwards. (N,) -> (3, N).

    Args:
        density: how many of the pixels that are drawn lie on a unit of length.
        tile: width of the picture in units of length.
    """
    pyramid = levels(name, color)
    width = pyramid[0].shape[-1] - 1
    level = math.log2(max(width / tile / density, 1))
    chosen = pyramid[min(round(level), len(pyramid) - 1)]
    down, across = chosen.shape[-2] - 1, chosen.shape[-1] - 1
    aspect = pyramid[0].shape[-2] / pyramid[0].shape[-1]
    where = torch.stack([u / tile - 0.5 / across, v / (tile * aspect) - 0.5 / down], dim=-1)
    where = (where - torch.floor(where)) * 2 - 1
    return F.grid_sample(chosen, where[None, None], align_corners=True)[0, :, 0]


def triplanar(
    points: Tensor,
    normals: Tensor,
    name: str,
    density: float,
    tile: float,
    color: str | None = None,
) -> Tensor:
    """A picture thrown onto a surface from three sides, upright where there is an up.

    Args:
        points: (3, N).
        normals: (3, N), unit length.

    Returns (3, N).
    """
    weights = normals.abs() ** _SHARPNESS
    weights = weights / weights.sum(0).clamp(min=1e-9)
    weights = torch.where(weights < _LEAST, 0.0, weights)
    weights = weights / weights.sum(0).clamp(min=1e-9)
    x, y, z = points
    result = torch.zeros_like(points)
    for weight, u, v in ((weights[0], z, -y), (weights[1], x, z), (weights[2], x, -y)):
        rows = torch.nonzero(weight)[:, 0]
        if rows.numel():
            result[:, rows] += weight[rows] * look_up(name, u[rows], v[rows], density, tile, color)
    return result


def ground(
    name: str, size: int, horizon: float, height: float, offset: tuple[float, float]
) -> Tensor:
    """A picture on a plane that goes on to the horizon, (3, size, size); nothing above it.

    Args:
        horizon: its place from the top, in heights of the view.
        height: of the eye over the plane, in widths of the picture.
    """
    line = (torch.arange(size) + 0.5) / size
    below = (line - horizon).clamp(min=0.25 / size)
    away = height / below  # in units in which the view is as wide as its distance
    pyramid, shown = levels(name), torch.zeros(3, size, size)
    # Rows far away see more of the picture in a pixel: twice as much, so that it does not alias.
    wanted = torch.log2(2 * away / size * (pyramid[0].shape[-1] - 1)).clamp(0, len(pyramid) - 1)
    for level, chosen in enumerate(pyramid):
        rows = torch.nonzero((wanted.round() == level) & (line > horizon))[:, 0]
        if rows.numel():
            u = away[rows, None] * (line - 0.5) + offset[0]
            v = away[rows, None].expand(-1, size) + offset[1]
            where = torch.stack([u, v], dim=-1)
            where = (where - torch.floor(where)) * 2 - 1
            shown[:, rows] = F.grid_sample(chosen, where[None], align_corners=True)[0]
    return shown


def brightness(colors: Tensor) -> Tensor:
    """(3, N) -> (N,)."""
    return torch.tensor(_BRIGHTNESS) @ colors


def _scales(side: int = 512, across: int = 5, down: int = 10) -> Tensor:
    """Overlapping scales that tile, (1, side, side) in [0, 1]; each hangs over the row below."""
    height, radius = across / down, 0.66  # of a column's width
    line = (torch.arange(side) + 0.5) / side
    v, u = (grid.flatten() for grid in torch.meshgrid(line * down, line * across, indexing="ij"))
    first = torch.floor(v)
    shade = torch.full_like(u, 0.2)
    for row in (first + 1, first, first - 1):  # what hangs over the others is laid last
        column = u + 0.5 * (row % 2)
        beside = column - torch.floor(column) - 0.5
        reach = torch.hypot(beside, (v - row - 0.5) * height) / radius
        seat = cell_value(torch.floor(column) % across, row % down)
        # Bright in the middle, with a dark rim and a thin light edge inside it.
        own = 0.62 + 0.30 * seat - 0.55 * reach.clamp(0, 1) ** 4
        own = own + 0.22 * torch.exp(-(((reach - 0.80) / 0.07) ** 2))
        shade = torch.where(reach < 1, own, shade)
    return shade.clamp(0, 1).view(1, side, side)
