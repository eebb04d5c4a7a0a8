# SPDX-License-Identifier: GPL-3.0-or-later
"""Wide, tall and wrapped images from overlapping patches, each conditioned on those before it.

Section 3.3.3 of the paper, Eqs. 13 to 15: views are crops, later patches lie over earlier ones.
"""

from __future__ import annotations

import math
from collections.abc import Generator, Mapping
from functools import partial

import torch
from torch import Tensor

from .. import pictures
from ..config import WideConfig
from ..errors import InvalidRequest
from ..method.canvas import Canvas
from ..models.exemplar import Exemplar
from . import Artifacts, Progress
from .extend import extended_size, join
from .likeness import likenesses
from .patches import crops, starts
from .session import Session
from .wide_likeness import finished, lay, require_plain, scale_of

PAPER_GUIDANCE = 7.5


def run(config: WideConfig, inputs: Mapping[str, bytes]) -> Generator[Progress, None, Artifacts]:
    """Make the image, all patches in one batch, or make a given one wider.

    Raises InvalidRequest, MissingWeights, DeviceUnavailable, OutOfMemory or NumericalFailure.
    """
    given = pictures.read(inputs["extend"], "inputs.extend") if "extend" in inputs else None
    yield Progress("load", 0, 1)
    like = likenesses(config, inputs)
    exemplar = None if like is None else Exemplar([like.main.picture])
    session = Session("wide", config, exemplar=exemplar)
    space = session.space
    if exemplar is not None and like is not None:
        require_plain(config, given)
        exemplar.scale = scale_of(config, like.main.picture)
        session.results["materials"] = like.report()
    patch = config.patch_size or session.settings.image_size
    height, width = size_of(config, patch, given)
    left = config.extend_to == "left"
    # Only what is new is made, and the patches at the edge that it grows from.
    origin = 0 if given is None or left else given.shape[2] - patch
    region = width if given is None else width - given.shape[2] + patch
    if config.wrap and width % space.scale:
        raise InvalidRequest(
            f"width {width} of a wrapped image is not a multiple of {space.scale}.", field="width"
        )
    side, stride = patch // space.scale, max(1, round(config.stride * patch / space.scale))
    rows, columns = math.ceil(height / space.scale), math.ceil(region / space.scale)
    tops, lefts = starts(rows, side, stride), starts(columns, side, stride)
    if config.wrap:
        lefts = list(range(0, columns, stride))
    if given is not None and left:
        lefts.reverse()
    canvas = crops(rows, columns, side, tops, lefts)
    prompts = prompts_of(config, canvas, space.scale, origin, width >= height)

    recorded = None
    if given is not None:
        edge = given[:, :, :patch] if left else given[:, :, -patch:]
        below = rows * space.scale - height
        edge = torch.nn.functional.pad(edge, (0, 0, 0, below), mode="replicate")
        pixels = [edge[:, top * space.scale :][:, :patch] for top in tops]
        latents = space.encode(torch.stack(pixels))
        recorded = yield from session.invert(latents, prompts[: len(tops)])
    alive = prompts if recorded is None else prompts[len(tops) :]
    unwanted = [config.negative_prompt or ""] * len(alive)
    if exemplar is not None and like is not None:
        denoiser = lay(config, exemplar, like, canvas, side)
        decoded = partial(finished, config, exemplar, like, canvas)
    else:
        denoiser = session.guided(alive, unwanted, PAPER_GUIDANCE)
        decoded = partial(decode, session, canvas, config.wrap)
    y = yield from session.synchronize(
        denoiser,
        canvas.overlap(),
        (side, side),
        inputs,
        shared_noise=config.shared_noise,
        recorded=recorded,
        starts=None if recorded is None else dict(enumerate(recorded[0])),
        picture=canvas.composed,
    )

    yield Progress("write", 0, 1)
    with session.clock.measure("decode"):
        image = decoded(y)[:, :height, :region]
    if given is not None:
        image = join(given, image, patch, left)
    return session.finish(
        {"image.png": pictures.png(pictures.to_bytes(image))},
        width=width,
        height=height,
        patch_size=patch,
        negative_prompt=config.negative_prompt or "",
    )


def size_of(config: WideConfig, patch: int, given: Tensor | None) -> tuple[int, int]:
    """Height and width in pixels: what is asked for; else one patch high and four wide."""
    if given is not None:
        return extended_size(config, patch, given)
    height = config.height or patch
    width = config.width or (4 * patch if height == patch else patch)
    for name, side in {"width": width, "height": height}.items():
        if side < patch:
            raise InvalidRequest(
                f"{name} {side} is below one patch of {patch} pixels.",
                hint=f"Ask for at least {patch}, or for a smaller patch_size.",
                field=name,
            )
    return height, width


def prompts_of(
    config: WideConfig, canvas: Canvas, scale: int, origin: int, wide: bool
) -> list[str]:
    """Each patch shows what is asked for at its middle, along columns or, if not `wide`, rows.

    The canvas begins at pixel `origin` of the image.
    """
    middle = canvas.cells[:, canvas.cells.shape[1] // 2, canvas.cells.shape[2] // 2]
    along = middle % canvas.width if wide else middle // canvas.width
    middles = [(cell + 0.5) * scale + (origin if wide else 0) for cell in along.tolist()]
    changes = sorted(config.prompt_at, key=lambda change: change[0])
    for place, text in changes:
        if not 0 <= place <= max(middles):
            raise InvalidRequest(
                f"prompt_at {place} ({text!r}) is not between 0 and {max(middles):.0f}, the middle "
                "of the last patch.",
                field="prompt_at",
            )
    prompts = []
    for here in middles:
        before = [text for place, text in changes if place <= here]
        prompts.append(before[-1] if before else config.prompt)
    return prompts


def decode(session: Session, canvas: Canvas, wrap: bool, y: Tensor) -> Tensor:
    """Decode the canvas (C, H, W) alone; a wrapped one with its own ends beside it."""
    latents = canvas.composed(y)
    if not wrap:
        return session.model.decode(latents[None])[0]
    margin = min(16, latents.shape[2])
    around = torch.cat([latents[:, :, -margin:], latents, latents[:, :, :margin]], dim=2)
    pixels = margin * session.model.scale
    return session.model.decode(around[None])[0][:, :, pixels:-pixels]
