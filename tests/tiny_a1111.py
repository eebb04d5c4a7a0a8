# SPDX-License-Identifier: GPL-3.0-or-later
"""Networks in one safetensors file, with the names that the first programs gave tensors.

They count the parts of a UNet in the order of their use: input_blocks.1 has the first residual
block as .0 and, if there is one, its attention as .1.
"""

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
OUTSIDE = {
    "conv_in": "input_blocks.0.0",
    "time_embedding.linear_1": "time_embed.0",
    "time_embedding.linear_2": "time_embed.2",
    "add_embedding.linear_1": "label_emb.0.0",
    "add_embedding.linear_2": "label_emb.0.2",
    "conv_norm_out": "out.0",
    "conv_out": "out.2",
    "mid_block.resnets.0": "middle_block.0",
    "mid_block.attentions.0": "middle_block.1",
    "mid_block.resnets.1": "middle_block.2",
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
    weights = a1111_of(vae, unet, text, second)
    save_file({name: value.contiguous() for name, value in weights.items()}, path)
    return path


def a1111_of(vae, unet, text, second=None, *, is_open_clip=False):
    """The tensors of a Stable Diffusion, or with a `second` text encoder of SDXL, by name."""
    weights = {f"model.diffusion_model.{name}": value for name, value in unet_of(unet).items()}
    weights |= {f"first_stage_model.{name}": value for name, value in vae_of(vae).items()}
    first = "cond_stage_model" if second is None else "conditioner.embedders.0"
    if is_open_clip:
        named = {f"{first}.model.{name}": value for name, value in open_clip_of(text).items()}
    else:
        named = {f"{first}.transformer.{name}": value for name, value in nested(text).items()}
    weights |= named
    if second is not None:
        for name, value in open_clip_of(second).items():
            weights[f"conditioner.embedders.1.model.{name}"] = value
    return weights


def places(config):
    """Where diffusers' parts of a UNet's blocks lie."""
    layers, found = config["layers_per_block"], {}
    last = len(config["down_block_types"]) - 1
    number = 1
    for block in range(last + 1):
        for layer in range(layers):
            found[f"down_blocks.{block}.resnets.{layer}"] = f"input_blocks.{number}.0"
            found[f"down_blocks.{block}.attentions.{layer}"] = f"input_blocks.{number}.1"
            number += 1
        found[f"down_blocks.{block}.downsamplers.0.conv"] = f"input_blocks.{number}.0.op"
        number += 1
    number = 0
    for block in range(last + 1):
        crossed = "Cross" in config["down_block_types"][last - block]
        for layer in range(layers + 1):
            found[f"up_blocks.{block}.resnets.{layer}"] = f"output_blocks.{number}.0"
            found[f"up_blocks.{block}.attentions.{layer}"] = f"output_blocks.{number}.1"
            number += 1
        above = f"output_blocks.{number - 1}.{2 if crossed else 1}.conv"
        found[f"up_blocks.{block}.upsamplers.0.conv"] = above
    return OUTSIDE | found


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
    there = renamed_unet(inside, places(controlnet.config))
    renamed |= {f"control_model.{name}": value for name, value in there.items()}
    save_file({name: value.contiguous() for name, value in renamed.items()}, path)
    return path


def nested(text):
    """A text encoder's weights by the names of files, which all begin with text_model."""
    return {
        name if name.startswith(("text_model.", "text_projection")) else f"text_model.{name}": value
        for name, value in text.state_dict().items()
    }


def unet_of(unet):
    return renamed_unet(unet.state_dict(), places(unet.config))


def renamed_unet(weights, where):
    renamed = {}
    for name, value in weights.items():
        place = max((old for old in where if name.startswith(f"{old}.")), key=len)
        rest = name.removeprefix(f"{place}.")
        for old, new in RESNET.items():
            if "resnets" in place:
                rest = re.sub(rf"^{old}\.", f"{new}.", rest)
        renamed[f"{where[place]}.{rest}"] = value
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
    if "text_projection.weight" in weights:
        renamed["text_projection"] = weights["text_projection.weight"].T
    for kind in ("weight", "bias"):
        renamed[f"ln_final.{kind}"] = weights[f"text_model.final_layer_norm.{kind}"]
    return renamed
