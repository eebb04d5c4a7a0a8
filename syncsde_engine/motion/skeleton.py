# SPDX-License-Identifier: GPL-3.0-or-later
"""The 22 joints of SMPL and HumanML3D, their tree, and a body of our own in its rest pose."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

FPS = 20  # frames a second of all motion here
JOINTS = (
    "pelvis",
    "left_hip",
    "right_hip",
    "spine1",
    "left_knee",
    "right_knee",
    "spine2",
    "left_ankle",
    "right_ankle",
    "spine3",
    "left_foot",
    "right_foot",
    "neck",
    "left_collar",
    "right_collar",
    "head",
    "left_shoulder",
    "right_shoulder",
    "left_elbow",
    "right_elbow",
    "left_wrist",
    "right_wrist",
)
PARENTS = (-1, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 9, 9, 12, 13, 14, 16, 17, 18, 19)
COUNT = len(JOINTS)
INDEX = {name: number for number, name in enumerate(JOINTS)}
CHILDREN = tuple(
    tuple(child for child in range(COUNT) if PARENTS[child] == joint) for joint in range(COUNT)
)
LEGS = ((1, 4, 7, 10), (2, 5, 8, 11))  # hip, knee, ankle, foot; left and right
ARMS = ((13, 16, 18, 20), (14, 17, 19, 21))  # collar, shoulder, elbow, wrist; left and right

# From each joint's parent to it: direction in the rest pose (arms out, feet forward) and length in
# meters. The lengths are those of the standard body of HumanML3D, both sides made equal.
_REST: dict[int, tuple[tuple[float, float, float], float]] = {
    1: ((0.57, -0.81, -0.15), 0.1065),
    3: ((0.0, 0.96, -0.28), 0.132),
    4: ((0.0, -1.0, 0.0), 0.392),
    6: ((0.0, 1.0, 0.02), 0.143),
    7: ((0.0, -1.0, 0.0), 0.429),
    9: ((0.0, 1.0, 0.1), 0.057),
    10: ((0.0, -0.38, 0.92), 0.146),
    12: ((0.0, 0.98, -0.19), 0.219),
    13: ((0.6, 0.8, -0.1), 0.1405),
    15: ((0.0, 0.88, 0.47), 0.103),
    16: ((0.95, 0.3, -0.1), 0.1275),
    18: ((1.0, 0.0, 0.0), 0.260),
    20: ((1.0, 0.0, 0.0), 0.268),
}


def _offsets() -> np.ndarray:
    offsets = np.zeros((COUNT, 3))
    for joint, (direction, length) in _REST.items():
        offsets[joint] = np.array(direction) / np.linalg.norm(direction) * length
        if JOINTS[joint].startswith("left"):
            offsets[joint + 1] = offsets[joint] * (-1, 1, 1)
    return offsets


OFFSETS = _offsets()  # (22, 3) float64, meters: from each joint's parent to it, at rest


def positions(offsets: np.ndarray, rotations: np.ndarray, root: ArrayLike) -> np.ndarray:
    """Forward kinematics: where the joints are.

    Args:
        offsets: (22, 3) meters, from each joint's parent to it at rest.
        rotations: (..., 22, 3, 3), of each joint within its parent's frame; the first is of the
            world.
        root: (..., 3) meters, the pelvis.

    Returns (..., 22, 3) float64 meters.
    """
    world = world_rotations(rotations)
    joints = np.empty((*rotations.shape[:-3], COUNT, 3))
    joints[..., 0, :] = root
    for joint in range(1, COUNT):
        parent = PARENTS[joint]
        joints[..., joint, :] = joints[..., parent, :] + world[..., parent, :, :] @ offsets[joint]
    return joints


def world_rotations(rotations: np.ndarray) -> np.ndarray:
    """Rotations within the parents' frames (..., 22, 3, 3) -> those within the world's."""
    world = np.array(rotations, dtype=np.float64)
    for joint in range(1, COUNT):
        world[..., joint, :, :] = world[..., PARENTS[joint], :, :] @ world[..., joint, :, :]
    return world


def local_rotations(world: np.ndarray) -> np.ndarray:
    """Rotations within the world (..., 22, 3, 3) -> those within the parents' frames."""
    local = np.array(world, dtype=np.float64)
    parents = world[..., PARENTS[1:], :, :]
    local[..., 1:, :, :] = np.swapaxes(parents, -1, -2) @ world[..., 1:, :, :]
    return local


def bone_lengths(joints: np.ndarray) -> np.ndarray:
    """Distances (..., 21) of joints 1 to 21 from their parents, from joints (..., 22, 3)."""
    return np.linalg.norm(joints[..., 1:, :] - joints[..., PARENTS[1:], :], axis=-1)
