# SPDX-License-Identifier: GPL-3.0-or-later
"""A task of one's own in one file: a square image that tiles along both sides.

    export SYNCSDE_TASKS=examples/seamless.py
    syncsde seamless --prompt "a mossy stone wall" --size 512 --output out/
    syncsde compare seamless --prompt "a mossy stone wall" --output out/

Patches lie on a torus: what reaches over an edge goes on at the opposite one.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping
from typing import Annotated

from pydantic import Field
from pydantic.dataclasses import dataclass

from syncsde_engine.config import STRICT, Sampling, Text, ViewSize
from syncsde_engine.errors import InvalidRequest
from syncsde_engine.tasks import Artifacts, Progress

MARGIN = 8  # cells of what lies around, for the decoder to look at


@dataclass(frozen=True, kw_only=True, config=STRICT)
class Config(Sampling):
    """Make a square image that tiles along both sides."""

    prompt: Annotated[Text, Field(description="what the image shows")]
    size: Annotated[ViewSize, Field(description="side of the image in pixels")] = 512
    patch_size: Annotated[
        ViewSize | None, Field(description="side of a patch in pixels; default: the model's")
    ] = None


def run(config: Config, inputs: Mapping[str, bytes]) -> Generator[Progress, None, Artifacts]:
    """Sample all patches together. Raises InvalidRequest for an image smaller than a patch."""
    import torch  # not before a run: the command line and the engine process start without it

    from syncsde_engine import pictures
    from syncsde_engine.method.canvas import Canvas
    from syncsde_engine.tasks.session import Session

    yield Progress("load", 0, 1)
    session = Session("seamless", config)
    model, patch = session.model, config.patch_size or session.settings.image_size
    if config.size < patch:
        raise InvalidRequest(f"size {config.size} is below a patch of {patch}.", field="size")
    side, cells = patch // model.scale, config.size // model.scale
    starts = range(0, cells, side // 2)
    around = [(start + torch.arange(side)) % cells for start in starts]
    places = torch.stack([rows[:, None] * cells + columns for rows in around for columns in around])
    canvas = Canvas(cells, cells, places, torch.ones(places.shape))

    count = len(places)
    denoiser = session.guided([config.prompt] * count, [config.negative_prompt or ""] * count, 7.5)
    y = yield from session.synchronize(
        denoiser, canvas.overlap(), (side, side), inputs, shared_noise=True, picture=canvas.composed
    )
    yield Progress("write", 0, 1)
    with session.clock.measure("decode"):
        whole = torch.nn.functional.pad(canvas.composed(y)[None], [MARGIN] * 4, mode="circular")
        inner = slice(MARGIN * model.scale, -MARGIN * model.scale)
        image = model.decode(whole)[0, :, inner, inner]
    return session.finish({"image.png": pictures.png(pictures.to_bytes(image))})
