# SPDX-License-Identifier: GPL-3.0-or-later
"""What a figure is told, frame by frame, and the joints that follow from it.

Upper body by forward kinematics, legs by two bones to toes that stand where they were put: bones
keep their lengths and standing feet do not slide.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from syncsde_engine.motion.limbs import bend
from syncsde_engine.motion.rotations import about_axis
from syncsde_engine.motion.skeleton import ARMS, COUNT, LEGS, OFFSETS

SOLE = 0.02  # meters of a foot's joint above the floor
STRAIGHT = 0.985  # share of the leg's length at which the pelvis gives way
LEG = float(np.linalg.norm(OFFSETS[4]) + np.linalg.norm(OFFSETS[7]))
UPPER, LOWER = (float(np.linalg.norm(OFFSETS[joint])) for joint in (4, 7))


def ease(frames: np.ndarray, begin: float, length: float) -> np.ndarray:
    """From 0 to 1 with minimum jerk, over `length` frames from `begin`."""
    s = np.clip((frames - begin) / max(length, 1e-6), 0, 1)
    return s**3 * (10 - 15 * s + 6 * s**2)


def pulse(frames: np.ndarray, begin: float, end: float) -> np.ndarray:
    """From 0 to 1 and back between two frames, smooth to the second derivative."""
    s = np.clip((frames - begin) / max(end - begin, 1e-6), 0, 1)
    return 64 * (s * (1 - s)) ** 3


@dataclass(frozen=True)
class Swing:
    """One foot in the air, from frame to frame."""

    side: int  # 0 left, 1 right
    begin: float
    end: float
    height: float  # meters
    push: float  # radians that the heel rises by before the toe leaves


@dataclass
class Controls:
    """Everything at rest at first: a person who stands."""

    frames: np.ndarray  # (F,) numbers of the frames
    width: float  # meters between the feet
    arms_out: float  # radians of hanging arms
    elbows: float
    swings: list[Swing] = field(default_factory=list)

    def __post_init__(self) -> None:
        count = len(self.frames)
        self.velocity = np.zeros((count, 2))  # meters a frame, x and z in the heading's frame
        self.turn = np.zeros(count)  # radians a frame
        self.pelvis = np.zeros((count, 3))  # meters off the path, in the heading's frame
        self.lift = np.zeros(count)  # meters in the air, all of the body
        self.tilt = np.zeros((count, 3))  # radians of the pelvis: pitch, twist, roll
        self.spine = np.zeros((count, 3))  # the same, of the spine as a whole
        self.head = np.zeros((count, 2))  # pitch and twist
        # Of each arm: forwards, outwards, twist of the upper arm, elbow. Radians.
        self.arms = np.zeros((count, 2, 4))
        self.arms[:, :, 0], self.arms[:, :, 1] = 0.08, self.arms_out
        self.arms[:, :, 3] = self.elbows
        self.reach = np.zeros((count, 2, 3))  # meters that a foot is moved, in the heading's frame
        self.pitch = np.zeros((count, 2))  # radians that toes point down

    def pose_arm(
        self, side: int, share: np.ndarray, angles: tuple[float | np.ndarray, ...]
    ) -> None:
        """Bring an arm to angles, by a share (F,) between 0 and 1."""
        target = np.stack(np.broadcast_arrays(*angles, share)[:4], axis=-1)
        self.arms[:, side] += share[:, None] * (target - self.arms[:, side])

    def path(self, scale: float) -> tuple[np.ndarray, np.ndarray]:
        """Yaw (F,) and place on the floor (F, 2): the velocities, added up. Meters."""
        yaw = np.cumsum(self.turn)
        forward = np.stack([np.sin(yaw), np.cos(yaw)], axis=1)
        left = np.stack([np.cos(yaw), -np.sin(yaw)], axis=1)
        step = self.velocity[:, :1] * left + self.velocity[:, 1:] * forward
        return yaw, np.cumsum(step * scale, axis=0)

    def joints(self) -> tuple[np.ndarray, np.ndarray]:
        """Joints (F, 22, 3) in meters and yaw (F,) in radians."""
        count = len(self.frames)
        yaw, place = self.path(1.0)
        facing = about_axis("y", yaw)
        toes, ankles = self._feet(yaw, place, facing)
        joints = np.zeros((count, COUNT, 3))
        rotation = facing @ _turned(self.tilt)
        joints[:, 0] = self._pelvis(place, facing, rotation, ankles)
        third = _turned(self.spine / 3)
        parent, chain = 0, (3, 6, 9, 12, 15)
        # The head looks where the body goes: it takes back most of what the spine does.
        neck = _turned(np.stack([self.head[:, 0], self.head[:, 1], np.zeros(count)], axis=1) / 2)
        chest = rotation
        for joint, turn in zip(chain, (third, third, third, neck, neck), strict=True):
            if joint <= 12:
                joints[:, joint] = joints[:, parent] + rotation @ OFFSETS[joint]
                rotation = rotation @ turn
            else:
                joints[:, joint] = joints[:, parent] + rotation @ turn @ OFFSETS[joint]
            if joint == 9:
                chest = rotation
            parent = joint
        self._arms(joints, chest)
        for side, (hip, knee, ankle, foot) in enumerate(LEGS):
            joints[:, hip] = joints[:, 0] + (facing @ _turned(self.tilt)) @ OFFSETS[hip]
            out = np.array([0.1 if side == 0 else -0.1, 0.0, 1.0])
            joints[:, knee], joints[:, ankle] = bend(
                joints[:, hip],
                ankles[:, side],
                np.broadcast_to(facing @ out, (count, 3)),
                np.full(count, UPPER),
                np.full(count, LOWER),
            )
            joints[:, foot] = joints[:, ankle] + toes[:, side] - ankles[:, side]
        return joints, yaw

    def _feet(
        self, yaw: np.ndarray, place: np.ndarray, facing: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Toes and ankles, (F, 2, 3) each."""
        count, first = len(self.frames), self.frames[0]
        toes, direction = np.zeros((count, 2, 3)), np.zeros((count, 2))
        pitch = self.pitch.copy()
        for side in (0, 1):
            swings = sorted((s for s in self.swings if s.side == side), key=lambda s: s.begin)
            begins = [-np.inf, *(s.end for s in swings)]
            ends = [*(s.begin for s in swings), np.inf]
            # A foot stands where the path is in the middle of the time it stands.
            middles = np.clip((np.maximum(begins, first) + np.minimum(ends, first + count)) / 2,
                              first, first + count - 1)  # fmt: skip
            yaws = np.interp(middles, self.frames, yaw)
            sign = 1 if side == 0 else -1
            lateral = np.stack([np.cos(yaws), -np.sin(yaws)], axis=1) * sign * self.width / 2
            ahead = np.stack([np.sin(yaws), np.cos(yaws)], axis=1) * 0.06
            spots = np.stack(
                [np.interp(middles, self.frames, place[:, axis]) for axis in (0, 1)], axis=1
            )
            spots = spots + lateral + ahead
            toes[:, side, [0, 2]], direction[:, side] = spots[0], yaws[0]
            toes[:, side, 1] = SOLE
            for number, swing in enumerate(swings):
                length = swing.end - swing.begin
                share = ease(self.frames, swing.begin, length)
                toes[:, side, [0, 2]] += share[:, None] * (spots[number + 1] - spots[number])
                direction[:, side] += share * (yaws[number + 1] - yaws[number])
                # Up sooner than it goes forward, so that a low foot is a slow one.
                arch = pulse(self.frames, swing.begin, swing.end) ** 0.5
                toes[:, side, 1] += swing.height * arch
                rise, fall = 0.5 * length, 0.35 * length
                up = ease(self.frames, swing.begin - rise, rise + fall)
                down = ease(self.frames, swing.begin + fall, length - fall)
                pitch[:, side] += swing.push * (up - down)
        toes += np.einsum("fij,fsj->fsi", facing, self.reach)
        toes[..., 1] += self.lift[:, None]
        ankles = np.empty_like(toes)
        for side, leg in enumerate(LEGS):
            turn = about_axis("y", direction[:, side]) @ about_axis("x", pitch[:, side])
            ankles[:, side] = toes[:, side] - turn @ OFFSETS[leg[3]]
        return toes, ankles

    def _pelvis(
        self, place: np.ndarray, facing: np.ndarray, rotation: np.ndarray, ankles: np.ndarray
    ) -> np.ndarray:
        """The pelvis (F, 3): as high as was asked, and as both legs let it be."""
        pelvis = (facing @ self.pelvis[..., None])[..., 0]
        pelvis[:, [0, 2]] += place
        stand = SOLE - OFFSETS[10, 1] + STRAIGHT * LEG - OFFSETS[1, 1]
        height = stand + self.pelvis[:, 1] + self.lift
        limits = []
        for side, leg in enumerate(LEGS):
            hip = rotation @ OFFSETS[leg[0]]
            beside = pelvis[:, [0, 2]] + hip[:, [0, 2]] - ankles[:, side][:, [0, 2]]
            free = np.maximum((STRAIGHT * LEG) ** 2 - (beside**2).sum(1), 0.05)
            limits.append(ankles[:, side, 1] + np.sqrt(free) - hip[:, 1])
        sharp = 60.0  # a soft minimum: heights change without a corner
        stack = np.stack([height, *limits])
        pelvis[:, 1] = -np.log(np.exp(-sharp * (stack - height)).sum(0)) / sharp + height
        return pelvis

    def _arms(self, joints: np.ndarray, chest: np.ndarray) -> None:
        for side, (collar, shoulder, elbow, wrist) in enumerate(ARMS):
            sign = 1.0 if side == 0 else -1.0
            forwards, outwards, twist, flexion = np.moveaxis(self.arms[:, side], -1, 0)
            joints[:, collar] = joints[:, 9] + chest @ OFFSETS[collar]
            joints[:, shoulder] = joints[:, collar] + chest @ OFFSETS[shoulder]
            turn = chest @ about_axis("z", sign * outwards) @ about_axis("x", -forwards)
            turn = turn @ about_axis("y", sign * twist)
            hanging = np.array([0.0, -1.0, 0.0])
            upper, lower = (np.linalg.norm(OFFSETS[joint]) for joint in (elbow, wrist))
            joints[:, elbow] = joints[:, shoulder] + turn @ hanging * upper
            turn = turn @ about_axis("x", -flexion)
            joints[:, wrist] = joints[:, elbow] + turn @ hanging * lower


def _turned(angles: np.ndarray) -> np.ndarray:
    """Pitch forwards, twist to the left, roll to the left (F, 3) -> matrices (F, 3, 3)."""
    pitch, twist, roll = np.moveaxis(angles, -1, 0)
    return about_axis("y", twist) @ about_axis("x", pitch) @ about_axis("z", -roll)
