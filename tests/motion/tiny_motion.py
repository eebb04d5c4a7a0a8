# SPDX-License-Identifier: GPL-3.0-or-later
"""Motion models with random weights: a checkpoint of MDM's exact layout, and a folder of ours."""

import json

import numpy as np
import safetensors.torch
import torch
from transformers import CLIPTextConfig, CLIPTextModelWithProjection

from syncsde_engine.models.motion_networks import Mime
from tests.tiny import WORDS, tokenizer_in

SCHEDULER = {
    "num_train_timesteps": 50,
    "beta_schedule": "squaredcos_cap_v2",
    "clip_sample": False,
    "set_alpha_to_one": True,
}
GROUPS = ((0, 1, 0.0128), (1, 3, 0.0169), (3, 4, 0.1538), (4, 67, 0.1222), (67, 193, 0.2997),
          (193, 259, 0.0195), (259, 263, 0.3559))  # fmt: skip


def deviations():
    """HumanML3D's own, to four digits."""
    std = np.zeros(263, np.float32)
    for begin, end, value in GROUPS:
        std[begin:end] = value
    return std


def means():
    mean = np.zeros(263, np.float32)
    mean[3] = 0.93
    rest = np.array([[0, 0.93, 0]] * 21, np.float32)
    mean[4:67] = (rest + np.linspace(-0.3, 0.3, 63).reshape(21, 3)).reshape(-1)
    return mean


def shapes(width=16, layers=2, feed_forward=1024, channels=263):
    """The names and shapes of an MDM encoder's parameters, written out."""
    found = {
        "input_process.poseEmbedding.weight": (width, channels),
        "input_process.poseEmbedding.bias": (width,),
        "embed_timestep.time_embed.0.weight": (width, width),
        "embed_timestep.time_embed.0.bias": (width,),
        "embed_timestep.time_embed.2.weight": (width, width),
        "embed_timestep.time_embed.2.bias": (width,),
        "embed_text.weight": (width, 512),
        "embed_text.bias": (width,),
        "output_process.poseFinal.weight": (channels, width),
        "output_process.poseFinal.bias": (channels,),
    }
    for layer in range(layers):
        for name, shape in {
            "self_attn.in_proj_weight": (3 * width, width),
            "self_attn.in_proj_bias": (3 * width,),
            "self_attn.out_proj.weight": (width, width),
            "self_attn.out_proj.bias": (width,),
            "linear1.weight": (feed_forward, width),
            "linear1.bias": (feed_forward,),
            "linear2.weight": (width, feed_forward),
            "linear2.bias": (width,),
            "norm1.weight": (width,),
            "norm1.bias": (width,),
            "norm2.weight": (width,),
            "norm2.bias": (width,),
        }.items():
            found[f"seqTransEncoder.layers.{layer}.{name}"] = shape
    return found


def checkpoint(seed=0, **sizes):
    """A state dict as MDM saves it, with its positions."""
    generator = torch.Generator().manual_seed(seed)
    weights = {
        name: torch.randn(shape, generator=generator) * 0.2
        for name, shape in shapes(**sizes).items()
    }
    width = len(weights["input_process.poseEmbedding.bias"])
    pe = torch.zeros(5000, 1, width)
    return weights | {
        "sequence_pos_encoder.pe": pe,
        "embed_timestep.sequence_pos_encoder.pe": pe,
    }


def save_download(folder, weights=None, **arguments):
    """What a user has after a download: model.pt, args.json, Mean.npy and Std.npy."""
    folder.mkdir(parents=True, exist_ok=True)
    torch.save(checkpoint() if weights is None else weights, folder / "model000200000.pt")
    told = {"arch": "trans_enc", "dataset": "humanml", "latent_dim": 16, "layers": 2}
    told |= {"diffusion_steps": 50, "noise_schedule": "cosine", "cond_mask_prob": 0.1}
    (folder / "args.json").write_text(json.dumps(told | arguments))
    np.save(folder / "Mean.npy", means())
    np.save(folder / "Std.npy", deviations())
    return folder / "model000200000.pt"


def save_clip(folder):
    """A tiny text encoder with CLIP's 512 projected numbers."""
    folder.mkdir(parents=True)
    torch.manual_seed(0)
    tokenizer = tokenizer_in(folder, 77)
    CLIPTextModelWithProjection(
        CLIPTextConfig(
            vocab_size=len(WORDS),
            hidden_size=16,
            intermediate_size=32,
            num_hidden_layers=1,
            num_attention_heads=2,
            max_position_embeddings=77,
            projection_dim=512,
            bos_token_id=len(WORDS) - 2,
            eos_token_id=len(WORDS) - 1,
            pad_token_id=len(WORDS) - 1,
        )
    ).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def save_mime(folder, seed=0, words=("walk", "sit", "wave", "left"), std=0.05):
    """A folder of mime's kind; its random motion hardly leaves the mean."""
    folder.mkdir(parents=True)
    torch.manual_seed(seed)
    network = Mime(len(words), width=16, layers=1, heads=2, feed_forward=16, together=5)
    safetensors.torch.save_file(network.state_dict(), folder / "model.safetensors")
    config = {
        "_class_name": "MotionDiffusion",
        "network": "mime",
        "width": 16,
        "layers": 1,
        "heads": 2,
        "feed_forward": 16,
        "together": 5,
        "words": {word: [f"{word}s"] for word in words},
        "scheduler": SCHEDULER,
        "license": "CC0-1.0",
        "procedural": True,
    }
    (folder / "config.json").write_text(json.dumps(config))
    np.save(folder / "mean.npy", means())
    np.save(folder / "std.npy", deviations() * np.float32(std))
    return folder
