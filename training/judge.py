# SPDX-License-Identifier: GPL-3.0-or-later
"""A small network that reads color and material from a view, trained on fresh renders alone.

It has seen every pair of material and color on the training shapes, and no picture of the model it
judges.
"""

from __future__ import annotations

import itertools
import logging
from collections.abc import Sequence
from pathlib import Path
from random import Random

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .checkpoint import load_checkpoint, save_checkpoint
from .materials import COLORABLE, COLORS, MATERIALS
from .scenes import Scene, draw_scene, render_scene

log = logging.getLogger(__name__)

SIZE = 128  # pixels at which it looks
_SEEDS = 8_000_000_000  # no run's data set and no measurement has these
_UNKNOWN = -100  # the color of materials that have none to choose; cross entropy leaves it out
_BATCH = 32


class Judge(nn.Module):
    """(N, 3, H, W) in [0, 1] -> logits of the materials (N, 18) and of the colors (N, 12)."""

    def __init__(self) -> None:
        super().__init__()
        widths = (3, 24, 48, 96, 128, 128)
        layers: list[nn.Module] = []
        for before, after in itertools.pairwise(widths):
            layers += [nn.Conv2d(before, after, 3, 2, 1), nn.GroupNorm(8, after), nn.SiLU()]
        self.features = nn.Sequential(*layers)
        self.materials = nn.Linear(2 * widths[-1], len(MATERIALS))
        self.colors = nn.Linear(2 * widths[-1], len(COLORS))

    def forward(self, views: Tensor) -> tuple[Tensor, Tensor]:
        features = self.features(F.interpolate(views, (SIZE, SIZE), mode="area") * 2 - 1)
        pooled = torch.cat([features.mean((2, 3)), features.amax((2, 3))], dim=1)
        return self.materials(pooled), self.colors(pooled)


def train_judge(pictures: int = 6000, epochs: int = 14, seed: int = 0) -> Judge:
    """Render `pictures` objects and learn to read them; some minutes of one CPU core."""
    torch.manual_seed(seed)
    scenes = objects(_SEEDS + seed * 1_000_000, pictures)
    images = torch.stack([render_scene(scene, SIZE)[0] for scene in scenes])
    materials = torch.tensor([list(MATERIALS).index(scene.material or "") for scene in scenes])
    colors = torch.tensor([_color(scene) for scene in scenes])
    judge = Judge()
    optimizer = torch.optim.AdamW(judge.parameters(), 2e-3, weight_decay=0.02)
    steps = epochs * (pictures // _BATCH)
    falling = torch.optim.lr_scheduler.OneCycleLR(optimizer, 2e-3, total_steps=steps)
    for step in range(steps):
        rows = torch.randint(0, pictures, (_BATCH,))
        material, color = judge(_disturbed(images[rows].float() / 255))
        loss = F.cross_entropy(material, materials[rows])
        if (colors[rows] != _UNKNOWN).any():
            loss = loss + F.cross_entropy(color, colors[rows], ignore_index=_UNKNOWN)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        falling.step()
        if step % 200 == 0:
            log.info("judge: step %d of %d, loss %.3f", step, steps, loss.item())
    return judge.eval().requires_grad_(False)


def load_judge(path: Path | None) -> Judge:
    """A judge from a file, which a new one is written to if it is not there."""
    state = load_checkpoint(path) if path else None
    if state is None:
        judge = train_judge()
        if path:
            save_checkpoint(path, judge.state_dict())
        return judge
    judge = Judge()
    judge.load_state_dict(state)
    return judge.eval().requires_grad_(False)


def objects(first_seed: int, count: int) -> list[Scene]:
    """Scenes with one object, every material and color equally often."""
    pairs = [(m, c) for m in MATERIALS for c in COLORS]
    rng, scenes = Random(first_seed), []
    for number in range(count):
        scene = draw_scene(first_seed + number, (1.0, 0.0, 0.0, 0.0))
        material, color = rng.choice(pairs)
        changes = {"material": material, "color": color}
        scenes.append(Scene(**{**vars(scene), **changes}))
    return scenes


def _color(scene: Scene) -> int:
    chosen = scene.material in COLORABLE
    return list(COLORS).index(scene.color or "") if chosen else _UNKNOWN


def _disturbed(images: Tensor) -> Tensor:
    """Mirrored, shifted, a little blurred or noisy: what must not matter."""
    if torch.rand(()) < 0.5:
        images = images.flip(-1)
    shift = torch.randint(-8, 9, (2,)).tolist()
    images = images.roll(shift, (-2, -1))
    if torch.rand(()) < 0.3:
        images = F.avg_pool2d(F.pad(images, (1, 1, 1, 1), mode="replicate"), 3, 1)
    return images + 0.03 * torch.rand(()) * torch.randn_like(images)


def read(judge: Judge, views: Tensor) -> tuple[list[str], list[str]]:
    """What the judge sees in views (N, 3, H, W) in [0, 1]: names of materials and of colors."""
    parts = [judge(part) for part in views.split(16)]
    material, color = (torch.cat(part).argmax(1).tolist() for part in zip(*parts, strict=True))
    return [list(MATERIALS)[m] for m in material], [list(COLORS)[c] for c in color]


def share(seen: Sequence[str], asked: Sequence[str]) -> float:
    """Of answers that are right."""
    return sum(a == b for a, b in zip(seen, asked, strict=True)) / max(len(asked), 1)
