# SPDX-License-Identifier: GPL-3.0-or-later
"""The maps of a texture run: from what pictures say at the texels to images and files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from .. import pictures
from ..exemplar.maps import CHANNELS, PLAIN
from ..mesh.fill import fill_gutters
from ..mesh.tangent_space import in_tangent_space
from ..mesh.texels import Texels
from .likeness import Likenesses

Images = Mapping[str, Sequence[np.ndarray]]  # of each map, one for each texture
DEEP = 65535  # levels of a height, whose steps would show as bumps


def names_of(like: Likenesses) -> list[str]:
    """The maps that any of the pictures has, in a fixed order."""
    return [name for name in CHANNELS if any(name in each.picture.maps for each in like.each)]


def images_of(names: Sequence[str], layers: Tensor, normals: Tensor, texels: Texels) -> Images:
    """The maps as images, each (H, W) or (H, W, 3), for each texture.

    `layers` (T, C) holds the channels of the named maps at the texels, normals as (right, up, out)
    in the upright frames of the unit `normals` (T, 3) of the surface. Tangent-space normals and all
    others are uint8, height uint16.
    """
    found: dict[str, Sequence[np.ndarray]] = {}
    first = 0
    for name in names:
        values = layers[:, first : first + CHANNELS[name]]
        first += CHANNELS[name]
        if name == "normal":
            values = in_tangent_space(texels, normals, values)
        spread = texels.spread(values.float()).cpu()
        used = texels.spread(torch.ones_like(texels.place, dtype=torch.bool)).cpu()
        for image, chart in zip(spread, used, strict=True):
            image[~chart] = torch.tensor(PLAIN[name])
            fill_gutters(image.numpy(), chart.numpy())
        found[name] = [encoded(name, image.numpy()) for image in spread]
    return found


def encoded(name: str, image: np.ndarray) -> np.ndarray:
    """A map (H, W, C) as whole numbers: (H, W, 3) of normals, (H, W) of others."""
    if name == "normal":  # 0 is 128, whatever the last digit of a sum says
        return np.clip(127.5 * image + 128.001, 0, 255).astype(np.uint8)
    levels, kind = (DEEP, np.uint16) if name == "height" else (255, np.uint8)
    return (np.clip(image[..., 0], 0, 1) * levels + 0.5).astype(kind)


def map_files(images: Images, textures: Sequence[str]) -> dict[str, list[str]]:
    """The file of each map of each texture, beside the texture's: texture_normal.png."""
    taken = {file.casefold() for file in textures}
    found: dict[str, list[str]] = {}
    for name in images:
        found[name] = []
        for texture in textures:
            stem, number = texture.removesuffix(".png"), 1
            file = f"{stem}_{name}.png"
            while file.casefold() in taken:
                number += 1
                file = f"{stem}_{name}-{number}.png"
            taken.add(file.casefold())
            found[name].append(file)
    return found


def for_glb(images: Images) -> dict[str, list[bytes]]:
    """The maps as glTF has them: normals, and occlusion, roughness and metal in one image."""
    found: dict[str, list[bytes]] = {}
    if "normal" in images:
        found["normal"] = [pictures.png(image) for image in images["normal"]]
    packed = ("occlusion", "roughness", "metallic")
    if any(name in images for name in packed):
        sample = next(images[name] for name in packed if name in images)
        found["surface"] = []
        for k, one in enumerate(sample):
            layers = [
                images[name][k] if name in images else np.full_like(one, _plain(name))
                for name in packed
            ]
            found["surface"].append(pictures.png(np.stack(layers, axis=2)))
    return found


def _plain(name: str) -> int:
    return round(255 * PLAIN[name][0])
