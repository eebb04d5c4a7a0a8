# SPDX-License-Identifier: GPL-3.0-or-later
"""Which verb a motion shows: logistic regression on what joints do, taught by the generator.

It learns from other seeds and other styles than the network, and has to know those of the held-out
clips before it may judge.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from syncsde_engine.motion.features import heading
from syncsde_engine.motion.rotations import about_axis

from .clips import FRAMES, draw_clip
from .verbs import VERBS

WINDOW = 60  # frames that are looked at, in the middle of a segment
SEED = 7001  # of its clips
EACH = 40  # clips of a verb to learn from
DECAY = 1e-3


def look(joints: np.ndarray) -> np.ndarray:
    """What the judge sees of joints (F, 22, 3): (K,) numbers of postures and of movements."""
    turn = about_axis("y", -heading(joints))
    local = np.einsum("fij,fkj->fki", turn, joints - joints[:, :1] * (1, 0, 1))
    moved = np.einsum("fij,fkj->fki", turn[1:], np.diff(joints, axis=0))
    speed = np.linalg.norm(moved, axis=-1)
    parts = [
        local.mean(0).ravel(),
        local.std(0).ravel(),
        *(np.quantile(local, q, axis=0).ravel() for q in (0.1, 0.9)),
        moved.mean(0).ravel(),
        speed.mean(0),
        speed.std(0),
        np.quantile(speed, 0.9, axis=0),
    ]
    return np.concatenate(parts)


def middle(joints: np.ndarray) -> np.ndarray:
    """The WINDOW frames in the middle of a segment (F, 22, 3)."""
    begin = (len(joints) - WINDOW) // 2
    return joints[begin : begin + WINDOW]


@dataclass(frozen=True)
class Judge:
    mean: np.ndarray  # (K,)
    scale: np.ndarray  # (K,)
    weight: np.ndarray  # (K, verbs)
    bias: np.ndarray  # (verbs,)

    def verb(self, joints: np.ndarray) -> str:
        """The verb of the middle of a segment, (F, 22, 3)."""
        seen = (look(middle(joints)) - self.mean) / self.scale
        return list(VERBS)[int((seen @ self.weight + self.bias).argmax())]


def examples(seed: int, each: int) -> tuple[np.ndarray, np.ndarray]:
    """What is seen of held-out clips (N, K), and the numbers of their verbs (N,)."""
    seen, labels = [], []
    for label, verb in enumerate(VERBS):
        for number in range(each):
            clip = draw_clip(seed, number * len(VERBS) + label, verb, held_out=True)
            seen.append(look(middle(clip.joints[:FRAMES])))
            labels.append(label)
    return np.stack(seen), np.array(labels)


def teach(each: int = EACH) -> Judge:
    """Fit the judge; always the same one."""
    seen, labels = examples(SEED, each)
    mean, scale = seen.mean(0), seen.std(0) + 1e-3
    x = torch.from_numpy((seen - mean) / scale)
    y = torch.from_numpy(labels)
    weight = torch.zeros(x.shape[1], len(VERBS), dtype=torch.float64, requires_grad=True)
    bias = torch.zeros(len(VERBS), dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.LBFGS([weight, bias], max_iter=100, line_search_fn="strong_wolfe")

    def loss() -> torch.Tensor:
        optimizer.zero_grad()
        value = torch.nn.functional.cross_entropy(x @ weight + bias, y)
        value = value + DECAY * (weight**2).sum()
        value.backward()
        return value

    optimizer.step(loss)  # pyright: ignore[reportArgumentType]
    return Judge(mean, scale, weight.detach().numpy(), bias.detach().numpy())


def accuracy(judge: Judge, seed: int = SEED + 1, each: int = 8) -> float:
    """Share of held-out clips of other seeds whose verb the judge knows."""
    right = [
        judge.verb(
            draw_clip(seed, number * len(VERBS) + label, verb, held_out=True).joints[:FRAMES]
        )
        == verb
        for label, verb in enumerate(VERBS)
        for number in range(each)
    ]
    return sum(right) / len(right)
