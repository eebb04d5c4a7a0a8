# SPDX-License-Identifier: GPL-3.0-or-later
"""Ambiguous images: one picture that shows something else when it is turned.

Section 3.3.4 of the paper, Eqs. 16 and 17: every view is a permutation of all pixels and is
conditioned on the view before it. The last view, turned back upright, is the picture.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping

import torch
from torch import Tensor

from .. import pictures
from ..config import MOST_LAYERS, AmbiguousConfig
from ..errors import InvalidRequest
from ..method.noise import gaussian
from ..method.sampler import Denoiser
from ..method.schedule import Step
from ..method.sparse import Coupling
from ..method.strategies import Independent
from ..method.transforms import turned
from ..models import catalog
from ..models.deepfloyd import DeepFloyd, GuidedPixels, Upscaler
from . import Artifacts, Progress
from .session import Session

PAPER_GUIDANCE = 10.0
# Of the small picture in the second stage. Paper: not said; the authors' code has 250, their rivals
# have 50 and synchronize the second stage. Here all have the authors', and enlarge one picture.
NOISE_LEVEL = 250
SHEET_CELL = 256  # pixels


def run(
    config: AmbiguousConfig, inputs: Mapping[str, bytes]
) -> Generator[Progress, None, Artifacts]:
    """Make the picture, and show it as each of its views.

    The last view is decoded as its prompt says it is seen, then its pixels are moved. (A network's
    latents do not turn with the picture; and the skew of latents is coarser than that of pixels.)

    Raises InvalidRequest, MissingWeights, DeviceUnavailable, OutOfMemory or NumericalFailure.
    """
    yield Progress("load", 0, 1)
    session = Session("ambiguous", config)
    model = session.model
    upscaler = load_upscaler(session, config.upscaler)
    size = config.size or session.settings.image_size
    side = size // model.scale
    unwanted = [config.negative_prompt or ""] * len(config.prompt)
    denoiser = session.guided(config.prompt, unwanted, PAPER_GUIDANCE)
    overlap = turned(config.transform, side).overlap()
    y = yield from session.synchronize(
        denoiser, overlap, (side, side), inputs, picture=lambda y: y[-1]
    )
    last = y[-1:]
    if upscaler is not None:
        last = yield from upscale(session, upscaler, last, denoiser)

    yield Progress("write", 0, 1)
    with session.clock.measure("decode"):
        seen = model.decode(last)
        canvas = turned(config.transform, seen.shape[-1])
        # Later layers hide earlier ones: of this canvas, only the last view is seen.
        image = canvas.composed(seen.expand(len(config.prompt), -1, -1, -1))
    files = show(config, image, canvas.seen(image))
    return session.finish(files, size=size, negative_prompt=unwanted[0])


def load_upscaler(session: Session, name: str | None) -> Upscaler | None:
    """Load the second stage, if one is asked for. Raises InvalidRequest or MissingWeights."""
    if name is None:
        return None
    if not isinstance(session.model, DeepFloyd):
        raise InvalidRequest(
            f"The model {session.config.model!r} cannot be followed by an upscaler.",
            hint="Use it with the first stage of DeepFloyd IF, or leave it out.",
            field="upscaler",
        )
    folder = catalog.locate(name, "upscaler")
    config = session.config
    upscaler = Upscaler.load(folder, session.model, config.precision, config.compile)
    files = catalog.weights_in(folder / "unet")
    session.results["upscaler_sha256"] = catalog.fingerprint(files)
    return upscaler


def upscale(
    session: Session, upscaler: Upscaler, small: Tensor, asked: Denoiser
) -> Generator[Progress, None, Tensor]:
    """Enlarge the last trajectory's (1, 3, h, w), with as many steps and as much guidance."""
    assert isinstance(asked, GuidedPixels)
    config = session.config
    shape = (3, *(side * upscaler.factor for side in small.shape[-2:]))

    def draw(number: int, step: int) -> Tensor:
        # Numbered after all trajectories, so that nothing is drawn twice.
        noise = gaussian(config.seed, MOST_LAYERS + number, step, shape)
        return noise[None].to(session.device)

    def fresh(step: Step) -> Tensor | None:
        return draw(0, step.index + 1) if step.sigma else None

    denoiser = upscaler.guided(small, asked, draw(1, 0), NOISE_LEVEL)
    alone = Independent()
    nobody = Coupling(torch.empty(0, dtype=torch.int64), ())
    large = draw(0, 0)
    return (
        yield from session.sample("upscale", large, session.steps, denoiser, alone, nobody, fresh)
    )


def show(config: AmbiguousConfig, image: Tensor, views: Tensor) -> Artifacts:
    """The picture, its views (N, 3, H, W), and a sheet of them under their prompts."""
    files = {"image.png": pictures.png(pictures.to_bytes(image))}
    row = []
    names = ("as it is", *config.transform)
    for number, (view, name, prompt) in enumerate(zip(views, names, config.prompt, strict=True)):
        pixels = pictures.to_bytes(view)
        files[f"views/{number:02d}.png"] = pictures.png(pixels)
        row.append((f"{name}: {prompt}"[: SHEET_CELL // 6], pixels))
    title = f"{config.strategy}, seed {config.seed}"
    return files | {"sheet.png": pictures.png(pictures.contact_sheet([row], title, SHEET_CELL))}
