# SPDX-License-Identifier: GPL-3.0-or-later
"""How good a motion is: jerk at seams (as FlowMDM measures it), feet, bones, likeness to data.

Joints are (F, 22, 3) in meters at 20 frames a second.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from .features import heading
from .rotations import about_axis
from .skeleton import bone_lengths

TOES = (10, 11)
LOW, MOVING = 0.05, 0.025  # meters, and meters a frame: a foot that should stand, and slides


class Seam(NamedTuple):
    """One transition."""

    peak: float  # PJ: the largest jerk, meters a frame^3
    area: float  # AUJ: the sum of what jerk differs from that of ordinary motion


def jerk(joints: np.ndarray) -> np.ndarray:
    """Jerk of each frame, (F - 3,) meters a frame^3: the largest L1 norm of all joints."""
    return np.abs(np.diff(joints, n=3, axis=0)).sum(-1).max(-1)


def seam(joints: np.ndarray, begin: int, end: int, ordinary: float) -> Seam:
    """Jerk over the frames [begin, end) of a transition.

    `ordinary` is the mean jerk of motion without one, in the same unit.
    """
    inside = jerk(joints)[max(begin - 2, 0) : end]
    return Seam(float(inside.max()), float(np.abs(inside - ordinary).sum()))


def jerk_inside(joints: np.ndarray, seams: Sequence[tuple[int, int]]) -> float:
    """Mean jerk of the frames that are in no transition."""
    values = jerk(joints)
    free = np.ones(len(values), dtype=bool)
    for begin, end in seams:
        free[max(begin - 3, 0) : end] = False
    return float(values[free].mean()) if free.any() else float(values.mean())


def skate(joints: np.ndarray) -> float:
    """Share of frames in which a foot's joint is under 5 cm and moves over 2.5 cm."""
    toes = joints[:, TOES]
    moved = np.linalg.norm(np.diff(toes, axis=0), axis=-1)
    return float(((toes[:-1, :, 1] < LOW) & (moved > MOVING)).any(1).mean())


def bone_spread(joints: np.ndarray) -> float:
    """Standard deviation over frames of the bone whose length wanders most, meters."""
    return float(bone_lengths(joints).std(0).max())


def window(joints: np.ndarray) -> np.ndarray:
    """Frames (F, 22, 3) with the first one's pelvis over the origin, facing +z."""
    moved = joints - joints[0, 0] * (1, 0, 1)
    return moved @ about_axis("y", -float(heading(joints[:1])[0])).T


def nearest_window(joints: np.ndarray, known: np.ndarray) -> float:
    """Mean distance of joints, in meters, from the most similar window of known motion.

    `known` (K, F, 22, 3) are windows, as `window` makes them, of as many frames.
    """
    off = np.linalg.norm(known - window(joints), axis=-1)
    return float(off.mean((1, 2)).min())
