# SPDX-License-Identifier: GPL-3.0-or-later
"""LoRAs, added to a model's weights when it is loaded: W + weight * alpha / rank * up @ down.

Files of kohya's scripts, of diffusers and of PEFT name their layers in different ways; without
dots and underscores all of them are the layer's name in the network. arXiv:2106.09685.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from diffusers.loaders.lora_conversion_utils import (
    _maybe_map_sgm_blocks_to_diffusers,  # pyright: ignore[reportPrivateUsage]
)
from safetensors import safe_open
from safetensors.torch import load_file
from torch import Tensor, nn

from ..errors import MissingWeights
from .assembled import Assembled
from .detect import LORA, detect, fits
from .folder import missing_weights

# How tensors end, and what each is.
ENDS = (
    (r"[._]lora[._]down\.weight", "down"),
    (r"[._]lora[._]up\.weight", "up"),
    (r"\.lora_mid\.weight", "middle"),
    (r"[._]lora_linear_layer\.down\.weight", "down"),
    (r"[._]lora_linear_layer\.up\.weight", "up"),
    (r"\.lora_A(\.default)?\.weight", "down"),
    (r"\.lora_B(\.default)?\.weight", "up"),
    (r"\.alpha", "alpha"),
)
STARTS = {  # of names: which network
    "lora_unet_": "unet",
    "lora_te1_": "text",
    "lora_te2_": "second text",
    "lora_te_": "text",
    "unet.": "unet",
    "text_encoder.": "text",
    "text_encoder_2.": "second text",
    "base_model.model.": "unet",
}
PREFIXES = {"unet": "unet", "text_encoder": "text", "text_encoder_2": "second text"}
INSIDE = {  # blocks and the layers of residual ones, as the first programs named them
    "input_blocks": "down_blocks",
    "middle_block": "mid_block",
    "output_blocks": "up_blocks",
    "in_layers_2": "conv1",
    "emb_layers_1": "time_emb_proj",
    "out_layers_3": "conv2",
    "skip_connection": "conv_shortcut",
}
OUTSIDE = {  # and those outside of blocks
    "time_embed_0": "time_embedding_linear_1",
    "time_embed_2": "time_embedding_linear_2",
    "label_emb_0_0": "add_embedding_linear_1",
    "label_emb_0_2": "add_embedding_linear_2",
    "input_blocks_0_0": "conv_in",
    "out_2": "conv_out",
}
HINT = "Leave it out, or give a LoRA that was trained for this model."


class Lora(NamedTuple):
    """A file, and how strongly it is added."""

    path: Path
    weight: float


def fuse(model: Assembled, loras: tuple[Lora, ...], family: str) -> None:
    """Add LoRAs to a model's weights, which stay of their type. Raises MissingWeights.

    One that is for another family, of a kind that is no sum of products of two matrices, or that
    names layers or has widths that the model does not have is refused as a whole.
    """
    layers = {
        "unet": _layers(model.unet),
        "text": _layers(model.text.first.network),
        "second text": _layers(model.text.second.network) if model.text.second else {},
    }
    for lora in loras:
        found = detect(lora.path)
        if found.part != LORA:
            raise _refused(lora, f"is {found.kind}, not a LoRA")
        if found.variant:
            raise _refused(lora, f"is a {found.variant}, which is not supported yet")
        if not fits(found.family, family):
            raise _refused(lora, f"is for {found.family}, and the model is {family}")
        with missing_weights(lora.path, "lora", HINT), torch.no_grad():
            for layer, delta in _deltas(lora, layers, model.unet.config):
                layer.weight.copy_(layer.weight.float() + lora.weight * delta)


def _deltas(
    lora: Lora, layers: Mapping[str, Mapping[str, Any]], config: Any
) -> list[tuple[Any, Tensor]]:
    """What a LoRA adds to each layer's weight; all of it is checked before anything is changed."""
    deltas, strange = [], []
    alphas = _alphas_of_networks(lora.path)
    for (network, name), parts in _by_layer(load_file(lora.path), config).items():
        if network in alphas:
            parts.setdefault("alpha", torch.tensor(alphas[network]))
        layer = layers[network].get(name)
        if layer is None:
            strange.append(f"{network}: {name}")
            continue
        if not {"down", "up"} <= parts.keys():
            raise ValueError(f"its layer {name} has no pair of matrices")
        delta = _delta(parts)
        if delta.numel() != layer.weight.numel():
            shapes = tuple(delta.shape), tuple(layer.weight.shape)
            raise ValueError(f"its layer {name} has shape {shapes[0]}, and the model's {shapes[1]}")
        if not delta.isfinite().all():
            raise ValueError(f"its layer {name} is not finite")
        deltas.append((layer, delta.view_as(layer.weight)))
    if strange:
        raise ValueError(
            f"{len(strange)} of its {len(strange) + len(deltas)} layers are not in the model, "
            f"like {strange[0]}"
        )
    return deltas


def _alphas_of_networks(path: Path) -> dict[str, float]:
    """The alpha of each network that diffusers writes beside the tensors. Raises ValueError."""
    with safe_open(path, framework="pt") as file:
        told = (file.metadata() or {}).get("lora_adapter_metadata")
    config = json.loads(told) if told else {}
    alphas = {}
    for prefix, network in PREFIXES.items():
        for name in ("alpha_pattern", "use_rslora", "use_dora"):
            if config.get(f"{prefix}.{name}"):
                raise ValueError(f"it was trained with {name}, which is not supported")
        if f"{prefix}.lora_alpha" in config:
            alphas[network] = float(config[f"{prefix}.lora_alpha"])
    return alphas


def _delta(parts: Mapping[str, Tensor]) -> Tensor:
    """alpha / rank * up @ down, of the shape of the layer's weight or with as many elements."""
    up, down = parts["up"].float(), parts["down"].float()
    rank = down.shape[0]
    scale = float(parts["alpha"]) / rank if "alpha" in parts else 1.0
    if "middle" in parts:  # LyCORIS: the kernel lies between two matrices
        middle = parts["middle"].float()
        return scale * torch.einsum("or,rskl,si->oikl", up.flatten(1), middle, down.flatten(1))
    return scale * (up.flatten(1) @ down.flatten(1)).view(up.shape[0], *down.shape[1:])


def _by_layer(
    weights: Mapping[str, Tensor], config: Any
) -> dict[tuple[str, str], dict[str, Tensor]]:
    """The tensors of each layer: (network, name without dots) -> down, up, alpha, ..."""
    found: dict[tuple[str, str], dict[str, Tensor]] = {}
    for name, value in _in_blocks(weights, config).items():
        end = _end(name)
        assert end is not None
        stem, kind = end
        start = next((start for start in STARTS if stem.startswith(start)), "")
        layer = stem.removeprefix(start).replace(".", "_").replace("_processor_", "_")
        found.setdefault((STARTS.get(start, "unet"), _diffusers_name(layer)), {})[kind] = value
    return found


def _end(name: str) -> tuple[str, str] | None:
    """A tensor's name without its end, and what that says it is; None if nothing of a LoRA's."""
    for end, kind in ENDS:
        if place := re.search(f"{end}$", name):
            return name[: place.start()], kind
    return None


def _in_blocks(weights: Mapping[str, Tensor], config: Any) -> dict[str, Tensor]:
    """Put blocks counted as by the first programs where diffusers has them. Raises ValueError."""
    for name in weights:
        if _end(name) is None:
            raise ValueError(f"its tensor {name} is none of a LoRA's")
    return _maybe_map_sgm_blocks_to_diffusers(dict(weights), config)


def _diffusers_name(layer: str) -> str:
    if layer in OUTSIDE:
        return OUTSIDE[layer]
    for old, new in INSIDE.items():
        layer = layer.replace(old, new)
    return re.sub(r"^text_model_|_op$", lambda found: "_conv" if found[0] == "_op" else "", layer)


def _layers(network: Any) -> dict[str, Any]:
    """A network's linear layers and convolutions, by names without dots."""
    return {
        name.replace(".", "_").removeprefix("text_model_"): layer
        for name, layer in network.named_modules()
        if isinstance(layer, nn.Linear | nn.Conv2d)
    }


def _refused(lora: Lora, reason: str) -> MissingWeights:
    return MissingWeights(f"{str(lora.path)!r} {reason}.", hint=HINT, field="lora")
