# SPDX-License-Identifier: GPL-3.0-or-later
"""Materials as functions of object space, so that all views of one object show the same surface.

Periods are chosen for the engine's framing (an object of radius 1 fills the view): one brick row,
checker cell or stripe spans at least three latent cells of a 256-pixel view. Finer lattices were
not learned.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from syncsde_engine.library.colors import COLORS

from .noise import cell_value, fractal_noise, soft_step, value_noise


class Surface(NamedTuple):
    """Points of one surface, and how patterns lie on them."""

    points: Tensor  # (3, N), object space
    normals: Tensor  # (3, N), unit length
    mapping: str  # "wall" (the x-y plane), "round" (around y) or "box" (dominant side)
    scale: float  # pattern frequency relative to the default
    offset: Tensor  # (3, 1), where in the pattern this object was cut out

    @property
    def pattern(self) -> Tensor:
        return self.points * self.scale + self.offset


def albedo(material: str, color: str, surface: Surface) -> Tensor:
    """Evaluate a material. Returns (3, N) RGB, about [0, 1]."""
    return MATERIALS[material](surface, _rgb(COLORS[color], surface.points))


def _rgb(value: tuple[float, float, float], like: Tensor) -> Tensor:
    return torch.tensor(value, dtype=like.dtype, device=like.device)[:, None]


def _mix(a: Tensor, b: Tensor, share: Tensor) -> Tensor:
    return a + (b - a) * share


def _contrast(color: Tensor) -> Tensor:
    """The second colour of two-coloured patterns: white, or black beside white."""
    light = color.mean() > 0.85
    return _rgb((0.08, 0.08, 0.08) if light else (0.94, 0.94, 0.92), color)


def _unrolled(surface: Surface) -> tuple[Tensor, Tensor]:
    x, y, z = surface.points
    if surface.mapping == "wall":
        return x, y
    if surface.mapping == "round":
        return torch.atan2(z, x) * 0.8, y
    nx, ny, nz = surface.normals.abs()
    sideways = nx > nz
    u = torch.where(sideways, z, x)
    v = torch.where(ny > 0.75, torch.where(sideways, x, z), y)
    return u, v


def _bond(surface: Surface, length: float, height: float) -> tuple[Tensor, Tensor]:
    """Columns and rows of a running bond, (N,): a cell has the size 1, the offset is half of it."""
    u, v = _unrolled(surface)
    row = v * surface.scale / height + surface.offset[1]
    column = u * surface.scale / length + 0.5 * (torch.floor(row) % 2) + surface.offset[0]
    return column, row


def _masonry(surface: Surface, length: float, height: float, gap: float) -> tuple[Tensor, Tensor]:
    """Running-bond blocks: share of mortar and a random number per block, (N,) in [0, 1]."""
    u, v = _bond(surface, length, height)
    column, row = torch.floor(u), torch.floor(v)
    to_side = torch.minimum(u - column, 1 - (u - column)) * (length / height)
    to_row = torch.minimum(v - row, 1 - (v - row))
    mortar = 1 - soft_step(torch.minimum(to_side, to_row) - gap, 0.07)
    return mortar, cell_value(column, row)


def _plain(surface: Surface, color: Tensor) -> Tensor:
    return color * (0.97 + 0.06 * value_noise(surface.pattern * 2))


def _brick(surface: Surface, color: Tensor) -> Tensor:
    mortar, shade = _masonry(surface, 0.62, 0.31, 0.07)
    brick = color * (0.72 + 0.28 * shade) * (0.95 + 0.1 * value_noise(surface.pattern * 5))
    joint = _rgb((0.80, 0.78, 0.74) if color.mean() < 0.85 else (0.35, 0.34, 0.33), color)
    return _mix(brick, joint, mortar)


def _stone(surface: Surface, color: Tensor) -> Tensor:
    mortar, shade = _masonry(surface, 0.8, 0.48, 0.05)
    grain = fractal_noise(surface.pattern * 5, 2)
    block = _rgb((0.56, 0.55, 0.53), color) * ((0.7 + 0.4 * shade) * (0.85 + 0.3 * grain))
    return _mix(block, _rgb((0.20, 0.19, 0.18), color), mortar)


def _mossy_stone(surface: Surface, color: Tensor) -> Tensor:
    moss = _rgb((0.22, 0.44, 0.10), color) * (0.75 + 0.5 * value_noise(surface.pattern * 8))
    where = fractal_noise(surface.pattern * 1.6, 2) + 0.14 * surface.normals[1] - 0.5
    return _mix(_stone(surface, color), moss, soft_step(where, 0.08))


def _wood(surface: Surface, color: Tensor) -> Tensor:
    light, dark = _rgb((0.74, 0.51, 0.29), color), _rgb((0.40, 0.23, 0.10), color)
    x, y, z = surface.points
    if surface.mapping == "wall":
        return _planks(surface, light, dark)
    # Rings around a slightly tilted axis; bark-side edges are the sharp ones, as in a sawn trunk.
    axis_distance = torch.hypot(x + 0.25, z + 0.15) * 3.2 * surface.scale
    rings = axis_distance + 1.2 * fractal_noise(surface.pattern * 1.1, 2) + 0.25 * y
    phase = rings - torch.floor(rings)
    return _mix(dark, light, torch.where(phase < 0.8, phase / 0.8, (1 - phase) / 0.2))


def _planks(surface: Surface, light: Tensor, dark: Tensor) -> Tensor:
    u = surface.points[0] * 1.5 * surface.scale + surface.offset[0]
    plank = torch.floor(u)
    within = u - plank
    stretched = surface.pattern * _rgb((1.4, 0.4, 1.0), light) + plank * 3.7
    rings = (within * 1.6 + 1.8 * value_noise(stretched)) * 1.5
    grain = 1 - (2 * (rings - torch.floor(rings)) - 1).abs()
    board = _mix(dark, light, 0.65 * grain + 0.35 * cell_value(plank))
    seam = 1 - soft_step(torch.minimum(within, 1 - within) - 0.035, 0.05)
    return board * (1 - 0.75 * seam)


def _marble(surface: Surface, color: Tensor) -> Tensor:
    x, y, z = surface.pattern
    swirl = 2.0 * x + 1.6 * y + 1.4 * z + 5.5 * fractal_noise(surface.pattern * 1.2, 3)
    vein = (torch.sin(swirl).abs() * 1.7).clamp(0, 1) ** 0.6
    if color.mean() < 0.15:  # black marble has light veins
        return _mix(_rgb((0.75, 0.75, 0.75), color), _rgb((0.09, 0.09, 0.10), color), vein)
    return _mix(color * 0.35, color * 0.55 + 0.43, vein)


def _checker(surface: Surface, color: Tensor) -> Tensor:
    waves = torch.sin(surface.points * (math.pi * 2.1 * surface.scale) + surface.offset)
    flat = surface.mapping == "wall"
    product = waves[0] * waves[1] * (1.0 if flat else waves[2])
    return _mix(_contrast(color), color, (product * 5 + 0.5).clamp(0, 1))


def _striped(surface: Surface, color: Tensor) -> Tensor:
    height = surface.points[1] * 1.6 * surface.scale + surface.offset[0]
    return _mix(_contrast(color), color, (torch.sin(height * 2 * math.pi) * 3.5 + 0.5).clamp(0, 1))


def _camouflage(surface: Surface, color: Tensor) -> Tensor:
    dark = soft_step(fractal_noise(surface.pattern * 1.7, 2) - 0.53, 0.04)
    sand = soft_step(fractal_noise(surface.pattern * 1.7 + 31, 2) - 0.58, 0.04)
    base = _mix(_rgb((0.36, 0.40, 0.18), color), _rgb((0.14, 0.19, 0.09), color), dark)
    return _mix(base, _rgb((0.62, 0.55, 0.36), color), sand)


def _rusty_metal(surface: Surface, color: Tensor) -> Tensor:
    metal = _rgb((0.52, 0.55, 0.58), color) * (0.9 + 0.2 * value_noise(surface.pattern * 6))
    tone = fractal_noise(surface.pattern * 5, 2)
    rust = _mix(_rgb((0.34, 0.13, 0.04), color), _rgb((0.74, 0.36, 0.11), color), tone)
    return _mix(metal, rust, soft_step(fractal_noise(surface.pattern * 2, 3) - 0.48, 0.12))


def _gold(surface: Surface, color: Tensor) -> Tensor:
    sheen = 0.5 + 0.5 * surface.normals[1] + 0.5 * (fractal_noise(surface.pattern * 1.5, 2) - 0.5)
    return _mix(_rgb((0.62, 0.38, 0.04), color), _rgb((1.0, 0.88, 0.42), color), sheen.clamp(0, 1))


def _lava(surface: Surface, color: Tensor) -> Tensor:
    heat = (1 - (fractal_noise(surface.pattern * 1.5, 3) - 0.5).abs() * 9).clamp(0, 1)
    crust = _rgb((0.10, 0.07, 0.07), color) * (0.7 + 0.6 * value_noise(surface.pattern * 5))
    glow = _mix(_rgb((0.95, 0.25, 0.02), color), _rgb((1.0, 0.85, 0.2), color), heat)
    return _mix(crust, glow, (heat * 1.6).clamp(0, 1))


def _dotted(surface: Surface, color: Tensor) -> Tensor:
    width, height = 0.46, 0.40  # of the cell around a dot
    column, row = _bond(surface, width, height)
    beside = (column - torch.floor(column) - 0.5) * width
    above = (row - torch.floor(row) - 0.5) * height
    dot = soft_step(0.125 - torch.hypot(beside, above), 0.03)
    return _mix(color, _contrast(color), dot)


def _scaly(surface: Surface, color: Tensor) -> Tensor:
    width, height, radius = 0.42, 0.24, 0.27
    u, v = _unrolled(surface)
    v = v * surface.scale / height + surface.offset[1]
    u = u * surface.scale / width + surface.offset[0]
    first = torch.floor(v)
    shade = torch.zeros_like(u)
    # Every scale hangs over those of the row below it, so the upper rows are laid last.
    for row in (first - 1, first, first + 1):
        column = u + 0.5 * (row % 2)
        beside = (column - torch.floor(column) - 0.5) * width
        reach = torch.hypot(beside, (v - row - 0.5) * height) / radius
        own = (
            1.1 - 0.75 * reach.clamp(0, 1) ** 3 + 0.2 * (cell_value(torch.floor(column), row) - 0.5)
        )
        shade = torch.where(reach < 1, own, shade)
    return (color * 0.9 + 0.05) * shade.clamp(min=0.25)


def _ice(surface: Surface, color: Tensor) -> Tensor:
    depth = soft_step(fractal_noise(surface.pattern * 1.6, 2) - 0.5, 0.35)
    body = _mix(_rgb((0.36, 0.68, 0.90), color), _rgb((0.78, 0.93, 0.99), color), depth)
    cracks = (fractal_noise(surface.pattern * 1.3 + 57, 2) - 0.5).abs()
    return _mix(body, _rgb((0.98, 1.0, 1.0), color), 1 - soft_step(cracks - 0.02, 0.03))


def _cracked_clay(surface: Surface, color: Tensor) -> Tensor:
    to_border, shade = _crazing(surface.pattern * 2.5)
    clay = _rgb((0.78, 0.48, 0.32), color) * (0.82 + 0.3 * shade)
    clay = clay * (0.93 + 0.14 * value_noise(surface.pattern * 6))
    return _mix(_rgb((0.20, 0.10, 0.06), color), clay, soft_step(to_border - 0.13, 0.08))


def _crazing(points: Tensor) -> tuple[Tensor, Tensor]:
    """Worley cells: distance to the border, about (N,) in [0, 1], and a random number per cell."""
    home = torch.floor(points)
    nearest = torch.full_like(points[0], torch.inf)
    second, shade = nearest.clone(), torch.zeros_like(nearest)
    for i, j, k in itertools.product((-1, 0, 1), repeat=3):
        cell = home + _rgb((i, j, k), points)
        x, y, z = cell
        seat = cell + torch.stack([cell_value(x, y, z + 7 * axis) for axis in range(3)])
        away = (points - seat).norm(dim=0)
        closer = away < nearest
        second = torch.where(closer, nearest, torch.minimum(second, away))
        shade = torch.where(closer, cell_value(x, y, z + 23), shade)
        nearest = torch.where(closer, away, nearest)
    return second - nearest, shade


MATERIALS: dict[str, Callable[[Surface, Tensor], Tensor]] = {
    "plain": _plain,
    "brick": _brick,
    "wood": _wood,
    "marble": _marble,
    "checker": _checker,
    "striped": _striped,
    "camouflage": _camouflage,
    "rusty metal": _rusty_metal,
    "mossy stone": _mossy_stone,
    "stone": _stone,
    "gold": _gold,
    "lava": _lava,
    "dotted": _dotted,
    "scaly": _scaly,
    "ice": _ice,
    "cracked clay": _cracked_clay,
}
COLORABLE = frozenset({"plain", "brick", "marble", "checker", "striped", "dotted", "scaly"})
# Never rendered for training: what the model makes of them shows whether it combines.
HELD_OUT_PAIRS = frozenset(
    {("brick", "purple"), ("marble", "teal"), ("checker", "orange"), ("striped", "brown"),
     ("plain", "pink"), ("brick", "green"), ("checker", "blue"), ("striped", "purple"),
     ("dotted", "red"), ("scaly", "yellow")}
)  # fmt: skip
WALL_MATERIALS = tuple(name for name in MATERIALS if name not in ("plain", "gold"))
