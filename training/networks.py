# SPDX-License-Identifier: GPL-3.0-or-later
# The libraries annotate less than they accept and return.
# pyright: reportArgumentType=false, reportAttributeAccessIssue=false, reportGeneralTypeIssues=false
"""The five parts of mini, all stock classes in the shape of Stable Diffusion 1.5, only narrower."""

from __future__ import annotations

import torch
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from diffusers.models.controlnets.controlnet import ControlNetModel
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from diffusers.schedulers.scheduling_ddim import DDIMScheduler
from torch import Tensor, nn
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

from .plan import Plan

LATENT_SCALE = 8  # pixels per latent cell


def make_scheduler() -> DDIMScheduler:
    """Stable Diffusion's own noise schedule, with v-prediction."""
    return DDIMScheduler(
        num_train_timesteps=1000,
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        clip_sample=False,
        set_alpha_to_one=False,
        steps_offset=1,
        timestep_spacing="leading",
        prediction_type="v_prediction",
    )


def make_autoencoder(plan: Plan) -> AutoencoderKL:
    levels = len(plan.vae_widths)
    return AutoencoderKL(
        block_out_channels=plan.vae_widths,
        down_block_types=("DownEncoderBlock2D",) * levels,
        up_block_types=("UpDecoderBlock2D",) * levels,
        layers_per_block=1,
        latent_channels=plan.latent_channels,
        norm_num_groups=8,
        sample_size=plan.size,
        scaling_factor=1.0,
    )


def make_text_encoder(plan: Plan, tokenizer: CLIPTokenizer) -> CLIPTextModel:
    return CLIPTextModel(
        CLIPTextConfig(
            vocab_size=len(tokenizer),
            hidden_size=plan.text_width,
            intermediate_size=4 * plan.text_width,
            projection_dim=plan.text_width,
            num_hidden_layers=plan.text_layers,
            num_attention_heads=4,
            max_position_embeddings=plan.text_length,
            # The defaults are ids of the full CLIP vocabulary, which this one does not have.
            bos_token_id=tokenizer.bos_token_id,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
        )
    )


def make_unet(plan: Plan) -> UNet2DConditionModel:
    return UNet2DConditionModel(
        sample_size=plan.size // LATENT_SCALE,
        in_channels=plan.latent_channels,
        out_channels=plan.latent_channels,
        block_out_channels=plan.unet_widths,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
        layers_per_block=plan.unet_layers,
        cross_attention_dim=plan.text_width,
        attention_head_dim=4,
        norm_num_groups=16,
    )


def make_controlnet(plan: Plan, unet: UNet2DConditionModel, depths: Tensor) -> ControlNetModel:
    """Copy the convolutions of the UNet's encoder, with a depth input that is strong at once.

    The copy leaves out attention: depth says where things are, not what they are, and a step is
    cheaper without. With the default initialization the depth signal shrinks to about 0.03 on its
    way in, and 200 to 400 steps pass before it has any effect. Scaling every layer to unit variance
    on real depth maps costs nothing; the zero convolutions at the outputs stay, so that the UNet is
    undisturbed at first.

    Args:
        depths: (N, 3, H, W) float32 in [0, 1], some real control images.
    """
    controlnet = ControlNetModel(
        in_channels=plan.latent_channels,
        conditioning_channels=3,
        conditioning_embedding_out_channels=plan.depth_widths,
        block_out_channels=plan.unet_widths,
        down_block_types=("DownBlock2D",) * len(plan.unet_widths),
        mid_block_type="UNetMidBlock2D",
        layers_per_block=plan.unet_layers,
        cross_attention_dim=plan.text_width,
        attention_head_dim=4,
        norm_num_groups=16,
    )
    own = controlnet.state_dict()
    shared = {name: value for name, value in unet.state_dict().items() if name in own}
    controlnet.load_state_dict(shared, strict=False)
    _amplify(controlnet.controlnet_cond_embedding, depths)
    return controlnet


@torch.no_grad()
def _amplify(embedding: nn.Module, depths: Tensor) -> None:
    layers = [embedding.conv_in, *embedding.blocks, embedding.conv_out]
    nn.init.kaiming_normal_(embedding.conv_out.weight)
    signal = depths
    for layer in layers:
        spread = layer(signal).std().clamp(min=1e-3)
        layer.weight /= spread
        layer.bias /= spread
        signal = nn.functional.silu(layer(signal))
