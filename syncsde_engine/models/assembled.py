# SPDX-License-Identifier: GPL-3.0-or-later
"""The parts that every model of Stable Diffusion's kind has, from a diffusers folder."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import torch
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel

from . import folder as parts
from .text import TextEncoders


class Assembled(NamedTuple):
    """Text encoders and autoencoder in float32; the UNet may be in half precision.

    The former run once, and the autoencoders of Stable Diffusion 1 and XL overflow in float16.
    """

    text: TextEncoders
    vae: Any  # AutoencoderKL; the types of diffusers do not let themselves be moved
    unet: Any  # UNet2DConditionModel
    scheduler: dict[str, Any]


def load_folder(folder: Path, dtype: torch.dtype) -> Assembled:
    """Load all parts but a ControlNet. Raises MissingWeights."""
    scheduler = parts.scheduler_config(folder)
    parts.warn_of_levels(scheduler)
    unet = parts.network(UNet2DConditionModel, folder / "unet", torch_dtype=dtype)
    is_xl = unet.config["addition_embed_type"] == "text_time"
    text = TextEncoders.load(folder, both=is_xl, dtype=torch.float32)
    vae = parts.network(AutoencoderKL, folder / "vae", torch_dtype=torch.float32)
    return Assembled(text, vae, unet, scheduler)
