# SPDX-License-Identifier: GPL-3.0-or-later
"""Clips, and the network that learns them: clean motion from noisy motion and a bag of words.

clips.npz   the clips of a run, as features and words
mime.pt     checkpoint
"""

from __future__ import annotations

import logging
import time
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from syncsde_engine.method.schedule import Schedule
from syncsde_engine.models.motion_networks import Mime
from syncsde_engine.models.words_known import KnownWords
from syncsde_engine.motion import features as columns
from syncsde_engine.motion.skeleton import PARENTS

from ..checkpoint import Average, replace_file
from ..loop import Clock, Stage
from .clips import FRAMES, draw_clip
from .plan import MotionPlan
from .wording import forms

log = logging.getLogger(__name__)

# How much each kind of column counts: what joints and paths are made of counts most.
WEIGHTS = ((columns.ROOT, 3.0), (columns.POSITIONS, 1.5), (columns.ROTATIONS, 0.3))
SPEED, LENGTH, CHANGE = 6.0, 20.0, 1.0  # weights of the losses besides the mean square
FEET = (7, 8, 10, 11)
FOOT = 3.0  # how much more the velocities of feet count


class Clips(NamedTuple):
    features: Tensor  # (N, FRAMES, 263) float32
    words: Tensor  # (N, K) float32
    mean: Tensor  # (263,) float32
    std: Tensor


def scheduler_config(plan: MotionPlan) -> dict[str, object]:
    """Noise levels evenly spaced in the logarithm of signal over noise.

    All columns of all frames tell of the same phase of a walk: it is visible under far more noise
    than a cosine schedule has levels for, and networks then stand still between two phases.
    """
    signal = np.linspace(plan.cleanest, plan.noisiest, plan.noise_steps)
    alphas = np.concatenate([[1.0], 1 / (1 + np.exp(-signal))])
    return {
        "num_train_timesteps": plan.noise_steps,
        "trained_betas": (1 - alphas[1:] / alphas[:-1]).round(9).tolist(),
        "clip_sample": False,
        "set_alpha_to_one": True,
    }


def make_clips(plan: MotionPlan, folder: Path) -> Clips:
    """The clips of a run: made once, and kept in its folder."""
    path = folder / "clips.npz"
    if not path.exists():
        began, known = time.monotonic(), KnownWords(forms())
        rows = np.empty((plan.clips, FRAMES, columns.WIDTH), np.float32)
        words = np.empty((plan.clips, len(known.forms)), np.float32)
        for number in range(plan.clips):
            clip = draw_clip(plan.seed, number)
            rows[number], words[number] = clip.features(), known.encode(clip.caption)
        replace_file(path, lambda temporary: _save(temporary, rows, words))
        log.info("made %d clips in %.0f s", plan.clips, time.monotonic() - began)
    with np.load(path) as found:
        rows, words = found["features"], found["words"]
    mean, std = statistics(rows)
    return Clips(*(torch.from_numpy(part) for part in (rows, words, mean, std)))


def _save(path: Path, rows: np.ndarray, words: np.ndarray) -> None:
    with path.open("wb") as file:
        np.savez(file, features=rows, words=words)


def statistics(rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean of every column and, alike for all columns of a kind, standard deviation. (263,)."""
    flat = rows.reshape(-1, rows.shape[-1]).astype(np.float64)
    mean, std = flat.mean(0), flat.std(0)
    kinds = (slice(0, 1), slice(1, 3), slice(3, 4), columns.POSITIONS, columns.ROTATIONS)
    for kind in (*kinds, columns.VELOCITIES, columns.CONTACTS):
        std[kind] = std[kind].mean()
    return mean.astype(np.float32), std.astype(np.float32)


class Losses:
    """What is compared: columns, their change, speeds through the world, lengths of bones."""

    def __init__(self, clips: Clips) -> None:
        self.mean, self.std = clips.mean, clips.std
        weight = torch.full_like(clips.mean, 0.5)
        for kind, value in WEIGHTS:
            weight[kind] = value
        self.weight = weight / weight.mean()
        self.joint_weight = torch.ones(22)
        self.joint_weight[list(FEET)] = FOOT

    def __call__(self, told: Tensor, clean: Tensor) -> Tensor:
        """(B, F, 263) in standard deviations, twice -> a number."""
        off = told - clean
        mean_square = (self.weight * off**2).mean()
        change = (self.weight * off.diff(dim=1) ** 2).mean()
        joints, true = self.joints(told), self.joints(clean)
        speed = (self.speeds(told, joints) - self.speeds(clean, true)) ** 2
        speed = (self.joint_weight[:, None] * speed).mean() / 0.02**2
        length = (lengths(joints) - lengths(true)).pow(2).mean() / 0.1**2
        return mean_square + CHANGE * change + SPEED * 0.05 * speed + LENGTH * 0.1 * length

    def joints(self, rows: Tensor) -> Tensor:
        """Joints (B, F, 22, 3) in meters, in the heading's frame."""
        values = rows * self.std + self.mean
        root = torch.zeros_like(values[..., :3])
        root[..., 1] = values[..., 3]
        others = values[..., columns.POSITIONS].unflatten(-1, (21, 3))
        return torch.cat([root[..., None, :], others], dim=2)

    def speeds(self, rows: Tensor, joints: Tensor) -> Tensor:
        """How far joints go through the world in a frame, in the frame where they arrive."""
        turn = 2 * (rows[:, :-1, 0] * self.std[0] + self.mean[0])
        step = (rows * self.std + self.mean)[:, :-1, 1:3]
        cosine, sine = torch.cos(turn)[..., None], torch.sin(turn)[..., None]
        x, y, z = joints[:, :-1].unbind(-1)
        before = torch.stack([x * cosine + z * sine, y, z * cosine - x * sine], dim=-1)
        moved = joints[:, 1:] - before
        flat = torch.stack([step[..., 0], torch.zeros_like(step[..., 0]), step[..., 1]], dim=-1)
        return moved + flat[:, :, None]


def lengths(joints: Tensor) -> Tensor:
    """Lengths of bones (..., 21) of joints (..., 22, 3)."""
    return (joints[..., 1:, :] - joints[..., list(PARENTS[1:]), :]).norm(dim=-1)


def train(plan: MotionPlan, folder: Path, clock: Clock) -> Stage:
    """Train in slices; the stage that is returned says whether it is finished."""
    folder.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(plan.seed)
    clips = make_clips(plan, folder)
    network = Mime(clips.words.shape[1], **plan.network())
    log.info("%d parameters", sum(p.numel() for p in network.parameters()))
    stage = Stage(
        name="mime",
        path=folder / "mime.pt",
        modules={"network": network},
        optimizer=torch.optim.AdamW(network.parameters(), lr=plan.rate, weight_decay=0.01),
        average=Average([network], plan.decay),
        steps=plan.steps,
        cool_down=plan.cool_down,
    )
    stage.resume()
    alphas = Schedule.from_config(scheduler_config(plan)).alphas.float()
    losses = Losses(clips)

    def loss_at(step: int) -> Tensor:
        generator = torch.Generator().manual_seed(plan.seed * 1_000_003 + step)
        chosen = torch.randint(len(clips.features), (plan.batch,), generator=generator)
        clean = (clips.features[chosen] - clips.mean) / clips.std
        words = clips.words[chosen]
        kept = torch.rand(plan.batch, 1, generator=generator) >= plan.unprompted
        timestep = torch.randint(plan.noise_steps, (plan.batch,), generator=generator)
        alpha = alphas[timestep][:, None, None]
        noise = torch.randn(clean.shape, generator=generator)
        noisy = alpha.sqrt() * clean + (1 - alpha).sqrt() * noise
        told = network(noisy.transpose(1, 2)[:, :, None], timestep, words * kept)
        return losses(told[:, :, 0].transpose(1, 2), clean)

    stage.run(loss_at, clock, save_minutes=3, log_steps=100)
    return stage
