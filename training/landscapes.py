# SPDX-License-Identifier: GPL-3.0-or-later
"""Painted landscapes: a sky, then layers from far to near, all of which can go on sideways."""

from __future__ import annotations

from random import Random
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from .noise import soft_step

Rgb = tuple[float, float, float]


class Sky(NamedTuple):
    top: Rgb
    bottom: Rgb
    ambient: Rgb  # the colour of the light that falls on the land
    cloud: Rgb
    cloudiness: float
    disc: Rgb | None  # sun or moon
    disc_radius: float


SKIES: dict[str, Sky] = {
    "at sunset": Sky(
        (0.30, 0.22, 0.48), (0.98, 0.60, 0.25), (0.85, 0.60, 0.55), (0.95, 0.45, 0.35), 0.4,
        (1.0, 0.85, 0.45), 0.16,
    ),
    "at night": Sky(
        (0.02, 0.03, 0.10), (0.10, 0.14, 0.30), (0.32, 0.36, 0.52), (0.20, 0.20, 0.30), 0.0,
        (0.92, 0.93, 0.88), 0.11,
    ),
    "under a blue sky": Sky(
        (0.22, 0.48, 0.88), (0.72, 0.87, 0.98), (1.0, 1.0, 1.0), (1.0, 1.0, 1.0), 0.6,
        (1.0, 0.98, 0.85), 0.12,
    ),
    "under a cloudy sky": Sky(
        (0.45, 0.50, 0.56), (0.75, 0.78, 0.80), (0.78, 0.80, 0.82), (0.90, 0.91, 0.92), 1.0,
        None, 0.0,
    ),
}  # fmt: skip
PLACES = ("mountains", "snowy mountains", "sea", "desert", "forest", "hills")


def _rgb(value: Rgb) -> Tensor:
    return torch.tensor(value)[:, None, None]


def _blend(image: Tensor, color: Tensor, mask: Tensor) -> Tensor:
    return image + (color - image) * mask


def _texture(rng: Random, size: int, across: int, down: int, octaves: int) -> Tensor:
    """Smooth random field with so many features across and down. (size, size) in [0, 1]."""
    generator = torch.Generator().manual_seed(rng.randrange(1 << 30))
    total, weight = torch.zeros(size, size), 0.5
    for octave in range(octaves):
        knots = torch.rand(1, 1, (down << octave) + 1, (across << octave) + 1, generator=generator)
        smooth = F.interpolate(knots, (size, size), mode="bicubic", align_corners=True)[0, 0]
        total += weight * smooth
        weight /= 2
    return (total / (1 - 0.5**octaves)).clamp(0, 1)


def _ridge(rng: Random, size: int, peaks: float, octaves: int) -> Tensor:
    """A jagged height line, (size,) in [0, 1]."""
    total, weight = torch.zeros(size), 0.5
    for octave in range(octaves):
        knots = torch.tensor([rng.random() for _ in range(int(peaks * 2**octave) + 2)])
        line = F.interpolate(knots[None, None], size, mode="linear", align_corners=True)[0, 0]
        total += weight * line
        weight /= 2
    return total / (1 - 0.5**octaves)


def _wave(rng: Random, size: int, slow: float, fast: float) -> Tensor:
    return torch.sin(torch.linspace(0, 1, size) * rng.uniform(slow, fast) + rng.uniform(0, 6))


def paint_landscape(place: str, time: str, size: int, rng: Random) -> Tensor:
    """Paint one picture. Returns (3, size, size) in [0, 1]."""
    horizon = rng.uniform(0.45, 0.68)
    image = _paint_sky(SKIES[time], time, size, horizon, rng)
    painters = {"sea": _sea, "desert": _dunes, "forest": _forest}
    painter = painters.get(place)
    if painter is not None:
        return painter(image, SKIES[time], horizon, rng).clamp(0, 1)
    return _slopes(image, place, SKIES[time], horizon, rng).clamp(0, 1)


def _paint_sky(sky: Sky, time: str, size: int, horizon: float, rng: Random) -> Tensor:
    down, across = _axes(size)
    image = _blend(
        _rgb(sky.top).expand(3, size, size), _rgb(sky.bottom), (down / horizon).clamp(0, 1) ** 1.3
    )
    if time == "at night":
        stars = torch.rand(size, size, generator=torch.Generator().manual_seed(rng.randrange(9999)))
        image = image + 0.7 * (F.max_pool2d((stars > 0.9993).float()[None], 3, 1, 1)[0])
    if sky.disc and rng.random() < 0.6:
        low, high = (0.55, 0.9) if time == "at sunset" else (0.1, 0.7)
        x, y = rng.uniform(0.1, 0.9), rng.uniform(low, high) * horizon
        distance = 2 * torch.hypot(across - x, down - y)
        glow = torch.exp(-distance * 3.5) * (0.15 if time == "at night" else 0.5)
        image = _blend(image, _rgb(sky.disc), glow)
        image = _blend(image, _rgb(sky.disc), soft_step(sky.disc_radius - distance, 0.03))
    if rng.random() < sky.cloudiness:
        threshold = 0.48 if sky.cloudiness == 1 else 0.56
        clouds = soft_step(_texture(rng, size, 3, 6, 3) - threshold, 0.25)
        image = _blend(image, _rgb(sky.cloud), 0.85 * clouds)
    return image


def _axes(size: int) -> tuple[Tensor, Tensor]:
    line = (torch.arange(size) + 0.5) / size
    return line[:, None], line[None, :]


def _lit(color: Rgb, sky: Sky, size: int, light: Tensor | float) -> Tensor:
    return (_rgb(color) * _rgb(sky.ambient)).expand(3, size, size) * light


def _slopes(image: Tensor, place: str, sky: Sky, horizon: float, rng: Random) -> Tensor:
    size = image.shape[-1]
    down, _ = _axes(size)
    count, hilly = rng.choice((2, 3)), place == "hills"
    for layer in range(count):
        near = layer / (count - 1)
        height = (0.16 if hilly else 0.42) * (1 - 0.35 * near)
        if hilly:
            line = 0.5 + 0.5 * _wave(rng, size, 4, 9)
        else:
            line = _ridge(rng, size, rng.uniform(2, 4), 4) - 0.15
        edge = (horizon + 0.06 + 0.22 * near - height * line)[None, :]
        green = hilly or (place == "mountains" and near > 0.5)
        rock = (0.30, 0.56, 0.18) if hilly else (0.25, 0.36, 0.20) if green else (0.36, 0.34, 0.38)
        texture = _texture(rng, size, 8, 8, 2)
        land = _lit(rock, sky, size, 0.75 + 0.5 * texture)
        if place == "snowy mountains":
            depth = (down - edge) / height
            snow = soft_step(0.40 + 0.3 * (texture - 0.5) - depth, 0.12)
            land = _blend(land, _rgb((0.96, 0.97, 1.0)) * (0.35 + 0.65 * _rgb(sky.ambient)), snow)
        land = _blend(land, _rgb(sky.bottom), torch.full((size, size), 0.45 * (1 - near)))
        image = _blend(image, land, soft_step(down - edge, 2 / size))
    return image


def _sea(image: Tensor, sky: Sky, horizon: float, rng: Random) -> Tensor:
    size = image.shape[-1]
    down, _ = _axes(size)
    near = ((down - horizon) / (1 - horizon)).clamp(0, 1)
    far_water = _rgb(sky.bottom) * 0.5 + _rgb((0.03, 0.17, 0.24)) * _rgb(sky.ambient)
    near_water = _rgb((0.04, 0.22, 0.36)) * _rgb(sky.ambient)
    water = far_water + (near_water - far_water) * near
    water = water * (0.75 + 0.5 * _texture(rng, size, 4, 20, 2))
    return _blend(image, water, soft_step(down - horizon, 2 / size).expand(size, size))


def _dunes(image: Tensor, sky: Sky, horizon: float, rng: Random) -> Tensor:
    size = image.shape[-1]
    down, across = _axes(size)
    for layer in range(3):
        near = layer / 2
        edge = (horizon + 0.02 + 0.2 * near - 0.1 * _wave(rng, size, 4, 8).abs())[None, :]
        sand = _lit((0.90, 0.70, 0.42), sky, size, 0.78 + 0.22 * near) * (
            0.9 + 0.2 * _texture(rng, size, 3, 12, 2)
        )
        shade = soft_step(down - edge - 0.1 - 0.05 * torch.sin(across * 8 + layer), 0.1)
        image = _blend(image, sand * (1 - 0.18 * shade), soft_step(down - edge, 2 / size))
    return image


def _forest(image: Tensor, sky: Sky, horizon: float, rng: Random) -> Tensor:
    size = image.shape[-1]
    down, across = _axes(size)
    for layer in range(3):
        near = layer / 2
        trees = int(rng.uniform(8, 12) * (1 - 0.3 * near))
        along = across[0] * trees + rng.random()
        tree = torch.floor(along)
        from_trunk = 2 * (along - tree - 0.5).abs()
        tall = torch.tensor([rng.uniform(0.7, 1.2) for _ in range(trees + 2)])[tree.long()]
        base = horizon + 0.08 + 0.22 * near
        outline = 0.22 * tall * (0.8 + 0.5 * near) * (1 - 1.05 * from_trunk)
        jagged = 0.02 * torch.sin(down * 120)
        crown = soft_step(outline[None, :] - (base - down) + jagged, 0.02)
        mask = torch.maximum(crown, soft_step(down - base, 0.01))
        light = (1.1 - 0.5 * near) * (0.8 + 0.4 * _texture(rng, size, 10, 10, 2))
        needles = _lit((0.10, 0.30, 0.14), sky, size, light)
        haze = torch.full((size, size), 0.4 * (1 - near))
        image = _blend(image, _blend(needles, _rgb(sky.bottom), haze), mask)
    return image
