# SPDX-License-Identifier: GPL-3.0-or-later
"""Mask-based text-to-image: a background, foregrounds in their masks, and the whole image.

Section 3.3.1 of the paper, Eqs. 8 to 11: identity views, one layer for each region, and a last
trajectory with the prompt of the whole image that is conditioned on all of them.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from .. import pictures
from ..config import MaskConfig
from ..errors import InvalidRequest
from ..method.canvas import Canvas
from ..method.noise import gaussian
from ..method.sampler import Denoiser
from ..method.schedule import Step
from ..models.exemplar import Exemplar
from . import Artifacts, Progress, mask_likeness
from .session import Session

PAPER_GUIDANCE = 7.5
BOOTSTRAPPED = 0.4  # share of the steps, MultiDiffusion's 20 of 50
# Paper: its colors are noised with the initial noise; ours with noise of their own.


def run(config: MaskConfig, inputs: Mapping[str, bytes]) -> Generator[Progress, None, Artifacts]:
    """Make the image; as tall and wide as the first mask is, its shorter side the model's size.

    Raises InvalidRequest, MissingWeights, DeviceUnavailable, OutOfMemory or NumericalFailure.
    """
    masks = read_masks(config, inputs)
    yield Progress("load", 0, 1)
    likes = mask_likeness.likenesses(config, inputs)
    exemplar = None if likes is None else Exemplar([like.picture for like in likes])
    session = Session("mask", config, exemplar=exemplar)
    space = session.space
    if exemplar is not None and likes is not None:
        exemplar.scale = mask_likeness.scale(config, exemplar.pictures)
        session.results["materials"] = mask_likeness.report(likes)
    short = config.size or session.settings.image_size
    tall, across = masks[0].shape
    height, width = pictures.fit(tall, across, short, space.scale * 8)
    size = (height // space.scale, width // space.scale)
    labels = topmost(masks, *size)

    regions = len(config.foreground) + 1
    bootstrapped = session.strategy().bootstraps
    canvas = layers(labels, regions, whole=not bootstrapped)
    if exemplar is None:
        prompts = [config.background, *config.foreground, config.prompt][: len(canvas.cells)]
        unwanted = [config.negative_prompt or ""] * len(prompts)
        denoiser = session.guided(prompts, unwanted, PAPER_GUIDANCE)
        if bootstrapped:
            denoiser = bootstrap(denoiser, session, canvas.weight)
    else:  # patches stay in their region: there is nothing to hide from them
        denoiser = mask_likeness.lay(config, exemplar, labels, len(canvas.cells))

    def composed(y: Tensor) -> Tensor:
        whole = canvas.composed(y)
        return whole if exemplar is None else mask_likeness.colored(exemplar, labels, whole)

    y = yield from session.synchronize(denoiser, canvas.overlap(), size, inputs, picture=composed)

    yield Progress("write", 0, 1)
    with session.clock.measure("decode"):
        whole = canvas.composed(y)
        if exemplar is None:
            image = session.model.decode(whole[None])[0]
        else:
            image = mask_likeness.finished(config, exemplar, masks, labels, whole)
    return session.finish(
        {"image.png": pictures.png(pictures.to_bytes(image))},
        size=short,
        negative_prompt=config.negative_prompt or "",
    )


def read_masks(config: MaskConfig, inputs: Mapping[str, bytes]) -> list[Tensor]:
    """Masks as (H, W) bool, in the order of the foregrounds. Raises InvalidRequest."""
    names = ["mask", *(f"mask_{number}" for number in range(2, len(config.foreground) + 1))]
    given = [name for name in inputs if name.startswith("mask")]
    if sorted(given) != sorted(names):
        raise InvalidRequest(
            f"There are {len(config.foreground)} foregrounds and {len(given)} masks.",
            hint="Give one mask for each foreground.",
            field="foreground",
        )
    masks = [pictures.read_mask(inputs[name], f"inputs.{name}") > 0.5 for name in names]
    pictures.require_aspect(masks[0], "inputs.mask", "mask")
    return masks


def topmost(masks: Sequence[Tensor], height: int, width: int) -> Tensor:
    """Which region is on top in each cell: 0 the background, k the k-th mask. (h, w) int64."""
    labels = torch.zeros(height, width, dtype=torch.int64)
    for number, mask in enumerate(masks, start=1):
        small = torch.nn.functional.interpolate(mask[None, None].float(), (height, width))[0, 0]
        labels[small > 0] = number
    for number in range(len(masks) + 1):
        if not (labels == number).any():
            place = "nothing" if number else "everything"
            which = f"Mask {number} covers" if number else "The masks together cover"
            which = "The mask covers" if len(masks) == 1 else which
            hidden = " that later masks leave free" if 0 < number < len(masks) else ""
            raise InvalidRequest(
                f"{which} {place}{hidden}, at the model's {width} x {height} cells.",
                hint="White is the foreground, black the background; both are needed.",
                field="inputs.mask",
            )
    return labels


def layers(labels: Tensor, regions: int, whole: bool) -> Canvas:
    """One trajectory for each region that paints there, and one that paints everything.

    Paper: Eq. 23 prints the sum of two layers where its text says average; weights of a region
    (B, 1 - B) and of the whole (1) give that average to the strategies that take means.
    """
    height, width = labels.shape
    weights = [(labels == number).float() for number in range(regions)]
    if whole:
        weights.append(torch.ones(height, width))
    cells = torch.arange(height * width).view(1, height, width)
    return Canvas(height, width, cells.expand(len(weights), -1, -1), torch.stack(weights))


@dataclass(frozen=True)
class Bootstrapped:
    """Show foregrounds a plain color outside their mask, early (arXiv:2302.08113, section 5.2)."""

    denoiser: Denoiser
    outside: Tensor  # (N, 1, h, w): 1 where a trajectory does not paint; 0 for the background
    color: Tensor  # (N, C, h, w) clean latents
    noise: Tensor  # (N, C, h, w)

    def predict_noise(self, y: Tensor, step: Step) -> Tensor:
        if step.index < BOOTSTRAPPED * step.total:
            plain = step.alpha**0.5 * self.color + (1 - step.alpha) ** 0.5 * self.noise
            y = torch.where(self.outside > 0, plain, y)
        return self.denoiser.predict_noise(y, step)


def bootstrap(denoiser: Denoiser, session: Session, weight: Tensor) -> Bootstrapped:
    model, device = session.model, session.device
    count, height, width = weight.shape
    shape = (model.channels, height, width)
    draws = [gaussian(session.config.seed, i, 2**31, shape) for i in range(count)]
    colors = torch.stack([torch.special.ndtr(draw[0, 0, :3]) for draw in draws])  # uniform
    plain = colors[:, :, None, None].expand(-1, -1, height * model.scale, width * model.scale)
    outside = (weight[:, None] == 0).float()
    outside[0] = 0
    color = model.encode(plain.to(device))
    return Bootstrapped(denoiser, outside.to(device), color, torch.stack(draws).to(device))
