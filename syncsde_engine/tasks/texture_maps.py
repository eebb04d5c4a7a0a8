# SPDX-License-Identifier: GPL-3.0-or-later
"""The maps of a texture run: from what pictures say at the texels to images and files."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from ..config import TextureConfig
from ..exemplar.maps import CHANNELS, PLAIN
from ..mesh.bake.blend import Baked
from ..mesh.bake.fill import fill as fill_colors
from ..mesh.bake.fill import fill_gutters
from ..mesh.bake.tangent_space import in_tangent_space
from ..mesh.intake.take_in import Intake
from .likeness import Likenesses
from .texture_files import Images, map_files, texture_files

FillName = Literal["smooth", "surface", "uv"]
RELIEF = 0.05  # of a picture's width: how high its white is taken to stand
DEEP = 65535  # levels of a height, whose steps would show as bumps


def names_of(like: Likenesses) -> list[str]:
    """The maps that any of the pictures has, in a fixed order."""
    return [name for name in CHANNELS if any(name in each.picture.maps for each in like.each)]


def images_of(names: Sequence[str], laid: Baked, layers: Tensor, fill: FillName) -> Images:
    """The maps as images, each (H, W) or (H, W, 3), for each texture.

    `layers` (T, C) holds the channels of the named maps at the texels, normals as (right, up, out)
    in the upright frames of the faces. Where `laid` has no color they are filled as that is. All
    are uint8, normals in tangent space; height is uint16.
    """
    texels = laid.texels
    found: dict[str, Sequence[np.ndarray]] = {}
    if not names:
        return found
    layers, normals, first = complete(laid, layers, fill), texels.normal(), 0
    used = texels.spread(torch.ones_like(texels.place, dtype=torch.bool)).cpu()
    for name in names:
        values = layers[:, first : first + CHANNELS[name]]
        first += CHANNELS[name]
        if name == "normal":
            values = in_tangent_space(texels, normals, values)
        spread = texels.spread(values.float()).cpu()
        for image, chart in zip(spread, used, strict=True):
            image[~chart] = torch.tensor(PLAIN[name])
            fill_gutters(image.numpy(), chart.numpy())
        found[name] = [encoded(name, image.numpy()) for image in spread]
    return found


def complete(laid: Baked, layers: Tensor, how: FillName) -> Tensor:
    """Channels (T, C) of all texels, filled where nothing was laid."""
    if (laid.weight > 0).all():
        return layers
    parts = []
    for channels in layers.split(3, dim=1):
        three = torch.nn.functional.pad(channels, (0, 3 - channels.shape[1])).to(laid.color)
        images = fill_colors(replace(laid, color=three), how)
        parts.append(images.view(-1, 3)[laid.texels.place.long()][:, : channels.shape[1]])
    return torch.cat(parts, dim=1)


def encoded(name: str, image: np.ndarray) -> np.ndarray:
    """A map (H, W, C) as whole numbers: (H, W, 3) of normals, (H, W) of others."""
    if name == "normal":  # 0 is 128, whatever the last digit of a sum says
        return np.clip(127.5 * image + 128.001, 0, 255).astype(np.uint8)
    levels, kind = (DEEP, np.uint16) if name == "height" else (255, np.uint8)
    return (np.clip(image[..., 0], 0, 1) * levels + 0.5).astype(kind)


def maps_told(
    config: TextureConfig, like: Likenesses, mesh: Intake, images: Images
) -> dict[str, Any]:
    """What the report says of the maps: where each is from, and its files by textures.

    `relief` is how far white of a height is to stand above black, in the mesh's units.
    """
    textures = mesh.whole.textures
    files = map_files(images, texture_files(textures))
    tile = config.tile_size or like.main.tile
    told = {"relief": RELIEF * tile * mesh.normalization.scale} if "height" in images else {}
    by_texture = {name: dict(zip(textures, of, strict=True)) for name, of in files.items()}
    return {"maps": like.maps_report(), "map_files": by_texture, **told}
