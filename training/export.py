# SPDX-License-Identifier: GPL-3.0-or-later
# The libraries annotate less than they accept and return.
# pyright: reportArgumentType=false
"""From a run to an ordinary diffusers folder in half precision, described for the engine."""

from __future__ import annotations

import json
import logging
import shutil
from pathlib import Path

import torch
from diffusers.pipelines.controlnet.pipeline_controlnet import StableDiffusionControlNetPipeline

from .captions import NOUNS
from .diffusion import averaged_networks
from .landscapes import PLACES, SKIES
from .materials import COLORS, MATERIALS
from .networks import make_scheduler
from .plan import Plan
from .shapes import HELD_OUT
from .stages import load_autoencoder, load_tokenizer

log = logging.getLogger(__name__)

LARGEST_BYTES = 48_000_000


def export(plan: Plan, folder: Path, out: Path, card: str, version: str) -> int:
    """Write the model of a run to `out`, which appears whole. Returns its size in bytes.

    Args:
        card: text of the model card.
        version: of the model, for `syncsde.json`.
    """
    vae = load_autoencoder(folder)
    if vae is None:
        raise FileNotFoundError(f"no finished autoencoder in {folder}")
    tokenizer = load_tokenizer(plan, folder)
    text, unet, controlnet, step = averaged_networks(plan, tokenizer, folder)
    pipeline = StableDiffusionControlNetPipeline(
        vae=vae,
        text_encoder=text,
        tokenizer=tokenizer,
        unet=unet,
        controlnet=controlnet,
        scheduler=make_scheduler(),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    ).to(torch.float16)
    temporary = out.with_name(out.name + ".partial")
    shutil.rmtree(temporary, ignore_errors=True)
    pipeline.save_pretrained(temporary, safe_serialization=True)
    _forget_paths(temporary)
    description = json.dumps(describe(plan, version), indent=2) + "\n"
    (temporary / "syncsde.json").write_text(description)
    (temporary / "README.md").write_text(card)
    files = [file for file in temporary.rglob("*") if file.is_file()]
    for file in files:
        file.chmod(0o644)
    total = sum(file.stat().st_size for file in files)
    if total > LARGEST_BYTES:
        raise ValueError(f"the model has {total} bytes, more than {LARGEST_BYTES}")
    shutil.rmtree(out, ignore_errors=True)
    temporary.rename(out)
    log.info("exported joint step %d to %s, %.1f MB", step, out, total / 1e6)
    return total


def describe(plan: Plan, version: str) -> dict:
    """What the engine and its panel need to know about mini."""
    trained = [words for shape, words in NOUNS.items() if shape not in HELD_OUT]
    return {
        "name": "mini",
        "version": version,
        "guidance_scale": 3.0,
        "control_scale": 1.0,
        "view_size": plan.size,
        "image_size": plan.size,
        "image_guidance_scale": 3.0,
        "prompt_prefix": "",
        "negative_prompt": "",
        "license": "CC0-1.0",
        "vocabulary": {
            "colors": list(COLORS),
            "materials": list(MATERIALS),
            "nouns": sorted({noun for words in trained for noun in words}),
            "backgrounds": list(COLORS),
            "places": [f"{place} {time}" for place in PLACES for time in SKIES],
        },
    }


def _forget_paths(folder: Path) -> None:
    """The libraries note where a part was loaded from; that is nobody's business."""
    for file in folder.rglob("*.json"):
        values = json.loads(file.read_text())
        if isinstance(values, dict) and values.pop("_name_or_path", None) is not None:
            file.write_text(json.dumps(values, indent=2) + "\n")
