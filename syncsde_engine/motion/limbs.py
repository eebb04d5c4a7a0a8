# SPDX-License-Identifier: GPL-3.0-or-later
"""Inverse kinematics of two bones, and feet that stay where they stand."""

from __future__ import annotations

import numpy as np

from .rotations import unit
from .skeleton import LEGS

LOW, SLOW, LEAST = 0.07, 0.035, 3  # a foot stands: below meters, slower a frame, for so many frames
EASE = 4  # frames from standing to free
FARTHEST = 0.12  # meters that a foot is moved at most
CLEARLY = 0.005  # meters that a knee is out of line at least, to tell where it points
REACH = 0.9995  # share of a straight leg at which a knee stays bent: beyond it has no direction


def bend(
    start: np.ndarray, end: np.ndarray, toward: np.ndarray, upper: np.ndarray, lower: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Two bones from `start` towards `end`, bent towards a direction, by the law of cosines.

    All (..., 3), lengths `upper` and `lower` (...). Returns the middle joint and the end, which
    is `end` wherever it can be reached.
    """
    line = end - start
    distance = np.linalg.norm(line, axis=-1)
    reach = np.clip(distance, np.abs(upper - lower) + 1e-6, (upper + lower) * REACH)
    along = unit(line)
    out = unit(toward - (toward * along).sum(-1, keepdims=True) * along)
    cosine = np.clip((upper**2 + reach**2 - lower**2) / (2 * upper * reach), -1, 1)
    height = upper * np.sqrt(1 - cosine**2)
    middle = start + along * (upper * cosine)[..., None] + out * height[..., None]
    return middle, start + along * reach[..., None]


def bent_toward(
    hip: np.ndarray, knee: np.ndarray, ankle: np.ndarray, foot: np.ndarray
) -> np.ndarray:
    """The direction (..., 3) in which a knee points; of a straight leg, that of the foot."""
    line = unit(ankle - hip)
    out = knee - hip
    out = out - (out * line).sum(-1, keepdims=True) * line
    straight = np.maximum(0, 1 - np.linalg.norm(out, axis=-1, keepdims=True) / CLEARLY)
    return out + CLEARLY * straight * unit(foot - ankle)


def lock_feet(joints: np.ndarray) -> np.ndarray:
    """Keep feet where they stand. (F, 22, 3) meters -> the same.

    Where a foot is low and slow for some frames it is held at its mean, eased in and out, and
    never moved farther than FARTHEST; knees follow, and bones of the legs keep their lengths.
    """
    locked = np.array(joints, dtype=np.float64)
    for hip, knee, ankle, foot in LEGS:
        shift = foot_shift(joints[:, foot])
        upper = np.linalg.norm(joints[:, knee] - joints[:, hip], axis=-1)
        lower = np.linalg.norm(joints[:, ankle] - joints[:, knee], axis=-1)
        target = joints[:, ankle] + shift
        toward = bent_toward(*(joints[:, joint] for joint in (hip, knee, ankle, foot)))
        locked[:, knee], locked[:, ankle] = bend(joints[:, hip], target, toward, upper, lower)
        locked[:, foot] = locked[:, ankle] + joints[:, foot] - joints[:, ankle]
    return locked


def foot_shift(foot: np.ndarray) -> np.ndarray:
    """How far each frame of a foot's path (F, 3) is moved to stand still, (F, 3) meters."""
    shift = np.zeros((len(foot), 3))
    weight = np.zeros(len(foot))
    for begin, end in stances(foot):
        held = foot[begin:end].mean(0)
        held[1] = np.minimum(held[1], foot[begin:end, 1].max())
        for frame in range(max(0, begin - EASE), min(len(foot), end + EASE)):
            beyond = max(begin - frame, frame - end + 1, 0)
            share = 0.5 + 0.5 * np.cos(np.pi * beyond / (EASE + 1))
            nearest = foot[min(max(frame, begin), end - 1)]
            if share > weight[frame]:
                shift[frame], weight[frame] = share * (held - nearest), share
    length = np.linalg.norm(shift, axis=-1, keepdims=True)
    return shift * np.minimum(1, FARTHEST / np.maximum(length, 1e-9))


def stances(foot: np.ndarray) -> list[tuple[int, int]]:
    """The frames [begin, end) in which a foot, (F, 3) meters, stands."""
    speed = np.linalg.norm(np.diff(foot, axis=0, prepend=foot[:1]), axis=-1)
    speed[0] = speed[1] if len(speed) > 1 else 0.0
    floor = min(float(foot[:, 1].min()), 0.05)
    stands = (foot[:, 1] - max(floor, 0.0) < LOW) & (speed < SLOW)
    edges = np.diff(np.concatenate([[0], stands.astype(np.int8), [0]]))
    begins, ends = np.flatnonzero(edges == 1), np.flatnonzero(edges == -1)
    return [(b, e) for b, e in zip(begins.tolist(), ends.tolist(), strict=True) if e - b >= LEAST]
