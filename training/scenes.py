# SPDX-License-Identifier: GPL-3.0-or-later
"""What one training picture shows: drawn from a seed, rendered from the description."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from random import Random

import torch
from torch import Tensor

from .landscapes import PLACES, SKIES, paint_landscape
from .materials import (
    COLORABLE,
    COLORS,
    HELD_OUT_PAIRS,
    MATERIALS,
    WALL_MATERIALS,
    Surface,
    albedo,
)
from .render import Camera, Paint, smooth_edges, trace
from .shapes import FREE_FORM, ROUND, SIMPLE, make_shape

KINDS = ("object", "wall", "landscape", "front")  # front: an object before a wall or landscape
SHARES = (0.65, 0.12, 0.12, 0.11)  # of the kinds; a plan has its own
# How often a material is drawn. Those that take a colour show it in one of many; plain is what
# "a red statue" asks for.
MATERIAL_SHARES = {name: 3 if name == "plain" else 1.5 if name in COLORABLE else 1
                   for name in MATERIALS}  # fmt: skip
NEUTRAL = 0.5  # the grey behind an object when the prompt names no background


@dataclass(frozen=True)
class Scene:
    """A picture in words. `seed` fixes everything the words leave open."""

    seed: int
    kind: str  # one of KINDS
    shape: str | None = None
    material: str | None = None
    color: str | None = None
    azimuth: float = 0.0  # degrees
    elevation: float = 0.0  # degrees
    background: str | None = None  # colour name; None is neutral grey
    wall: tuple[str, str] | None = None  # (material, color)
    landscape: tuple[str, str] | None = None  # (place, time)


def draw_scene(seed: int, shares: Sequence[float] = SHARES) -> Scene:
    """Draw a scene from the distribution mini is trained on, the kinds with these shares."""
    rng = Random(seed)
    kind = rng.choices(KINDS, shares)[0]
    thing: dict = {}
    if kind in ("object", "front"):
        family = FREE_FORM if rng.random() < 0.6 else SIMPLE
        material = rng.choices(list(MATERIAL_SHARES), list(MATERIAL_SHARES.values()))[0]
        thing = {
            "shape": rng.choice(list(family)),
            "material": material,
            "color": _draw_color(material, rng),
            "azimuth": rng.uniform(-180, 180),
            "elevation": _draw_elevation(rng),
        }
    if kind == "object":
        common = ("white", "black", "gray")
        named = rng.choice(common if rng.random() < 0.6 else list(COLORS))
        thing["background"] = named if rng.random() < 0.4 else None
    if kind == "wall" or (kind == "front" and rng.random() < 0.5):
        material = rng.choice(WALL_MATERIALS)
        thing["wall"] = (material, _draw_color(material, rng))
    elif kind != "object":
        thing["landscape"] = (rng.choice(PLACES), rng.choice(list(SKIES)))
    return Scene(seed, kind, **thing)


def _draw_color(material: str, rng: Random) -> str:
    return rng.choice([color for color in COLORS if (material, color) not in HELD_OUT_PAIRS])


def _draw_elevation(rng: Random) -> float:
    """The engine's camera ring lies at 0 degrees; some views at 30; a few from above and below."""
    spread = rng.random()
    if spread < 0.55:
        return rng.uniform(-6, 6)
    if spread < 0.85:
        return rng.uniform(20, 40)
    if spread < 0.92:
        return rng.uniform(-40, -15)
    return rng.uniform(70, 89) * (1 if spread < 0.97 else -1)


def render_scene(scene: Scene, size: int) -> tuple[Tensor, Tensor]:
    """Render the picture, (3, size, size), and its depth control, (size, size), as uint8."""
    rng = Random(scene.seed + 1)
    image = _backdrop(scene, size, rng)
    depth = torch.zeros(size, size)
    if scene.shape:
        picture = trace(make_shape(scene.shape, rng), _paint(scene, rng), _camera(scene, rng), size)
        image = torch.where(picture.coverage > 0, picture.color, image)
        image, depth = smooth_edges(image, picture.coverage), picture.depth
    return _to_bytes(image), _to_bytes(depth)


def _to_bytes(values: Tensor) -> Tensor:
    return (values.clamp(0, 1) * 255).round().to(torch.uint8)


def _draw_offset(rng: Random) -> Tensor:
    return torch.tensor([[rng.uniform(0, 30)] for _ in range(3)])


def _paint(scene: Scene, rng: Random) -> Paint:
    mapping = "round" if scene.shape in ROUND else "box"
    assert scene.material
    assert scene.color
    return Paint(scene.material, scene.color, mapping, rng.uniform(0.9, 1.15), _draw_offset(rng))


def _camera(scene: Scene, rng: Random) -> Camera:
    if scene.kind == "object":
        return Camera(scene.azimuth, scene.elevation)
    shift = (rng.uniform(-0.35, 0.35), rng.uniform(-0.35, 0.05))
    return Camera(scene.azimuth, min(abs(scene.elevation), 20), rng.uniform(2.8, 4.0), shift)


def _backdrop(scene: Scene, size: int, rng: Random) -> Tensor:
    if scene.wall:
        return _wall(*scene.wall, size, rng)
    if scene.landscape:
        return paint_landscape(*scene.landscape, size, rng)
    color = COLORS[scene.background] if scene.background else (NEUTRAL,) * 3
    return torch.tensor(color)[:, None, None].expand(3, size, size)


def _wall(material: str, color: str, size: int, rng: Random) -> Tensor:
    half = rng.uniform(1.0, 1.3)
    line = ((torch.arange(size) + 0.5) / size * 2 - 1) * half
    y, x = torch.meshgrid(-line, line, indexing="ij")
    points = torch.stack([x, y, torch.zeros_like(x)]).view(3, -1)
    normals = torch.tensor([[0.0], [0.0], [1.0]]).expand_as(points)
    surface = Surface(points, normals, "wall", rng.uniform(0.9, 1.15), _draw_offset(rng))
    return albedo(material, color, surface).clamp(0, 1).view(3, size, size)
