# SPDX-License-Identifier: GPL-3.0-or-later
"""From a body's motion to the bones of an armature with its own proportions and rest pose.

Here space is Blender's: right-handed, z up, in meters; a figure at rest faces -y, its left is +x.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np

from .limbs import bend, bent_toward, foot_shift
from .rotations import (
    closest_rotation,
    continuous,
    from_quaternions,
    shortest_arc,
    to_quaternions,
    unit,
)
from .skeleton import FPS, INDEX, LEGS, OFFSETS, PARENTS, world_rotations

# `on`: the figure travels; `in place`: it turns and bobs where it is; `off`: its root never moves.
Root = Literal["on", "in place", "off"]
TO_BLENDER = np.array([[1.0, 0, 0], [0, 0, -1], [0, 1, 0]])  # of y up
_PARTS = ("hip", "knee", "ankle", "shoulder", "elbow")
NEEDED = ("pelvis", *(f"{side}_{part}" for part in _PARTS for side in ("left", "right")))
PELVIS = INDEX["pelvis"]
# Limbs point where the body's do, whatever pose the armature rests in: joint -> where it ends.
LIMBS = {1: 4, 2: 5, 4: 7, 5: 8, 16: 18, 17: 19, 18: 20, 19: 21}
FEET = {7: 10, 8: 11}  # heads of feet turn to where the body's look, and soles stay level
LIKE = {10: 7, 11: 8, 20: 18, 21: 19}  # toes and hands keep to what they hang on
STANDING = 5  # percent of frames in which the lower foot is on the floor, at least
SHAPE = (1, 2, 16, 17)  # the joints by which a body is known to look somewhere
ON_FLOOR = (-0.05, 0.25)  # in legs: feet that begin outside do not stand at the object's origin


@dataclass(frozen=True)
class Clip:
    """A motion as motion.npz has it, 20 frames a second."""

    offsets: np.ndarray  # (22, 3) meters, y up: from each joint's parent to it, at rest
    turns: np.ndarray  # (F, 22, 3, 3), rotations within the world, y up
    joints: np.ndarray  # (F, 22, 3) meters, y up
    known_sole: float | None = None  # of a part of the motion, so that it keeps its height

    @classmethod
    def read(cls, arrays: Mapping[str, np.ndarray], known_sole: float | None = None) -> Clip:
        """Take `offsets`, `joints`, and `rotations` (quaternions within parents' frames)."""
        turns = world_rotations(from_quaternions(arrays["rotations"]))
        offsets, joints = (arrays[name].astype(np.float64) for name in ("offsets", "joints"))
        return cls(offsets, turns, joints, known_sole)

    def sole(self) -> float:
        """How high ankles are when their foot stands on the floor, meters."""
        if self.known_sole is not None:
            return self.known_sole
        low = np.percentile(self.joints[:, list(FEET.values()), 1].min(axis=1), STANDING)
        return float(low) - float(self.offsets[list(FEET.values()), 1].mean())

    def leg(self) -> float:
        """From hip to ankle, meters."""
        return float(np.linalg.norm(self.offsets, axis=1)[[4, 5, 7, 8]].sum() / 2)


@dataclass(frozen=True)
class Rig:
    """Those bones of an armature that move, each after the one that carries it."""

    rest: np.ndarray  # (B, 4, 4) in the armature's space, as `Bone.matrix_local`
    carriers: tuple[int, ...]  # which of them each bone is rigid with at rest, or -1
    joints: tuple[int, ...]  # which joint each follows, or -1
    world: np.ndarray  # (4, 4), the object's, without shear

    def of(self, joint: int) -> int:
        """The bone of a joint, or -1."""
        return self.joints.index(joint) if joint in self.joints else -1

    def heads(self) -> np.ndarray:
        """Where bones begin at rest, (B, 3) in the world."""
        return self.rest[:, :3, 3] @ self.world[:3, :3].T + self.world[:3, 3]

    def turn(self) -> np.ndarray:
        """The object's rotation, (3, 3)."""
        return closest_rotation(np.eye(3), self.world[:3, :3].T)


@dataclass(frozen=True)
class Pose:
    """What the bones do, relative to how they rest: Blender's `matrix_basis`."""

    quaternions: np.ndarray  # (F, B, 4) w, x, y, z, without jumps of sign
    location: np.ndarray | None  # (F, 3) of the pelvis' bone, or None: it is not moved

    def at(self, frames: np.ndarray) -> Pose:
        """The pose between frames, at (N,) places in [0, F - 1]."""
        last = len(self.quaternions) - 1
        low = np.clip(np.floor(frames).astype(int), 0, max(last - 1, 0))
        high = np.minimum(low + 1, last)
        share = np.clip(frames - low, 0, 1)[:, None, None]
        turned = slerp(self.quaternions[low], self.quaternions[high], share)
        if self.location is None:
            return Pose(continuous(turned), None)
        moved = (1 - share[:, 0]) * self.location[low] + share[:, 0] * self.location[high]
        return Pose(continuous(turned), moved)


def slerp(start: np.ndarray, end: np.ndarray, share: np.ndarray) -> np.ndarray:
    """Unit quaternions (..., 4) between two, along the shorter way; `share` in [0, 1]."""
    dot = (start * end).sum(-1, keepdims=True)
    end = np.where(dot < 0, -end, end)
    angle = np.arccos(np.clip(np.abs(dot), 0, 1))
    sine = np.sin(angle)
    near = sine < 1e-6
    safe = np.where(near, 1, sine)
    first = np.where(near, 1 - share, np.sin((1 - share) * angle) / safe)
    return unit(first * start + np.where(near, share, np.sin(share * angle) / safe) * end)


@dataclass(frozen=True)
class Stance:
    """How an armature stands at rest, seen as a body."""

    upright: np.ndarray  # (3, 3) takes its rest pose to one that stands on its feet
    facing: np.ndarray  # (3, 3) takes -y to where it looks then
    origin: np.ndarray  # (3,) meters, on the floor between its feet
    sole: float  # how high its ankles are over the floor, meters
    leg: float  # from hip to ankle, meters


def stance(rig: Rig) -> Stance:
    """Look at the rest pose."""
    heads = rig.heads()
    place = {joint: heads[rig.of(joint)] for joint in (1, 2, 4, 5, 7, 8, 16, 17)}
    hips = (place[1] + place[2]) / 2
    frame = body_frame(np.array([place[joint] for joint in SHAPE]))
    stands = frame[2, 2] > 0.5
    upright = np.eye(3) if stands else frame.T
    facing = frame if stands else np.eye(3)
    leg = np.mean(
        [
            np.linalg.norm(place[knee] - place[hip]) + np.linalg.norm(place[ankle] - place[knee])
            for hip, knee, ankle, _ in LEGS
        ]
    )
    base = rig.world[:3, 3]
    feet = [joint for joint in (7, 8, 10, 11) if joint in rig.joints]
    heights = [(upright @ (heads[rig.of(joint)] - base))[2] for joint in feet]
    floor = 0.0 if ON_FLOOR[0] <= min(heights) / leg <= ON_FLOOR[1] else min(heights)
    middle = upright @ (hips - base)
    origin = base + np.array([middle[0], middle[1], floor])
    return Stance(upright, facing, origin, float(np.mean(heights[:2])) - floor, float(leg))


def body_frame(joints: np.ndarray) -> np.ndarray:
    """Left, back and up of a body at rest as columns (3, 3), from its joints SHAPE (4, 3).

    Up is the coordinate axis nearest to the spine.
    """
    left_hip, right_hip, left_shoulder, right_shoulder = joints
    spine = left_shoulder + right_shoulder - left_hip - right_hip
    up = np.zeros(3)
    up[np.abs(spine).argmax()] = np.sign(spine[np.abs(spine).argmax()])
    left = left_hip - right_hip + left_shoulder - right_shoulder
    left = unit(left - (left @ up) * up)
    return np.stack([left, np.cross(up, left), up], axis=1)


def retarget(
    clip: Clip,
    rig: Rig,
    root: Root = "on",
    lock_feet: bool = False,
    origin: np.ndarray | None = None,
) -> Pose:
    """Pose an armature as a body moves: T_j = D_j A_j R_j.

    R is the bone's rest in the world, D how far the body's joint is turned from its own rest, in
    the direction that the armature faces, and A takes a limb at rest to the direction of the
    body's: limbs point exactly where the body's do. The rest keeps its shape and turns with it.

    Args:
        root: what the pelvis' bone is moved by. Travel is scaled by the length of legs.
        lock_feet: hold feet still where they stand, knees follow.
        origin: (3,) meters, the floor at which the motion begins; default: where the rig stands.

    Returns the pose of each frame.
    """
    look = stance(rig)
    own = body_frame(body_at_rest(clip)[list(SHAPE)])
    axes = look.facing @ own.T @ TO_BLENDER
    turns = axes @ clip.turns @ axes.T
    world = turned(clip, rig, look, axes, turns)
    scale = look.leg / clip.leg()
    hips = (clip.joints[:, 1] + clip.joints[:, 2]) / 2
    hips = (hips * scale + (0, look.sole - scale * clip.sole(), 0)) @ axes.T
    if root == "in place":
        hips[:, :2] = 0
    if origin is None:
        ahead = (clip.offsets[1] + clip.offsets[2]) / 2  # of the pelvis, with which clips begin
        floor = look.origin - axes @ (ahead * (1, 0, 1)) * scale
    else:
        floor = origin
    hips = hips + floor
    heads = rig.heads()
    still = (heads[rig.of(1)] + heads[rig.of(2)]) / 2
    arm = look.upright @ (heads[rig.of(PELVIS)] - still)
    pelvis = hips + turns[:, PELVIS] @ arm
    moved = None if root == "off" else pelvis
    if lock_feet:
        _, _, places = _chain(rig, world, pelvis)
        for joints in LEGS:
            foot = axes @ clip.offsets[joints[3]] * scale
            level = floor + np.array([0, 0, look.sole + foot[2]])
            hold(rig, world, places, joints, turns[:, joints[2]] @ foot, level, axes * scale)
    basis, location, _ = _chain(rig, world, moved)
    return Pose(continuous(to_quaternions(basis)), location)


def turned(clip: Clip, rig: Rig, look: Stance, axes: np.ndarray, turns: np.ndarray) -> np.ndarray:
    """How bones are turned within the world, (F, B, 3, 3); of those without a joint, NaN."""
    heads = rig.heads()
    rest = look.upright @ rig.turn() @ unit_columns(rig.rest)
    offset: dict[int, np.ndarray] = {}
    for joint in rig.joints:
        if joint in LIMBS:
            end = rig.of(LIMBS[joint])
            bone = rig.of(joint)
            own = look.upright @ (heads[end] - heads[bone]) if end >= 0 else rest[bone][:, 1]
            offset[joint] = shortest_arc(own, axes @ clip.offsets[LIMBS[joint]])
        elif joint in FEET and rig.of(FEET[joint]) >= 0:
            ahead = look.upright @ (heads[rig.of(FEET[joint])] - heads[rig.of(joint)])
            level = np.array([1.0, 1, 0])
            offset[joint] = shortest_arc(ahead * level, axes @ clip.offsets[FEET[joint]] * level)
    world = np.full((len(turns), len(rig.joints), 3, 3), np.nan)
    for bone, joint in enumerate(rig.joints):
        if joint >= 0:
            after = offset.get(LIKE.get(joint, joint), np.eye(3))
            world[:, bone] = turns[:, joint] @ after @ rest[bone]
    return world


def unit_columns(matrices: np.ndarray) -> np.ndarray:
    """The rotations (..., 3, 3) of matrices (..., 4, 4)."""
    return np.swapaxes(unit(np.swapaxes(matrices[..., :3, :3], -1, -2)), -1, -2)


def _chain(
    rig: Rig, world: np.ndarray, pelvis: np.ndarray | None
) -> tuple[np.ndarray, np.ndarray | None, np.ndarray]:
    """From how bones are turned in the world to how they are relative to what carries them.

    Returns bases (F, B, 3, 3), the location of the pelvis' bone (F, 3), and where bones begin, in
    the world (F, B, 3).
    """
    inside = np.linalg.inv(rig.world)
    within = rig.turn().T
    rest, heads = unit_columns(rig.rest), rig.rest[:, :3, 3]
    turns = np.empty_like(world)
    places = np.empty(world.shape[:3])
    basis = np.broadcast_to(np.eye(3), world.shape).copy()
    location = None
    for bone, carrier in enumerate(rig.carriers):
        frame = np.broadcast_to(rest[bone], world[:, bone].shape)
        places[:, bone] = heads[bone]
        if carrier >= 0:
            rigid = turns[:, carrier] @ rest[carrier].T
            frame = rigid @ rest[bone]
            places[:, bone] = places[:, carrier] + rigid @ (heads[bone] - heads[carrier])
        turns[:, bone] = frame
        if rig.joints[bone] >= 0:
            turns[:, bone] = within @ world[:, bone]
            basis[:, bone] = np.swapaxes(frame, -1, -2) @ turns[:, bone]
        if rig.joints[bone] == PELVIS and pelvis is not None:
            there = pelvis @ inside[:3, :3].T + inside[:3, 3]
            away = there - places[:, bone]
            location = np.einsum("fji,fj->fi", frame, away)
            places[:, bone] = there
    return basis, location, places @ rig.world[:3, :3].T + rig.world[:3, 3]


def hold(
    rig: Rig,
    world: np.ndarray,
    places: np.ndarray,
    leg: tuple[int, int, int, int],
    foot: np.ndarray,
    level: np.ndarray,
    axes: np.ndarray,
) -> None:
    """Turn a thigh and a shin in `world` so that their foot stays where it stands.

    Args:
        foot: (F, 3) meters from the ankle to the ball of the foot.
        level: (3,) meters, a place of that ball on the floor.
        axes: (3, 3) from the body's space and size to the world's.
    """
    hip, knee, ankle = (places[:, rig.of(joint)] for joint in leg[:3])
    back = np.linalg.inv(axes)
    shift = foot_shift((ankle + foot - level) @ back.T) @ axes.T
    toward = bent_toward(hip, knee, ankle, ankle + foot)
    upper, lower = np.linalg.norm(knee - hip, axis=1), np.linalg.norm(ankle - knee, axis=1)
    new_knee, new_ankle = bend(hip, ankle + shift, toward, upper, lower)
    for joint, old, new in (
        (leg[0], knee - hip, new_knee - hip),
        (leg[1], ankle - knee, new_ankle - new_knee),
    ):
        bone = rig.of(joint)
        world[:, bone] = shortest_arc(old, new) @ world[:, bone]


def to_euler(matrices: np.ndarray, order: str) -> np.ndarray:
    """Matrices (F, 3, 3) -> angles (F, 3) about x, y and z in radians, without jumps.

    Args:
        order: Blender's, such as XYZ: about x first.
    """
    i, j, k = ("XYZ".index(axis) for axis in order)
    sign = 1.0 if (j - i) % 3 == 1 else -1.0
    m = matrices
    middle = np.arcsin(np.clip(-sign * m[:, k, i], -1, 1))
    first = np.arctan2(sign * m[:, k, j], m[:, k, k])
    last = np.arctan2(sign * m[:, j, i], m[:, i, i])
    angles = np.empty((len(m), 3))
    angles[:, i], angles[:, j], angles[:, k] = first, middle, last
    other = angles.copy()  # the other way to say the same
    other[:, [i, k]] += np.pi
    other[:, j] = np.pi - middle
    circle = 2 * np.pi
    for frame in range(1, len(angles)):
        before = angles[frame - 1]
        ways = np.stack([angles[frame], other[frame]])
        ways += circle * np.round((before - ways) / circle)
        angles[frame] = ways[np.abs(ways - before).sum(1).argmin()]
    return angles


def frames_for(count: int, fps: float, start: float) -> tuple[np.ndarray, np.ndarray]:
    """Which whole frames of a scene a clip of `count` frames covers from frame `start` on.

    Returns those frames (N,), and the place of each in the clip, [0, count - 1].
    """
    end = start + (count - 1) * fps / FPS
    frames = np.arange(np.ceil(start - 1e-6), np.floor(end + 1e-6) + 1)
    return frames, np.clip((frames - start) * FPS / fps, 0, count - 1)


def body_at_rest(clip: Clip) -> np.ndarray:
    """Joints (22, 3) of a clip's body in its rest pose on the floor, in Blender's space."""
    joints = np.zeros_like(OFFSETS)
    for joint in range(1, len(joints)):
        joints[joint] = joints[PARENTS[joint]] + clip.offsets[joint]
    joints[:, 1] += clip.sole() - joints[[7, 8], 1].mean()
    return joints @ TO_BLENDER.T
