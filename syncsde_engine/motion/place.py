# SPDX-License-Identifier: GPL-3.0-or-later
"""Where motion is in the world: what stays keeps its place though other motion leads to it."""

from __future__ import annotations

import numpy as np

from .features import path
from .rotations import about_axis

LEAST = 0.002  # meters a frame: even one who stands takes some of a shift


def placed(joints: np.ndarray, x: float, z: float, yaw: float) -> np.ndarray:
    """Turn (..., 3) by `yaw` radians about the origin and move it by x and z meters."""
    return joints @ about_axis("y", yaw).T + (x, 0.0, z)


def detour(features: np.ndarray, old: np.ndarray, begin: int, end: int, back: int) -> np.ndarray:
    """Bend the path of features (T, 263) so that frame `back` is where it was in `old`.

    Turn and shift are spread over the frames [begin, end), more of them where it moves more. Only
    columns 0 to 2 of those frames change.
    """
    yaw, root = path(features)
    yaw_old, root_old = path(old)
    speed = np.linalg.norm(np.diff(root[begin : end + 1, [0, 2]], axis=0), axis=1) + LEAST
    share = np.zeros(len(features))
    share[begin + 1 : end + 1] = np.cumsum(speed) / speed.sum()
    share[end + 1 :] = 1.0
    off = float(yaw_old[back] - yaw[back])
    bent = np.array(features, dtype=np.float64)
    bent[begin:end, 0] -= np.diff(share)[begin:end] * _wrapped(off) / 2
    _, root = path(bent)
    yaw, _ = path(bent)
    shift = (root_old[back] - root[back]) * (1, 0, 1)
    step = np.diff(share)[begin:end, None] * shift
    turned = np.einsum("fij,fj->fi", about_axis("y", -yaw[begin + 1 : end + 1]), step)
    bent[begin:end, 1:3] += turned[:, [0, 2]]
    result = np.array(features)
    result[begin:end, :3] = bent[begin:end, :3]
    return result


def _wrapped(angle: float) -> float:
    return (angle + np.pi) % (2 * np.pi) - np.pi


def begin_of(
    features: np.ndarray, frame: int, x: float, z: float, yaw: float
) -> tuple[float, float, float]:
    """Where a motion must begin (x, z, yaw), so that its `frame` is at x, z and faces `yaw`."""
    turned, root = path(features[: frame + 1])
    start = yaw - float(turned[frame])
    away = about_axis("y", start) @ (root[frame] * (1, 0, 1))
    return x - float(away[0]), z - float(away[2]), start
