# SPDX-License-Identifier: GPL-3.0-or-later
"""Stable Diffusion with a depth ControlNet from a diffusers folder: its networks, no pipeline."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from diffusers.models.controlnets.controlnet import ControlNetModel
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from safetensors import SafetensorError
from torch import Tensor
from transformers import CLIPTextModel, CLIPTokenizer

from ..errors import DeviceUnavailable, MissingWeights
from ..schedule import Schedule, Step
from ..usage import Usage
from . import catalogue

log = logging.getLogger(__name__)

Prediction = Literal["epsilon", "v_prediction", "sample"]


def pick_device(name: str) -> torch.device:
    """Resolve "auto" and check that a device that was asked for is there."""
    if name == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    device = torch.device(name)
    there = {
        "cpu": True,
        "mps": torch.backends.mps.is_available(),
        "cuda": (device.index or 0) < torch.cuda.device_count(),
    }
    if not there[device.type]:
        raise DeviceUnavailable(
            f"Device {name!r} is not available.",
            hint="Use cpu, or install the torch build for it.",
            field="device",
        )
    return device


class StableDiffusion:
    """The networks of one model on one device. State is float32; they may run in half precision."""

    def __init__(
        self,
        tokenizer: CLIPTokenizer,
        text_encoder: CLIPTextModel,
        vae: AutoencoderKL,
        unet: UNet2DConditionModel,
        controlnet: ControlNetModel,
        scheduler: dict[str, Any],
        device: torch.device,
    ) -> None:
        self.tokenizer = tokenizer
        self.text_encoder = text_encoder.eval().requires_grad_(False)
        self.vae = vae.eval().requires_grad_(False)
        self.unet = unet.eval().requires_grad_(False)
        self.controlnet = controlnet.eval().requires_grad_(False)
        self.schedule = Schedule.from_config(scheduler)
        self.prediction: Prediction = scheduler.get("prediction_type", "epsilon")
        self.device = device
        self.usage = Usage()
        self.latent_channels: int = vae.config["latent_channels"]
        self.latent_scale = 2 ** (len(vae.config["block_out_channels"]) - 1)  # pixels a latent cell

    @classmethod
    def load(cls, folder: Path, controlnet: Path | None, device: torch.device) -> StableDiffusion:
        """Load a diffusers folder. Raises MissingWeights.

        `controlnet` is for folders that have none. Reads safetensors files only, never pickles.
        """
        dtype = torch.float16 if device.type == "cuda" else torch.float32
        control = controlnet or folder / "controlnet"
        scheduler = folder / "scheduler" / "scheduler_config.json"
        with missing_weights(scheduler):
            schedule = json.loads(scheduler.read_text(encoding="utf-8"))
            if not isinstance(schedule, dict):
                raise ValueError("it holds no JSON object")
            if schedule.get("prediction_type", "epsilon") not in AS_NOISE:
                raise ValueError(f"unknown prediction_type {schedule['prediction_type']!r}")

        def network(kind: Any, path: Path, **options: Any) -> Any:
            with missing_weights(path):
                require_kind(kind, path)
                return kind.from_pretrained(
                    path, use_safetensors=True, local_files_only=True, **options
                ).to(device)

        with missing_weights(folder / "tokenizer"):
            tokenizer = CLIPTokenizer.from_pretrained(folder / "tokenizer", local_files_only=True)
        return cls(
            tokenizer=tokenizer,
            text_encoder=network(CLIPTextModel, folder / "text_encoder", dtype=dtype),
            # The autoencoder of Stable Diffusion 1 overflows in half precision.
            vae=network(AutoencoderKL, folder / "vae", torch_dtype=torch.float32),
            unet=network(UNet2DConditionModel, folder / "unet", torch_dtype=dtype),
            controlnet=network(ControlNetModel, control, torch_dtype=dtype),
            scheduler=schedule,
            device=device,
        )

    @torch.inference_mode()
    def encode_prompts(self, prompts: Sequence[str]) -> Tensor:
        """Encode each distinct prompt once. -> (len(prompts), tokens, width).

        What is longer than the text encoder's window is cut off at its end, with a warning.
        """
        distinct = list(dict.fromkeys(prompts))
        window = self.tokenizer.model_max_length
        lengths = [len(ids) for ids in self.tokenizer(distinct, verbose=False).input_ids]
        if max(lengths) > window:
            log.warning(
                "a prompt of %d tokens is cut to the model's %d; its end, where the view direction "
                "stands, is lost",
                max(lengths),
                window,
            )
        tokens = self.tokenizer(
            distinct,
            padding="max_length",
            truncation=True,
            max_length=window,
            return_tensors="pt",
        ).input_ids.to(self.device)
        with self.usage.count(self.device, text_encoder=len(distinct)):
            encoded = self.text_encoder(tokens).last_hidden_state
        return encoded[[distinct.index(prompt) for prompt in prompts]]

    def guided(
        self,
        prompts: Sequence[str],
        negative_prompts: Sequence[str],
        control: Tensor,
        guidance_scale: float,
        control_scale: float,
        batch_size: int | None = None,
    ) -> GuidedDenoiser:
        """Bind N trajectories' prompts and depth images (N, 3, H, W) in [0, 1] to the networks."""
        wanted, unwanted = self.encode_prompts(prompts), self.encode_prompts(negative_prompts)
        return GuidedDenoiser(
            self,
            wanted,
            unwanted,
            control.to(self.device, self.unet.dtype),
            guidance_scale,
            control_scale,
            batch_size or len(prompts),
        )

    @torch.inference_mode()
    def decode(self, latents: Tensor) -> Tensor:
        """Decode (N, C, h, w) latents to (N, 3, H, W) images in [0, 1], one at a time."""
        images = []
        for latent in latents.split(1):
            with self.usage.count(self.device, vae_decoder=1):
                scaled = latent / self.vae.config["scaling_factor"]
                image = self.vae.decode(scaled, return_dict=False)[0]
            images.append((image / 2 + 0.5).clamp(0, 1))
        return torch.cat(images)


@dataclass(frozen=True)
class GuidedDenoiser:
    """Noise prediction with classifier-free guidance, both halves in the same batch."""

    model: StableDiffusion
    wanted: Tensor  # (N, tokens, width)
    unwanted: Tensor  # (N, tokens, width)
    control: Tensor  # (N, 3, H, W) in [0, 1]
    guidance_scale: float  # unwanted + scale * (wanted - unwanted); 1 is off
    control_scale: float
    batch_size: int  # trajectories at a time

    @torch.inference_mode()
    def predict_noise(self, y: Tensor, step: Step) -> Tensor:
        """(N, C, h, w) float32 states -> guided noise, the same shape."""
        starts = range(0, len(y), self.batch_size)
        parts = [slice(start, start + self.batch_size) for start in starts]
        return torch.cat([self._predict(y, step, part) for part in parts])

    def _predict(self, y: Tensor, step: Step, part: slice) -> Tensor:
        y = y[part]
        guided = self.guidance_scale != 1
        halves = 2 if guided else 1
        latents = y.to(self.model.unet.dtype).repeat(halves, 1, 1, 1)
        words = torch.cat([self.unwanted[part], self.wanted[part]]) if guided else self.wanted[part]
        samples = len(latents)
        with self.model.usage.count(y.device, unet=samples, controlnet=samples):
            down, middle = self.model.controlnet(
                latents,
                step.timestep,
                encoder_hidden_states=words,
                controlnet_cond=self.control[part].repeat(halves, 1, 1, 1),
                conditioning_scale=self.control_scale,
                return_dict=False,
            )
            output = self.model.unet(
                latents,
                step.timestep,
                encoder_hidden_states=words,
                down_block_additional_residuals=down,
                mid_block_additional_residual=middle,
                return_dict=False,
            )[0].float()
        if guided:
            unwanted, wanted = output.chunk(2)
            output = unwanted + self.guidance_scale * (wanted - unwanted)
        return AS_NOISE[self.model.prediction](y, output, step)


AS_NOISE: dict[Prediction, Callable[[Tensor, Tensor, Step], Tensor]] = {
    "epsilon": lambda y, output, step: output,
    "v_prediction": lambda y, v, step: step.alpha**0.5 * v + (1 - step.alpha) ** 0.5 * y,
    "sample": lambda y, x0, step: (y - step.alpha**0.5 * x0) / (1 - step.alpha) ** 0.5,
}


_loaded: dict[tuple[object, ...], StableDiffusion] = {}


def load(folder: Path, controlnet: Path | None, device: torch.device) -> StableDiffusion:
    """Load a model, or return it if it is the one loaded last and its files have not changed."""
    key = (folder, controlnet, device, catalogue.weights(folder, controlnet))
    if key not in _loaded:
        _loaded.clear()  # before loading: memory may not hold two
        _loaded[key] = StableDiffusion.load(folder, controlnet, device)
    return _loaded[key]


def require_kind(kind: type, path: Path) -> None:
    """Raise ValueError if a diffusers config says that it is of another class."""
    config = json.loads((path / "config.json").read_text(encoding="utf-8"))
    found = config.get("_class_name", kind.__name__)
    if found != kind.__name__:
        raise ValueError(f"it is a {found}, not a {kind.__name__}")


@contextmanager
def missing_weights(path: Path) -> Iterator[None]:
    """Turn whatever a loader raises for an absent or broken file into one sentence."""
    try:
        yield
    except (OSError, ValueError, KeyError, AttributeError, SafetensorError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise MissingWeights(
            f"Cannot load {path.name!r} of the model at {str(path.parent)!r}: {reason}",
            hint="It must be a diffusers folder with safetensors weights.",
            field="model",
        ) from None
