# SPDX-License-Identifier: GPL-3.0-or-later
"""The configs of Stable Diffusion 1, 2 and XL, which a checkpoint in one file does not have.

Only what differs from the defaults of diffusers' and transformers' classes.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from .detect import SD1, SD2, SDXL

CROSS, PLAIN = ("CrossAttnDownBlock2D", "CrossAttnUpBlock2D"), ("DownBlock2D", "UpBlock2D")
VAE: dict[str, Any] = {
    "block_out_channels": [128, 256, 512, 512],
    "down_block_types": ["DownEncoderBlock2D"] * 4,
    "up_block_types": ["UpDecoderBlock2D"] * 4,
    "layers_per_block": 2,
    "latent_channels": 4,
    "sample_size": 512,
}
SCHEDULER: dict[str, Any] = {
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
    "num_train_timesteps": 1000,
    "set_alpha_to_one": False,
    "steps_offset": 1,
    "clip_sample": False,
    "timestep_spacing": "leading",
}
CLIP_L: dict[str, Any] = {  # OpenAI's ViT-L/14
    "vocab_size": 49408,
    "hidden_size": 768,
    "intermediate_size": 3072,
    "num_hidden_layers": 12,
    "num_attention_heads": 12,
    "projection_dim": 768,
    "hidden_act": "quick_gelu",
    "bos_token_id": 49406,
    "eos_token_id": 49407,
    "pad_token_id": 49407,
}
OPEN_CLIP_H: dict[str, Any] = CLIP_L | {  # without its last layer, which nothing reads
    "hidden_size": 1024,
    "intermediate_size": 4096,
    "num_hidden_layers": 23,
    "num_attention_heads": 16,
    "projection_dim": 1024,
    "hidden_act": "gelu",
}
OPEN_CLIP_BIGG: dict[str, Any] = CLIP_L | {
    "hidden_size": 1280,
    "intermediate_size": 5120,
    "num_hidden_layers": 32,
    "num_attention_heads": 20,
    "projection_dim": 1280,
    "hidden_act": "gelu",
}


def _unet(width: int, blocks: int, crossed: range, **more: Any) -> dict[str, Any]:
    """A UNet of so many blocks, of which those of `crossed` attend to words of a width."""
    kinds = [CROSS if number in crossed else PLAIN for number in range(blocks)]
    return {
        "block_out_channels": [320, 640, 1280, 1280][:blocks],
        "down_block_types": [down for down, _ in kinds],
        "up_block_types": [up for _, up in reversed(kinds)],
        "layers_per_block": 2,
        "cross_attention_dim": width,
        **more,
    }


@dataclass(frozen=True)
class Layout:
    """Configs of the parts of one family."""

    unet: dict[str, Any]
    text: dict[str, Any]
    second_text: dict[str, Any] | None = None
    vae: dict[str, Any] = field(default_factory=lambda: VAE)
    prediction: str = "epsilon"
    pad: str = "<|endoftext|>"  # of the first tokenizer


LAYOUTS = {
    SD1: Layout(_unet(768, 4, range(3), attention_head_dim=8, sample_size=64), CLIP_L),
    SD2: Layout(
        _unet(
            1024,
            4,
            range(3),
            attention_head_dim=[5, 10, 20, 20],
            use_linear_projection=True,
            sample_size=96,
        ),
        OPEN_CLIP_H,
        prediction="v_prediction",
        pad="!",
    ),
    SDXL: Layout(
        _unet(
            2048,
            3,
            range(1, 3),
            attention_head_dim=[5, 10, 20],
            transformer_layers_per_block=[1, 2, 10],
            use_linear_projection=True,
            addition_embed_type="text_time",
            addition_time_embed_dim=256,
            projection_class_embeddings_input_dim=2816,
            sample_size=128,
        ),
        CLIP_L,
        OPEN_CLIP_BIGG,
        vae=VAE | {"scaling_factor": 0.13025, "sample_size": 1024, "force_upcast": True},
    ),
}
