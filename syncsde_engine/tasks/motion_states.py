# SPDX-License-Identifier: GPL-3.0-or-later
"""states.safetensors: all of a finished motion that it can be extended and re-rolled from.

| tensor | what |
| --- | --- |
| states | (steps, N, 263, frames) float16: every segment before each step, noisiest first |
| final | (N, 263, frames) float32: every segment in the end |
| features | (T, 263) float32: the whole motion, in meters and radians |
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass

import numpy as np
import safetensors
import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Tensor

from ..config import MotionConfig
from ..errors import InvalidRequest
from ..motion.sequence import Layout

FIELD = "inputs.states"
TENSORS = ("states", "final", "features")


@dataclass(frozen=True)
class Anchor:
    """Where a motion begins in the world."""

    x: float = 0.0  # meters
    z: float = 0.0
    yaw: float = 0.0  # radians


@dataclass(frozen=True)
class Past:
    """A finished motion."""

    states: Tensor  # (steps, N, C, F) float16
    final: Tensor  # (N, C, F) float32
    features: np.ndarray  # (T, C) float32
    prompts: tuple[str, ...]
    frames: int
    overlap: int
    model: str  # SHA-256 of the weights
    anchor: Anchor = Anchor()

    @property
    def layout(self) -> Layout:
        return Layout(len(self.prompts), self.frames, self.overlap)

    def recorded(self, segments: tuple[int, ...]) -> Tensor:
        """All states of some segments as the sampler takes them, (steps + 1, K, C, 1, F)."""
        chosen = list(segments)
        states = torch.cat([self.states[:, chosen].float(), self.final[None, chosen]])
        return states[:, :, :, None]

    def require(self, config: MotionConfig, model: str) -> None:
        """Raise InvalidRequest unless new segments can be made beside these."""
        pairs = {
            "frames": (config.frames, self.frames),
            "overlap": (config.overlap, self.overlap),
            "steps": (config.steps, len(self.states)),
        }
        for name, (asked, had) in pairs.items():
            if asked != had:
                raise InvalidRequest(
                    f"{name} is {asked}, and the finished motion has {had}.",
                    hint=f"Set {name} to {had}.",
                    field=name,
                )
        if model != self.model:
            raise InvalidRequest(
                "The finished motion was made by another model.",
                hint="Name the same model.",
                field="model",
            )
        if config.reroll is not None and config.reroll > len(self.prompts):
            raise InvalidRequest(
                f"There is no segment {config.reroll}: the motion has {len(self.prompts)}.",
                field="reroll",
            )


def write(past: Past) -> bytes:
    """The content of states.safetensors."""
    told = {
        "prompts": past.prompts,
        "frames": past.frames,
        "overlap": past.overlap,
        "model": past.model,
        "anchor": asdict(past.anchor),
    }
    tensors = {
        "states": past.states.half().contiguous(),
        "final": past.final.float().contiguous(),
        "features": torch.from_numpy(np.ascontiguousarray(past.features)),
    }
    return safetensors.torch.save(tensors, {"motion": json.dumps(told)})


def read(content: bytes) -> Past:
    """Read what `write` wrote. Raises InvalidRequest naming `inputs.states`."""
    try:
        tensors = safetensors.torch.load(content)
        length = int.from_bytes(content[:8], "little")
        header = json.loads(content[8 : 8 + length])
        told = json.loads(header["__metadata__"]["motion"])
        states, final, features = (tensors[name] for name in TENSORS)
        past = Past(
            states,
            final,
            features.numpy(),
            tuple(told["prompts"]),
            told["frames"],
            told["overlap"],
            told["model"],
            Anchor(**told["anchor"]),
        )
        shape = (len(past.prompts), features.shape[1], past.frames)
        fits = final.shape == shape and states.shape[1:] == shape
        if not fits or len(features) != past.layout.total:
            raise ValueError("its tensors do not fit together")
    except (SafetensorError, ValueError, KeyError, TypeError, IndexError) as error:
        raise InvalidRequest(
            f"The states are not those of a finished motion: {error}.",
            hint="Give states.safetensors of its folder.",
            field=FIELD,
        ) from None
    for tensor in tensors.values():
        if not torch.isfinite(tensor).all():
            raise InvalidRequest("The states have values that are not finite.", field=FIELD)
    return past
