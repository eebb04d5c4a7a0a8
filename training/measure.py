# SPDX-License-Identifier: GPL-3.0-or-later
"""The figures of the model card, measured through diffusers' stock pipeline.

They are simple on purpose and in the model's own domain; none of them is a CLIP score or an FID.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import torch
import torch.nn.functional as F
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from torch import Tensor

from .autoencoder import reconstruct
from .evaluate import draw_views, held_out_depth, load_pipeline
from .materials import COLORS
from .scenes import KINDS, draw_scene, render_scene

_FRESH = 9_000_000_000  # seeds no run's data set reaches


def measure(model: Path, size: int, steps: int, guidance_scale: float) -> dict[str, float]:
    """Autoencoder PSNR by kind of picture; colour, silhouette and backdrop of drawn views."""
    pipeline = load_pipeline(model)
    figures = autoencoder_psnr(pipeline.vae, size)
    depths = torch.stack(
        [held_out_depth("monkey" if i % 2 else "bunny", 60.0 * i, 0.0, size) for i in range(12)]
    )
    prompts = [f"a {color} statue" for color in COLORS]
    views = draw_views(pipeline, prompts, depths, steps, guidance_scale, 0)
    return figures | follows(views, depths)


def autoencoder_psnr(vae: AutoencoderKL, size: int, count: int = 8) -> dict[str, float]:
    """In decibel, on renders no run has seen; higher is better."""
    figures, seeds = {}, iter(range(_FRESH, _FRESH + 10_000))
    for kind in KINDS:
        scenes = (draw_scene(seed) for seed in seeds)
        chosen = [next(scene for scene in scenes if scene.kind == kind) for _ in range(count)]
        figures[f"autoencoder_psnr_{kind}"] = _psnr(vae, [render_scene(s, size)[0] for s in chosen])
    bricks = [replace(draw_scene(_FRESH + i), kind="wall", shape=None, wall=("brick", "red"))
              for i in range(count)]  # fmt: skip
    figures["autoencoder_psnr_red_brick_wall"] = _psnr(
        vae, [render_scene(s, size)[0] for s in bricks]
    )
    return figures


def _psnr(vae: AutoencoderKL, images: list[Tensor]) -> float:
    pixels = torch.stack(images).float() / 127.5 - 1
    error = (reconstruct(vae, pixels) - pixels).square().mean() / 4
    return (-10 * torch.log10(error)).item()


def follows(views: Tensor, depths: Tensor) -> dict[str, float]:
    """Views of one plainly coloured object each, in the order of COLORS. (N, 3, H, W) in [0, 1].

    Returns:
        color_accuracy: share of views whose mean object colour is nearest to the one asked for;
            chance is 1 / 12. Gray on the gray backdrop also counts here.
        silhouette_iou: overlap of the depth map's object with pixels that differ from the backdrop.
        backdrop_error: mean absolute difference between the backdrop and neutral grey.
    """
    palette = torch.tensor(list(COLORS.values()))
    right, overlaps, errors = [], [], []
    for row, (view, depth) in enumerate(zip(views, depths, strict=True)):
        # The farthest foreground point has depth 0 as well; a small dilation takes it back in.
        inside = F.max_pool2d((depth[:1] > 0).float(), 3, 1, 1)[0] > 0
        core = F.max_pool2d(-inside.float()[None], 9, 1, 4)[0] < 0
        color = view[:, core].mean(1)
        right.append((palette - color).square().sum(1).argmin().item() == row)
        backdrop = view[:, ~inside].median(1).values
        painted = (view - backdrop[:, None, None]).abs().amax(0) > 0.12
        overlaps.append(((painted & inside).sum() / (painted | inside).sum()).item())
        errors.append((view[:, ~inside] - 0.5).abs().mean().item())
    count = len(views)
    return {
        "color_accuracy": sum(right) / count,
        "silhouette_iou": sum(overlaps) / count,
        "backdrop_error": sum(errors) / count,
    }
