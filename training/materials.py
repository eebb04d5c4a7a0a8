# SPDX-License-Identifier: GPL-3.0-or-later
"""Materials as functions of object space, so that all views of one object show the same surface.

Most are photographs of the engine's picture library. Sizes are chosen for the engine's framing (an
object of radius 1 fills the view): one row of bricks, one plank or scale spans about three latent
cells of a 384-pixel view, 0.14 units. Finer lattices were not learned.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from syncsde_engine.library.colors import COLORS

from .noise import fractal_noise, soft_step
from .textures import brightness, triplanar

# Which picture shows a material, the width of the whole picture on the object, and the color word
# that describes it as it is.
PICTURES: dict[str, tuple[str, float, str | None]] = {
    "brick": ("brick", 2.2, "red"),
    "stone brick": ("stone brick", 1.7, None),
    "cobblestone": ("fieldstone", 1.25, None),
    "planks": ("planks", 1.7, "brown"),
    "scaly": ("scales", 1.2, None),
    "tiles": ("tiles", 1.0, None),
    "ornament": ("ornament", 1.4, None),
    "rock": ("rock", 1.4, None),
    "grass": ("grass", 1.3, None),
    "ice": ("ice", 1.1, None),
}


class Surface(NamedTuple):
    """Points of one surface, and how patterns lie on them."""

    points: Tensor  # (3, N), object space
    normals: Tensor  # (3, N), unit length
    scale: float  # pattern frequency relative to the default
    offset: Tensor  # (3, 1), where in the pattern this object was cut out
    density: float = 320.0  # pixels drawn on a unit of length

    @property
    def pattern(self) -> Tensor:
        return self.points * self.scale + self.offset

    def wear(self, name: str, tile: float, color: str | None = None) -> Tensor:
        """A picture of the library on this surface, (3, N)."""
        return triplanar(self.pattern, self.normals, name, self.density, tile, color)


def albedo(material: str, color: str, surface: Surface) -> Tensor:
    """Evaluate a material. Returns (3, N) RGB, about [0, 1]."""
    if material in PICTURES:
        name, tile, own = PICTURES[material]
        return surface.wear(name, tile, color if own != color and material in COLORABLE else None)
    return _PROCEDURAL[material](surface, _rgb(COLORS[color], surface.points))


def _rgb(value: tuple[float, float, float], like: Tensor) -> Tensor:
    return torch.tensor(value, dtype=like.dtype, device=like.device)[:, None]


def _mix(a: Tensor, b: Tensor, share: Tensor) -> Tensor:
    return a + (b - a) * share


def _contrast(color: Tensor) -> Tensor:
    """The second color of two-colored patterns: white, or black beside white."""
    light = color.mean() > 0.85
    return _rgb((0.08, 0.08, 0.08) if light else (0.94, 0.94, 0.92), color)


def _grain(surface: Surface, name: str, tile: float, strength: float) -> Tensor:
    """How much brighter than its mean a picture is here, (N,), about 1."""
    seen = brightness(surface.wear(name, tile))
    return 1 + strength * (seen / seen.mean().clamp(min=1e-3) - 1)


def _plain(surface: Surface, color: Tensor) -> Tensor:
    """A flat patch of color would teach nothing of grain, so it has a little of concrete's."""
    return color * _grain(surface, "concrete", 1.4, 0.35)


def _mossy_stone(surface: Surface, color: Tensor) -> Tensor:
    stone = surface.wear("castle stone", 1.4)
    moss = surface.wear("grass", 0.9) * _rgb((1.0, 1.05, 0.75), color)
    # It sits in the joints, and where rain falls.
    where = fractal_noise(surface.pattern * 1.8, 3) - 0.5 + 0.15 * surface.normals[1]
    where = where + 0.6 * (0.55 - brightness(stone))
    return _mix(stone, moss, soft_step(where, 0.12))


def _rusty_metal(surface: Surface, color: Tensor) -> Tensor:
    steel, rust = surface.wear("rust", 0.9), surface.wear("peeling rust", 1.3)
    rust = rust * _rgb((1.35, 1.25, 1.1), color)
    where = fractal_noise(surface.pattern * 1.7, 3) - 0.45 + 0.5 * (0.55 - brightness(steel))
    return _mix(steel, rust, soft_step(where, 0.10))


def _marble(surface: Surface, color: Tensor) -> Tensor:
    x, y, z = surface.pattern
    swirl = 3.0 * x + 2.4 * y + 2.1 * z + 7.0 * fractal_noise(surface.pattern * 1.3, 4)
    vein = (torch.sin(swirl).abs() * 1.7).clamp(0, 1) ** 0.6
    cloud = 0.88 + 0.24 * fractal_noise(surface.pattern * 3.1, 3)
    if color.mean() < 0.15:  # black marble has light veins
        return _mix(_rgb((0.75, 0.75, 0.75), color), _rgb((0.09, 0.09, 0.10), color), vein) * cloud
    return _mix(color * 0.35, color * 0.55 + 0.43, vein) * cloud


def _striped(surface: Surface, color: Tensor) -> Tensor:
    height = surface.points[1] * 2.0 * surface.scale + surface.offset[0]
    stripe = (torch.sin(height * 2 * math.pi) * 6 + 0.5).clamp(0, 1)
    return _mix(_contrast(color), color, stripe) * _grain(surface, "cloth", 1.2, 0.5)


def _camouflage(surface: Surface, color: Tensor) -> Tensor:
    dark = soft_step(fractal_noise(surface.pattern * 1.9, 3) - 0.53, 0.015)
    sand = soft_step(fractal_noise(surface.pattern * 1.9 + 31, 3) - 0.56, 0.015)
    base = _mix(_rgb((0.36, 0.40, 0.18), color), _rgb((0.14, 0.19, 0.09), color), dark)
    cloth = _grain(surface, "cloth", 1.2, 0.6)
    return _mix(base, _rgb((0.62, 0.55, 0.36), color), sand) * cloth


def _gold(surface: Surface, color: Tensor) -> Tensor:
    hammered = fractal_noise(surface.pattern * 4.5, 2) - 0.5
    sheen = 0.5 + 0.5 * surface.normals[1] + 0.5 * (fractal_noise(surface.pattern * 1.5, 2) - 0.5)
    sheen = (sheen + 0.55 * hammered).clamp(0, 1)
    return _mix(_rgb((0.58, 0.34, 0.03), color), _rgb((1.0, 0.90, 0.46), color), sheen)


def _lava(surface: Surface, color: Tensor) -> Tensor:
    crack = (fractal_noise(surface.pattern * 1.6, 4) - 0.5).abs()
    heat = (1 - crack * 10).clamp(0, 1)
    crust = surface.wear("basalt", 1.2) * 0.6
    glow = _mix(_rgb((0.90, 0.18, 0.01), color), _rgb((1.0, 0.86, 0.22), color), heat)
    return _mix(crust, glow, (heat * 1.7).clamp(0, 1))


_PROCEDURAL: dict[str, Callable[[Surface, Tensor], Tensor]] = {
    "plain": _plain,
    "rusty metal": _rusty_metal,
    "mossy stone": _mossy_stone,
    "marble": _marble,
    "striped": _striped,
    "camouflage": _camouflage,
    "gold": _gold,
    "lava": _lava,
}
MATERIALS = (*_PROCEDURAL, *PICTURES)
COLORABLE = frozenset({"plain", "brick", "planks", "scaly", "tiles", "marble", "striped"})
# Never rendered for training: what the model makes of them shows whether it combines.
HELD_OUT_PAIRS = frozenset(
    {("brick", "purple"), ("marble", "teal"), ("planks", "orange"), ("striped", "brown"),
     ("plain", "pink"), ("brick", "green"), ("planks", "blue"), ("striped", "purple"),
     ("tiles", "red"), ("scaly", "yellow")}
)  # fmt: skip
WALL_MATERIALS = tuple(name for name in MATERIALS if name not in ("plain", "gold"))
