# SPDX-License-Identifier: GPL-3.0-or-later
"""What one training picture shows: drawn from a seed, rendered from the description.

Seeds that follow each other show one view of one shape in `PAINTS` materials: it is traced once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from random import Random

import torch
import torch.nn.functional as F
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
from .plan import PAINTS
from .render import FINER, Camera, Paint, View, paint, trace
from .shapes import FREE_FORM, SIMPLE, make_shape

KINDS = ("object", "wall", "landscape", "front")  # front: an object before a wall or landscape
SHARES = (0.65, 0.12, 0.12, 0.11)  # of the kinds; a plan has its own
# How often a material is drawn. Those that take a color show it in one of many; plain is what
# "a red statue" asks for.
MATERIAL_SHARES = {name: 3 if name == "plain" else 1.5 if name in COLORABLE else 1
                   for name in MATERIALS}  # fmt: skip
NEUTRAL = 0.5  # the gray behind an object when the prompt names no background


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
    background: str | None = None  # color name; None is neutral gray
    wall: tuple[str, str] | None = None  # (material, color)
    landscape: tuple[str, str] | None = None  # (place, time)


def draw_scene(seed: int, shares: Sequence[float] = SHARES) -> Scene:
    """Draw a scene from the distribution mini is trained on, the kinds with these shares."""
    view, rng = Random(seed // PAINTS), Random(seed)
    kind = view.choices(KINDS, shares)[0]
    thing: dict = {}
    if kind in ("object", "front"):
        family = FREE_FORM if view.random() < 0.6 else SIMPLE
        material = rng.choices(list(MATERIAL_SHARES), list(MATERIAL_SHARES.values()))[0]
        thing = {
            "shape": view.choice(list(family)),
            "material": material,
            "color": _draw_color(material, rng),
            "azimuth": view.uniform(-180, 180),
            "elevation": _draw_elevation(view),
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
    image, depth = _backdrop(scene, size, rng), torch.zeros(size, size)
    if scene.shape:
        view = _view(
            scene.shape, scene.kind, scene.seed // PAINTS, scene.azimuth, scene.elevation, size
        )
        image, depth = paint(view, _coat(scene, rng), image), view.depth
    return _to_bytes(image), _to_bytes(depth)


@lru_cache(maxsize=1)
def _view(shape: str, kind: str, seed: int, azimuth: float, elevation: float, size: int) -> View:
    rng = Random(seed + 1)
    sdf, camera = make_shape(shape, rng), Camera(azimuth, elevation)
    if kind == "front":
        shift = (rng.uniform(-0.35, 0.35), rng.uniform(-0.35, 0.05))
        camera = Camera(azimuth, min(abs(elevation), 20), rng.uniform(2.8, 4.0), shift)
    return trace(sdf, camera, size)


def _to_bytes(values: Tensor) -> Tensor:
    return (values.clamp(0, 1) * 255).round().to(torch.uint8)


def draw_coat(material: str, color: str, rng: Random) -> Paint:
    """One of the places in a material that an object can be cut out at."""
    offset = torch.tensor([[rng.uniform(0, 30)] for _ in range(3)])
    return Paint(material, color, rng.uniform(0.96, 1.04), offset)


def _coat(scene: Scene, rng: Random) -> Paint:
    assert scene.material
    assert scene.color
    return draw_coat(scene.material, scene.color, rng)


def _backdrop(scene: Scene, size: int, rng: Random) -> Tensor:
    if scene.wall:
        return _wall(*scene.wall, size, rng)
    if scene.landscape:
        return paint_landscape(*scene.landscape, size, rng)
    color = COLORS[scene.background] if scene.background else (NEUTRAL,) * 3
    return torch.tensor(color)[:, None, None].expand(3, size, size)


def _wall(material: str, color: str, size: int, rng: Random) -> Tensor:
    half, fine = rng.uniform(1.0, 1.3), size * FINER
    line = ((torch.arange(fine) + 0.5) / fine * 2 - 1) * half
    y, x = torch.meshgrid(-line, line, indexing="ij")
    points = torch.stack([x, y, torch.zeros_like(x)]).view(3, -1)
    normals = torch.tensor([[0.0], [0.0], [1.0]]).expand_as(points)
    coat = draw_coat(material, color, rng)
    surface = Surface(points, normals, coat.scale, coat.offset, fine / (2 * half))
    drawn = albedo(material, color, surface).clamp(0, 1).view(1, 3, fine, fine)
    return F.avg_pool2d(drawn, FINER)[0]
