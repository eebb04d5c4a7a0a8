# SPDX-License-Identifier: GPL-3.0-or-later
# The libraries annotate less than they accept and return.
# pyright: reportAttributeAccessIssue=false
"""What a diffusion step sees: windows of encoded views, fresh captions, depth, noise, times."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from torch import Tensor
from transformers import CLIPTokenizer

from .captions import UNCONDITIONAL, write_caption
from .checkpoint import replace_file
from .data import Renders
from .networks import LATENT_CHANNELS, LATENT_SCALE
from .plan import Plan

log = logging.getLogger(__name__)


class Batch(NamedTuple):
    latents: Tensor  # (N, 4, w, w) float32, clean
    noise: Tensor  # like latents
    timesteps: Tensor  # (N,) long
    tokens: Tensor  # (N, text_length) long
    depth: Tensor  # (N, 3, 8 w, 8 w) float32 in [0, 1]
    weight: Tensor  # (N, 1, w, w) float32, mean about 1

    def to(self, device: torch.device) -> Batch:
        return Batch(*(tensor.to(device) for tensor in self))


def encode_renders(
    plan: Plan,
    renders: Renders,
    vae: AutoencoderKL,
    path: Path,
    out_of_time: Callable[[], bool],
    device: torch.device,
) -> np.ndarray | None:
    """Encode all views once, (N, 4, size / 8, size / 8) float16; None if the slice ended first."""
    if path.exists():
        return np.load(path, mmap_mode="r")
    cells = plan.size // LATENT_SCALE
    latents = np.empty((len(renders), LATENT_CHANNELS, cells, cells), np.float16)
    pace = 16 if device.type == "cpu" else 64
    for first in range(0, len(renders), pace):
        if out_of_time():
            return None
        rows = range(first, min(first + pace, len(renders)))
        images = torch.from_numpy(np.stack([renders.image(i) for i in rows])).to(device)
        with torch.no_grad(), torch.autocast(device.type, torch.bfloat16):
            mean = vae.encode(images / 127.5 - 1).latent_dist.mean
        latents[first : rows.stop] = mean.float().cpu().numpy()
        if first % (pace * 64) == 0:
            log.info("encode: %d of %d", rows.stop, len(renders))
    # Written through a handle: np.save would append .npy to the temporary name.
    replace_file(path, lambda temporary: _save(temporary, latents))
    return latents


def _save(path: Path, values: np.ndarray) -> None:
    with path.open("wb") as file:
        np.save(file, values)


class Batches:
    """Draws batches that depend on nothing but the plan's seed and the step."""

    def __init__(
        self, plan: Plan, renders: Renders, latents: np.ndarray, tokenizer: CLIPTokenizer
    ) -> None:
        self._plan, self._renders, self._latents = plan, renders, latents
        self._tokenizer = tokenizer
        self._trained = len(renders) - plan.held_back
        rows = range(self._trained)
        objects = [row for row in rows if renders.scenes[row].kind == "object"]
        others = [row for row in rows if renders.scenes[row].kind != "object"]
        self._groups = [group or list(rows) for group in (objects, others)]

    def training(self, step: int, whole_view_share: float) -> Batch:
        """A batch of windows, or, for some steps, of as many whole views as cost the same."""
        plan, rng = self._plan, Random(self._plan.seed * 7_000_003 + step)
        cells = plan.size // LATENT_SCALE
        whole = rng.random() < whole_view_share
        window = cells if whole else plan.window
        count = max(1, plan.batch * plan.window**2 // window**2)
        shares = (plan.object_share, 1 - plan.object_share)
        rows = [rng.choice(rng.choices(self._groups, shares)[0]) for _ in range(count)]
        captions = [
            "" if rng.random() < UNCONDITIONAL else write_caption(self._renders.scenes[row], rng)
            for row in rows
        ]
        return self._collect(rows, captions, window, rng, plan.depth_dropped)

    def validation(self, count: int) -> Batch:
        """Held-back views, always the same windows, captions, times and noise."""
        rows = list(range(self._trained, min(self._trained + count, len(self._renders))))
        rng = Random(1)
        captions = [write_caption(self._renders.scenes[row], rng) for row in rows]
        batch = self._collect(rows, captions, self._plan.window, rng, 0.0)
        spread = (torch.arange(len(rows)) * 1000 + 500) // len(rows)
        return batch._replace(timesteps=spread, weight=torch.ones_like(batch.weight))

    def tokens(self, captions: list[str]) -> Tensor:
        """(N, text_length) long."""
        encoded = self._tokenizer(
            captions,
            padding="max_length",
            truncation=True,
            max_length=self._plan.text_length,
            return_tensors="pt",
        )
        return encoded.input_ids

    def _collect(
        self, rows: list[int], captions: list[str], window: int, rng: Random, dropped: float
    ) -> Batch:
        latents, depths, plain = [], [], []
        span, pixels = self._plan.size // LATENT_SCALE - window, window * LATENT_SCALE
        for row in rows:
            top, left = rng.randint(0, span), rng.randint(0, span)
            latents.append(self._latents[row][:, top : top + window, left : left + window])
            y, x = top * LATENT_SCALE, left * LATENT_SCALE
            depth = self._renders.depth(row)[y : y + pixels, x : x + pixels]
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
            depth=depth.expand(-1, 3, -1, -1).contiguous(),
            weight=self._weight(depth, torch.tensor(plain)),
        )

    def _weight(self, depth: Tensor, plain: Tensor) -> Tensor:
        """Flat backgrounds are easy and large: they count less than the object on them."""
        covered = F.max_pool2d((depth > 0).float(), LATENT_SCALE)
        covered = F.max_pool2d(covered, 3, 1, 1)
        # A dropped or empty depth map says nothing about what is background.
        known = (covered.amax((1, 2, 3)) > 0) & plain
        weight = torch.where(
            known[:, None, None, None] & (covered == 0), self._plan.background_weight, 1.0
        )
        return weight / weight.mean()
