# SPDX-License-Identifier: GPL-3.0-or-later
"""ControlNets: for one kind of control image, or the union of several, told what it is given."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from diffusers.models.controlnets.controlnet import ControlNetModel
from diffusers.models.controlnets.controlnet_union import ControlNetUnionModel

from . import folder as parts
from .guided import Control

DEPTH = 1  # of the kinds that a union was trained on: 0 is poses, then depth, edges, lines, normals


def load_controlnet(path: Path, dtype: torch.dtype) -> Any:
    """Load a ControlNet, of whichever class its config names. Raises MissingWeights."""
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
