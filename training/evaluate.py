# SPDX-License-Identifier: GPL-3.0-or-later
"""What a model can do, in one table and one sheet, measured through diffusers' stock pipeline.

All figures are in the model's own domain; none of them is a CLIP score or an FID.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import NamedTuple

import torch
import torch.nn.functional as F
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from torch import Tensor

from .autoencoder import reconstruct
from .checkpoint import replace_file
from .diagnosis import diagnose
from .draw import draw_sheet, draw_views, load_pipeline
from .judge import Judge, load_judge, read, share
from .kernel_distance import Features, kernel_distance
from .materials import COLORABLE, COLORS, HELD_OUT_PAIRS, MATERIALS
from .plan import PAINTS
from .render import Camera, paint, trace
from .scenes import KINDS, NEUTRAL, draw_coat, draw_scene, render_scene
from .shapes import HELD_OUT, make_shape
from .wording import words

log = logging.getLogger(__name__)

_FRESH = 9_000_000_000  # seeds no run's data set reaches
_EDGE = 0.06  # step of depth, or of a picture's gray, that is an edge
_NEAR = 3  # pixels within which an edge counts as found
DEPTH_EDGE_SIZE = 128  # pixels at which edges are compared


class Figure(NamedTuple):
    name: str
    model: float
    real: float | None  # the same of real renders: what can be reached
    chance: float | None


class Views(NamedTuple):
    """Objects of held-out shapes: every pair of material and color that a prompt can name."""

    pairs: list[tuple[str, str]]
    prompts: list[str]
    depths: Tensor  # (N, 3, H, W)
    real: Tensor  # (N, 3, H, W), rendered


def evaluate(
    model: Path,
    out: Path,
    size: int,
    steps: int,
    guidance_scale: float,
    repeats: int,
    judge_file: Path | None = None,
) -> list[Figure]:
    """Write figures, diagnosis (each .json and .md) and `sheet.png` into the folder `out`."""
    out.mkdir(parents=True, exist_ok=True)
    pipeline = load_pipeline(model)
    judge = load_judge(judge_file)
    asked, other = real_views(size, repeats, 0), real_views(size, repeats, 1)
    drawn = draw_views(pipeline, asked.prompts, asked.depths, steps, guidance_scale, 0)
    figures = [
        *judged(judge, asked, drawn),
        *followed(asked, drawn),
        *distances(asked, other, drawn),
        *autoencoder_psnr(pipeline.vae, size),
    ]
    materials = by_material(judge, asked.pairs, drawn)
    table = markdown(figures, materials, len(drawn))
    values = {"figures": [f._asdict() for f in figures], "material_by_name": materials}
    replace_file(out / "figures.json", lambda path: path.write_text(json.dumps(values, indent=1)))
    replace_file(out / "figures.md", lambda path: path.write_text(table))
    diagnose(pipeline, judge, size, 2 * repeats, out)
    draw_sheet(pipeline, out / "sheet.png", size, steps, guidance_scale)
    return figures


def real_views(size: int, repeats: int, seed: int) -> Views:
    """Every pair `repeats` times, each on another held-out shape from another side."""
    rng = Random(_FRESH + seed)
    pairs = [(m, c) for m in MATERIALS for c in (COLORS if m in COLORABLE else ["gray"])] * repeats
    prompts, depths, pictures = [], [], []
    for number, (material, color) in enumerate(pairs):
        shape = list(HELD_OUT)[number % 2]  # the chair's legs are thinner than a latent cell
        camera = Camera(rng.uniform(-180, 180), rng.choice((0.0, 0.0, 30.0)))
        view = trace(make_shape(shape, Random(5)), camera, size)
        backdrop = torch.full((3, 1, 1), NEUTRAL)
        pictures.append(paint(view, draw_coat(material, color, rng), backdrop))
        depths.append(view.depth.expand(3, -1, -1))
        prompts.append(f"a {words(material, color)} statue")
    return Views(pairs, prompts, torch.stack(depths), torch.stack(pictures))


def judged(judge: Judge, asked: Views, drawn: Tensor) -> list[Figure]:
    """Accuracy of color and material, by whether runs of the present data leave a pair out."""
    figures = []
    held_out = [pair in HELD_OUT_PAIRS for pair in asked.pairs]
    for kind, wanted in (("pairs that are trained on", False), ("held-out pairs", True)):
        rows = [row for row, held in enumerate(held_out) if held == wanted]
        both = [answers(judge, asked.pairs, views, rows) for views in (drawn, asked.real)]
        for what, index, chance in (
            ("color", 1, 1 / len(COLORS)),
            ("material", 0, 1 / len(MATERIALS)),
        ):
            figures.append(Figure(f"judge: {what}, {kind}", both[0][index], both[1][index], chance))
    return figures


def answers(
    judge: Judge, pairs: Sequence[tuple[str, str]], views: Tensor, rows: Sequence[int]
) -> tuple[float, float]:
    """Accuracy of material and, where there is one to choose, of color."""
    materials, colors = read(judge, views[list(rows)])
    colored = [number for number, row in enumerate(rows) if pairs[row][0] in COLORABLE]
    return (
        share(materials, [pairs[row][0] for row in rows]),
        share([colors[n] for n in colored], [pairs[rows[n]][1] for n in colored]),
    )


def by_material(judge: Judge, pairs: Sequence[tuple[str, str]], drawn: Tensor) -> dict[str, float]:
    """How often each material is recognized."""
    seen, _ = read(judge, drawn)
    return {
        name: share([s for s, pair in zip(seen, pairs, strict=True) if pair[0] == name],
                    [name] * sum(pair[0] == name for pair in pairs))
        for name in MATERIALS
    }  # fmt: skip


def followed(asked: Views, drawn: Tensor) -> list[Figure]:
    """Whether the picture's edges are where the depth's are, and the backdrop stays neutral."""
    depths = asked.depths[:, 0]
    wrong = depths.roll(1, 0)  # another shape from another side
    return [
        Figure(
            "depth edges found in the picture",
            edges_found(depths, drawn),
            edges_found(depths, asked.real),
            edges_found(wrong, drawn),
        ),
        Figure(
            "silhouette, intersection over union",
            silhouette_iou(drawn, depths),
            silhouette_iou(asked.real, depths),
            silhouette_iou(drawn, wrong),
        ),
        Figure(
            "backdrop, mean absolute error",
            backdrop_error(drawn, depths),
            backdrop_error(asked.real, depths),
            None,
        ),
    ]


def edges_found(depths: Tensor, views: Tensor) -> float:
    """Share of the edges of depth (N, H, W) within 3 pixels of an edge of views, at 128 pixels."""
    side = (DEPTH_EDGE_SIZE, DEPTH_EDGE_SIZE)
    known = steps_of(F.interpolate(depths[:, None], side, mode="area")) > _EDGE
    # The largest step of the three channels: colors of one gray have edges, too.
    seen = steps_of(F.interpolate(views, side, mode="area")).amax(1, keepdim=True) > _EDGE
    near = F.max_pool2d(seen.float(), 2 * _NEAR + 1, 1, _NEAR) > 0
    return float((known & near).sum() / known.sum())


def steps_of(images: Tensor) -> Tensor:
    """Largest difference to the pixel on the right or below, the shape unchanged."""
    padded = F.pad(images, (0, 1, 0, 1), mode="replicate")
    right = (padded[..., :-1, 1:] - padded[..., :-1, :-1]).abs()
    return torch.maximum(right, (padded[..., 1:, :-1] - padded[..., :-1, :-1]).abs())


def covered(depths: Tensor) -> Tensor:
    """The object in depth maps (N, H, W); its farthest point has depth 0, too."""
    return F.max_pool2d((depths > 0).float(), 3, 1, 1) > 0


def silhouette_iou(views: Tensor, depths: Tensor) -> float:
    """Overlap of the depth map's object with the pixels that differ from the backdrop."""
    inside = covered(depths)
    overlaps = []
    for view, object_ in zip(views, inside, strict=True):
        backdrop = view[:, ~object_].median(1).values
        painted = (view - backdrop[:, None, None]).abs().amax(0) > 0.12
        overlaps.append(float((painted & object_).sum() / (painted | object_).sum()))
    return sum(overlaps) / len(overlaps)


def backdrop_error(views: Tensor, depths: Tensor) -> float:
    """Mean absolute difference between the backdrop and neutral gray."""
    outside = ~covered(depths)
    errors = [
        float((view[:, around] - NEUTRAL).abs().mean())
        for view, around in zip(views, outside, strict=True)
    ]
    return sum(errors) / len(errors)


def distances(asked: Views, other: Views, drawn: Tensor) -> list[Figure]:
    """KID to real renders of the same prompts, and of two sets of real renders beside it."""
    try:
        features = Features()
    except ModuleNotFoundError:
        log.info("no KID: it needs the extra `evaluate`")
        return []
    real = features(asked.real)
    name = "KID x 1000, EfficientNet-Lite0 features"
    return [
        Figure(
            name,
            1000 * kernel_distance(features(drawn), features(other.real)),
            1000 * kernel_distance(real, features(other.real)),
            None,
        )
    ]


def autoencoder_psnr(vae: AutoencoderKL, size: int, count: int = 8) -> list[Figure]:
    """In decibel, on renders no run has seen; higher is better."""
    figures, seeds = [], iter(range(_FRESH, _FRESH + 10_000))
    for kind in KINDS:
        scenes = (draw_scene(seed * PAINTS) for seed in seeds)  # each another view
        chosen = [next(scene for scene in scenes if scene.kind == kind) for _ in range(count)]
        figures.append((kind, [render_scene(scene, size)[0] for scene in chosen]))
    walls = [replace(draw_scene(_FRESH + i), kind="wall", shape=None, wall=("brick", "red"))
             for i in range(count)]  # fmt: skip
    figures.append(("red brick wall", [render_scene(scene, size)[0] for scene in walls]))
    return [Figure(f"autoencoder, {kind}, dB", _psnr(vae, images), None, None)
            for kind, images in figures]  # fmt: skip


def _psnr(vae: AutoencoderKL, images: list[Tensor]) -> float:
    pixels = torch.stack(images).float() / 127.5 - 1
    error = (reconstruct(vae, pixels) - pixels).square().mean() / 4
    return (-10 * torch.log10(error)).item()


def markdown(figures: Sequence[Figure], materials: dict[str, float], count: int) -> str:
    """The table of the model card."""

    def cell(value: float | None) -> str:
        return "" if value is None else f"{value:.3g}"

    rows = ["| figure | model | real renders | chance |", "| --- | --- | --- | --- |"]
    rows += [f"| {f.name} | {cell(f.model)} | {cell(f.real)} | {cell(f.chance)} |" for f in figures]
    named = ", ".join(f"{name} {value:.2f}" for name, value in materials.items())
    return "\n".join([*rows, "", f"{count} views of held-out shapes. Material, by name: {named}."])
