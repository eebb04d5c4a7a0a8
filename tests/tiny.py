# SPDX-License-Identifier: GPL-3.0-or-later
"""A diffusers folder with Stable Diffusion's layout and tiny random networks."""

import json
from pathlib import Path

import torch
from diffusers import (
    AutoencoderKL,
    ControlNetModel,
    DDIMScheduler,
    EulerDiscreteScheduler,
    StableDiffusionControlNetPipeline,
    StableDiffusionXLControlNetPipeline,
    UNet2DConditionModel,
)
from transformers import (
    CLIPTextConfig,
    CLIPTextModel,
    CLIPTextModelWithProjection,
    CLIPTokenizer,
)

LETTERS = "abcdefghijklmnopqrstuvwxyz0123456789,.-"
WORDS = [*LETTERS, *(letter + "</w>" for letter in LETTERS), "<|startoftext|>", "<|endoftext|>"]


def tokenizer_in(folder: Path, length: int) -> CLIPTokenizer:
    """One that spells, with its files in the folder; texts have `length` tokens at most."""
    (folder / "vocab.json").write_text(json.dumps({word: i for i, word in enumerate(WORDS)}))
    (folder / "merges.txt").write_text("#version: 0.2\n")
    return CLIPTokenizer(
        str(folder / "vocab.json"), str(folder / "merges.txt"), model_max_length=length
    )


def save_pipeline(folder: Path, prediction_type: str = "epsilon") -> Path:
    """Write the folder and return it. Deterministic; a second or two on a CPU."""
    folder.mkdir(parents=True)
    torch.manual_seed(0)
    tokenizer = tokenizer_in(folder, 16)
    text = CLIPTextConfig(
        vocab_size=len(WORDS),
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        max_position_embeddings=16,
        bos_token_id=len(WORDS) - 2,
        eos_token_id=len(WORDS) - 1,
        pad_token_id=len(WORDS) - 1,
    )
    unet = UNet2DConditionModel(
        sample_size=64,
        block_out_channels=(8, 16),
        layers_per_block=1,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        cross_attention_dim=16,
        attention_head_dim=2,
        norm_num_groups=4,
    )
    controlnet = control_of(unet)
    vae = autoencoder()
    scheduler = DDIMScheduler(
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        set_alpha_to_one=False,
        steps_offset=1,
        clip_sample=False,
        prediction_type=prediction_type,
    )
    StableDiffusionControlNetPipeline(
        vae=vae,
        text_encoder=CLIPTextModel(text),
        tokenizer=tokenizer,
        unet=unet,
        controlnet=controlnet,
        scheduler=scheduler,
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    ).save_pretrained(folder)
    return folder


def control_of(unet):
    controlnet = ControlNetModel.from_unet(unet, conditioning_embedding_out_channels=(4, 4, 8, 8))
    for parameter in controlnet.parameters():  # its output layers start at zero: make it speak
        if not parameter.any():
            torch.nn.init.normal_(parameter, std=0.1)
    return controlnet


def autoencoder(**options):
    return AutoencoderKL(
        block_out_channels=(4, 4, 8, 8),
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        latent_channels=4,
        norm_num_groups=4,
        **options,
    )


def save_xl(folder: Path, *, force_zeros: bool = True) -> Path:
    """The same with SDXL's layout: two text encoders, sizes, and its own kind of ControlNet."""
    folder.mkdir(parents=True)
    torch.manual_seed(0)
    pairs = [tokenizer_in(folder, 16) for _ in range(2)]
    pairs[1].pad_token = "!"  # SDXL's second one pads with another token than the first
    texts = [
        CLIPTextConfig(
            vocab_size=len(WORDS) + 1,
            hidden_size=width,
            intermediate_size=32,
            num_hidden_layers=3,
            num_attention_heads=2,
            max_position_embeddings=16,
            projection_dim=width,
            hidden_act=act,
            bos_token_id=len(WORDS) - 2,
            eos_token_id=len(WORDS) - 1,
            pad_token_id=len(WORDS) - 1,
        )
        for width, act in ((16, "quick_gelu"), (24, "gelu"))
    ]
    unet = UNet2DConditionModel(
        sample_size=128,
        block_out_channels=(8, 16),
        layers_per_block=1,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        transformer_layers_per_block=(1, 2),
        cross_attention_dim=40,
        attention_head_dim=(1, 2),
        use_linear_projection=True,
        addition_embed_type="text_time",
        addition_time_embed_dim=8,
        projection_class_embeddings_input_dim=24 + 6 * 8,
        norm_num_groups=4,
    )
    controlnet = control_of(unet)
    vae = autoencoder(scaling_factor=0.13025, force_upcast=True)
    StableDiffusionXLControlNetPipeline(
        vae=vae,
        text_encoder=CLIPTextModel(texts[0]),
        text_encoder_2=CLIPTextModelWithProjection(texts[1]),
        tokenizer=pairs[0],
        tokenizer_2=pairs[1],
        unet=unet,
        controlnet=controlnet,
        scheduler=EulerDiscreteScheduler(  # as in the folder of SDXL 1.0
            beta_start=0.00085,
            beta_end=0.012,
            beta_schedule="scaled_linear",
            timestep_spacing="leading",
            steps_offset=1,
        ),
        force_zeros_for_empty_prompt=force_zeros,
        add_watermarker=False,
    ).save_pretrained(folder)
    return folder
