# SPDX-License-Identifier: GPL-3.0-or-later
"""Decoding large latents in overlapping tiles, so that memory does not grow with the picture."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

MOST_CELLS = 64 * 256  # latent cells decoded at once: the paper's wide canvas, 1 megapixel
LEAST_SIDE = 128  # cells, where both sides of a picture are longer
OVERLAP = 16  # cells, at least


def decode_in_tiles(latent: Tensor, scale: int, decode: Callable[[Tensor], Tensor]) -> Tensor:
    """Decode (1, C, h, w) to (1, 3, h * scale, w * scale), in one go if it is small enough.

    Tiles are blended linearly where they overlap. They differ a little from the whole, because
    the decoder normalizes over all that it is given.
    """
    height, width = latent.shape[-2:]
    if height * width <= MOST_CELLS:
        return decode(latent)
    rows = min(height, max(LEAST_SIDE, MOST_CELLS // width))
    columns = min(width, MOST_CELLS // rows)
    image = latent.new_zeros(1, 3, height * scale, width * scale)
    total = latent.new_zeros(height * scale, width * scale)
    for top in starts(height, rows):
        for left in starts(width, columns):
            tile = decode(latent[..., top : top + rows, left : left + columns])
            weight = (
                ramps(top, rows, height, scale)[:, None] * ramps(left, columns, width, scale)
            ).to(tile)
            down = slice(top * scale, (top + rows) * scale)
            across = slice(left * scale, (left + columns) * scale)
            image[..., down, across] += weight * tile
            total[down, across] += weight
    return image / total


def starts(length: int, tile: int) -> list[int]:
    """Where tiles begin, evenly spread, in cells."""
    count = 1 if tile >= length else math.ceil((length - OVERLAP) / (tile - OVERLAP))
    return [round(i * (length - tile) / max(count - 1, 1)) for i in range(count)]


def ramps(start: int, tile: int, length: int, scale: int) -> Tensor:
    """The weight of a tile's pixels along one side, falling towards its neighbors. In (0, 1]."""
    rise = (torch.arange(tile * scale) + 0.5) / (OVERLAP * scale)
    weight = torch.ones(tile * scale)
    if start > 0:
        weight = weight.minimum(rise)
    if start + tile < length:
        weight = weight.minimum(rise.flip(0))
    return weight
