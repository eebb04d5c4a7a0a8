# SPDX-License-Identifier: GPL-3.0-or-later
"""Editing methods that the paper compares itself with, each from its own publication."""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

from ..config import EditConfig
from ..errors import InvalidRequest
from ..method.noise import Noise, gaussian
from ..method.sampler import Denoiser
from ..method.schedule import Step
from ..method.sparse import Coupling
from ..method.strategies import Independent
from ..models.attention import Layer
from ..models.attention_maps import self_attention_layers
from ..models.stable_diffusion import StableDiffusion
from . import Progress
from .session import Session

GUIDANCE = {"masactrl": 7.5, "pti": 7.5}  # as published
PAPER_GUIDANCE = 5.0  # for those that publish none, as the paper's own editing has it
MASACTRL_FROM_STEP = 4 / 50
MASACTRL_FROM_LAYER = 10 / 16
PTI_UPDATES = 5  # of the embedding in every step
PTI_RATE = 1e-2
PTI_TARGET = 0.8  # share of the target's embedding in the mixture


class Edited(NamedTuple):
    result: Tensor  # (C, h, w) clean latent
    source: Tensor | None  # the same, where the method reconstructs the source


class Rival(NamedTuple):
    """Another method of editing."""

    edit: Callable[[Session, EditConfig, Tensor], Generator[Progress, None, Edited]]
    inverts: bool = True  # whether it starts from the noise that the image comes from
    named: bool = True  # whether that noise is sought with the source's words


def ddib(session: Session, config: EditConfig, path: Tensor) -> Generator[Progress, None, Edited]:
    """Sample the target from the source's own noise (arXiv:2203.08382).

    `path` (S + 1, 1, C, h, w) is the inversion of the source, noisiest first.
    """
    y = yield from resample(session, path[0], session.steps, target(session, config))
    return Edited(y[0], None)


def sdedit(session: Session, config: EditConfig, path: Tensor) -> Generator[Progress, None, Edited]:
    """Forget the source up to a noise level, go on with the target (arXiv:2108.01073).

    Of `path` only the clean end is used.
    """
    redone = max(1, round(config.strength * len(session.steps)))
    steps = session.steps[-redone:]
    noise = gaussian(config.seed, 0, 0, path.shape[2:]).to(path)
    y = steps[0].alpha ** 0.5 * path[-1] + (1 - steps[0].alpha) ** 0.5 * noise
    y = yield from resample(session, y, steps, target(session, config))
    return Edited(y[0], None)


def masactrl(
    session: Session, config: EditConfig, path: Tensor
) -> Generator[Progress, None, Edited]:
    """Sample source and target from the same noise; the target looks at the source's contents.

    arXiv:2304.08465. The source is inverted and sampled without any words.
    """
    attend = MutualSelfAttention(self_attention_layers(session.stable_diffusion.unet))
    denoiser = session.guided(
        ["", config.prompt], [config.negative_prompt or ""] * 2, GUIDANCE["masactrl"], attend=attend
    )
    y = yield from resample(session, path[0].repeat(2, 1, 1, 1), session.steps, denoiser)
    return Edited(y[1], y[0])


def pti(session: Session, config: EditConfig, path: Tensor) -> Generator[Progress, None, Edited]:
    """Prompt Tuning Inversion (arXiv:2305.04441): words that lead along the inversion, then mixed.

    Paper: how its authors ran it is not said; from the same noise, with the source's words to begin
    with.
    """
    model, scale = session.stable_diffusion, session.guidance_scale(GUIDANCE["pti"])
    if model.text.second is not None:
        raise InvalidRequest(
            "pti tunes the words of one text encoder, and SDXL has two.",
            hint="Take another strategy, or a model of Stable Diffusion 1 or 2.",
            field="strategy",
        )
    session.results["guidance_scale"] = scale
    unwanted, source, wanted = model.encode_prompts(
        [config.negative_prompt or "", config.source_prompt, config.prompt]
    ).split(1)
    y, tuned = path[0], []
    with session.clock.measure("tune"):
        for step, goal in zip(session.steps, path[1:], strict=True):
            source, y = tune(model, scale, unwanted, source, y, goal, step)
            tuned.append(source)
            yield Progress("tune", step.index + 1, step.total)
    mixed = [torch.lerp(words, wanted, PTI_TARGET) for words in tuned]
    edited = yield from resample(
        session, path[0], session.steps, Tuned(model, scale, unwanted, mixed)
    )
    return Edited(edited[0], y[0])


RIVALS = {
    "ddib": Rival(ddib),
    "sdedit": Rival(sdedit, inverts=False),
    "masactrl": Rival(masactrl, named=False),
    "pti": Rival(pti),
}


def rival_of(config: EditConfig, inputs: Mapping[str, bytes]) -> Rival | None:
    """The rival that is asked for, if one is. Raises InvalidRequest."""
    found = RIVALS.get(config.strategy)
    if found is not None and "noise" in inputs:
        raise InvalidRequest(
            f"{config.strategy} does not start from given noise, but from the image.",
            hint="Leave out noise, or take a strategy that synchronizes.",
            field="inputs.noise",
        )
    return found


def target(session: Session, config: EditConfig) -> Denoiser:
    return session.guided([config.prompt], [config.negative_prompt or ""], PAPER_GUIDANCE)


def resample(
    session: Session, y: Tensor, steps: Sequence[Step], denoiser: Denoiser
) -> Generator[Progress, None, Tensor]:
    """Sample (N, C, h, w) without any synchronization."""
    count, channels, height, width = y.shape
    noise = Noise(session.config.seed, (count, channels, height, width), y.device)
    nothing = Coupling(torch.zeros(0, dtype=torch.int64), ())
    return (
        yield from session.sample("views", y, steps, denoiser, Independent(), nothing, noise.fresh)
    )


@dataclass(frozen=True)
class MutualSelfAttention:
    """From some step and some self-attention layer on, all look at the first one's contents."""

    layers: int  # self-attention layers of the UNet

    mixes = True

    def __call__(
        self, layer: Layer, step: Step, query: Tensor, key: Tensor, value: Tensor
    ) -> Tensor:
        early = step.index < MASACTRL_FROM_STEP * step.total
        if not layer.cross and not early and layer.index >= MASACTRL_FROM_LAYER * self.layers:
            # One half is unwanted, the other wanted; a trajectory looks at the first of its half.
            halves = key.shape[0] // 2
            first = torch.arange(halves, device=key.device).repeat_interleave(2) * 2
            key, value = key[first], value[first]
        return scaled_dot_product_attention(query, key, value)


@dataclass(frozen=True)
class Tuned:
    """Guidance with an embedding of its own for every step."""

    model: StableDiffusion
    guidance_scale: float
    unwanted: Tensor  # (1, tokens, width)
    words: Sequence[Tensor]  # the same, one for each step

    @torch.no_grad()
    def predict_noise(self, y: Tensor, step: Step) -> Tensor:
        unwanted = self.model.predict(y, step, self.unwanted)
        wanted = self.model.predict(y, step, self.words[step.index])
        return unwanted + self.guidance_scale * (wanted - unwanted)


def tune(
    model: StableDiffusion,
    guidance_scale: float,
    unwanted: Tensor,
    words: Tensor,
    y: Tensor,
    goal: Tensor,
    step: Step,
) -> tuple[Tensor, Tensor]:
    """Make a guided step lead from `y` to `goal` by its words. Returns words and where it leads."""
    with torch.no_grad():
        away = model.predict(y, step, unwanted)

    def arrive(words: Tensor) -> Tensor:
        return step.ddim(y, away + guidance_scale * (model.predict(y, step, words) - away))

    words = words.detach().clone().requires_grad_()
    optimizer = torch.optim.Adam([words], lr=PTI_RATE)
    with torch.enable_grad():
        for _ in range(PTI_UPDATES):
            loss = (arrive(words) - goal).square().sum()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    words = words.detach()
    with torch.no_grad():
        return words, arrive(words)
