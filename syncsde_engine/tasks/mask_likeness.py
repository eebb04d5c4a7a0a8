# SPDX-License-Identifier: GPL-3.0-or-later
"""The regions of a mask image painted like pictures, each like its own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from ..config import MaskConfig
from ..errors import InvalidRequest
from ..exemplar.denoiser import ExemplarDenoiser
from ..exemplar.lattice import flat_lattice
from ..exemplar.picture import Picture, levels_of, sized
from ..exemplar.sites import flat_points, region_ground
from ..models.catalog import AUTO, EXEMPLAR
from ..models.exemplar import Exemplar, Part, near
from .likeness import Likeness, by_words, from_input, takes_pictures
from .wide_likeness import scale_of, tile_of


def likenesses(config: MaskConfig, inputs: Mapping[str, bytes]) -> list[Likeness] | None:
    """What each region is painted like, the background first; None if networks paint from words.

    Given pictures go before words. Raises InvalidRequest for pictures that are of no use, and for
    a region without one beside a region that has been given one.
    """
    given = bool("like" in inputs or config.like_for)
    if not takes_pictures(config, given):
        return None
    places = {0: "like"} if "like" in inputs else {}
    places |= {number: f"like_{place}" for place, number in enumerate(config.like_for, start=1)}
    # Words that name more than a material are a scene, which is for a network.
    alone = config.model == AUTO and not given
    found: list[Likeness] = []
    for number, words in enumerate((config.background, *config.foreground)):
        place = places.get(number)
        like = by_words(words, alone=alone) if place is None else from_input(inputs[place], place)
        if like is not None:
            found.append(like)
        elif given or config.model == EXEMPLAR:
            region = f"mask {number}" if number else "the background"
            flag = f"like-for {number}" if number else "like"
            raise InvalidRequest(
                f"No picture of the library is named in {words!r}, the words of {region}.",
                hint=f"Give a picture for it (--{flag}), or name one that `syncsde library` lists; "
                "pictures and words for a network do not mix in one run.",
                field="foreground" if number else "background",
            )
        else:
            return None
    return found


def report(likes: Sequence[Likeness]) -> dict[str, str]:
    """What each region looks like, in words."""
    return {
        f"mask {number}" if number else "background": like.words
        for number, like in enumerate(likes)
    }


def lay(
    config: MaskConfig, exemplar: Exemplar, labels: Tensor, trajectories: int
) -> ExemplarDenoiser:
    """The denoiser of all trajectories, whose regions (h, w) are numbered by `labels`.

    The k-th trajectory paints the k-th region like its picture, and a last one, if there is one,
    the whole. Each shows the regions of earlier ones, by which it is conditioned, as they are.
    """
    return exemplar.lay(
        [
            _part(config, exemplar, number, labels == number, trajectories)
            for number in range(len(exemplar.pictures))
        ]
    )


def scale(config: MaskConfig, pictures: Sequence[Picture]) -> int:
    """How many pixels of the image go to one of the state, along a side: the finest picture's."""
    return max(scale_of(config, picture) for picture in pictures)


def colored(exemplar: Exemplar, labels: Tensor, composed: Tensor) -> Tensor:
    """A composed state (3, h, w) of several pictures as one that the first one's colors show."""
    found = composed.clone()
    for number, picture in enumerate(exemplar.pictures[1:], start=1):
        there = labels == number
        found[:, there] = exemplar.pictures[0].whiten(picture.color(composed))[:, there]
    return found


def finished(
    config: MaskConfig,
    exemplar: Exemplar,
    masks: Sequence[Tensor],
    labels: Tensor,
    composed: Tensor,
) -> Tensor:
    """The image (3, H, W) in [0, 1] that a composed state (3, h, w) has become.

    Its regions have the edges of the `masks`, finer than those of the states.
    """
    height, width = (side * exemplar.scale for side in labels.shape)
    shown = edges(masks, labels, height, width)
    points = torch.from_numpy(flat_points(height, width, exemplar.scale))[None]
    image = torch.zeros(3, height, width)
    for number in range(len(exemplar.pictures)):
        here = shown == number
        exemplar.lay([_part(config, exemplar, number, labels == number, 1)])
        image[:, here] = exemplar.decode(composed[None], points, here[None])[0][:, here]
    return image


def edges(masks: Sequence[Tensor], labels: Tensor, height: int, width: int) -> Tensor:
    """Which region each pixel (height, width) of the finished image shows, int64.

    As the masks say, but for what is too far from any cell of its region.
    """
    coarse = torch.nn.functional.interpolate(labels[None, None].float(), (height, width))
    coarse = coarse[0, 0].long()
    fine = torch.zeros_like(coarse)
    for number, mask in enumerate(masks, start=1):
        scaled = torch.nn.functional.interpolate(
            mask[None, None].float(), (height, width), mode="bilinear"
        )
        fine[scaled[0, 0] > 0.5] = number
    found = coarse.clone()
    for number in range(len(masks) + 1):
        reached = torch.from_numpy(near((labels == number)[None].numpy(), (1, height, width)))[0]
        here = (fine == number) & reached
        found[here] = number
    return found


def _part(
    config: MaskConfig,
    exemplar: Exemplar,
    number: int,
    shown: Tensor,
    count: int,
) -> Part:
    picture = exemplar.pictures[number]
    size = sized(picture, tile_of(config, picture) / exemplar.scale)
    first = min(number, count - 1)
    levels = levels_of(size[1], size[0])
    ground = region_ground(shown.numpy(), range(first, count), count, levels)
    lattice = flat_lattice(picture, size, ground.position[:, 1::-1])
    return Part(picture, ground, size, exemplar.scale, lattice)
