# SPDX-License-Identifier: GPL-3.0-or-later
# The libraries annotate less than they accept and return.
# pyright: reportArgumentType=false, reportAttributeAccessIssue=false
"""Where a picture is lost: three tables that say it in minutes.

1. The error of the clean estimate by noise and material: 1 knows no more than the mean, 0 is exact.
2. What the autoencoder keeps of each material: decibel, and contrast of neighboring pixels.
3. What a judge reads from reconstructions instead of renders.
"""

from __future__ import annotations

import json
from pathlib import Path
from random import Random
from typing import NamedTuple

import torch
import torch.nn.functional as F
from diffusers.pipelines.controlnet.pipeline_controlnet import StableDiffusionControlNetPipeline
from torch import Tensor

from .autoencoder import contrast_kept, psnr, reconstruct
from .checkpoint import replace_file
from .judge import Judge, read, share
from .materials import COLORABLE, COLORS, HELD_OUT_PAIRS, MATERIALS
from .networks import LATENT_SCALE
from .render import Camera, paint, trace
from .scenes import NEUTRAL, draw_coat
from .shapes import make_shape
from .wording import words

TIMES = (950, 800, 650, 500, 350, 200, 60)
_SHAPES = ("monkey", "bunny")  # never trained on
_FRESH = 9_100_000_000


class Sample(NamedTuple):
    """Views of held-out shapes, `each` of every material, in that order."""

    pairs: list[tuple[str, str]]  # (material, color)
    images: Tensor  # (N, 3, H, W) in [0, 1]
    depths: Tensor  # (N, 3, H, W)


def draw_sample(size: int, each: int) -> Sample:
    """Render them; `each` views are painted in all materials."""
    rng = Random(_FRESH)
    pairs, images, depths = [], [], []
    views = [
        trace(
            make_shape(_SHAPES[number % 2], Random(5)),
            Camera(rng.uniform(-180, 180), rng.choice((0.0, 0.0, 30.0))),
            size,
        )
        for number in range(each)
    ]
    backdrop = torch.full((3, 1, 1), NEUTRAL)
    for material in MATERIALS:
        free = [color for color in COLORS if (material, color) not in HELD_OUT_PAIRS]
        for view in views:
            color = rng.choice(free) if material in COLORABLE else "gray"
            pairs.append((material, color))
            images.append(paint(view, draw_coat(material, color, rng), backdrop))
            depths.append(view.depth.expand(3, -1, -1))
    return Sample(pairs, torch.stack(images), torch.stack(depths))


@torch.no_grad()
def errors_by_noise(
    pipeline: StableDiffusionControlNetPipeline, sample: Sample
) -> dict[str, list[float]]:
    """Squared error of the clean estimate on the object's cells over their variance, by material.

    One figure for each of TIMES, without guidance.
    """
    latents = torch.cat(
        [
            pipeline.vae.encode(part * 2 - 1).latent_dist.mean
            for part in sample.images.to(pipeline.device).split(4)
        ]
    )
    cells = F.avg_pool2d((sample.depths[:, :1] > 0).float(), LATENT_SCALE).to(pipeline.device)
    inside = (cells > 0.99).float()
    spread = _variance(latents, inside)
    alphas = pipeline.scheduler.alphas_cumprod
    noise = torch.randn(latents.shape, generator=torch.Generator().manual_seed(0))
    noise = noise.to(latents)
    table = {material: [0.0] * len(TIMES) for material in MATERIALS}
    each = len(sample.pairs) // len(MATERIALS)
    for first in range(0, len(latents), each):
        material = sample.pairs[first][0]
        rows = slice(first, first + each)
        prompts = [f"a {words(*pair)} statue" for pair in sample.pairs[rows]]
        ids = pipeline.tokenizer(
            prompts,
            padding="max_length",
            truncation=True,
            max_length=pipeline.tokenizer.model_max_length,
            return_tensors="pt",
        ).input_ids.to(pipeline.device)
        text = pipeline.text_encoder(ids)[0]
        clean, depth = latents[rows], sample.depths[rows].to(latents)
        for column, time in enumerate(TIMES):
            signal, rest = alphas[time].sqrt(), (1 - alphas[time]).sqrt()
            noisy = signal * clean + rest * noise[rows]
            when = torch.full((len(clean),), time, device=noisy.device)
            down, middle = pipeline.controlnet(noisy, when, text, depth, return_dict=False)
            v = pipeline.unet(
                noisy,
                when,
                text,
                down_block_additional_residuals=down,
                mid_block_additional_residual=middle,
            ).sample
            wrong = ((signal * noisy - rest * v - clean) ** 2 * inside[rows]).sum((0, 2, 3))
            table[material][column] = float((wrong / inside[rows].sum() / spread).mean())
    return table


def _variance(latents: Tensor, inside: Tensor) -> Tensor:
    """Of the cells inside, by channel, (4,)."""
    total = inside.sum()
    mean = (latents * inside).sum((0, 2, 3)) / total
    return ((latents - mean[:, None, None]) ** 2 * inside).sum((0, 2, 3)) / total


def kept_by_autoencoder(images: Tensor, restored: Tensor) -> dict[str, tuple[float, float]]:
    """Decibel and share of contrast, by material; of the middles of views, where the object is."""
    quarter, each = images.shape[-1] // 4, len(images) // len(MATERIALS)
    found = {}
    for number, material in enumerate(MATERIALS):
        rows = slice(number * each, (number + 1) * each)
        middle, after = (
            part[rows, :, quarter:-quarter, quarter:-quarter] * 2 - 1 for part in (images, restored)
        )
        found[material] = (psnr(after, middle), contrast_kept(after, middle))
    return found


def read_by_judge(judge: Judge, sample: Sample, restored: Tensor) -> dict[str, float]:
    """Share of materials and colors that are read right, from renders and from reconstructions."""
    figures = {}
    for what, views in (("renders", sample.images), ("reconstructions", restored)):
        materials, colors = read(judge, views)
        colored = [row for row, (name, _) in enumerate(sample.pairs) if name in COLORABLE]
        figures[f"material, {what}"] = share(materials, [name for name, _ in sample.pairs])
        figures[f"color, {what}"] = share(
            [colors[row] for row in colored], [sample.pairs[row][1] for row in colored]
        )
    return figures


def diagnose(
    pipeline: StableDiffusionControlNetPipeline, judge: Judge, size: int, each: int, out: Path
) -> str:
    """Write `diagnosis.md` and `diagnosis.json` into `out`. Returns the text."""
    sample = draw_sample(size, each)
    restored = reconstruct(pipeline.vae, sample.images * 2 - 1) / 2 + 0.5
    errors = errors_by_noise(pipeline, sample)
    kept = kept_by_autoencoder(sample.images, restored)
    judged = read_by_judge(judge, sample, restored)
    values = {"times": TIMES, "errors": errors, "kept": kept, "judge": judged}
    text = markdown(errors, kept, judged)
    replace_file(out / "diagnosis.json", lambda path: path.write_text(json.dumps(values, indent=1)))
    replace_file(out / "diagnosis.md", lambda path: path.write_text(text))
    return text


def markdown(
    errors: dict[str, list[float]],
    kept: dict[str, tuple[float, float]],
    judged: dict[str, float],
) -> str:
    head = " | ".join(f"t = {time}" for time in TIMES)
    rows = [
        f"| material | dB | contrast kept | {head} |",
        "| --- " * (len(TIMES) + 3) + "|",
    ]
    for material, figures in errors.items():
        decibel, contrast = kept[material]
        cells = " | ".join(f"{figure:.2f}" for figure in figures)
        rows.append(f"| {material} | {decibel:.1f} | {contrast:.2f} | {cells} |")
    means = [sum(column) / len(column) for column in zip(*errors.values(), strict=True)]
    decibels, contrasts = (sum(column) / len(column) for column in zip(*kept.values(), strict=True))
    cells = " | ".join(f"{figure:.2f}" for figure in means)
    rows.append(f"| all | {decibels:.1f} | {contrasts:.2f} | {cells} |")
    told = "; ".join(f"{name} {figure:.2f}" for name, figure in judged.items())
    return "\n".join(
        [
            "What the autoencoder keeps, and the error of the clean estimate over the variance of "
            "the object's latents, by time:",
            "",
            *rows,
            "",
            f"Judge: {told}.",
            "",
        ]
    )
