# SPDX-License-Identifier: GPL-3.0-or-later
# The libraries annotate less than they accept and return.
# pyright: reportArgumentType=false, reportAttributeAccessIssue=false
"""A run that begins with an exported model instead of random weights."""

from __future__ import annotations

import copy
import shutil
from pathlib import Path

import torch
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from diffusers.models.controlnets.controlnet import ControlNetModel
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from transformers import CLIPTextModel, CLIPTokenizer

from .attributes import fold, teach
from .checkpoint import save_checkpoint
from .plan import Plan

START = "start.pt"


def start_from(model: Path, folder: Path, plan: Plan) -> None:
    """Bring a model into a new run: tokenizer and autoencoder stay as they are, the text encoder,
    the UNet and the ControlNet train on. The plan's widths must be the model's.

    With `text_steps` in the plan the text encoder is taught first, and the UNet is made to read it
    as before, as nearly as a linear map can.

    Args:
        model: exported folder.
        folder: run; `start.pt` is written last and marks it.
    """
    if (folder / START).exists():
        return
    single = {"torch_dtype": torch.float32}
    tokenizer = CLIPTokenizer.from_pretrained(model / "tokenizer")
    for name, part in (
        ("tokenizer", tokenizer),
        ("vae", AutoencoderKL.from_pretrained(model / "vae", **single)),
    ):
        shutil.rmtree(folder / name, ignore_errors=True)
        part.save_pretrained(folder / name)
    modules = {
        "text": CLIPTextModel.from_pretrained(model / "text_encoder", **single),
        "unet": UNet2DConditionModel.from_pretrained(model / "unet", **single),
        "controlnet": ControlNetModel.from_pretrained(model / "controlnet", **single),
    }
    if plan.text_steps:
        before = copy.deepcopy(modules["text"])
        teach(modules["text"], tokenizer, plan)
        fold(before, modules["text"], [modules["unet"], modules["controlnet"]], tokenizer, plan)
    states = {name: module.state_dict() for name, module in modules.items()}
    save_checkpoint(folder / START, {"modules": states})
