# SPDX-License-Identifier: GPL-3.0-or-later
"""Rotations as matrices (..., 3, 3) on column vectors, quaternions, angles and six numbers."""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import ArrayLike

Axis = Literal["x", "y", "z"]
SMALL = 1e-12


def unit(vectors: np.ndarray) -> np.ndarray:
    """Scale (..., 3) to length 1; zero stays zero."""
    length = np.linalg.norm(vectors, axis=-1, keepdims=True)
    return vectors / np.maximum(length, SMALL)


def about_axis(axis: Axis, angle: ArrayLike) -> np.ndarray:
    """Turn by angles (...) in radians about a coordinate axis. -> (..., 3, 3)."""
    angle = np.asarray(angle, dtype=np.float64)
    cosine, sine, zero, one = (
        np.cos(angle),
        np.sin(angle),
        np.zeros_like(angle),
        np.ones_like(angle),
    )
    entries = {
        "x": (one, zero, zero, zero, cosine, -sine, zero, sine, cosine),
        "y": (cosine, zero, sine, zero, one, zero, -sine, zero, cosine),
        "z": (cosine, -sine, zero, sine, cosine, zero, zero, zero, one),
    }[axis]
    return np.stack(entries, axis=-1).reshape(*angle.shape, 3, 3)


def shortest_arc(start: np.ndarray, end: np.ndarray) -> np.ndarray:
    """The smallest turn that takes direction `start` to `end`, (..., 3) each. -> (..., 3, 3).

    Opposite directions are joined by half a turn about an axis across them.
    """
    start, end = np.broadcast_arrays(unit(start), unit(end))
    cosine = (start * end).sum(-1)[..., None, None]
    axis = np.cross(start, end)
    cross = _cross_matrix(axis)
    turn = np.eye(3) + cross + cross @ cross / np.maximum(1 + cosine, SMALL)
    across = unit(np.cross(start, np.where(np.abs(start[..., :1]) < 0.9, [1.0, 0, 0], [0, 1.0, 0])))
    half = 2 * across[..., :, None] * across[..., None, :] - np.eye(3)
    return np.where(cosine < -1 + 1e-9, half, turn)


def _cross_matrix(vector: np.ndarray) -> np.ndarray:
    x, y, z = np.moveaxis(vector, -1, 0)
    zero = np.zeros_like(x)
    entries = np.stack([zero, -z, y, z, zero, -x, -y, x, zero], axis=-1)
    return entries.reshape(*x.shape, 3, 3)


def closest_rotation(start: np.ndarray, end: np.ndarray) -> np.ndarray:
    """The rotation that best takes points `start` to `end`, (..., K, 3) each. Kabsch.

    -> (..., 3, 3), never a reflection.
    """
    u, _, vt = np.linalg.svd(np.swapaxes(end, -1, -2) @ start)
    sign = np.sign(np.linalg.det(u @ vt))
    u = u * np.stack([np.ones_like(sign), np.ones_like(sign), sign], axis=-1)[..., None, :]
    return u @ vt


def to_six(matrices: np.ndarray) -> np.ndarray:
    """The first two columns of matrices (..., 3, 3) as (..., 6) (arXiv:1812.07035)."""
    return np.concatenate([matrices[..., :, 0], matrices[..., :, 1]], axis=-1)


def from_six(six: np.ndarray) -> np.ndarray:
    """Orthonormal matrices (..., 3, 3) whose first two columns are about (..., 6)."""
    first = unit(six[..., :3])
    third = unit(np.cross(first, six[..., 3:]))
    return np.stack([first, np.cross(third, first), third], axis=-1)


def to_quaternions(matrices: np.ndarray) -> np.ndarray:
    """Matrices (..., 3, 3) -> unit quaternions (..., 4) as w, x, y, z with w >= 0."""
    m = matrices
    trace = m[..., 0, 0] + m[..., 1, 1] + m[..., 2, 2]
    # Four times the square of each component; the largest one is divided by.
    squares = np.stack([trace, *(2 * m[..., i, i] - trace for i in range(3))], axis=-1) + 1
    w = m[..., 2, 1] - m[..., 1, 2]
    x = m[..., 0, 2] - m[..., 2, 0]
    y = m[..., 1, 0] - m[..., 0, 1]
    xy, xz, yz = (m[..., a, b] + m[..., b, a] for a, b in ((0, 1), (0, 2), (1, 2)))
    rows = np.stack(
        [
            np.stack([squares[..., 0], w, x, y], axis=-1),
            np.stack([w, squares[..., 1], xy, xz], axis=-1),
            np.stack([x, xy, squares[..., 2], yz], axis=-1),
            np.stack([y, xz, yz, squares[..., 3]], axis=-1),
        ],
        axis=-2,
    )
    largest = squares.argmax(-1)[..., None, None]
    quaternion = np.take_along_axis(rows, np.broadcast_to(largest, (*largest.shape[:-1], 4)), -2)
    quaternion = quaternion[..., 0, :]
    quaternion = quaternion / np.linalg.norm(quaternion, axis=-1, keepdims=True)
    return np.where(quaternion[..., :1] < 0, -quaternion, quaternion)


def from_quaternions(quaternions: np.ndarray) -> np.ndarray:
    """Unit quaternions (..., 4) as w, x, y, z -> matrices (..., 3, 3)."""
    w, x, y, z = np.moveaxis(np.asarray(quaternions, dtype=np.float64), -1, 0)
    entries = (
        1 - 2 * (y * y + z * z),
        2 * (x * y - w * z),
        2 * (x * z + w * y),
        2 * (x * y + w * z),
        1 - 2 * (x * x + z * z),
        2 * (y * z - w * x),
        2 * (x * z - w * y),
        2 * (y * z + w * x),
        1 - 2 * (x * x + y * y),
    )
    return np.stack(entries, axis=-1).reshape(*w.shape, 3, 3)


def continuous(quaternions: np.ndarray) -> np.ndarray:
    """Choose the sign of each quaternion (F, ..., 4) so that it is near the one before it."""
    dots = (quaternions[1:] * quaternions[:-1]).sum(-1)
    signs = np.cumprod(np.where(dots < 0, -1.0, 1.0), axis=0)
    return np.concatenate([quaternions[:1], quaternions[1:] * signs[..., None]])


def to_zxy(matrices: np.ndarray) -> np.ndarray:
    """Angles (..., 3) in radians, about z, x and y: R = Rz Rx Ry. Steps of frames are unwrapped."""
    m = matrices
    x = np.arcsin(np.clip(m[..., 2, 1], -1, 1))
    z = np.arctan2(-m[..., 0, 1], m[..., 1, 1])
    y = np.arctan2(-m[..., 2, 0], m[..., 2, 2])
    return np.stack([z, x, y], axis=-1)
