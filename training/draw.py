# SPDX-License-Identifier: GPL-3.0-or-later
# The libraries annotate less than they accept and return.
# pyright: reportAttributeAccessIssue=false
"""Looking at a trained model: a sheet of prompts x held-out shapes, drawn by diffusers itself."""

from __future__ import annotations

from pathlib import Path
from random import Random

import numpy as np
import torch
from diffusers.pipelines.controlnet.pipeline_controlnet import StableDiffusionControlNetPipeline
from PIL import Image
from torch import Tensor

from .render import Camera, trace
from .shapes import make_shape

PROMPTS = (
    "a mossy stone statue",
    "a red brick vase",
    "a blue brick statue",
    "a stone brick statue",
    "a cobblestone statue",
    "a wooden statue",
    "a green scaly creature",
    "an ornament statue",
    "a rusty metal monkey",
    "a stone head",
    "a white marble head",
    "an orange tiled object",
    "a red striped toy",
    "a golden statue",
    "a lava creature",
    "a plain purple object on a white background",
)
VIEWS = (
    ("monkey", 0.0, 0.0, "front"),
    ("monkey", 90.0, 0.0, "side"),
    ("monkey", 150.0, 30.0, "back"),
    ("bunny", 25.0, 30.0, "front"),
    ("chair", 40.0, 30.0, "front"),
    ("vase", 0.0, 0.0, "front"),
)
SCENES = (
    "mountains at sunset",
    "the sea under a blue sky",
    "a forest at night",
    "a desert under a cloudy sky",
    "a red brick wall",
    "a mossy stone wall",
)


def load_pipeline(model: Path) -> StableDiffusionControlNetPipeline:
    pipeline = StableDiffusionControlNetPipeline.from_pretrained(
        model,
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    ).to(torch.float32)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def held_out_depth(shape: str, azimuth: float, elevation: float, size: int) -> Tensor:
    """Control image of a shape never trained on. (3, size, size) in [0, 1]."""
    view = trace(make_shape(shape, Random(5)), Camera(azimuth, elevation), size)
    return view.depth.expand(3, -1, -1)


@torch.no_grad()
def draw_views(
    pipeline: StableDiffusionControlNetPipeline,
    prompts: list[str],
    depths: Tensor,
    steps: int,
    guidance_scale: float,
    seed: int,
) -> Tensor:
    """Generate one view per prompt. Depths and result are (N, 3, H, W) in [0, 1]."""
    generators = [torch.Generator().manual_seed(seed + i) for i in range(len(prompts))]
    with torch.autocast(pipeline.device.type, torch.bfloat16):
        result = pipeline(
            prompts,
            image=depths,
            height=depths.shape[-2],
            width=depths.shape[-1],
            num_inference_steps=steps,
            guidance_scale=guidance_scale,
            generator=generators,
            output_type="pt",
        )
    return result.images.float()


def draw_sheet(
    pipeline: StableDiffusionControlNetPipeline,
    out: Path,
    size: int,
    steps: int = 25,
    guidance_scale: float = 3.0,
    seed: int = 0,
) -> None:
    """Draw PROMPTS x VIEWS under a row of their depth maps, then SCENES without depth."""
    depths = torch.stack([held_out_depth(s, a, e, size) for s, a, e, _ in VIEWS])
    rows = [depths]
    for prompt in PROMPTS:
        prompts = [f"{prompt}, {word} view" for *_, word in VIEWS]
        rows.append(draw_views(pipeline, prompts, depths, steps, guidance_scale, seed))
    empty = torch.zeros_like(depths)
    rows.append(draw_views(pipeline, list(SCENES), empty, steps, guidance_scale, seed))
    sheet = torch.cat([torch.cat(list(row), -1) for row in rows], -2)
    pixels = (sheet.clamp(0, 1) * 255).round().byte().permute(1, 2, 0)
    Image.fromarray(np.ascontiguousarray(pixels.numpy())).save(out)
