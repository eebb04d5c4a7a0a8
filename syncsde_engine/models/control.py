# SPDX-License-Identifier: GPL-3.0-or-later
"""ControlNets: for one kind of control image, or the union of several, told what it is given."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any

import torch
from diffusers.loaders.single_file_utils import convert_controlnet_checkpoint
from diffusers.models.controlnets.controlnet import ControlNetModel
from diffusers.models.controlnets.controlnet_union import ControlNetUnionModel
from safetensors.torch import load_file

from . import folder as parts
from .detect import detect
from .guided import Control
from .single_file import filled

HINT = "Give a depth ControlNet for this model, as its folder or as one safetensors file."
DEPTH = 1  # of the kinds that a union was trained on: 0 is poses, then depth, edges, lines, normals


def load_controlnet(path: Path, dtype: torch.dtype, unet: Any) -> Any:
    """Load a ControlNet for a UNet, of whichever class its config names. Raises MissingWeights."""
    if path.is_file():
        with parts.missing_weights(path, "controlnet", HINT):
            return _from_file(path, dtype, unet)
    union = (path / "config.json").is_file() and (
        parts.class_name(path) == ControlNetUnionModel.__name__
    )
    network = parts.network(
        ControlNetUnionModel if union else ControlNetModel, path, torch_dtype=dtype
    )
    with parts.missing_weights(path):
        if union and network.config["num_control_type"] <= DEPTH:
            raise ValueError("it was trained on poses only, and here depth is given")
    return network


def _from_file(path: Path, dtype: torch.dtype, unet: Any) -> ControlNetModel:
    """Make a ControlNet of one file: without a config it has the blocks of the model's UNet."""
    if detect(path).variant:
        raise ValueError("a union is told apart by its config: give its folder")
    taken = inspect.signature(ControlNetModel.__init__).parameters
    config = {name: value for name, value in unet.config.items() if name in taken}
    given = load_file(path)
    if "difference" in given:  # so marked by the program that made such files
        raise ValueError("it is a difference to a model, which is not supported")
    renamed = convert_controlnet_checkpoint(given, config)
    weights = {name: value for name, value in renamed.items() if value is not None}
    embedding = "controlnet_cond_embedding"
    widths = [f"{embedding}.conv_in.weight", *(f"{embedding}.blocks.{i}.weight" for i in (1, 3, 5))]
    config["conditioning_embedding_out_channels"] = [len(weights[name]) for name in widths]
    return filled(ControlNetModel.from_config, config, weights, dtype)


def control_inputs(network: Any, control: Control) -> dict[str, Any]:
    """What a ControlNet is given beside what the UNet is."""
    if not isinstance(network, ControlNetUnionModel):
        return {"controlnet_cond": control.embedded, "conditioning_scale": control.scale}
    given = torch.zeros(network.config["num_control_type"]).to(control.embedded)
    given[DEPTH] = 1
    return {
        "controlnet_cond": [control.embedded],
        "control_type": given.expand(len(control.embedded), -1),
        "control_type_idx": [DEPTH],
        "conditioning_scale": float(control.scale),
    }
