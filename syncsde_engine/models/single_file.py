# SPDX-License-Identifier: GPL-3.0-or-later
"""A whole model from one safetensors file, as other programs keep it.

diffusers renames the tensors; the configs are `layouts`', and nothing is downloaded.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from accelerate import init_empty_weights
from diffusers.loaders.single_file_utils import (
    convert_ldm_clip_checkpoint,
    convert_ldm_unet_checkpoint,
    convert_ldm_vae_checkpoint,
    convert_open_clip_checkpoint,
)
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from safetensors.torch import load_file
from torch import Tensor
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

from .assembled import Assembled
from .detect import SD2, detect
from .folder import USELESS, missing_weights, require_finite
from .layouts import LAYOUTS, SCHEDULER, Layout
from .text import Reader, TextEncoders
from .tokenizers import clip_tokenizer

log = logging.getLogger(__name__)

Weights = Mapping[str, Tensor]
OPEN_CLIP = "cond_stage_model.model."  # prefix of Stable Diffusion 2's text encoder
SECOND = "conditioner.embedders.1.model."  # and of SDXL's second one


def load_single_file(path: Path, dtype: torch.dtype) -> Assembled:
    """Load a checkpoint; text encoders and autoencoder in float32. Raises MissingWeights."""
    found = detect(path)
    layout = LAYOUTS[found.family]
    with missing_weights(path):
        weights = load_file(path)
        unet = filled(
            UNet2DConditionModel.from_config,
            layout.unet,
            convert_ldm_unet_checkpoint(dict(weights), layout.unet),
            dtype,
        )
        vae = filled(
            AutoencoderKL.from_config,
            layout.vae,
            convert_ldm_vae_checkpoint(dict(weights), layout.vae),
            torch.float32,
        )
        text = text_encoders(weights, layout)
    scheduler = SCHEDULER | {"prediction_type": prediction(weights, layout)}
    if "ztsnr" in weights:
        scheduler["rescale_betas_zero_snr"] = True
    if found.family == SD2:
        log.warning(
            "%s is taken for the model of 768 pixels, which predicts v: one file does not say it; "
            "the base model of 512 needs its diffusers folder",
            path.name,
        )
    return Assembled(text, vae, unet, scheduler)


def prediction(weights: Weights, layout: Layout) -> str:
    """What the network was trained to predict, as far as a file says."""
    return "v_prediction" if "v_pred" in weights else layout.prediction


def text_encoders(weights: Weights, layout: Layout) -> TextEncoders:
    if any(name.startswith(OPEN_CLIP) for name in weights):
        first = open_clip(CLIPTextModel, layout.text, weights, OPEN_CLIP)
    else:
        renamed = convert_ldm_clip_checkpoint(dict(weights))
        first = filled_text(CLIPTextModel, layout.text, renamed)
    reader = Reader(clip_tokenizer(layout.pad), first)
    if layout.second_text is None:
        return TextEncoders(reader)
    second = open_clip(CLIPTextModelWithProjection, layout.second_text, weights, SECOND)
    return TextEncoders(reader, Reader(clip_tokenizer("!"), second), empty_is_zero=True)


def open_clip(kind: Any, config: dict[str, Any], weights: Weights, prefix: str) -> Any:
    """A text encoder whose tensors are named as OpenCLIP does."""
    with init_empty_weights():
        model = kind(CLIPTextConfig(**config))
    renamed = convert_open_clip_checkpoint(model, dict(weights), prefix=prefix)
    # Stable Diffusion 2 reads the last layer but one, and its config ends there.
    layers = config["num_hidden_layers"]
    beyond = tuple(f"text_model.encoder.layers.{number}." for number in range(layers, layers + 2))
    if kind is CLIPTextModel:
        beyond = (*beyond, "text_projection")
    kept = {name: value for name, value in renamed.items() if not name.startswith(beyond)}
    return filled_text(kind, config, kept)


def filled_text(kind: Any, config: dict[str, Any], weights: Weights) -> Any:
    def make(config: dict[str, Any]) -> Any:
        return kind(CLIPTextConfig(**config))

    with init_empty_weights():
        nested = hasattr(make(config), "text_model")  # not so in new versions of transformers
    if not nested:
        weights = {name.removeprefix("text_model."): value for name, value in weights.items()}
    return filled(make, config, weights, torch.float32)


def filled(
    make: Callable[[dict[str, Any]], Any],
    config: dict[str, Any],
    weights: Weights,
    dtype: torch.dtype,
) -> Any:
    """Make a network of a config with these weights and no others. Raises ValueError."""
    with init_empty_weights():
        network = make(config)
    kept = {name: value.to(dtype) for name, value in weights.items() if not name.endswith(USELESS)}
    try:
        wrong = network.load_state_dict(kept, strict=False, assign=True)
    except RuntimeError as error:  # of other shapes; the first line names the class only
        raise ValueError(" ".join(str(error).split()[:40])) from None
    if wrong.missing_keys:
        raise ValueError(f"its {type(network).__name__} has no {sorted(wrong.missing_keys)[0]}")
    if wrong.unexpected_keys:
        raise ValueError(
            f"its {type(network).__name__} has {len(wrong.unexpected_keys)} weights that there is "
            f"no place for, like {sorted(wrong.unexpected_keys)[0]}"
        )
    require_finite(network)
    return network
