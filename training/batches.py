# SPDX-License-Identifier: GPL-3.0-or-later
# The libraries annotate less than they accept and return.
# pyright: reportArgumentType=false, reportAttributeAccessIssue=false
"""What a diffusion step sees: windows of encoded views, fresh captions, depth, noise, times."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from random import Random
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from numpy.lib.format import open_memmap
from torch import Tensor
from transformers import CLIPTokenizer

from .captions import UNCONDITIONAL, write_caption
from .checkpoint import replace_file
from .data import Renders
from .networks import LATENT_SCALE
from .plan import Plan
from .scenes import KINDS
from .tokenizer import encode

log = logging.getLogger(__name__)

FIRST_STEP = 900  # samplers of ten steps and more begin from here on
FAINT_STEP = 700  # and know from here on where each stripe is
_COARSE = 9  # cells, over which patterns average out


class Batch(NamedTuple):
    latents: Tensor  # (N, 4, w, w) float32, clean
    noise: Tensor  # like latents
    timesteps: Tensor  # (N,) long
    tokens: Tensor  # (N, text_length) long
    depth: Tensor | None  # (N, 3, 8 w, 8 w) float32 in [0, 1]; None goes without the ControlNet
    weight: Tensor  # (N, 1, w, w) float32, mean about 1
    shown: Tensor  # like latents: what of the picture is in its noisy state, usually all

    def each(self, change: Callable[[Tensor], Tensor]) -> Batch:
        return Batch(*(None if tensor is None else change(tensor) for tensor in self))


def encode_renders(
    plan: Plan,
    renders: Renders,
    vae: AutoencoderKL,
    path: Path,
    out_of_time: Callable[[], bool],
    device: torch.device,
) -> np.ndarray | None:
    """Encode all views once, (N, 4, size / 8, size / 8) float16; None if the slice ended first.

    What is done already lies beside it, so a run that is killed loses little.
    """
    if path.exists():
        return np.load(path, mmap_mode="r")
    cells = plan.size // LATENT_SCALE
    shape = (len(renders), plan.latent_channels, cells, cells)
    begun, count = path.with_name("latents.part.npy"), path.with_name("latents.count")
    done = int(count.read_text()) if count.exists() and begun.exists() else 0
    latents = open_memmap(begun, "r+" if done else "w+", np.float16, shape)
    pace = 16 if device.type == "cpu" else 64
    for first in range(done, len(renders), pace):
        if out_of_time():
            return None
        rows = range(first, min(first + pace, len(renders)))
        images = torch.from_numpy(np.stack([renders.image(i) for i in rows])).to(device)
        with torch.no_grad(), torch.autocast(device.type, torch.bfloat16):
            mean = vae.encode(images / 127.5 - 1).latent_dist.mean
        latents[first : rows.stop] = mean.float().cpu().numpy()
        latents.flush()
        replace_file(count, lambda part, done=rows.stop: part.write_text(str(done)))
        if first // pace % 64 == 0:
            log.info("encode: %d of %d", rows.stop, len(renders))
    del latents
    begun.rename(path)
    count.unlink()
    return np.load(path, mmap_mode="r")


class Batches:
    """Draws batches that depend on nothing but the plan's seed and the step."""

    def __init__(
        self, plan: Plan, renders: Renders, latents: np.ndarray, tokenizer: CLIPTokenizer
    ) -> None:
        self._plan, self._renders, self._latents = plan, renders, latents
        self._tokenizer = tokenizer
        self._trained = len(renders) - plan.held_back
        self._groups = [self._rows(kind, 0, self._trained) or [0] for kind in KINDS]

    def _rows(self, kind: str, first: int, end: int) -> list[int]:
        return [row for row in range(first, end) if self._renders.scenes[row].kind == kind]

    def first_phase(self, step: int) -> Batch:
        """A batch of windows of all kinds, for the UNet alone."""
        rng = Random(self._plan.seed * 7_000_003 + step)
        return self._draw(self._plan.shares, self._plan.window, rng)._replace(depth=None)

    def joint(self, step: int) -> Batch:
        """Objects with depth, in windows or whole; or views of any kind through the UNet alone.

        The latter are always whole: a window cannot know where top and bottom are. All batches
        cost about the same, so a kind's share is one of work, not of samples.
        """
        plan, rng = self._plan, Random(self._plan.seed * 7_000_003 + step)
        cells = plan.size // LATENT_SCALE
        objects, *others = plan.shares
        alone = (objects * plan.alone, *others)
        if rng.random() * sum(plan.shares) < sum(alone):
            batch = self._draw(alone, cells, rng)
            noisier = (batch.timesteps / 1000) ** (1 / plan.alone_noisier)
            return batch._replace(depth=None, timesteps=(1000 * noisier).long())
        whole = rng.random() < plan.whole_view_share
        return self._draw((1.0, 0.0, 0.0, 0.0), cells if whole else plan.window, rng)

    def _draw(self, shares: Sequence[float], window: int, rng: Random) -> Batch:
        """As many windows as cost the same as the plan's batch of the plan's windows."""
        plan = self._plan
        count = max(1, plan.batch * plan.window**2 // window**2)
        rows = [rng.choice(group) for group in rng.choices(self._groups, shares, k=count)]
        captions = [
            "" if rng.random() < UNCONDITIONAL else write_caption(self._renders.scenes[row], rng)
            for row in rows
        ]
        batch = self._collect(rows, captions, window, rng, plan.depth_dropped)
        return self._as_sampled(batch, rng)

    def _as_sampled(self, batch: Batch, rng: Random) -> Batch:
        """Show a part of the batch in states that only a sampler comes through.

        At the schedule's end 7 % of a picture are left in its noise, and over a hundred cells that
        tells the color, and where each stripe is. A network that has always seen it trusts it
        more than the caption. But a sampler starts from noise alone, in which there is no color
        and only by chance a little of any pattern, and goes on with a first guess whose color is
        right and whose pattern is weak. So `first_steps` of the samples show no color and too
        little of their pattern, and `faint` show their color and too little of their pattern.
        """
        plan, several = self._plan, (-1, 1, 1, 1)
        count = len(batch.timesteps)
        odds = (plan.first_steps, plan.faint, 1 - plan.first_steps - plan.faint)
        modes = rng.choices(("first", "faint", "usual"), odds, k=count)
        first = torch.tensor([mode == "first" for mode in modes])
        usual = torch.tensor([mode == "usual" for mode in modes])
        late = torch.tensor([rng.randrange(FIRST_STEP, 1000) for _ in modes])
        middle = torch.tensor([rng.randrange(FAINT_STEP, 1000) for _ in modes])
        weak = torch.tensor([rng.random() for _ in modes])
        color = _coarse(batch.latents, batch.depth)
        pattern = (batch.latents - color) * weak.masked_fill(usual, 1.0).view(several)
        return batch._replace(
            timesteps=batch.timesteps.where(usual, late.where(first, middle)),
            shown=color.masked_fill(first.view(several), 0.0) + pattern,
        )

    def validation(self, kind: str, count: int, window: int) -> Batch | None:
        """Held-back views of a kind, always the same windows, captions, times and noise."""
        rows = self._rows(kind, self._trained, len(self._renders))[:count]
        if not rows:
            return None
        rng = Random(1)
        captions = [write_caption(self._renders.scenes[row], rng) for row in rows]
        batch = self._collect(rows, captions, window, rng, 0.0)
        spread = (torch.arange(len(rows)) * 1000 + 500) // len(rows)
        return batch._replace(timesteps=spread, weight=torch.ones_like(batch.weight))

    def tokens(self, captions: list[str]) -> Tensor:
        """(N, text_length) long."""
        return encode(self._tokenizer, captions, self._plan)

    def _collect(
        self, rows: list[int], captions: list[str], window: int, rng: Random, dropped: float
    ) -> Batch:
        latents, depths, plain = [], [], []
        span = self._plan.size // LATENT_SCALE - window
        for row in rows:
            # Of two windows the one with more of the object: what is behind it is soon learned.
            whole = self._renders.depth(row)
            corners = [(rng.randint(0, span), rng.randint(0, span)) for _ in range(2)]
            cuts = [(_cut(whole, corner, window, LATENT_SCALE), corner) for corner in corners]
            depth, corner = max(cuts, key=lambda cut: np.count_nonzero(cut[0]))
            latents.append(_cut(self._latents[row], corner, window))
            depths.append(np.zeros_like(depth) if rng.random() < dropped else depth)
            plain.append(self._renders.scenes[row].kind == "object")
        generator = torch.Generator().manual_seed(rng.randrange(1 << 40))
        clean = torch.from_numpy(np.stack(latents)).float()
        depth = torch.from_numpy(np.stack(depths)).float()[:, None] / 255
        return Batch(
            latents=clean,
            noise=torch.randn(clean.shape, generator=generator),
            timesteps=torch.randint(0, 1000, (len(rows),), generator=generator),
            tokens=self.tokens(captions),
            depth=depth.expand(-1, 3, -1, -1),
            weight=self._weight(depth, torch.tensor(plain)),
            shown=clean,
        )

    def _weight(self, depth: Tensor, plain: Tensor) -> Tensor:
        """Flat backgrounds are easy and large: they count less than the object on them."""
        covered = F.max_pool2d(_covered(depth), 3, 1, 1)
        # A dropped or empty depth map says nothing about what is background.
        known = (covered.amax((1, 2, 3)) > 0) & plain
        weight = torch.where(
            known[:, None, None, None] & (covered == 0), self._plan.background_weight, 1.0
        )
        return weight / weight.mean()


def _cut(image: np.ndarray, corner: tuple[int, int], window: int, scale: int = 1) -> np.ndarray:
    """A square window of an image (..., H, W) that has `scale` pixels per latent cell."""
    top, left = (scale * cells for cells in corner)
    return image[..., top : top + scale * window, left : left + scale * window]


def _covered(depth: Tensor) -> Tensor:
    """Latent cells (N, C, w, w) that show anything of the object, 1 or 0."""
    return F.max_pool2d((depth > 0).float(), LATENT_SCALE)


def _coarse(latents: Tensor, depth: Tensor) -> Tensor:
    """Means over surroundings, of the object and of what is behind it apart."""
    inside = _covered(depth[:, :1])
    mean = torch.zeros_like(latents)
    for part in (inside, 1 - inside):
        total, count = (
            F.avg_pool2d(values, _COARSE, 1, _COARSE // 2) for values in (latents * part, part)
        )
        mean += part * total / count.clamp(min=1e-6)
    return mean
