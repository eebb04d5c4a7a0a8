# SPDX-License-Identifier: GPL-3.0-or-later
"""A picture at several scales, as the prior that its patches are."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..errors import InvalidRequest

RADIUS = 3  # of a patch: 7 x 7 pixels
MIDDLE = 1  # radius of what a patch lays down: 3 x 3 pixels
FEATURES = 32  # numbers that a patch of 147 is compared by
BLOCK = 64  # patches searched at once: their number is padded to a multiple
COARSEST = 400  # patches that are searched in full
LEAST_SIDE = 8  # pixels of a picture that has anything to show
LONGEST = 3  # times as long as wide, at most
FLAT = 2 / 255  # deviation below which it has not
WIDTHS = (40, 48, 56, 64, 80, 96)  # pixels at which it may be compared
MOST_SIDE = WIDTHS[-1]
TOLD = 0.5  # of a picture's variance: what it is about

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Scale:
    """One scale of a picture of M = h * w patches, one around each pixel; it repeats endlessly."""

    pixels: Floats  # (h, w, 3), whitened
    mean: Tensor  # (147,) of the patches
    basis: Tensor  # (147, D): the directions in which patches differ most
    patches: Floats  # (M, D)
    searched: Floats  # (D, M padded): the same, turned
    length: Floats  # (M padded,): squared lengths; huge where there is padding
    middles: Floats  # (M padded, 27): the middle 3 x 3 pixels

    @property
    def count(self) -> int:
        return len(self.patches)

    @property
    def size(self) -> tuple[int, int]:
        """Rows and columns."""
        return self.pixels.shape[0], self.pixels.shape[1]


class Picture:
    """A periodic picture of a material, whitened: each channel has mean 0 and deviation 1.

    Without that a noise level would mean something else for every picture.
    """

    def __init__(
        self, image: Tensor, field: str = "inputs.like", maps: Mapping[str, Tensor] | None = None
    ) -> None:
        """`image` is (3, H, W) in [0, 1]; `maps` are as large. Errors name the field.

        Raises InvalidRequest for a picture that shows nothing.
        """
        height, width = image.shape[1:]
        if min(height, width) < LEAST_SIDE:
            raise InvalidRequest(
                f"The picture has {width} x {height} pixels.",
                hint=f"Give one of at least {LEAST_SIDE} x {LEAST_SIDE}.",
                field=field,
            )
        if not 1 / LONGEST <= height / width <= LONGEST:
            raise InvalidRequest(
                f"The picture has {width} x {height} pixels.",
                hint=f"Crop it: its sides may differ by a factor of {LONGEST}.",
                field=field,
            )
        self.image = image
        self.maps = dict(maps or {})  # name -> (C, H, W), see `maps`
        self.mean = image.mean((1, 2))
        self.deviation = image.flatten(1).std(1).clamp(min=1e-3)
        if float(image.flatten(1).std(1).max()) < FLAT:
            raise InvalidRequest(
                "The picture has one color only.",
                hint="Give one that shows a material, or say the color in a prompt.",
                field=field,
            )

    def whiten(self, images: Tensor) -> Tensor:
        """(..., 3, H, W) in [0, 1] -> whitened."""
        return (images - self.mean[:, None, None]) / self.deviation[:, None, None]

    def color(self, whitened: Tensor) -> Tensor:
        """Back from `whiten`, unbounded."""
        return whitened * self.deviation[:, None, None] + self.mean[:, None, None]

    @cached_property
    def aspect(self) -> float:
        """Height over width."""
        return self.image.shape[1] / self.image.shape[2]

    @cached_property
    def telling_size(self) -> tuple[int, int]:
        """The least size (rows, columns) that still shows what the picture is about.

        Patches of a smaller picture reach farther in it, so that bricks and stones stay whole; what
        is finer is laid down with them at the end.
        """
        sizes = [sized(self, width) for width in WIDTHS]
        telling = (size for size in sizes if float(self.resized(*size).var()) >= TOLD)
        return next(telling, sizes[-1])

    def resized(self, height: int, width: int) -> Tensor:
        """The whitened picture at another size, (3, height, width)."""
        return self.whiten(scaled(self.image, height, width).clamp(0, 1))


def scaled(image: Tensor, height: int, width: int) -> Tensor:
    """A periodic image (C, H, W) at another size, (C, height, width)."""
    wrapped = torch.nn.functional.pad(image[None], [8, 8, 8, 8], mode="circular")
    tall, across = image.shape[1:]
    grown = (round(height * (1 + 16 / tall)), round(width * (1 + 16 / across)))
    found = torch.nn.functional.interpolate(wrapped, grown, mode="bicubic", antialias=True)[0]
    top, left = (grown[0] - height) // 2, (grown[1] - width) // 2
    return found[:, top : top + height, left : left + width]


def levels_of(width: int, height: int) -> int:
    """How many scales a picture of this size has: the coarsest can be searched in full."""
    count = 1
    while (width >> (count - 1)) * (height >> (count - 1)) > COARSEST:
        count += 1
    return count


def sized(picture: Picture, width: float) -> tuple[int, int]:
    """Rows and columns near a width that can be halved as often as the picture has scales."""
    across = float(np.clip(width, LEAST_SIDE, MOST_SIDE))
    tall = float(np.clip(across * picture.aspect, LEAST_SIDE, LONGEST * MOST_SIDE))
    levels = levels_of(round(across), round(tall))
    while True:
        step = 1 << (levels - 1)
        size = max(step, round(tall / step) * step), max(step, round(across / step) * step)
        if levels_of(size[1], size[0]) <= levels:
            return size
        levels += 1  # rounding has made it larger


def scales(picture: Picture, height: int, width: int) -> list[Scale]:
    """The picture at (height, width) and at every halving of it, the finest first."""
    pixels = picture.resized(height, width)
    found = [scale_of(pixels)]
    for _ in range(levels_of(width, height) - 1):
        pixels = torch.nn.functional.avg_pool2d(pixels[None], 2)[0]
        found.append(scale_of(pixels))
    return found


def scale_of(pixels: Tensor) -> Scale:
    """Take the patches of whitened pixels (3, h, w)."""
    whole = around(pixels, RADIUS)
    mean = whole.mean(0)
    _, directions = torch.linalg.eigh((whole - mean).T.double() @ (whole - mean).double())
    basis = directions.flip(1)[:, :FEATURES].float().contiguous()
    # The sign of a direction is the solver's own choice.
    basis *= torch.where(basis.sum(0) < 0, -1.0, 1.0)
    patches = (whole - mean) @ basis
    padding = -len(patches) % BLOCK
    length = torch.nn.functional.pad((patches**2).sum(1), (0, padding), value=1e9)
    return Scale(
        pixels.movedim(0, -1).contiguous().numpy(),
        mean,
        basis,
        patches.numpy(),
        torch.nn.functional.pad(patches, (0, 0, 0, padding)).T.contiguous().numpy(),
        length.numpy(),
        torch.nn.functional.pad(around(pixels, MIDDLE), (0, 0, 0, padding)).numpy(),
    )


def around(pixels: Tensor, radius: int) -> Tensor:
    """The patch around every pixel, (h * w, side * side * 3), rows first, then columns, colors."""
    height, width = pixels.shape[1:]
    rows, columns = (torch.arange(-radius, side + radius) % side for side in (height, width))
    padded = pixels[:, rows][:, :, columns]
    side = 2 * radius + 1
    patches = padded.unfold(1, side, 1).unfold(2, side, 1)  # (3, h, w, side, side)
    return patches.permute(1, 2, 3, 4, 0).reshape(height * width, -1).contiguous()
