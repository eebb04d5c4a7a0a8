# SPDX-License-Identifier: GPL-3.0-or-later
"""HumanML3D's 263 numbers of a frame, made of joints and turned back into joints.

| columns | what |
| --- | --- |
| 0 | half the turn to the next frame, radians: of the rotation that takes the heading to +z |
| 1, 2 | velocity of the root in x, z, in the heading's frame, meters a frame |
| 3 | height of the root, meters |
| 4:67 | joints 1 to 21 in the heading's frame, x and z from the root |
| 67:193 | their rotations by shortest arcs, six numbers each |
| 193:259 | velocities of the 22 joints in the heading's frame, meters a frame |
| 259:263 | whether left ankle, left foot, right ankle, right foot stand still |

Everything horizontal is a velocity: composed segments need no alignment, and are integrated once.
"""

from __future__ import annotations

from typing import Literal

import numpy as np

from . import rotations
from .skeleton import COUNT, PARENTS

WIDTH = 263
ROOT, POSITIONS, ROTATIONS = slice(0, 4), slice(4, 67), slice(67, 193)
VELOCITIES, CONTACTS = slice(193, 259), slice(259, 263)
FEET = (7, 10, 8, 11)  # the joints of the contacts
STILL = 0.002  # squared meters a frame below which a foot stands
SMOOTHING = 20  # frames, the standard deviation of the data set's smoothing of headings

# `body`: where hips and shoulders look. `humanml3d`: as the data set was made, see `heading`.
HeadingRule = Literal["body", "humanml3d"]

# The direction of each bone that has no rotation. They are axes, not a rest pose.
_AXES = np.zeros((COUNT, 3))
_AXES[[1, 13]] = (1, 0, 0)
_AXES[[2, 14]] = (-1, 0, 0)
_AXES[[3, 6, 9, 12]] = (0, 1, 0)
_AXES[[4, 5, 7, 8, 16, 17, 18, 19, 20, 21]] = (0, -1, 0)
_AXES[[10, 11, 15]] = (0, 0, 1)
_STARTS = (0, 9)  # joints in which chains begin: what follows them turns with the root alone


def heading(joints: np.ndarray, rule: HeadingRule = "body") -> np.ndarray:
    """The yaw (F,) in radians of a figure, (F, 22, 3); 0 looks along +z, positive to the left.

    `humanml3d` repeats how the data set was made, for networks that were trained on it: left and
    right of the hips are exchanged there, and directions are smoothed over time.
    """
    hips, shoulders = joints[:, 2] - joints[:, 1], joints[:, 17] - joints[:, 16]
    across = hips + shoulders if rule == "body" else shoulders - hips
    forward = rotations.unit(np.cross([0.0, 1.0, 0.0], rotations.unit(across)))
    if rule == "humanml3d":
        forward = _smoothed(np.cross([0.0, 1.0, 0.0], rotations.unit(across)))
    return np.unwrap(np.arctan2(forward[:, 0], forward[:, 2]))


def _smoothed(values: np.ndarray) -> np.ndarray:
    """A Gaussian over frames, (F, C); the ends are repeated."""
    reach = 4 * SMOOTHING
    kernel = np.exp(-0.5 * (np.arange(-reach, reach + 1) / SMOOTHING) ** 2)
    padded = np.pad(values, ((reach, reach), (0, 0)), mode="edge")
    columns = [np.convolve(column, kernel / kernel.sum(), "valid") for column in padded.T]
    return np.stack(columns, axis=1)


def canonical(joints: np.ndarray, yaw: float) -> np.ndarray:
    """Move and turn (F, 22, 3) so that frame 0 stands over the origin and `yaw` becomes 0."""
    moved = joints - joints[0, 0] * (1, 0, 1)
    return moved @ rotations.about_axis("y", -yaw).T


def encode(
    joints: np.ndarray, rule: HeadingRule = "body", yaw: np.ndarray | None = None
) -> np.ndarray:
    """Joints (F, 22, 3) in meters -> features (F - 1, 263) float32.

    `yaw` (F,) in radians is given where the heading is known better than from the joints. The floor
    is at 0, and the last frame only ends the velocities of the one before. Raises ValueError for
    fewer than two frames.
    """
    if len(joints) < 2:
        raise ValueError(f"{len(joints)} frames have no velocity")
    faces = float(heading(joints[:1])[0])
    joints = canonical(np.asarray(joints, dtype=np.float64), faces)
    yaw = heading(joints, rule) if yaw is None else yaw - faces
    level = rotations.about_axis("y", -yaw)  # takes the heading to +z
    moved = np.diff(joints, axis=0)
    local = np.einsum("fij,fkj->fki", level, joints - joints[:, :1] * (1, 0, 1))
    rows = np.empty((len(joints) - 1, WIDTH))
    rows[:, 0] = -np.diff(yaw) / 2
    # The step's own rotation is that of the frame where it arrives.
    rows[:, 1:3] = np.einsum("fij,fj->fi", level[1:], moved[:, 0])[:, [0, 2]]
    rows[:, 3] = joints[:-1, 0, 1]
    rows[:, POSITIONS] = local[:-1, 1:].reshape(-1, 63)
    arcs = _arcs(joints[:-1], level[:-1]) if rule == "humanml3d" else _arcs(local[:-1], None)
    rows[:, ROTATIONS] = rotations.to_six(arcs[:, 1:]).reshape(-1, 126)
    rows[:, VELOCITIES] = np.einsum("fij,fkj->fki", level[:-1], moved).reshape(-1, 66)
    rows[:, CONTACTS] = (moved[:, FEET] ** 2).sum(-1) < STILL
    return rows.astype(np.float32)


def _arcs(joints: np.ndarray, level: np.ndarray | None) -> np.ndarray:
    """Each bone's shortest arc from its axis, within its parent's. (F, 22, 3) -> (F, 22, 3, 3).

    A bone of no length counts as lying along its axis. With `level` (F, 3, 3), chains begin with
    the data set's root rotation, which is that one.
    """
    bones = joints[:, 1:] - joints[:, PARENTS[1:]]
    length = np.linalg.norm(bones, axis=-1, keepdims=True)
    bones = np.where(length > 1e-9, bones, _AXES[1:])
    arcs = np.broadcast_to(np.eye(3), (len(joints), COUNT, 3, 3)).copy()
    arcs[:, 1:] = rotations.shortest_arc(_AXES[1:], bones)
    local = arcs.copy()
    for joint in range(1, COUNT):
        parent = PARENTS[joint]
        if parent == 0 or (parent in _STARTS and joint != 12):
            if level is not None:
                local[:, joint] = np.swapaxes(level, -1, -2) @ arcs[:, joint]
        else:
            local[:, joint] = np.swapaxes(arcs[:, parent], -1, -2) @ arcs[:, joint]
    return local


def decode(features: np.ndarray) -> np.ndarray:
    """Features (F, 263) -> joints (F, 22, 3) float64 in meters, from the origin and facing +z."""
    rows = np.asarray(features, dtype=np.float64)
    yaw, root = path(rows)
    joints = np.empty((len(rows), COUNT, 3))
    joints[:, 0] = root
    joints[:, 1:] = rows[:, POSITIONS].reshape(-1, COUNT - 1, 3)
    joints[:, 1:] = np.einsum("fij,fkj->fki", rotations.about_axis("y", yaw), joints[:, 1:])
    joints[:, 1:] += root[:, None] * (1, 0, 1)
    return joints


def path(features: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Yaw (F,) in radians and root (F, 3) in meters: the velocities of features, added up."""
    rows = np.asarray(features, dtype=np.float64)
    yaw = np.concatenate([[0.0], np.cumsum(-2 * rows[:, 0])])
    step = np.stack([rows[:, 1], np.zeros(len(rows)), rows[:, 2]], axis=1)
    step = np.einsum("fij,fj->fi", rotations.about_axis("y", yaw[1:]), step)
    root = np.concatenate([np.zeros((1, 3)), np.cumsum(step, axis=0)])[:-1]
    root[:, 1] = rows[:, 3]
    return yaw[:-1], root
