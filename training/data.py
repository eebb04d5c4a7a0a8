# SPDX-License-Identifier: GPL-3.0-or-later
"""The data set: shards of rendered scenes on disk, made by all cores, continued after a stop.

A shard is three files; the scene list is written last and marks it complete. Pictures of one view
share its depth map. Nothing needs to be kept or published: scene i of a data set is a pure function
of the plan's seed and i.
"""

from __future__ import annotations

import json
import logging
import multiprocessing
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch

from .checkpoint import replace_file
from .plan import PAINTS, Plan
from .scenes import Scene, draw_scene, render_scene

log = logging.getLogger(__name__)


def shard_count(plan: Plan) -> int:
    return -(-plan.images // plan.shard)


def render_shards(plan: Plan, folder: Path, out_of_time: Callable[[], bool]) -> bool:
    """Render what is missing. Returns whether the data set is complete."""
    folder.mkdir(parents=True, exist_ok=True)
    missing = [i for i in range(shard_count(plan)) if not _scene_file(folder, i).exists()]
    if not missing:
        return True
    jobs = [(plan, folder, index) for index in missing]
    # Threads of a forked torch can hang, so workers start fresh.
    with multiprocessing.get_context("spawn").Pool(plan.workers) as pool:
        for done, index in enumerate(pool.imap_unordered(_render_shard, jobs), 1):
            log.info("render: shard %d, %d of %d left", index, len(missing) - done, len(jobs))
            if out_of_time():
                pool.terminate()
                break
    return all(_scene_file(folder, i).exists() for i in range(shard_count(plan)))


def _render_shard(job: tuple[Plan, Path, int]) -> int:
    plan, folder, index = job
    torch.set_num_threads(1)
    first = plan.seed * 12_000_000 + index * plan.shard  # begins a view, as shards do
    scenes = [draw_scene(seed, plan.rendered) for seed in range(first, first + plan.shard)]
    images = np.empty((plan.shard, 3, plan.size, plan.size), np.uint8)
    depths = np.empty((plan.shard // PAINTS, plan.size, plan.size), np.uint8)
    for row, scene in enumerate(scenes):
        image, depth = render_scene(scene, plan.size)
        images[row], depths[row // PAINTS] = image.numpy(), depth.numpy()
    np.save(folder / f"images-{index:04}.npy", images)
    np.save(folder / f"depths-{index:04}.npy", depths)
    text = json.dumps([asdict(scene) for scene in scenes])
    replace_file(_scene_file(folder, index), lambda path: path.write_text(text))
    return index


def _scene_file(folder: Path, index: int) -> Path:
    return folder / f"scenes-{index:04}.json"


def _scene(entry: dict[str, Any]) -> Scene:
    values: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in entry.items()}
    return Scene(**values)


class Renders:
    """Read access to a complete data set, memory-mapped."""

    def __init__(self, plan: Plan, folder: Path) -> None:
        shards = range(shard_count(plan))
        self.images = [np.load(folder / f"images-{i:04}.npy", mmap_mode="r") for i in shards]
        self.depths = [np.load(folder / f"depths-{i:04}.npy", mmap_mode="r") for i in shards]
        self.scenes = [
            _scene(entry)
            for i in shards
            for entry in json.loads(_scene_file(folder, i).read_text())
        ]
        self._shard = plan.shard

    def __len__(self) -> int:
        return len(self.scenes)

    def image(self, index: int) -> np.ndarray:
        """(3, size, size) uint8."""
        return self.images[index // self._shard][index % self._shard]

    def depth(self, index: int) -> np.ndarray:
        """(size, size) uint8."""
        return self.depths[index // self._shard][index % self._shard // PAINTS]
