# SPDX-License-Identifier: GPL-3.0-or-later
"""Rotations of a body with constant bones, from joints of which a network tells positions only."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from . import skeleton
from .limbs import bend, bent_toward
from .rotations import closest_rotation, shortest_arc, unit
from .skeleton import ARMS, CHILDREN, COUNT, LEGS, OFFSETS, PARENTS

ROUNDS = 4  # of aligning fans with their mean
# From this bend on (radians) the plane of a limb tells how its upper bone is twisted.
BENT = np.radians(10)
# About which axis of the rest pose knees and elbows bend.
_HINGES = {1: (1, 0, 0), 2: (1, 0, 0), 16: (0, -1, 0), 17: (0, 1, 0)}


@dataclass(frozen=True)
class Fit:
    """A body and how it moves."""

    offsets: np.ndarray  # (22, 3) meters, from each joint's parent to it, at rest
    rotations: np.ndarray  # (F, 22, 3, 3), of each joint within its parent's frame
    root: np.ndarray  # (F, 3) meters

    def joints(self) -> np.ndarray:
        """(F, 22, 3) float64 meters; every bone keeps its length."""
        return skeleton.positions(self.offsets, self.rotations, self.root)


def fit(joints: np.ndarray) -> Fit:
    """Fit a body to joints (F, 22, 3) in meters.

    The pelvis and the ankles are where they were, as far as legs reach; the rest follows the
    directions of bones. Fitting what has constant bones gives it back.
    """
    joints = np.asarray(joints, dtype=np.float64)
    offsets = mean_body(joints)
    world = directed(offsets, joints)
    firm = skeleton.positions(offsets, skeleton.local_rotations(world), joints[:, 0])
    for hip, knee, ankle, foot in LEGS:
        upper, lower = (
            np.full(len(joints), np.linalg.norm(offsets[joint])) for joint in (knee, ankle)
        )
        toward = bent_toward(*(joints[:, joint] for joint in (hip, knee, ankle, foot)))
        firm[:, knee], firm[:, ankle] = bend(firm[:, hip], joints[:, ankle], toward, upper, lower)
        ahead = unit(joints[:, foot] - joints[:, ankle])
        firm[:, foot] = firm[:, ankle] + ahead * np.linalg.norm(offsets[foot])
    world = twisted(directed(offsets, firm), firm, offsets)
    return Fit(offsets, skeleton.local_rotations(world), joints[:, 0])


def mean_body(joints: np.ndarray) -> np.ndarray:
    """The offsets (22, 3) of the rest pose with the mean lengths of bones.

    Where several bones leave one joint, their mean shape is that of the joints themselves.
    """
    lengths = np.concatenate([[0.0], skeleton.bone_lengths(joints).mean(0)])
    offsets = unit(OFFSETS) * lengths[:, None]
    for joint, children in enumerate(CHILDREN):
        if len(children) > 1:
            fan = joints[:, children] - joints[:, joint, None]
            mean = offsets[list(children)]
            for _ in range(ROUNDS):
                turn = closest_rotation(np.broadcast_to(mean, fan.shape), fan)
                mean = np.einsum("fji,fkj->fki", turn, fan).mean(0)
            # Which way the fan looks at rest is ours to say.
            mean = mean @ closest_rotation(mean, offsets[list(children)]).T
            offsets[list(children)] = mean
    return offsets


def directed(offsets: np.ndarray, joints: np.ndarray) -> np.ndarray:
    """World rotations (F, 22, 3, 3) that point bones along those of `joints`.

    One child: the shortest arc within the parent's frame; several: the closest rotation; none:
    the parent's.
    """
    world = np.empty((len(joints), COUNT, 3, 3))
    for joint, children in enumerate(CHILDREN):
        parent = world[:, PARENTS[joint]] if joint else np.eye(3)
        if not children:
            world[:, joint] = parent
            continue
        bones = joints[:, children] - joints[:, joint, None]
        rest = offsets[list(children)]
        if len(children) > 1:
            world[:, joint] = closest_rotation(np.broadcast_to(rest, bones.shape), bones)
        else:
            within = np.einsum("...ji,...j->...i", parent, bones[:, 0])
            still = np.linalg.norm(bones[:, 0], axis=-1, keepdims=True) < 1e-9
            within = np.where(still, rest[0], within)
            world[:, joint] = parent @ shortest_arc(rest[0], within)
    return world


def twisted(world: np.ndarray, joints: np.ndarray, offsets: np.ndarray) -> np.ndarray:
    """Twist thighs and upper arms so that knees and elbows bend about their own axes.

    Where a limb is straight, its twist is between those before and after.
    """
    world = world.copy()
    limbs = [(hip, knee, ankle) for hip, knee, ankle, _ in LEGS]
    limbs += [(shoulder, elbow, wrist) for _, shoulder, elbow, wrist in ARMS]
    for upper, middle, end in limbs:
        along = unit(joints[:, middle] - joints[:, upper])
        normal = np.cross(along, unit(joints[:, end] - joints[:, middle]))
        sure = np.flatnonzero(np.linalg.norm(normal, axis=-1) > np.sin(BENT))
        if not len(sure):
            continue
        hinge = world[:, upper] @ np.array(_HINGES[upper], dtype=np.float64)
        sine = (np.cross(hinge, normal) * along).sum(-1)
        angle = np.unwrap(np.arctan2(sine, (hinge * normal).sum(-1))[sure])
        angle = np.interp(np.arange(len(joints)), sure, angle)
        cosine, sine = np.cos(angle)[:, None, None], np.sin(angle)[:, None, None]
        x, y, z = np.moveaxis(along, -1, 0)
        zero = np.zeros_like(x)
        cross = np.stack([zero, -z, y, z, zero, -x, -y, x, zero], -1).reshape(-1, 3, 3)
        outer = along[:, :, None] * along[:, None, :]
        turn = cosine * np.eye(3) + sine * cross + (1 - cosine) * outer
        world[:, upper] = turn @ world[:, upper]
        # What hangs on it points where it did, by the shortest arc from its new parent.
        for joint in (middle, end):
            for child in CHILDREN[joint] or ():
                parent = world[:, PARENTS[joint]]
                bone = np.einsum("fji,fj->fi", parent, joints[:, child] - joints[:, joint])
                world[:, joint] = parent @ shortest_arc(offsets[child], bone)
            if not CHILDREN[joint]:
                world[:, joint] = world[:, PARENTS[joint]]
    for leg in LEGS:
        world[:, leg[3]] = world[:, leg[2]]
    return world
