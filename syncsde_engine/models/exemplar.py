# SPDX-License-Identifier: GPL-3.0-or-later
"""A picture in the place of networks: paints like it, exactly, without training (see `exemplar`).

States are whitened pixels; finished pictures have `scale` times their resolution, with the
picture's own detail. It has no words, guidance, ControlNet or attention, and runs on the CPU.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ..errors import InvalidRequest
from ..exemplar import matching
from ..exemplar.denoiser import Draft, ExemplarDenoiser, Look
from ..exemplar.lattice import Lattice, at_all_scales
from ..exemplar.layout import agreed
from ..exemplar.maps import stacked
from ..exemplar.picture import Floats, Picture, scaled, scales
from ..exemplar.sites import Ground
from ..method.schedule import Schedule
from ..usage import Usage
from .catalog import Settings

NOISIEST, CLEANEST = 24.0, 0.05  # noise over signal
BACKDROP = 1.0  # what finished pictures show beside the material
SETTINGS = Settings(
    guidance_scale=1.0,
    control_scale=0.0,
    view_size=768,
    image_size=512,
    prompt_prefix="",
    negative_prompt="",
)


@dataclass(frozen=True)
class Part:
    """A picture, the places that show it, and the size at which it is compared with them."""

    picture: Picture
    ground: Ground
    size: tuple[int, int]  # of the picture there, rows and columns
    finer: float  # how many finished pixels go to one of these, along a side
    lattice: Lattice | None = None  # that the picture is, if it is one


class Exemplar:
    """The model contract of the tasks, for one run: `lay` says what is to be seen where."""

    channels = 3

    def __init__(self, pictures: Sequence[Picture], scale: int = 4) -> None:
        self.pictures = pictures
        self.scale = scale  # pixels of a finished picture for one of a state, along a side
        self.device = torch.device("cpu")
        self.usage = Usage()
        noise = torch.logspace(
            math.log10(CLEANEST), math.log10(NOISIEST), 1000, dtype=torch.float64
        )
        self.schedule = Schedule(1 / (1 + noise**2), 1.0, spacing="trailing")
        self.parts: list[Part] = []

    @property
    def sha256(self) -> str:
        """Of the pixels of all pictures."""
        total = hashlib.sha256()
        for picture in self.pictures:
            total.update(picture.image.numpy().tobytes())
        return total.hexdigest()

    def lay(self, parts: Sequence[Part]) -> ExemplarDenoiser:
        """Decide what is to be seen where, and make the denoiser for it."""
        self.parts = list(parts)
        looks = []
        for part in parts:
            sites, lattice = part.ground.sites, part.lattice
            phases = None if lattice is None else at_all_scales(lattice, part.size, sites)
            looks.append(Look(part.picture, scales(part.picture, *part.size), sites, phases))
        self._denoiser = ExemplarDenoiser(looks, self.usage)
        return self._denoiser

    def encode(self, images: Tensor) -> Tensor:
        """(N, 3, H, W) images in [0, 1] -> states (N, 3, H / scale, W / scale)."""
        small = torch.nn.functional.avg_pool2d(images.float(), self.scale)
        if len(self.pictures) > 1:
            raise InvalidRequest(
                "What is there already can only be kept beside one picture.",
                hint="Paint with one picture, or without keep.",
                field="inputs.keep",
            )
        return self.pictures[0].whiten(small)

    def to_rgb(self, states: Tensor) -> Tensor:
        """(N, 3, h, w) -> colors in about [0, 1], the same shape."""
        return self.pictures[0].color(states.cpu())

    def decode(self, y: Tensor, points: Tensor, shown: Tensor) -> Tensor:
        """Finished states (N, 3, h, w) with the picture's own detail, (N, 3, H, W) in [0, 1].

        `points` (N, H, W, 3) are where pixels lie, in the space of the ground; those that are not
        `shown` (N, H, W) are white.
        """
        views = np.full((*shown.shape, 3), BACKDROP, np.float32)
        assert matching.finish is not None
        with self.usage.count(self.device, exemplar=len(y)):
            for part, draft in zip(self.parts, self.draft(y), strict=True):
                ground, sites = part.ground, part.ground.sites[0]
                match = agreed(draft.match, sites.near, sites.offset, draft.features, draft.scale)
                here = shown.numpy() & near(ground.number >= 0, shown.shape)
                views[here] = 0
                matching.finish(
                    ground.number,
                    ground.position,
                    ground.across,
                    ground.down,
                    match,
                    here,
                    points.numpy(),
                    np.array(part.size, np.float32),
                    image_of(part.picture, part.size, part.finer),
                    views,
                )
        return torch.from_numpy(views).movedim(-1, 1).contiguous()

    def draft(self, y: Tensor) -> list[Draft]:
        """Which place of its picture each site of each part has come to show."""
        return self._denoiser.draft(y)


def image_of(
    picture: Picture, size: tuple[int, int], finer: float, maps: Sequence[str] = ()
) -> Floats:
    """The picture (H, W, 3) in [0, 1], `finer` times as fine as `size` or as fine as it is.

    The channels of `maps` follow, plain where it has no such map: (H, W, 3 + C).
    """
    finer = max(min(finer, picture.image.shape[1] / size[0]), 1)
    height, width = (round(side * finer) for side in size)
    layers = [picture.color(picture.resized(height, width)).clamp(0, 1)]
    if maps:
        stack = stacked(picture.maps, maps, *picture.image.shape[1:])
        layers.append(scaled(stack, height, width))
    return torch.cat(layers).movedim(0, -1).contiguous().numpy()


def near(cells: np.ndarray, shape: Sequence[int]) -> np.ndarray:
    """Which pixels (N, H, W) lie within two cells (N, h, w) of a chosen one."""
    wide = torch.nn.functional.max_pool2d(torch.from_numpy(cells).float()[:, None], 5, 1, 2)
    return torch.nn.functional.interpolate(wide, tuple(shape[1:]))[:, 0].numpy() > 0
