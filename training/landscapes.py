# SPDX-License-Identifier: GPL-3.0-or-later
"""Landscapes: a painted sky, then layers from far to near, all of which can go on sideways.

Rock, grass, sand and leaves are the photographs of the engine's picture library.
"""

from __future__ import annotations

from random import Random
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from .noise import soft_step
from .textures import brightness, ground, look_up

Rgb = tuple[float, float, float]


class Sky(NamedTuple):
    top: Rgb
    bottom: Rgb
    ambient: Rgb  # the color of the light that falls on the land
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


def _lit(color: Tensor, sky: Sky, light: Tensor | float = 1.0) -> Tensor:
    return color * _rgb(sky.ambient) * light


def _face(name: str, size: int, tile: float, rng: Random) -> Tensor:
    """A picture that stands upright far away, `tile` views wide. (3, size, size)."""
    down, across = (axis.expand(size, size).flatten() for axis in _axes(size))
    colors = look_up(name, across + rng.random(), down + rng.random(), size, tile)
    return colors.view(3, size, size)


def _floor(name: str, size: int, horizon: float, height: float, rng: Random) -> Tensor:
    return ground(name, size, horizon, height, (rng.random(), rng.random()))


def _slopes(image: Tensor, place: str, sky: Sky, horizon: float, rng: Random) -> Tensor:
    size = image.shape[-1]
    down, _ = _axes(size)
    count, hilly = rng.choice((2, 3)), place == "hills"
    stone = rng.choice(("rock", "basalt", "limestone"))
    for layer in range(count):
        near = layer / (count - 1)
        height = (0.16 if hilly else 0.42) * (1 - 0.35 * near)
        if hilly:
            line = 0.5 + 0.5 * _wave(rng, size, 4, 9)
        else:
            line = _ridge(rng, size, rng.uniform(2, 4), 4) - 0.15
        edge = (horizon + 0.06 + 0.22 * near - height * line)[None, :]
        # Slopes that fall to the right lie in the shade.
        slope = F.avg_pool1d((line.roll(-1) - line)[None, None] * size, 9, 1, 4)[0]
        shaded = 0.12 * slope * torch.exp((edge - down).clamp(max=0) / 0.1)
        light = (1 + shaded).clamp(0.6, 1.25) * (0.8 + 0.4 * _texture(rng, size, 6, 6, 3))
        meadow = hilly or (place == "mountains" and near > 0.5)
        if meadow and near > 0.5:
            land = _floor("grass", size, float(edge.min()) - 0.02, rng.uniform(0.25, 0.5), rng)
        else:
            land = _face("grass" if meadow else stone, size, 0.25 + 0.5 * near, rng)
        if meadow:
            land = land * _rgb(rng.choice(((1.0, 1.0, 1.0), (1.25, 1.15, 0.9), (0.85, 0.95, 0.8))))
        if place == "snowy mountains":
            depth = (down - edge) / height
            ledges = brightness(land.flatten(1)).view(size, size)
            snow = soft_step(0.42 + 0.9 * (ledges - ledges.mean()) - depth, 0.15)
            land = _blend(land, _rgb((0.93, 0.95, 1.0)) * (0.9 + 0.2 * ledges), snow)
        land = _lit(land, sky, light)
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
    # Ripples of sand have the shape of waves.
    waves = brightness(_floor("sand", size, horizon, rng.uniform(0.15, 0.35), rng).flatten(1))
    waves = (waves.view(size, size) - 0.62) * 3
    swell = 0.75 + 0.5 * _texture(rng, size, 3, 24, 2)
    water = water * swell * (1 + waves) + _rgb(sky.bottom) * 0.5 * (waves - 0.15).clamp(0, 1)
    return _blend(image, water, soft_step(down - horizon, 2 / size).expand(size, size))


def _dunes(image: Tensor, sky: Sky, horizon: float, rng: Random) -> Tensor:
    size = image.shape[-1]
    down, across = _axes(size)
    for layer in range(3):
        near = layer / 2
        edge = (horizon + 0.02 + 0.2 * near - 0.1 * _wave(rng, size, 4, 8).abs())[None, :]
        sand = _floor("sand", size, float(edge.min()) - 0.03, 0.12 + 0.2 * near, rng)
        sand = _lit(sand * _rgb((1.25, 1.05, 0.78)), sky, 0.86 + 0.2 * near)
        shade = soft_step(down - edge - 0.1 - 0.05 * torch.sin(across * 8 + layer), 0.1)
        image = _blend(image, sand * (1 - 0.18 * shade), soft_step(down - edge, 2 / size))
    return image


def _forest(image: Tensor, sky: Sky, horizon: float, rng: Random) -> Tensor:
    size = image.shape[-1]
    down, across = _axes(size)
    covered = rng.choice(("grass", "grass", "autumn leaves"))
    floor = _floor(covered, size, horizon, rng.uniform(0.15, 0.3), rng)
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
        light = (1.3 - 0.5 * near) * (0.8 + 0.4 * _texture(rng, size, 10, 10, 2))
        needles = _face("ivy", size, 0.12 + 0.15 * near, rng) * _rgb((0.9, 1.0, 1.1))
        needles = _lit(needles, sky, light)
        haze = torch.full((size, size), 0.4 * (1 - near))
        needles, soil = (
            _blend(part, _rgb(sky.bottom), haze)
            for part in (needles, _lit(floor, sky, 0.7 + 0.3 * near))
        )
        image = _blend(image, needles, crown)
        image = _blend(image, soil, soft_step(down - base, 0.01).expand(size, size))
    return image
