# SPDX-License-Identifier: GPL-3.0-or-later
"""Noise levels and the step from one to the next (Eqs. 2 and 3).

`alpha` is always the cumulative product, the paper's alpha_t.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ..errors import InvalidRequest


@dataclass(frozen=True)
class DynamicThreshold:
    """Keeps clean estimates of pixel models in range (arXiv:2205.11487, section 2.3)."""

    ratio: float  # of the values that stay in range
    highest: float  # the range is never stretched beyond this

    def __call__(self, clean: Tensor) -> Tensor:
        flat = clean.flatten(1)
        edge = flat.abs().quantile(self.ratio, dim=1, keepdim=True).clamp(1, self.highest)
        return (flat.clamp(-edge, edge) / edge).view_as(clean)


@dataclass(frozen=True)
class Step:
    """One step of the sampler, from noise level `alpha` to the cleaner `alpha_prev`."""

    index: int  # 0 is the noisiest
    total: int
    timestep: int  # what the network is told
    time: float  # timestep / training length, in [0, 1): the same for any number of steps
    decay: float  # timestep / that of the first step: 1 there, falling towards 0
    alpha: float
    alpha_prev: float
    sigma: float = 0.0  # standard deviation of the fresh noise; 0 is deterministic (DDIM)
    threshold: DynamicThreshold | None = None

    @property
    def rho(self) -> float:
        """Share of the present noise that is kept, at most 1."""
        return math.sqrt((1 - self.alpha_prev - self.sigma**2) / (1 - self.alpha))

    @property
    def gamma(self) -> float:
        """How far one step follows the score, positive. Eq. 3 is

            y_prev = sqrt(alpha_prev / alpha) y + gamma (1 - alpha) score(y)

        With fresh noise (sigma > 0) it is that of the ancestral step, without the noise itself.
        """
        return math.sqrt(self.alpha_prev / self.alpha) - self.rho

    def tweedie(self, y: Tensor, eps: Tensor) -> Tensor:
        """Estimate the clean sample from state and noise, shapes unchanged. Eq. 2."""
        clean = (y - math.sqrt(1 - self.alpha) * eps) / math.sqrt(self.alpha)
        return clean if self.threshold is None else self.threshold(clean)

    def noise_in(self, y: Tensor, clean: Tensor) -> Tensor:
        """The noise that leads from a clean sample to the state: Eq. 2 solved for eps."""
        return (y - math.sqrt(self.alpha) * clean) / math.sqrt(1 - self.alpha)

    def arrive(self, clean: Tensor, eps: Tensor, fresh: Tensor | None = None) -> Tensor:
        """The next state, from a clean estimate, the direction of the noise and fresh noise."""
        kept = math.sqrt(1 - self.alpha_prev - self.sigma**2)
        y = math.sqrt(self.alpha_prev) * clean + kept * eps
        return y if fresh is None else y + self.sigma * fresh

    def ddim(self, y: Tensor, eps: Tensor, fresh: Tensor | None = None) -> Tensor:
        """Step towards the clean sample, shapes unchanged. Eq. 3."""
        return self.arrive(self.tweedie(y, eps), eps, fresh)

    def noise_between(self, y: Tensor, y_prev: Tensor) -> Tensor:
        """The noise with which a deterministic step leads from `y` to `y_prev`."""
        straight = math.sqrt(self.alpha_prev / self.alpha)
        rho = math.sqrt((1 - self.alpha_prev) / (1 - self.alpha))
        share = math.sqrt(1 - self.alpha) * (straight - rho)
        # Some schedules end with a step that leads nowhere; it tells nothing of the noise.
        return (straight * y - y_prev) / share if share else torch.zeros_like(y)


@dataclass(frozen=True)
class Schedule:
    """The noise levels a network was trained on, and how to walk them in few steps."""

    alphas: Tensor  # (T,) float64, falling
    final_alpha: float  # level after the last step
    spacing: str = "leading"
    offset: int = 0
    threshold: DynamicThreshold | None = None

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Schedule:
        """Read a diffusers `scheduler_config.json`, of whichever sampler it names.

        Raises InvalidRequest for what would need another arithmetic than ours.
        """
        clips = config.get("clip_sample") and not config.get("thresholding")  # which goes first
        for switch, on in (
            ("rescale_betas_zero_snr", config.get("rescale_betas_zero_snr")),
            ("clip_sample", clips),
        ):
            if on:
                raise InvalidRequest(
                    f"The model's scheduler has {switch} on, which is not supported.",
                    hint="Take a model without it: with other noise levels this one makes noise.",
                    field="model",
                )
        length = config.get("num_train_timesteps", 1000)
        low, high = config.get("beta_start", 0.0001), config.get("beta_end", 0.02)
        kind = config.get("beta_schedule", "linear")
        if config.get("trained_betas") is not None:
            betas = torch.tensor(config["trained_betas"], dtype=torch.float64)
        elif kind == "linear":
            betas = torch.linspace(low, high, length, dtype=torch.float64)
        elif kind == "scaled_linear":
            betas = torch.linspace(low**0.5, high**0.5, length, dtype=torch.float64) ** 2
        elif kind == "squaredcos_cap_v2":
            edge = torch.arange(length + 1, dtype=torch.float64) / length
            bar = torch.cos((edge + 0.008) / 1.008 * math.pi / 2) ** 2
            betas = (1 - bar[1:] / bar[:-1]).clamp(max=0.999)
        else:
            raise InvalidRequest(
                f"The model's beta_schedule {kind!r} is not supported.", field="model"
            )
        alphas = torch.cumprod(1 - betas, 0)
        return cls(
            alphas=alphas,
            final_alpha=1.0 if config.get("set_alpha_to_one", True) else float(alphas[0]),
            spacing=config.get("timestep_spacing", "leading"),
            offset=config.get("steps_offset", 0),
            threshold=DynamicThreshold(
                config.get("dynamic_thresholding_ratio", 0.995), config.get("sample_max_value", 1.0)
            )
            if config.get("thresholding")
            else None,
        )

    def steps(self, count: int, eta: float = 0.0) -> list[Step]:
        """Choose `count` of the training timesteps, noisiest first, as diffusers' DDIM does.

        With linspace each step ends where the next one begins, as with other samplers of diffusers.

        `eta` is the share of fresh noise: 0 is DDIM, 1 the ancestral sampler (DDPM).
        """
        length = len(self.alphas)
        if not 1 <= count <= length:
            raise InvalidRequest(
                f"steps {count} is not between 1 and {length}, the model's training length.",
                field="steps",
            )
        if self.spacing == "leading":
            ratio = length // count
            timesteps = [index * ratio + self.offset for index in range(count)][::-1]
            timesteps = [min(timestep, length - 1) for timestep in timesteps]
        elif self.spacing == "trailing":
            timesteps = [round(length - index * length / count) - 1 for index in range(count)]
        elif self.spacing == "linspace":
            timesteps = torch.linspace(0, length - 1, count).round().int().tolist()[::-1]
        else:
            raise InvalidRequest(
                f"The model's timestep_spacing {self.spacing!r} is not supported.", field="model"
            )
        following = [timestep - length // count for timestep in timesteps]
        if self.spacing == "linspace":  # where diffusers' DDIM jumps over a part of each interval
            following = [*timesteps[1:], -1]
        levels = [
            (timestep, float(self.alphas[timestep]), self._alpha(next_one))
            for timestep, next_one in zip(timesteps, following, strict=True)
        ]
        return [
            Step(
                index=index,
                total=count,
                timestep=timestep,
                time=timestep / length,
                decay=timestep / max(timesteps[0], 1),
                alpha=alpha,
                alpha_prev=alpha_prev,
                sigma=eta * math.sqrt((1 - alpha_prev) / (1 - alpha) * (1 - alpha / alpha_prev)),
                threshold=self.threshold,
            )
            for index, (timestep, alpha, alpha_prev) in enumerate(levels)
        ]

    def _alpha(self, timestep: int) -> float:
        return float(self.alphas[timestep]) if timestep >= 0 else self.final_alpha


def noised(clean: Tensor, steps: Sequence[Step], noise: Tensor) -> Tensor:
    """A known picture at every level, noisiest first (S + 1, N, C, h, w), under one noise. Eq. 2.

    `clean` and `noise` are (N, C, h, w). The sampler takes them as `recorded`.
    """
    levels = [step.alpha for step in steps] + [steps[-1].alpha_prev]
    return torch.stack([a**0.5 * clean + (1 - a) ** 0.5 * noise for a in levels])
