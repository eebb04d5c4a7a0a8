# SPDX-License-Identifier: GPL-3.0-or-later
"""Classifier-free guidance: what N trajectories are to show, bound to a model's networks."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from ..method.schedule import Step
from .attention import Attend, KeysValues, Words

CONTROL_END = 0.99  # share of the steps after which the ControlNet is silent


@dataclass(frozen=True)
class Control:
    """What the ControlNet is given, computed once."""

    embedded: Tensor  # (N, width, h, w) control images
    scale: float
    projected: Mapping[str, KeysValues]  # the prompts in its attention layers

    def of(self, rows: Tensor) -> Control:
        return Control(self.embedded[rows], self.scale, self.projected)


class Networks(Protocol):
    def evaluate(
        self,
        y: Tensor,
        step: Step,
        words: Words,
        control: Control | None,
        attend: Attend | None,
        compiled: bool,
    ) -> Tensor:
        """Send one batch through the networks. (B, C, h, w) -> noise, the same."""
        ...


@dataclass(frozen=True)
class GuidedDenoiser:
    """Noise prediction with classifier-free guidance, both halves in the same batch."""

    model: Networks
    projected: Mapping[str, KeysValues]  # distinct prompts in the UNet's attention layers
    wanted: Tensor  # (N,) int64: which prompt each trajectory has
    unwanted: Tensor | None  # (N,) int64; None: without guidance
    guidance_scale: float  # unwanted + scale * (wanted - unwanted)
    batch_size: int  # the most trajectories at a time
    control: Control | None
    attend: Attend | None
    pooled: Tensor | None = None  # of the distinct prompts, for SDXL

    @torch.no_grad()
    def predict_noise(self, y: Tensor, step: Step) -> Tensor:
        """(N, C, h, w) float32 states -> guided noise, the same shape."""
        chunks = math.ceil(len(y) / self.batch_size)
        parts = torch.arange(len(y), device=y.device).tensor_split(chunks)
        return torch.cat([self._predict(y[part], step, part) for part in parts])

    def _predict(self, y: Tensor, step: Step, part: Tensor) -> Tensor:
        halves = 1 if self.unwanted is None else 2
        rows = self.wanted[part]
        if self.unwanted is not None:
            rows = torch.cat([self.unwanted[part], rows])
        control = None
        if self.control is not None and is_controlled(step):
            control = self.control.of(part.repeat(halves))
        eps = self.model.evaluate(
            y.repeat(halves, 1, 1, 1),
            step,
            Words(self.projected, rows, self.pooled),
            control,
            self.attend,
            # Without its control the last step would be another network to compile.
            compiled=control is not None or self.control is None,
        )
        if self.unwanted is None:
            return eps
        unwanted, wanted = eps.chunk(2)
        return unwanted + self.guidance_scale * (wanted - unwanted)


def is_controlled(step: Step) -> bool:
    """Whether the ControlNet has a say in a step.

    Paper: not said. The authors silence it in the last step, but not if that is the only one.
    """
    return step.total == 1 or (step.index + 1) / step.total <= CONTROL_END
