# SPDX-License-Identifier: GPL-3.0-or-later
"""A picture of a material, endless: wide, tall and wrapped images painted like it."""

from __future__ import annotations

import math

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..config import MaskConfig, WideConfig
from ..errors import InvalidRequest
from ..exemplar.denoiser import ExemplarDenoiser
from ..exemplar.lattice import flat_lattice
from ..exemplar.picture import LEAST_SIDE, MOST_SIDE, Picture, levels_of, sized
from ..exemplar.sites import flat_ground, flat_points
from ..method.canvas import Canvas
from ..models.exemplar import Exemplar, Part
from .likeness import Likenesses

LEAST_SCALE, MOST_SCALE = 2, 8  # pixels of the image for one of the state: a power of two
LEAST_TILE, MOST_TILE = LEAST_SCALE * LEAST_SIDE, MOST_SCALE * MOST_SIDE  # pixels


def require_plain(config: WideConfig, given: Tensor | None) -> None:
    """Raise InvalidRequest for what a picture cannot be asked."""
    if config.prompt_at:
        raise InvalidRequest(
            "prompt_at changes words along the image, and this one is painted like one picture.",
            hint="Leave prompt_at out, or set model to mini.",
            field="prompt_at",
        )
    if given is not None:
        raise InvalidRequest(
            "An image that is painted like a picture cannot be extended.",
            hint="Make it as wide as it is to be, or set model to mini.",
            field="inputs.extend",
        )


def scale_of(config: WideConfig | MaskConfig, picture: Picture) -> int:
    """How many pixels of the image go to one of the state, along a side."""
    scale = 2 ** math.ceil(math.log2(tile_of(config, picture) / picture.telling_size[1]))
    return min(max(scale, LEAST_SCALE), MOST_SCALE)


def tile_of(config: WideConfig | MaskConfig, picture: Picture) -> float:
    """How wide the picture is drawn, in pixels of the image: by default as wide as it is."""
    return config.tile_size or min(max(picture.image.shape[2], LEAST_TILE), MOST_TILE)


def lay(
    config: WideConfig, exemplar: Exemplar, like: Likenesses, canvas: Canvas, side: int
) -> ExemplarDenoiser:
    """The denoiser of a canvas's patches of `side` pixels."""
    corner = canvas.cells[:, 0, 0]
    corners = torch.stack([corner // canvas.width, corner % canvas.width], dim=1).numpy()
    return exemplar.lay([_part(config, exemplar, like, canvas, corners, side, side)])


def finished(
    config: WideConfig, exemplar: Exemplar, like: Likenesses, canvas: Canvas, y: Tensor
) -> Tensor:
    """The image (3, H, W) in [0, 1] that a canvas of states (N, 3, h, w) has become."""
    whole = canvas.composed(y)[None]
    height, width = canvas.height, canvas.width
    corner = np.zeros((1, 2), np.int64)
    exemplar.lay([_part(config, exemplar, like, canvas, corner, height, width, wrap=config.wrap)])
    tall, across = height * exemplar.scale, width * exemplar.scale
    points = torch.from_numpy(flat_points(tall, across, exemplar.scale))[None]
    return exemplar.decode(whole, points, torch.ones(1, tall, across, dtype=torch.bool))[0]


def _part(
    config: WideConfig,
    exemplar: Exemplar,
    like: Likenesses,
    canvas: Canvas,
    corners: NDArray[np.int64],
    height: int,
    width: int,
    *,
    wrap: bool = False,
) -> Part:
    """What images of (height, width) show, whose `corners` (N, 2) lie in that row and column."""
    picture = like.main.picture
    size = sized(picture, tile_of(config, picture) / exemplar.scale)
    levels = levels_of(size[1], size[0])
    ground = flat_ground(len(corners), height, width, levels, wrap=wrap)
    place = ground.position[:, 1::-1] + np.repeat(corners, height * width, axis=0)
    lattice = flat_lattice(picture, size, place, canvas.width if config.wrap else None)
    return Part(picture, ground, size, exemplar.scale, lattice)
