# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether networks belong together, by their configs."""

from __future__ import annotations

from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from diffusers.models.controlnets.controlnet import ControlNetModel
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel

from .attention import require_plain
from .text import TextEncoders


def require_fit(
    network: UNet2DConditionModel | ControlNetModel, vae: AutoencoderKL, text: TextEncoders
) -> None:
    """Raise ValueError if a network is none of Stable Diffusion's, or not of the same model."""
    require_plain(network)
    if network.config.get("controlnet_conditioning_channel_order", "rgb") != "rgb":
        raise ValueError("it wants control images in another order than rgb")
    pairs = {
        "latent channels": (network.config["in_channels"], vae.config["latent_channels"]),
        "words of width": (network.config["cross_attention_dim"], text.width),
    }
    if text.second is not None:
        pairs["pooled words and sizes of width"] = (
            network.config["projection_class_embeddings_input_dim"],
            text.pooled_width + 6 * (network.config["addition_time_embed_dim"] or 0),
        )
    if vae.config.get("latents_mean"):
        raise ValueError("the model's vae shifts its latents, which no Stable Diffusion's does")
    for what, (needs, gets) in pairs.items():
        if needs != gets:
            raise ValueError(f"it needs {what} {needs}, but the model's other parts have {gets}")


def require_same_blocks(controlnet: ControlNetModel, unet: UNet2DConditionModel) -> None:
    """Raise ValueError unless what a ControlNet says fits into the UNet's blocks."""
    for name in ("block_out_channels", "layers_per_block"):
        has, needed = controlnet.config[name], unet.config[name]
        if has != needed:
            raise ValueError(f"its {name} is {has!r}, but the model's is {needed!r}")
