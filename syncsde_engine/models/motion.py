# SPDX-License-Identifier: GPL-3.0-or-later
"""Text-to-motion networks as the sampler wants them: MDM, and mime, which is small and our own.

A folder holds model.safetensors, config.json, mean.npy and std.npy; for MDM also text_encoder/ and
tokenizer/, or config.json names a CLIP model that is there already.
"""

from __future__ import annotations

import inspect
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np
import safetensors.torch
import torch
from torch import Tensor, nn

from ..errors import InvalidRequest
from ..method.schedule import Schedule, Step
from ..usage import Usage
from . import catalog
from .folder import missing_weights
from .motion_networks import Mdm, Mime, MotionNetwork
from .words_known import KnownWords

NETWORKS: dict[str, type[nn.Module]] = {"mdm": Mdm, "mime": Mime}
WEIGHTS, MEAN, STD = "model.safetensors", "mean.npy", "std.npy"
CLIP_TOKENS = 22  # begin, 20 tokens of the prompt, end: what MDM was trained on
MOST_AT_ONCE = 16  # trajectories in the network
Precision = Literal["auto", "float32", "bfloat16", "float16"]
DTYPES = {"bfloat16": torch.bfloat16, "float16": torch.float16}


class TextEncoder(Protocol):
    def encode(self, prompt: str) -> Tensor:
        """What the network is told, (K,) float32."""
        ...


@dataclass(frozen=True)
class ClipText:
    """CLIP's projected vector of a prompt, as MDM has it."""

    tokenizer: Any
    encoder: Any

    @torch.no_grad()
    def encode(self, prompt: str) -> Tensor:
        tokens = self.tokenizer([prompt], truncation=True, max_length=CLIP_TOKENS)
        ids = torch.tensor(tokens.input_ids, device=self.encoder.device)
        return self.encoder(input_ids=ids).text_embeds[0].float()


@dataclass(frozen=True)
class MotionDenoiser:
    """Noise of a network that predicts clean motion, with guidance on what it predicts."""

    model: MotionModel
    wanted: Tensor  # (N, K) text of each trajectory
    unwanted: Tensor | None  # the same; None: without guidance
    guidance_scale: float  # unwanted + scale * (wanted - unwanted)
    batch_size: int  # the most trajectories at a time

    @torch.no_grad()
    def predict_noise(self, y: Tensor, step: Step) -> Tensor:
        """(N, C, 1, F) float32 -> noise, the same; from clean motion by Eq. 2 solved for it."""
        chunks = math.ceil(len(y) / self.batch_size)
        parts = torch.arange(len(y), device=y.device).tensor_split(chunks)
        clean = torch.cat([self._clean(y[part], step, part) for part in parts])
        return step.noise_in(y, clean)

    def _clean(self, y: Tensor, step: Step, part: Tensor) -> Tensor:
        if self.unwanted is None:
            return self.model.clean(y, step, self.wanted[part])
        text = torch.cat([self.unwanted[part], self.wanted[part]])
        unwanted, wanted = self.model.clean(y.repeat(2, 1, 1, 1), step, text).chunk(2)
        return unwanted + self.guidance_scale * (wanted - unwanted)


class MotionModel:
    """The model contract of the tasks; states are (N, 263, 1, F) in standard deviations."""

    scale = 1

    def __init__(
        self,
        network: MotionNetwork,
        text: TextEncoder,
        config: Mapping[str, Any],
        mean: np.ndarray,
        std: np.ndarray,
        device: torch.device,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        self.network = network
        self.text = text
        self.config = config
        self.mean = mean
        self.std = std
        self.device = device
        self.dtype = dtype
        self.channels = len(mean)
        self.schedule = Schedule.from_config(config["scheduler"])
        self.usage = Usage()

    @classmethod
    def load(
        cls,
        folder: Path,
        device: torch.device,
        *,
        precision: Precision = "auto",
        compile: bool = False,
    ) -> MotionModel:
        """Load a folder. Raises MissingWeights for whatever is absent, broken or does not fit."""
        with missing_weights(folder / WEIGHTS):
            config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
            mean, std = (
                np.load(folder / name, allow_pickle=False).astype(np.float32)
                for name in (MEAN, STD)
            )
            weights = safetensors.torch.load_file(folder / WEIGHTS)
            network = build(config)
            require_parameters(network, weights)
            network.load_state_dict({name: value.float() for name, value in weights.items()})
        dtype = DTYPES.get(precision, torch.float32)
        network = network.eval().requires_grad_(False).to(device, dtype)
        if compile:
            network = torch.compile(network)
        text = KnownWords(config["words"]) if "words" in config else _clip(folder, config, device)
        return cls(network, text, config, mean, std, device, dtype)  # pyright: ignore[reportArgumentType]

    def guided(
        self,
        prompts: Sequence[str],
        unwanted: Sequence[str],
        guidance_scale: float,
        batch_size: int | None,
    ) -> MotionDenoiser:
        """Bind prompts, one for each trajectory; the empty one is the network's own zeros."""
        known = {prompt: self._encoded(prompt) for prompt in dict.fromkeys([*prompts, *unwanted])}
        wanted, without = (
            torch.stack([known[prompt] for prompt in several]) for several in (prompts, unwanted)
        )
        return MotionDenoiser(
            self,
            wanted,
            None if guidance_scale == 1 else without,
            guidance_scale,
            batch_size or MOST_AT_ONCE,
        )

    def _encoded(self, prompt: str) -> Tensor:
        """Text of a prompt; of an empty one the zeros that stand for none in training."""
        text = self.text.encode(prompt).to(self.device)
        return text if prompt.strip() else torch.zeros_like(text)

    def clean(self, y: Tensor, step: Step, text: Tensor) -> Tensor:
        """One batch through the network: clean motion (B, C, 1, F) float32."""
        timestep = torch.full((len(y),), step.timestep, device=y.device)
        with self.usage.count(self.device, motion=len(y)):
            return self.network(y.to(self.dtype), timestep, text.to(self.dtype)).float()

    def features(self, y: Tensor) -> np.ndarray:
        """States (N, C, 1, F) -> features (N, F, C) float32 in meters and radians."""
        return y[:, :, 0].transpose(1, 2).float().cpu().numpy() * self.std + self.mean

    def require_frames(self, frames: int) -> None:
        """Raise InvalidRequest for a length of segments that the network cannot make."""
        together = self.config.get("together", 1)
        if frames % together:
            raise InvalidRequest(
                f"frames {frames} is not a multiple of {together}, of which this model makes "
                "motion.",
                hint=f"Ask for {round(frames / together) * together}.",
                field="frames",
            )

    def encode(self, images: Tensor) -> Tensor:
        raise InvalidRequest("A model of motion sees no pictures.", field="model")

    def to_rgb(self, latents: Tensor, /) -> Tensor:
        """Motion is drawn by its task: what comes here is a picture already."""
        return latents.cpu()


_last: list[tuple[tuple[object, ...], MotionModel]] = []


def load_motion(
    folder: Path, device: torch.device, *, precision: Precision = "auto", compile: bool = False
) -> MotionModel:
    """Load a model that makes motion, or return the one loaded last. It is kept beside the other.

    Raises MissingWeights or DeviceUnavailable.
    """
    asked = (folder, device, precision, compile, catalog.weights(folder))
    for last, model in _last:
        if last == asked:
            return model
    _last.clear()
    if compile:
        from .loading import require_compiler

        require_compiler(device)
    model = MotionModel.load(folder, device, precision=precision, compile=compile)
    _last.append((asked, model))
    return model


def build(config: Mapping[str, Any]) -> nn.Module:
    """The network that a config.json describes, with random weights. Raises ValueError."""
    kind = NETWORKS.get(str(config.get("network")))
    if kind is None:
        raise ValueError(f"it has a network {config.get('network')!r}, not {' or '.join(NETWORKS)}")
    taken = inspect.signature(kind.__init__).parameters
    sizes = {name: value for name, value in config.items() if name in taken}
    if "words" in config:
        sizes["words"] = len(config["words"])
    sizes["steps"] = config["scheduler"]["num_train_timesteps"]
    return kind(**sizes)


def require_parameters(network: nn.Module, weights: Mapping[str, Tensor]) -> None:
    """Raise ValueError for a parameter that is missing, not asked for, or of another shape."""
    wanted = network.state_dict()
    for name, value in wanted.items():
        if name not in weights:
            raise ValueError(f"it has no {name}")
        if weights[name].shape != value.shape:
            found, expected = tuple(weights[name].shape), tuple(value.shape)
            raise ValueError(f"its {name} has the shape {found}, not {expected}")
    for name in weights:
        if name not in wanted:
            raise ValueError(f"it has {name}, which this network does not")


def _clip(folder: Path, config: Mapping[str, Any], device: torch.device) -> ClipText:
    from transformers import CLIPTextModelWithProjection, CLIPTokenizer

    place = folder
    if not (folder / "text_encoder").is_dir():
        place = catalog.locate(config["text_encoder"], "text_encoder")
    inside = (place / "text_encoder").is_dir()
    encoder, tokenizer = (
        place / name if inside else place for name in ("text_encoder", "tokenizer")
    )
    with missing_weights(encoder):
        loaded = CLIPTextModelWithProjection.from_pretrained(
            encoder, local_files_only=True, use_safetensors=True
        )
        words = CLIPTokenizer.from_pretrained(tokenizer, local_files_only=True)
    return ClipText(words, loaded.eval().requires_grad_(False).to(device))  # pyright: ignore[reportArgumentType]
