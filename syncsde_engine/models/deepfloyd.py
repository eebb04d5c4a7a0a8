# SPDX-License-Identifier: GPL-3.0-or-later
"""DeepFloyd IF from diffusers folders: a text encoder, 64 pixels, and their enlargement."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from torch import Tensor
from transformers import T5EncoderModel, T5Tokenizer
from transformers.utils.import_utils import is_protobuf_available, is_sentencepiece_available

from ..errors import InvalidRequest, MissingWeights
from ..method.schedule import Schedule, Step
from ..usage import Usage
from . import folder as parts
from .prompts import tokenize
from .stable_diffusion import DEFAULT_BATCH, Precision

WINDOW = 77  # tokens that IF was trained with; its text encoder would take more


class DeepFloyd:
    """The first stage. Its latents are pixels in [-1, 1]; state is float32."""

    scale = 1  # pixels of a latent cell
    controlnet = None

    def __init__(
        self,
        tokenizer: T5Tokenizer,
        text_encoder: T5EncoderModel,
        unet: UNet2DConditionModel,
        scheduler: dict[str, Any],
        device: torch.device,
    ) -> None:
        self.tokenizer = tokenizer
        self.text_encoder = text_encoder.eval().requires_grad_(False)
        self.unet = unet.eval().requires_grad_(False)
        self.schedule = Schedule.from_config(scheduler)
        self.device = device
        self.usage = Usage()
        self.channels: int = unet.config["in_channels"]

    @classmethod
    def load(
        cls,
        folder: Path,
        device: torch.device,
        *,
        controlnet: Path | None = None,
        control: bool = False,
        precision: Precision = "auto",
        compile: bool = False,
        loras: Sequence[object] = (),
    ) -> DeepFloyd:
        """Load the folder of an IFPipeline; its safety checker and watermark are not used.

        Raises MissingWeights, or InvalidRequest if a ControlNet or LoRA is asked for. Reads
        safetensors files only, never pickles.
        """
        if control:
            raise unsuitable("it has no depth control")
        if loras:
            raise unsuitable("it takes no LoRA")
        scheduler = parts.scheduler_config(folder)
        with parts.missing_weights(folder / "scheduler"):
            if (prediction := scheduler.get("prediction_type", "epsilon")) != "epsilon":
                raise ValueError(f"its prediction_type is {prediction!r} where 'epsilon' is needed")
        text = parts.network(
            T5EncoderModel, folder / "text_encoder", dtype=resolve(precision, device)
        )
        unet = load_unet(folder, device, precision, text.config.d_model, beside=0, compile=compile)
        return cls(load_tokenizer(folder / "tokenizer"), text.to(device), unet, scheduler, device)

    @torch.no_grad()
    def encode_prompts(self, prompts: Sequence[str]) -> Tensor:
        """Encode each distinct prompt once. -> (len(prompts), tokens, width) float32.

        IF knows only lower case. What is longer than its window is cut, with a warning.
        """
        prompts = [prompt.lower().strip() for prompt in prompts]
        distinct = list(dict.fromkeys(prompts))
        tokens = tokenize(self.tokenizer, distinct, WINDOW).to(self.device)
        with self.usage.count(self.device, text_encoder=len(distinct)):
            encoded = self.text_encoder(tokens.input_ids, attention_mask=tokens.attention_mask)
        return encoded.last_hidden_state.float()[[distinct.index(prompt) for prompt in prompts]]

    def guided(
        self,
        prompts: Sequence[str],
        unwanted: Sequence[str],
        guidance_scale: float,
        batch_size: int | None,
        *,
        control: Tensor | None = None,
        control_scale: float = 1.0,
        attend: object = None,
    ) -> GuidedPixels:
        """Bind the prompts of N trajectories to the network; `unwanted` are N more.

        Raises InvalidRequest for `control` and `attend`, which belong to latent models.
        """
        if control is not None:
            raise unsuitable("it has no depth control")
        if attend is not None:
            raise unsuitable("its attention cannot be recorded or shared")
        texts = [*unwanted, *prompts] if guidance_scale != 1 else prompts
        words = self.encode_prompts(texts).unflatten(0, (-1, len(prompts)))
        return GuidedPixels(
            "unet", self.unet, self.usage, words, guidance_scale, batch_size or DEFAULT_BATCH
        )

    def encode(self, images: Tensor) -> Tensor:
        """(N, 3, H, W) images in [0, 1] -> states in [-1, 1], the same shape."""
        return 2 * images.to(self.device) - 1

    def to_rgb(self, pixels: Tensor) -> Tensor:
        """Its states are colors already. (N, 3, h, w) -> the same in [0, 1], on the CPU."""
        return (pixels.float() / 2 + 0.5).cpu()

    def decode(self, latents: Tensor) -> Tensor:
        """(N, 3, H, W) states -> images in [0, 1], the same shape."""
        return (latents / 2 + 0.5).clamp(0, 1)


class Upscaler:
    """The second stage: enlarges pictures of the first, with its words and its scheduler."""

    def __init__(
        self, unet: UNet2DConditionModel, noising: dict[str, Any], first: DeepFloyd
    ) -> None:
        self.unet = unet.eval().requires_grad_(False)
        # Nothing is sampled with it: only its noise levels count.
        self.noising = Schedule.from_config({**noising, "clip_sample": False})
        self.first = first
        sides = unet.config["sample_size"], first.unet.config["sample_size"]
        self.factor: int = sides[0] // sides[1]

    @classmethod
    def load(
        cls, folder: Path, first: DeepFloyd, precision: Precision = "auto", compile: bool = False
    ) -> Upscaler:
        """Load the folder of an IFSuperResolutionPipeline, without its own text encoder.

        Raises MissingWeights.
        """
        noising = parts.scheduler_config(folder, "image_noising_scheduler")
        width = first.text_encoder.config.d_model
        beside = first.channels
        unet = load_unet(folder, first.device, precision, width, beside, compile)
        return cls(unet, noising, first)

    def guided(self, small: Tensor, asked: GuidedPixels, noise: Tensor, level: int) -> GuidedPixels:
        """Bind pictures to the network, and the words of the first stage's last trajectories.

        Args:
            small: (N, 3, h, w) states of the first stage, in [-1, 1].
            asked: its prompts and guidance.
            noise: (N, 3, h * factor, w * factor), which hides what the first stage got wrong.
            level: how much of it: a timestep of the network's training.
        """
        large = torch.nn.functional.interpolate(
            small, noise.shape[-2:], mode="bilinear", align_corners=True
        )
        alpha = float(self.noising.alphas[level])
        return dataclasses.replace(
            asked,
            name="upscaler",
            unet=self.unet,
            words=asked.words[:, -len(small) :],
            beside=math.sqrt(alpha) * large + math.sqrt(1 - alpha) * noise,
            level=level,
        )


@dataclass(frozen=True)
class GuidedPixels:
    """Noise prediction with classifier-free guidance, both halves in the same batch."""

    name: str  # under which evaluations are counted
    unet: UNet2DConditionModel
    usage: Usage
    words: Tensor  # (2, N, tokens, width), the unwanted ones first; (1, ...) without guidance
    guidance_scale: float  # unwanted + scale * (wanted - unwanted)
    batch_size: int  # the most trajectories at a time
    beside: Tensor | None = None  # (N, 3, h, w) noisy picture that is enlarged
    level: int = 0  # timestep of its noise

    @torch.no_grad()
    def predict_noise(self, y: Tensor, step: Step) -> Tensor:
        """(N, 3, h, w) float32 states -> guided noise, the same shape."""
        rows = torch.arange(len(y), device=y.device)
        chunks = rows.tensor_split(math.ceil(len(y) / self.batch_size))
        return torch.cat([self._predict(y, step, part) for part in chunks])

    def _predict(self, y: Tensor, step: Step, part: Tensor) -> Tensor:
        words = self.words[:, part].flatten(0, 1)
        sample = y[part]
        options = {}
        if self.beside is not None:
            sample = torch.cat([sample, self.beside[part]], dim=1)
            options["class_labels"] = torch.full((len(words),), self.level, device=y.device)
        sample = sample.repeat(len(self.words), 1, 1, 1)
        with self.usage.count(y.device, **{self.name: len(words)}):
            output = self.unet(
                sample.to(self.unet.dtype),
                torch.tensor(step.timestep, device=y.device),  # a number would be compiled in
                encoder_hidden_states=words.to(self.unet.dtype),
                return_dict=False,
                **options,
            )[0].float()
        # The other half of the channels is a variance, which deterministic steps do not use.
        eps = output[:, : y.shape[1]]
        if len(self.words) == 1:
            return eps
        unwanted, wanted = eps.chunk(2)
        return unwanted + self.guidance_scale * (wanted - unwanted)


def unsuitable(reason: str) -> InvalidRequest:
    return InvalidRequest(
        f"DeepFloyd IF cannot be used for this: {reason}.",
        hint="Use a model of Stable Diffusion's kind, like mini.",
        field="model",
    )


def resolve(precision: Precision, device: torch.device) -> torch.dtype:
    half = "float16" if device.type == "cuda" else "float32"
    return getattr(torch, half if precision == "auto" else precision)


def load_unet(
    folder: Path,
    device: torch.device,
    precision: Precision,
    width: int,
    beside: int,
    compile: bool,
) -> UNet2DConditionModel:
    """Load a stage's network for words of `width` and `beside` channels next to the state's three.

    Raises MissingWeights.
    """
    path = folder / "unet"
    unet = parts.network(UNet2DConditionModel, path, torch_dtype=resolve(precision, device))
    with parts.missing_weights(path):
        pairs = {
            "in_channels": 3 + beside,
            "out_channels": 6,  # noise and variance
            "encoder_hid_dim": width,
            "class_embed_type": "timestep" if beside else None,
        }
        for name, needed in pairs.items():
            if unet.config[name] != needed:
                raise ValueError(f"its {name} is {unet.config[name]!r} where {needed!r} is needed")
    unet.to(device)
    if compile:
        unet.compile()
    return unet


def load_tokenizer(path: Path) -> T5Tokenizer:
    """Raises MissingWeights, also if the packages that read the tokenizer's file are not there."""
    only = (path / "spiece.model").is_file() and not (path / "tokenizer.json").is_file()
    if only and not (is_sentencepiece_available() and is_protobuf_available()):
        raise MissingWeights(
            f"The tokenizer at {str(path)!r} is a SentencePiece file.",
            hint="Install the Python packages sentencepiece and protobuf to read it.",
            field="model",
        )
    return parts.tokenizer(T5Tokenizer, path)
