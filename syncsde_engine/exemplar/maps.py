# SPDX-License-Identifier: GPL-3.0-or-later
"""What a material's picture has beside its colors: normals, roughness, metal, height, occlusion."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from ..errors import InvalidRequest
from ..library.map_names import TELLS
from ..pictures import resize
from . import normals

CHANNELS = {"normal": 3, "roughness": 1, "metallic": 1, "height": 1, "occlusion": 1}
# What a surface has where its picture says nothing: even, matte, no metal.
PLAIN = {
    "normal": (0.0, 0.0, 1.0),
    "roughness": (0.8,),
    "metallic": (0.0,),
    "height": (0.5,),
    "occlusion": (1.0,),
}
SHAPE = 0.02  # relative difference of proportions that is taken for rounding
COLORED = 0.06  # mean difference of channels from which on a picture is not gray


class Maps(NamedTuple):
    """Maps as large as their picture, and what is known of each, in words."""

    values: Mapping[str, Tensor]  # (C, H, W): normals in [-1, 1] as in `normals`, others in [0, 1]
    told: Mapping[str, str]


def maps_of(given: Mapping[str, tuple[Tensor, str]], height: int, width: int) -> Maps:
    """Maps of a picture of (height, width), from pictures (3, h, w) in [0, 1] by their kinds.

    `given` has for each of `map_names.KINDS` the picture and the field that errors name. Other
    sizes are resampled. Raises InvalidRequest for what is no such map, for other proportions, and
    for two that tell the same.
    """
    values: dict[str, Tensor] = {}
    told: dict[str, str] = {}
    single = [kind for kind in given if kind != "orm"]
    for kind in (*single, *(["orm"] if "orm" in given else [])):
        pixels, field = given[kind]
        require_shape(pixels, height, width, field)
        for name, value, what in _read(kind, pixels, field):
            if name in values and kind == "orm":
                continue  # a map of its own says it better
            if name in values:
                raise InvalidRequest(
                    f"Two maps tell the {name}: {told[name]}, and {what}.",
                    hint="Leave one out.",
                    field=field,
                )
            values[name], told[name] = _resampled(name, value, height, width), what
    return Maps(values, told)


def require_shape(pixels: Tensor, height: int, width: int, field: str) -> None:
    """Raise InvalidRequest if a map (3, h, w) does not lie on a picture of (height, width)."""
    tall, wide = pixels.shape[1:]
    if abs(wide * height / (tall * width) - 1) > SHAPE:
        raise InvalidRequest(
            f"The map has {wide} x {tall} pixels and its picture {width} x {height}: they do not "
            "lie on each other.",
            hint="Give one of the same proportions, or leave it out.",
            field=field,
        )


def _read(kind: str, pixels: Tensor, field: str) -> list[tuple[str, Tensor, str]]:
    """What a picture tells: the map's name, its values (C, h, w), and how they were read."""
    if kind.startswith("normal"):
        vectors = normals.decoded(pixels, field)
        up, what = _green(kind, vectors)
        if not up:
            vectors = vectors * torch.tensor([1.0, -1.0, 1.0])[:, None, None]
        return [("normal", vectors, what)]
    if kind == "orm":
        what = "from red, green and blue of one picture"
        return [(name, pixels[i : i + 1], what) for i, name in enumerate(TELLS[kind])]
    (name,) = TELLS[kind]
    if float((pixels.amax(0) - pixels.amin(0)).mean()) > COLORED:
        raise InvalidRequest(
            f"The picture has colors, and {name} is gray.",
            hint="Give the map itself, or leave it out.",
            field=field,
        )
    gray = pixels.mean(0, keepdim=True)
    return [(name, 1 - gray, "gloss, inverted") if kind == "gloss" else (name, gray, name)]


def _green(kind: str, vectors: Tensor) -> tuple[bool, str]:
    """Whether green is up, and who says so."""
    if kind != "normal":
        return kind == "normal_gl", f"{'OpenGL' if kind == 'normal_gl' else 'DirectX'}, as named"
    agreement = normals.green_up(vectors)
    if abs(agreement) < normals.SURE:
        return True, f"OpenGL, which its curl does not tell ({agreement:+.2f})"
    return (
        agreement > 0,
        f"{'OpenGL' if agreement > 0 else 'DirectX'}, by its curl ({agreement:+.2f})",
    )


def _resampled(name: str, value: Tensor, height: int, width: int) -> Tensor:
    if value.shape[1:] == (height, width):
        return value.contiguous()
    if name != "normal":
        return resize(value, height, width)
    return normals.normalized(2 * resize((value + 1) / 2, height, width) - 1)


def stacked(maps: Mapping[str, Tensor], names: Sequence[str], height: int, width: int) -> Tensor:
    """The named maps one after another, (C, height, width); plain where there is none."""
    layers = []
    for name in names:
        plain = torch.tensor(PLAIN[name])[:, None, None].expand(-1, height, width)
        layers.append(maps.get(name, plain))
    return torch.cat(layers) if layers else torch.zeros(0, height, width)
