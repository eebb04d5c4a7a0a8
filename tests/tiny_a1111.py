# SPDX-License-Identifier: GPL-3.0-or-later
"""Tiny networks in one safetensors file, with the names that the first programs gave tensors."""

import re

import torch
from safetensors.torch import save_file

RESNET = {
    "norm1": "in_layers.0",
    "conv1": "in_layers.2",
    "time_emb_proj": "emb_layers.1",
    "norm2": "out_layers.0",
    "conv2": "out_layers.3",
    "conv_shortcut": "skip_connection",
}
UNET = {
    "conv_in": "input_blocks.0.0",
    "time_embedding.linear_1": "time_embed.0",
    "time_embedding.linear_2": "time_embed.2",
    "add_embedding.linear_1": "label_emb.0.0",
    "add_embedding.linear_2": "label_emb.0.2",
    "conv_norm_out": "out.0",
    "conv_out": "out.2",
    # Where the parts of the tiny UNets lie: two blocks of one layer each, the second with words.
    "down_blocks.0.resnets.0": "input_blocks.1.0",
    "down_blocks.0.downsamplers.0.conv": "input_blocks.2.0.op",
    "down_blocks.1.resnets.0": "input_blocks.3.0",
    "down_blocks.1.attentions.0": "input_blocks.3.1",
    "mid_block.resnets.0": "middle_block.0",
    "mid_block.attentions.0": "middle_block.1",
    "mid_block.resnets.1": "middle_block.2",
    "up_blocks.0.resnets.0": "output_blocks.0.0",
    "up_blocks.0.attentions.0": "output_blocks.0.1",
    "up_blocks.0.resnets.1": "output_blocks.1.0",
    "up_blocks.0.attentions.1": "output_blocks.1.1",
    "up_blocks.0.upsamplers.0.conv": "output_blocks.1.2.conv",
    "up_blocks.1.resnets.0": "output_blocks.2.0",
    "up_blocks.1.resnets.1": "output_blocks.3.0",
}
VAE_ATTENTION = {
    "group_norm": "norm",
    "to_q": "q",
    "to_k": "k",
    "to_v": "v",
    "to_out.0": "proj_out",
}
OPEN_CLIP = {
    "layer_norm1": "ln_1",
    "layer_norm2": "ln_2",
    "mlp.fc1": "mlp.c_fc",
    "mlp.fc2": "mlp.c_proj",
    "self_attn.out_proj": "attn.out_proj",
}


def save_a1111(path, vae, unet, text, second=None):
    """Write the networks of a tiny Stable Diffusion, or with a `second` text encoder SDXL."""
    weights = {f"model.diffusion_model.{name}": value for name, value in unet_of(unet).items()}
    weights |= {f"first_stage_model.{name}": value for name, value in vae_of(vae).items()}
    first = "cond_stage_model" if second is None else "conditioner.embedders.0"
    for name, value in nested(text).items():
        weights[f"{first}.transformer.{name}"] = value
    if second is not None:
        for name, value in open_clip_of(second).items():
            weights[f"conditioner.embedders.1.model.{name}"] = value
    save_file({name: value.contiguous() for name, value in weights.items()}, path)
    return path


def save_controlnet(path, controlnet):
    """Write a tiny ControlNet as its authors did."""
    renamed = {}
    own = {"controlnet_mid_block": "middle_block_out.0"}
    own |= {f"controlnet_down_blocks.{i}": f"zero_convs.{i}.0" for i in range(4)}
    own |= {"controlnet_cond_embedding.conv_in": "input_hint_block.0"}
    own |= {
        f"controlnet_cond_embedding.blocks.{i}": f"input_hint_block.{2 + 2 * i}" for i in range(6)
    }
    own |= {"controlnet_cond_embedding.conv_out": "input_hint_block.14"}
    inside = {}
    for name, value in controlnet.state_dict().items():
        place, _, kind = name.rpartition(".")
        if place in own:
            renamed[f"control_model.{own[place]}.{kind}"] = value
        else:
            inside[name] = value
    renamed |= {f"control_model.{name}": value for name, value in renamed_unet(inside).items()}
    save_file({name: value.contiguous() for name, value in renamed.items()}, path)
    return path


def nested(text):
    """A text encoder's weights by the names of files, which all begin with text_model."""
    return {
        name if name.startswith(("text_model.", "text_projection")) else f"text_model.{name}": value
        for name, value in text.state_dict().items()
    }


def unet_of(unet):
    return renamed_unet(unet.state_dict())


def renamed_unet(weights):
    renamed = {}
    for name, value in weights.items():
        place = max((old for old in UNET if name.startswith(f"{old}.")), key=len)
        rest = name.removeprefix(f"{place}.")
        for old, new in RESNET.items():
            if "resnets" in place:
                rest = re.sub(rf"^{old}\.", f"{new}.", rest)
        renamed[f"{UNET[place]}.{rest}"] = value
    return renamed


def vae_of(vae):
    renamed = {}
    last = len(vae.config["block_out_channels"]) - 1
    for name, value in vae.state_dict().items():
        new = name.replace("conv_shortcut", "nin_shortcut").replace("conv_norm_out", "norm_out")
        new = re.sub(r"down_blocks\.(\d)\.resnets", r"down.\1.block", new)
        new = re.sub(r"down_blocks\.(\d)\.downsamplers\.0", r"down.\1.downsample", new)
        for kind, place in (("resnets", "block"), ("upsamplers.0", "upsample")):
            new = re.sub(
                rf"up_blocks\.(\d)\.{kind}",
                lambda found, place=place: f"up.{last - int(found[1])}.{place}",
                new,
            )
        new = re.sub(
            r"mid_block\.resnets\.(\d)", lambda found: f"mid.block_{int(found[1]) + 1}", new
        )
        if "attentions" in new:
            for old, short in VAE_ATTENTION.items():
                new = new.replace(f"attentions.0.{old}.", f"attentions.0.{short}.")
            value = value[:, :, None, None] if value.ndim == 2 else value
        renamed[new.replace("mid_block.attentions.0", "mid.attn_1")] = value
    return renamed


def open_clip_of(text):
    weights, renamed = nested(text), {}
    for name, value in weights.items():
        layer = re.match(r"text_model\.encoder\.layers\.(\d+)\.(.*)", name)
        if layer and layer[2].startswith("self_attn.q_proj"):
            kind = layer[2].rpartition(".")[2]
            parts = [weights[name.replace("q_proj", f"{part}_proj")] for part in "qkv"]
            renamed[f"transformer.resblocks.{layer[1]}.attn.in_proj_{kind}"] = torch.cat(parts)
        elif layer and not re.match(r"self_attn\.[kv]_proj", layer[2]):
            part, _, kind = layer[2].rpartition(".")
            renamed[f"transformer.resblocks.{layer[1]}.{OPEN_CLIP[part]}.{kind}"] = value
    renamed["token_embedding.weight"] = weights["text_model.embeddings.token_embedding.weight"]
    renamed["positional_embedding"] = weights["text_model.embeddings.position_embedding.weight"]
    renamed["text_projection"] = weights["text_projection.weight"].T
    for kind in ("weight", "bias"):
        renamed[f"ln_final.{kind}"] = weights[f"text_model.final_layer_norm.{kind}"]
    return renamed
