# SPDX-License-Identifier: GPL-3.0-or-later
"""A figure of our own to show motion with: a capsule for every bone, each bound to its joint."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .rotations import shortest_arc, unit
from .skeleton import COUNT, PARENTS

SIDES, RINGS = 12, 4  # of a capsule: around, and of each round end
# Radii in meters at a bone's begin and end, by the joint where it ends; both sides are alike.
RADII = {
    1: (0.1, 0.09),
    3: (0.115, 0.11),
    4: (0.085, 0.058),
    6: (0.115, 0.125),
    7: (0.056, 0.038),
    9: (0.13, 0.13),
    10: (0.042, 0.034),
    12: (0.1, 0.05),
    13: (0.09, 0.075),
    15: (0.05, 0.05),
    16: (0.075, 0.06),
    18: (0.052, 0.042),
    20: (0.042, 0.03),
}
HEAD, CROWN = 15, (0.09, 0.1)  # the joint, and the radii of the capsule above it
WRISTS, TOES = (20, 21), (10, 11)
HAND, TOE = 0.12, 0.06  # meters beyond the last joint


@dataclass(frozen=True)
class Mesh:
    """Triangles in the rest pose, each vertex bound to one joint."""

    vertices: np.ndarray  # (V, 3) float32 meters
    normals: np.ndarray  # (V, 3) float32
    triangles: np.ndarray  # (T, 3) uint32, counterclockwise from outside
    joint: np.ndarray  # (V,) uint8


def mannequin(offsets: np.ndarray) -> Mesh:
    """Build the figure around a body's rest pose, offsets (22, 3) in meters."""
    rest = np.zeros((COUNT, 3))
    for joint in range(1, COUNT):
        rest[joint] = rest[PARENTS[joint]] + offsets[joint]
    parts = []
    for joint in range(1, COUNT):
        begin, end = RADII.get(joint) or RADII[joint - 1]
        parent = PARENTS[joint]
        parts.append((*_capsule(rest[parent], rest[joint], begin, end), parent))
    top = rest[HEAD] + np.array([0, 0.1, 0.02])
    parts.append((*_capsule(rest[HEAD], top, *CROWN), HEAD))
    for joints, beyond, radius in ((WRISTS, HAND, 0.034), (TOES, TOE, 0.03)):
        for joint in joints:
            along = unit(offsets[joint]) if joint in WRISTS else np.array([0.0, 0.0, 1.0])
            tip = rest[joint] + along * beyond
            parts.append((*_capsule(rest[joint], tip, radius, 0.7 * radius), joint))
    counts = np.cumsum([0, *(len(vertices) for vertices, _, _, _ in parts)])
    return Mesh(
        np.concatenate([part[0] for part in parts]).astype(np.float32),
        np.concatenate([part[1] for part in parts]).astype(np.float32),
        np.concatenate(
            [part[2] + start for part, start in zip(parts, counts[:-1], strict=True)]
        ).astype(np.uint32),
        np.concatenate([np.full(len(part[0]), part[3]) for part in parts]).astype(np.uint8),
    )


def _capsule(
    begin: np.ndarray, end: np.ndarray, radius: float, radius_end: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Vertices, normals and triangles of a rounded, tapered rod between two points."""
    around = np.arange(SIDES) / SIDES * 2 * np.pi
    circle = np.stack([np.cos(around), np.zeros(SIDES), np.sin(around)], axis=1)
    height = float(np.linalg.norm(end - begin))
    vertices, normals = [], []
    for center, size, angles in (
        (0.0, radius, np.linspace(-np.pi / 2, 0, RINGS + 1)),
        (height, radius_end, np.linspace(0, np.pi / 2, RINGS + 1)),
    ):
        for angle in angles:
            normal = circle * np.cos(angle) + np.array([0, np.sin(angle), 0])
            normals.append(normal)
            vertices.append(normal * size + np.array([0, center, 0]))
    turn = shortest_arc(np.array([0.0, 1.0, 0.0]), end - begin)
    rows = len(vertices)
    ring, side = np.meshgrid(np.arange(rows - 1), np.arange(SIDES), indexing="ij")
    here, right = ring * SIDES + side, ring * SIDES + (side + 1) % SIDES
    corners = [here, here + SIDES, right, right, here + SIDES, right + SIDES]
    triangles = np.stack(corners, axis=-1).reshape(-1, 3)
    return (
        np.concatenate(vertices) @ turn.T + begin,
        np.concatenate(normals) @ turn.T,
        triangles,
    )
