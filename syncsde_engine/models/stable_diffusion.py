# SPDX-License-Identifier: GPL-3.0-or-later
"""Stable Diffusion 1, 2 and XL, with or without a ControlNet, from a diffusers folder."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal

import torch
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from diffusers.models.controlnets.controlnet import ControlNetModel
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from torch import Tensor, nn

from ..errors import InvalidRequest
from ..method.schedule import Schedule, Step
from ..preview import Projection
from ..usage import Usage
from . import folder as parts
from .assembled import load_folder
from .attention import Attend, Words, project, take_over
from .control import control_inputs, load_controlnet
from .detect import detect
from .fit import require_fit, require_same_blocks
from .guided import Control, GuidedDenoiser
from .lora import Lora, fuse
from .single_file import load_single_file
from .text import TextEncoders
from .tiles import decode_in_tiles

DEFAULT_BATCH = 10  # trajectories in the networks at once

Precision = Literal["auto", "float32", "bfloat16", "float16"]
Prediction = Literal["epsilon", "v_prediction", "sample"]


class StableDiffusion:
    """The networks of one model on one device. State is float32; they may run in half precision."""

    def __init__(
        self,
        text: TextEncoders,
        vae: AutoencoderKL,
        unet: UNet2DConditionModel,
        controlnet: ControlNetModel | None,
        scheduler: dict[str, Any],
        device: torch.device,
    ) -> None:
        self.text = text
        self.tokenizer = text.first.tokenizer
        self.vae = vae.eval().requires_grad_(False)
        self.unet = unet.eval().requires_grad_(False)
        self.controlnet = None if controlnet is None else controlnet.eval().requires_grad_(False)
        self.schedule = Schedule.from_config(scheduler)
        self.prediction: Prediction = scheduler.get("prediction_type", "epsilon")
        self.device = device
        self.usage = Usage()
        self._projection: Projection | None = None
        self.channels: int = vae.config["latent_channels"]
        self.scale = 2 ** (len(vae.config["block_out_channels"]) - 1)  # pixels of a latent cell
        take_over(self.unet)
        if self.controlnet is not None:
            take_over(self.controlnet)
            # Control images do not change from step to step: they are embedded before the first,
            # and the network is given the result in their place.
            self.embed_control = self.controlnet.controlnet_cond_embedding
            self.controlnet.controlnet_cond_embedding = nn.Identity()  # pyright: ignore[reportAttributeAccessIssue]

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
        loras: tuple[Lora, ...] = (),
    ) -> StableDiffusion:
        """Load a diffusers folder, or one file that has all parts. Raises MissingWeights.

        `controlnet` is for folders that have none, `loras` are added to the weights. Reads
        safetensors files only, never pickles.
        """
        if precision == "auto":
            precision = "float16" if device.type == "cuda" else "float32"
        dtype: torch.dtype = getattr(torch, precision)
        load_parts = load_single_file if folder.is_file() else load_folder
        assembled = load_parts(folder, dtype)
        text, vae, unet, scheduler = assembled
        with parts.missing_weights(folder / "scheduler"):
            if scheduler.get("prediction_type", "epsilon") not in AS_NOISE:
                raise ValueError(f"unknown prediction_type {scheduler['prediction_type']!r}")
        with parts.missing_weights(folder / "unet"):
            require_fit(unet, vae, text)
        if loras:
            fuse(assembled, loras, detect(folder).family)
        adapter = None
        if control:
            path = controlnet or folder / "controlnet"
            adapter = load_controlnet(path, dtype, unet)
            with parts.missing_weights(path):
                require_fit(adapter, vae, text)
                require_same_blocks(adapter, unet)
        model = cls(
            text=text.to(device),
            vae=vae.to(device),
            unet=unet.to(device),
            controlnet=None if adapter is None else adapter.to(device),
            scheduler=scheduler,
            device=device,
        )
        if compile:
            model.unet.compile()
            if model.controlnet is not None:
                model.controlnet.compile()
        return model

    def encode_prompts(self, prompts: Sequence[str]) -> Tensor:
        """Encode each distinct prompt once. -> (len(prompts), tokens, width) float32.

        What is longer than the text encoder's window is cut off at its end, with a warning.
        """
        return self.text.encode(prompts, self.device, self.usage).words

    @torch.no_grad()
    def guided(
        self,
        prompts: Sequence[str],
        unwanted: Sequence[str],
        guidance_scale: float,
        batch_size: int | None,
        *,
        control: Tensor | None = None,
        control_scale: float = 1.0,
        attend: Attend | None = None,
    ) -> GuidedDenoiser:
        """Bind the prompts of N trajectories to the networks.

        Args:
            unwanted: N more prompts, to be steered away from; unused at a guidance_scale of 1.
            batch_size: the most trajectories in the networks at once; None: DEFAULT_BATCH, or as
                many as `attend` needs.
            control: (N, 3, H, W) images in [0, 1] for the ControlNet, which must be loaded.

        Raises InvalidRequest if `attend` mixes trajectories and they do not fit in one batch.
        """
        count = len(prompts)
        mixes = getattr(attend, "mixes", False)
        if mixes and batch_size is not None and batch_size < count:
            raise InvalidRequest(
                f"batch_size {batch_size} is less than the {count} trajectories, which attend to "
                "each other.",
                hint=f"Set batch_size to {count}, or leave it open.",
                field="batch_size",
            )
        texts = [*prompts, *(unwanted if guidance_scale != 1 else ())]
        distinct = list(dict.fromkeys(texts))
        words, pooled = self.text.encode(distinct, self.device, self.usage)
        rows = torch.tensor([distinct.index(text) for text in texts], device=self.device)
        return GuidedDenoiser(
            self,
            project(self.unet, words),
            rows[:count],
            rows[count:] if guidance_scale != 1 else None,
            guidance_scale,
            batch_size or (count if mixes else DEFAULT_BATCH),
            None if control is None else self._control(control, control_scale, words),
            attend,
            pooled,
        )

    def predict(
        self, y: Tensor, step: Step, words: Tensor, *, attend: Attend | None = None
    ) -> Tensor:
        """Predict noise without guidance. (N, C, h, w) -> the same, float32.

        Differentiable with respect to `words` (N, tokens, width), as `encode_prompts` makes them.
        Not for SDXL, which reads more than words.
        """
        rows = torch.arange(len(words), device=self.device)
        return self.evaluate(y, step, Words(project(self.unet, words), rows), attend=attend)

    def evaluate(
        self,
        y: Tensor,
        step: Step,
        words: Words,
        control: Control | None = None,
        attend: Attend | None = None,
        compiled: bool = True,
    ) -> Tensor:
        """Send one batch through the networks. (B, C, h, w) -> noise, the same, float32.

        `words` are the UNet's; `control` holds the control images of the same B samples. A step
        that is unlike the others is better not `compiled`; one with `attend` never is.
        """
        inputs: dict[str, Any] = {
            "sample": y.to(self.unet.dtype),
            # A number would be compiled in.
            "timestep": torch.tensor(step.timestep, device=y.device),
            # Attention layers get their words as `cross_attention_kwargs`, already projected.
            "encoder_hidden_states": None,
            "added_cond_kwargs": self._added(words, y),
            "return_dict": False,
        }
        options: dict[str, Any] = {"words": words}
        if attend is not None:
            options |= {"attend": attend, "step": step}
        with self.usage.count(y.device, unet=len(y), controlnet=len(y) if control else 0):
            residuals = {}
            if control is not None:
                assert self.controlnet is not None
                down, middle = self.controlnet(
                    **inputs,
                    **control_inputs(self.controlnet, control),
                    cross_attention_kwargs={"words": words._replace(projected=control.projected)},
                )
                residuals = {
                    "down_block_additional_residuals": down,
                    "mid_block_additional_residual": middle,
                }
            # `forward` is the network as it was before it was compiled.
            unet = self.unet if compiled and attend is None else self.unet.forward
            output = unet(**inputs, **residuals, cross_attention_kwargs=options)[0].float()
        return AS_NOISE[self.prediction](y, output, step)

    @torch.no_grad()
    def encode(self, images: Tensor) -> Tensor:
        """Encode (N, 3, H, W) images in [0, 1] to (N, C, h, w) latents, one at a time.

        Paper: the authors draw from the autoencoder's posterior; this is its mean, so that an image
        has one latent.
        """
        latents = []
        for image in images.to(self.device).split(1):
            with self.usage.count(self.device, vae_encoder=1):
                latents.append(self._encode(image))
        return torch.cat(latents)

    @torch.no_grad()
    def decode(self, latents: Tensor) -> Tensor:
        """Decode (N, C, h, w) latents to (N, 3, H, W) images in [0, 1], one at a time.

        Large ones are decoded in tiles.
        """
        images = [decode_in_tiles(one, self.scale, self._decode) for one in latents.split(1)]
        return torch.cat(images)

    @torch.no_grad()
    def to_rgb(self, latents: Tensor) -> Tensor:
        """What colors latents mean, one pixel a cell. (N, C, h, w) -> (N, 3, h, w) on the CPU."""
        if self._projection is None:
            self._projection = Projection.fit(
                lambda image: self._encode(image.to(self.device)), self.scale
            )
        return self._projection(latents)

    def _encode(self, image: Tensor) -> Tensor:
        posterior = self.vae.encode(2 * image - 1, return_dict=False)[0]
        return posterior.mean * self.vae.config["scaling_factor"]

    def _decode(self, latent: Tensor) -> Tensor:
        with self.usage.count(self.device, vae_decoder=1):
            scaled = latent / self.vae.config["scaling_factor"]
            image = self.vae.decode(scaled, return_dict=False)[0]
        return (image / 2 + 0.5).clamp(0, 1)

    def _added(self, words: Words, y: Tensor) -> dict[str, Tensor] | None:
        """What SDXL reads beside words: those pooled, and sizes that its training pictures had.

        As diffusers' pipeline has it, a picture is said to be whole and of the size it is made in.
        """
        if words.pooled is None:
            return None
        height, width = (side * self.scale for side in y.shape[-2:])
        sizes = torch.tensor([height, width, 0, 0, height, width], device=y.device)
        return {
            "text_embeds": words.pooled[words.rows],
            "time_ids": sizes.to(y.dtype).expand(len(y), -1),
        }

    def _control(self, images: Tensor, scale: float, words: Tensor) -> Control:
        assert self.controlnet is not None, "load the model with control=True"
        images = images.to(self.device, self.controlnet.dtype)
        with self.usage.count(self.device):
            embedded = torch.cat([self.embed_control(image) for image in images.split(1)])
        return Control(embedded, scale, project(self.controlnet, words))


AS_NOISE: dict[Prediction, Callable[[Tensor, Tensor, Step], Tensor]] = {
    "epsilon": lambda y, output, step: output,
    "v_prediction": lambda y, v, step: step.alpha**0.5 * v + (1 - step.alpha) ** 0.5 * y,
    "sample": lambda y, x0, step: step.noise_in(y, x0),
}
