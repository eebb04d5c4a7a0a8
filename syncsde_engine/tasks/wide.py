# SPDX-License-Identifier: GPL-3.0-or-later
"""Wide, tall and wrapped images from overlapping patches, each conditioned on those before it.

Section 3.3.3 of the paper, Eqs. 13 to 15: views are crops, later patches lie over earlier ones.
"""

from __future__ import annotations

import math
from collections.abc import Generator, Mapping, Sequence

import torch
from torch import Tensor

from .. import pictures
from ..canvas import Canvas
from ..config import WideConfig
from ..errors import InvalidRequest
from . import Artifacts, Progress
from .session import Session

PAPER_GUIDANCE = 7.5


def run(config: WideConfig, inputs: Mapping[str, bytes]) -> Generator[Progress, None, Artifacts]:
    """Make the image, patch after patch in one batch.

    Raises InvalidRequest, MissingWeights, DeviceUnavailable, OutOfMemory or NumericalFailure.
    """
    yield Progress("load", 0, 1)
    session = Session("wide", config)
    model = session.model
    patch = config.patch_size or session.settings.image_size
    height, width = size_of(config, patch)
    side, stride = patch // model.scale, max(1, round(config.stride * patch / model.scale))
    canvas = crops(
        math.ceil(height / model.scale), math.ceil(width / model.scale), side, stride, config.wrap
    )
    prompts = prompts_of(config, canvas, model.scale)
    unwanted = [config.negative_prompt or ""] * len(prompts)
    denoiser = session.guided(prompts, unwanted, PAPER_GUIDANCE)
    y = yield from session.synchronise(
        denoiser, canvas.overlap(), (side, side), inputs, shared_noise=config.shared_noise
    )

    yield Progress("write", 0, 1)
    with session.clock.measure("decode"):
        image = decode(session, canvas.composed(y), config.wrap)[:, :height, :width]
    return session.finish(
        {"image.png": pictures.png(pictures.to_bytes(image))},
        width=width,
        height=height,
        patch_size=patch,
        negative_prompt=unwanted[0],
    )


def size_of(config: WideConfig, patch: int) -> tuple[int, int]:
    """Height and width in pixels: what is asked for; else one patch high and four wide."""
    height = config.height or patch
    width = config.width or (4 * patch if height == patch else patch)
    for name, side in (("width", width), ("height", height)):
        if side < patch:
            raise InvalidRequest(
                f"{name} {side} is below one patch of {patch} pixels.",
                hint=f"Ask for at least {patch}, or for a smaller patch_size.",
                field=name,
            )
    return height, width


def crops(height: int, width: int, side: int, stride: int, wrap: bool) -> Canvas:
    """Square patches of `side` cells that cover the canvas, row by row, `stride` cells apart.

    With `wrap` the last patches of a row reach over its right edge into its left.
    """
    tops = starts(height, side, stride)
    lefts = list(range(0, width, stride)) if wrap else starts(width, side, stride)
    reach = torch.arange(side)
    cells = torch.stack(
        [
            (top + reach)[:, None] * width + (left + reach)[None, :] % width
            for top in tops
            for left in lefts
        ]
    )
    return Canvas(height, width, cells, torch.ones(cells.shape))


def starts(length: int, side: int, stride: int) -> list[int]:
    """Where patches begin; the last one ends at the edge, however far that is."""
    return [*range(0, length - side, stride), length - side]


def prompts_of(config: WideConfig, canvas: Canvas, scale: int) -> Sequence[str]:
    """Each patch shows what is asked for at its middle, along the longer side."""
    middle = canvas.cells[:, canvas.cells.shape[1] // 2, canvas.cells.shape[2] // 2]
    along = middle % canvas.width if canvas.width >= canvas.height else middle // canvas.width
    changes = sorted(config.prompt_at, key=lambda change: change[0])
    longest = max(canvas.width, canvas.height) * scale
    for place, text in changes:
        if not 0 <= place < longest:
            raise InvalidRequest(
                f"prompt_at {place} ({text!r}) is not within the image's {longest} pixels.",
                field="prompt_at",
            )
    return [
        next(
            (text for place, text in reversed(changes) if place <= (cell + 0.5) * scale),
            config.prompt,
        )
        for cell in along.tolist()
    ]


def decode(session: Session, latents: Tensor, wrap: bool) -> Tensor:
    """Decode the canvas (C, H, W) alone; a wrapped one with its own ends beside it."""
    if not wrap:
        return session.model.decode(latents[None])[0]
    margin = min(16, latents.shape[2])
    around = torch.cat([latents[:, :, -margin:], latents, latents[:, :, :margin]], dim=2)
    pixels = margin * session.model.scale
    return session.model.decode(around[None])[0][:, :, pixels:-pixels]
