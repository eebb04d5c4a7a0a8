# SPDX-License-Identifier: GPL-3.0-or-later
"""Noise levels and the deterministic step between them (Eqs. 2 and 3).

`alpha` is always the cumulative product, the paper's alpha_t.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from .errors import InvalidRequest


@dataclass(frozen=True)
class Step:
    """One step of the sampler, from noise level `alpha` to the cleaner `alpha_prev`."""

    index: int  # 0 is the noisiest
    total: int
    timestep: int  # what the network is told
    time: float  # timestep as a fraction of the training length, in [0, 1)
    alpha: float
    alpha_prev: float

    @property
    def rho(self) -> float:
        """Ratio of the noise that remains, sqrt((1 - alpha_prev) / (1 - alpha)), at most 1."""
        return math.sqrt((1 - self.alpha_prev) / (1 - self.alpha))

    @property
    def gamma(self) -> float:
        """Coefficient of the score in one step, times 1 / (1 - alpha). Positive. Eq. 3."""
        return math.sqrt(self.alpha_prev / self.alpha) - self.rho

    def tweedie(self, y: Tensor, eps: Tensor) -> Tensor:
        """Estimate the clean sample from state and noise, shapes unchanged. Eq. 2."""
        return (y - math.sqrt(1 - self.alpha) * eps) / math.sqrt(self.alpha)

    def ddim(self, y: Tensor, eps: Tensor) -> Tensor:
        """Step towards the clean sample without adding noise, shapes unchanged. Eq. 3."""
        clean = self.tweedie(y, eps)
        return math.sqrt(self.alpha_prev) * clean + math.sqrt(1 - self.alpha_prev) * eps


@dataclass(frozen=True)
class Schedule:
    """The noise levels a network was trained on, and how to walk them in few steps."""

    alphas: Tensor  # (T,) float64, falling
    final_alpha: float  # level after the last step
    spacing: str = "leading"
    offset: int = 0

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Schedule:
        """Read a diffusers `scheduler_config.json`, of whichever sampler it names.

        Raises InvalidRequest for what would need another arithmetic than ours.
        """
        for switch in ("rescale_betas_zero_snr", "clip_sample", "thresholding"):
            if config.get(switch):
                raise InvalidRequest(
                    f"The model's scheduler has {switch} on, which is not supported.", field="model"
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
        )

    def steps(self, count: int) -> list[Step]:
        """Choose `count` of the training timesteps, noisiest first, as diffusers' DDIM does."""
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
        return [
            Step(
                index=index,
                total=count,
                timestep=timestep,
                time=timestep / length,
                alpha=float(self.alphas[timestep]),
                alpha_prev=self._alpha(timestep - length // count),
            )
            for index, timestep in enumerate(timesteps)
        ]

    def _alpha(self, timestep: int) -> float:
        return float(self.alphas[timestep]) if timestep >= 0 else self.final_alpha
