# SPDX-License-Identifier: GPL-3.0-or-later
"""Folders with the layout of DeepFloyd IF's two stages and tiny random networks."""

from pathlib import Path

import torch
from diffusers import (
    DDPMScheduler,
    IFPipeline,
    IFSuperResolutionPipeline,
    UNet2DConditionModel,
)
from transformers import T5Config, T5EncoderModel, T5Tokenizer

SCHEDULER = {
    "beta_schedule": "squaredcos_cap_v2",
    "clip_sample": True,
    "dynamic_thresholding_ratio": 0.95,
    "sample_max_value": 1.5,
    "thresholding": True,
    "variance_type": "learned_range",
}
LETTERS = "abcdefghijklmnopqrstuvwxyz0123456789,.-"


def save_first_stage(folder: Path) -> Path:
    """Write an IFPipeline for 64 pixels and return its folder. Deterministic."""
    torch.manual_seed(0)
    IFPipeline(
        tokenizer=tokenizer(),
        text_encoder=T5EncoderModel(
            T5Config(vocab_size=64, d_model=16, d_kv=8, d_ff=32, num_layers=1, num_heads=2)
        ),
        unet=unet(sample_size=64, in_channels=3),
        scheduler=DDPMScheduler(**SCHEDULER),
        safety_checker=None,
        feature_extractor=None,
        watermarker=None,
        requires_safety_checker=False,
    ).save_pretrained(folder)
    return folder


def save_second_stage(folder: Path) -> Path:
    """Write an IFSuperResolutionPipeline for 128 pixels, without text encoder."""
    torch.manual_seed(1)
    IFSuperResolutionPipeline(
        tokenizer=None,
        text_encoder=None,
        unet=unet(
            sample_size=128,
            in_channels=6,
            class_embed_type="timestep",
            time_embedding_act_fn="gelu",
            mid_block_scale_factor=1.414,
        ),
        scheduler=DDPMScheduler(**SCHEDULER),
        image_noising_scheduler=DDPMScheduler(beta_schedule="squaredcos_cap_v2"),
        safety_checker=None,
        feature_extractor=None,
        watermarker=None,
        requires_safety_checker=False,
    ).save_pretrained(folder)
    return folder


def tokenizer() -> T5Tokenizer:
    words = ["<pad>", "</s>", "<unk>", "▁", *LETTERS, *("▁" + letter for letter in LETTERS[:8])]
    return T5Tokenizer(vocab=[(word, -1.0) for word in words], extra_ids=0)


def unet(**own) -> UNet2DConditionModel:
    return UNet2DConditionModel(
        out_channels=6,
        layers_per_block=1,
        block_out_channels=(4, 4, 32),
        down_block_types=(
            "ResnetDownsampleBlock2D",
            "ResnetDownsampleBlock2D",
            "SimpleCrossAttnDownBlock2D",
        ),
        mid_block_type="UNetMidBlock2DSimpleCrossAttn",
        up_block_types=(
            "SimpleCrossAttnUpBlock2D",
            "ResnetUpsampleBlock2D",
            "ResnetUpsampleBlock2D",
        ),
        norm_num_groups=4,
        cross_attention_dim=32,
        encoder_hid_dim=16,
        encoder_hid_dim_type="text_proj",
        attention_head_dim=16,
        addition_embed_type="text",
        addition_embed_type_num_heads=2,
        cross_attention_norm="group_norm",
        resnet_time_scale_shift="scale_shift",
        act_fn="gelu",
        **own,
    )
