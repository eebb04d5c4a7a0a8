# SPDX-License-Identifier: GPL-3.0-or-later
"""What a figure can do: each verb writes its own part of the controls between two frames.

Every verb begins and ends standing, within its frames, so that any can follow any other.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from .controls import Controls, Swing, ease, pulse

LEFT, RIGHT = 0, 1


@dataclass(frozen=True)
class Manner:
    """How something is done."""

    pace: float = 1.0  # slowly is below, quickly above
    turn: int = 0  # 1 is in a circle to the left, -1 to the right
    forward: int = 1  # -1 is backwards; 0 on the spot
    side: int | None = None  # the hand or leg that does it; None: the generator chooses
    size: float = 1.0  # of movements, a matter of style
    phase: float = 0.0  # where a cycle begins, 0 to 1


@dataclass(frozen=True)
class Gait:
    period: float  # frames of two steps, at pace 1
    duty: float  # share of it that a foot stands
    speed: float  # meters a frame
    height: float  # meters, of a step
    push: float  # radians that a heel rises by
    lean: float  # radians forwards
    low: float  # meters that the pelvis is lower
    bob: float  # meters up and down
    arms: float  # radians that arms swing by
    elbow: float
    curve: float  # radians a frame, in a circle
    sway: float = 0.015


GAITS = {
    "walk": Gait(22, 0.62, 0.058, 0.12, 0.55, 0.03, 0.0, 0.012, 0.42, 0.35, 0.045),
    "run": Gait(14.5, 0.4, 0.135, 0.22, 0.9, 0.2, 0.03, 0.035, 0.75, 1.5, 0.06, 0.01),
    "sneak": Gait(36, 0.66, 0.026, 0.14, 0.3, 0.5, 0.17, 0.015, 0.15, 1.2, 0.03, 0.03),
    "march": Gait(24, 0.6, 0.042, 0.38, 0.5, -0.03, 0.0, 0.012, 0.75, 0.1, 0.04),
}


def step(c: Controls, begin: float, end: float, manner: Manner, gait: Gait) -> None:
    """One stepping engine for all gaits: feet in turn, the path under them, arms against them."""
    t = c.frames
    period = gait.period / manner.pace**0.75
    reach = manner.size if manner.forward > 0 else 0.6 * manner.size
    speed = gait.speed * manner.pace**0.9 * reach * manner.forward
    active = ease(t, begin, 10) - ease(t, end - 10, 10)
    half, air = period / 2, period * (1 - gait.duty)
    c.velocity[:, 1] += speed * active
    c.turn += manner.turn * gait.curve * manner.pace * active
    side = LEFT if manner.phase < 0.5 else RIGHT
    start, landed = begin + 1.0, begin
    while start + air <= end - 1:
        c.swings.append(Swing(side, start, start + air, gait.height * manner.size, gait.push))
        landed = start + air
        start, side = start + half, 1 - side
    if 1.0 + air <= end - begin - 1 and start + air <= end + half + 2:
        # The other foot comes along, where the path has already ended.
        c.swings.append(Swing(side, start, max(start + air, landed + 2), gait.height * 0.6, 0.3))
    cycle = 2 * np.pi * (t - begin - 1.0) / period  # the first foot is in the air about pi / 2
    sign = 1 if manner.phase < 0.5 else -1
    c.spine[:, 0] += gait.lean * active
    c.tilt[:, 0] += 0.25 * gait.lean * active
    c.head[:, 0] -= 0.8 * gait.lean * active
    c.pelvis[:, 1] -= gait.low * active
    flight = gait.duty < 0.5
    c.pelvis[:, 1] += gait.bob * active * np.cos(2 * cycle - (np.pi if flight else 0.6))
    c.pelvis[:, 0] -= sign * gait.sway * np.sin(cycle - 0.4) * active
    c.tilt[:, 1] -= sign * 0.1 * np.sin(cycle - 0.9) * active
    c.spine[:, 1] += sign * 0.22 * np.sin(cycle - 0.9) * active
    for arm in (LEFT, RIGHT):
        # An arm goes with the leg of the other side.
        against = sign * (1 if arm == LEFT else -1) * np.cos(cycle + 0.25)
        swing = gait.arms * manner.size * manner.pace**0.4 * against
        center = 0.1 if gait.elbow < 1 else 0.0
        bend = gait.elbow * (1 + 0.15 * against)
        c.pose_arm(arm, active, (center + swing, c.arms_out, 0.0, bend))


def walk(c: Controls, begin: float, end: float, manner: Manner) -> None:
    step(c, begin, end, manner, GAITS["walk"])


def run(c: Controls, begin: float, end: float, manner: Manner) -> None:
    step(c, begin, end, manner, GAITS["run"])


def sneak(c: Controls, begin: float, end: float, manner: Manner) -> None:
    step(c, begin, end, manner, GAITS["sneak"])
    active = ease(c.frames, begin, 12) - ease(c.frames, end - 12, 12)
    for arm in (LEFT, RIGHT):
        c.pose_arm(arm, 0.8 * active, (0.75, 0.25, -0.2, 1.5))


def march(c: Controls, begin: float, end: float, manner: Manner) -> None:
    step(c, begin, end, manner, GAITS["march"])


def jump(c: Controls, begin: float, end: float, manner: Manner) -> None:
    t, period = c.frames, 34 / manner.pace**0.8
    start = begin + 1
    forward = 0.55 * manner.size if manner.turn == 0 and manner.forward > 0 else 0.0
    while start + period <= end + 1:
        dip = pulse(t, start, start + 0.5 * period)
        off, down = start + 0.36 * period, start + 0.68 * period
        air = pulse(t, off - 1, down + 1)
        land = pulse(t, start + 0.6 * period, start + period)
        c.pelvis[:, 1] -= 0.2 * manner.size * dip + 0.13 * land
        c.spine[:, 0] += 0.45 * dip + 0.25 * land
        c.head[:, 0] -= 0.35 * dip
        c.lift += 0.34 * manner.size * air
        for side in (LEFT, RIGHT):
            c.pose_arm(side, dip, (-0.7, 0.25, 0.0, 0.3))
            c.pose_arm(side, air, (2.3, 0.3, 0.0, 0.3))
            c.pitch[:, side] += 0.7 * air
            if forward:
                c.swings.append(Swing(side, off, down, 0.02, 0.3))
        if forward:
            rate = pulse(t, off - 2, down + 2)
            c.velocity[:, 1] += forward * rate / max(rate.sum(), 1e-9)
        start += period


def wave(c: Controls, begin: float, end: float, manner: Manner) -> None:
    t, side = c.frames, chosen(manner)
    active = ease(t, begin, 14) - ease(t, end - 14, 14)
    period = 12 / manner.pace
    swing = np.sin(2 * np.pi * (t / period + manner.phase))
    c.pose_arm(side, active, (0.15, 1.5, 1.45, 1.25 + 0.5 * manner.size * swing))
    c.spine[:, 2] += (0.06 if side == RIGHT else -0.06) * active
    c.head[:, 1] += 0.1 * active * (1 if side == LEFT else -1)


def sit(c: Controls, begin: float, end: float, manner: Manner) -> None:
    t, long = c.frames, 24 / manner.pace
    active = ease(t, begin, long) - ease(t, end - long, long)
    moving = pulse(t, begin, begin + long) + pulse(t, end - long, end)
    c.pelvis[:, 1] -= (0.44 + 0.03 * manner.size) * active
    c.pelvis[:, 2] -= 0.36 * active
    c.spine[:, 0] += 0.75 * moving - 0.03 * active
    c.tilt[:, 0] += 0.2 * moving
    c.head[:, 0] -= 0.45 * moving
    for side in (LEFT, RIGHT):
        c.pose_arm(side, active, (0.55, 0.12, -0.15, 0.75))


def crouch(c: Controls, begin: float, end: float, manner: Manner) -> None:
    t, long = c.frames, 18 / manner.pace
    active = ease(t, begin, long) - ease(t, end - long, long)
    c.pelvis[:, 1] -= (0.4 + 0.06 * manner.size) * active
    c.pelvis[:, 2] -= 0.08 * active
    c.spine[:, 0] += 0.75 * active
    c.tilt[:, 0] += 0.15 * active
    c.head[:, 0] -= 0.55 * active
    for side in (LEFT, RIGHT):
        c.pose_arm(side, active, (1.1, 0.15, -0.2, 0.7))


def kick(c: Controls, begin: float, end: float, manner: Manner) -> None:
    t, period = c.frames, 34 / manner.pace**0.8
    start = begin + 1
    side, alternate = chosen(manner), manner.side is None
    while start + period <= end + 1:
        sign = 1 if side == LEFT else -1
        shift = ease(t, start, 0.35 * period) - ease(t, start + 0.68 * period, 0.32 * period)
        back = pulse(t, start + 0.1 * period, start + 0.5 * period)
        hit = pulse(t, start + 0.32 * period, start + 0.85 * period)
        c.pelvis[:, 0] -= sign * 0.09 * shift
        c.pelvis[:, 1] -= 0.015 * shift
        c.reach[:, side, 2] += (0.62 * hit - 0.28 * back) * manner.size
        c.reach[:, side, 1] += (0.55 * hit + 0.12 * back) * manner.size
        c.reach[:, side, 0] -= sign * 0.06 * shift
        c.pitch[:, side] += 0.5 * back + 0.25 * hit
        c.spine[:, 0] -= 0.22 * hit - 0.1 * back
        c.tilt[:, 0] -= 0.2 * hit
        other = 1 - side
        c.pose_arm(other, hit, (0.9, 0.4, 0.0, 0.5))
        c.pose_arm(side, hit, (-0.5, 0.5, 0.0, 0.4))
        start += period
        side = 1 - side if alternate else side


def punch(c: Controls, begin: float, end: float, manner: Manner) -> None:
    t, period = c.frames, 17 / manner.pace
    guard = ease(t, begin, 9) - ease(t, end - 9, 9)
    for arm in (LEFT, RIGHT):
        c.pose_arm(arm, guard, (0.65, 0.2, -0.35, 2.1))
    c.pelvis[:, 1] -= 0.05 * guard
    c.spine[:, 0] += 0.12 * guard
    side, alternate = chosen(manner), manner.side is None
    start = begin + 7
    while start + period <= end - 6:
        sign = 1 if side == LEFT else -1
        hit = pulse(t, start, start + 0.85 * period)
        c.pose_arm(side, hit, (1.5, 0.08, -0.2, 0.12))
        c.spine[:, 1] -= sign * 0.5 * manner.size * hit
        c.pelvis[:, 2] += 0.05 * hit
        start += period
        side = 1 - side if alternate else side


def bow(c: Controls, begin: float, end: float, manner: Manner) -> None:
    t, period = c.frames, 52 / manner.pace
    count = max(1, int((end - begin) / period))
    period = (end - begin) / count if count > 1 else min(period * 1.3, end - begin)
    for number in range(count):
        start = begin + number * period
        deep = ease(t, start, 0.4 * period) - ease(t, start + 0.58 * period, 0.4 * period)
        c.spine[:, 0] += 0.85 * manner.size * deep
        c.tilt[:, 0] += 0.45 * manner.size * deep
        c.pelvis[:, 2] -= 0.13 * deep
        c.head[:, 0] += 0.2 * deep
        for side in (LEFT, RIGHT):
            c.pose_arm(side, deep, (0.35, 0.05, 0.0, 0.1))


def dance(c: Controls, begin: float, end: float, manner: Manner) -> None:
    t, period = c.frames, 24 / manner.pace
    active = ease(t, begin, 10) - ease(t, end - 10, 10)
    cycle = 2 * np.pi * ((t - begin) / period)
    sway = np.sin(cycle)
    c.pelvis[:, 0] += 0.09 * manner.size * sway * active
    c.pelvis[:, 1] -= (0.06 + 0.04 * np.cos(2 * cycle)) * active
    c.tilt[:, 2] += 0.12 * sway * active
    c.spine[:, 2] -= 0.28 * sway * active
    c.spine[:, 1] += 0.3 * np.sin(cycle + 0.8) * active
    for side in (LEFT, RIGHT):
        beat = np.sin(cycle + (0 if side == LEFT else np.pi))
        c.pose_arm(side, active, (0.5 + 0.3 * beat, 1.35 + 0.45 * manner.size * beat, 1.0, 1.2))
    start, side = begin + 0.25 * period, LEFT
    while start + period / 2 <= end - 2:
        # The free foot taps while the weight is on the other one.
        c.swings.append(Swing(1 - side, start - 3, start + 4, 0.07, 0.4))
        start, side = start + period / 2, 1 - side


def clap(c: Controls, begin: float, end: float, manner: Manner) -> None:
    t, period = c.frames, 11 / manner.pace
    active = ease(t, begin, 12) - ease(t, end - 12, 12)
    apart = 0.5 + 0.5 * np.cos(2 * np.pi * (t / period + manner.phase))
    for side in (LEFT, RIGHT):
        c.pose_arm(side, active, (0.85, 0.12 + 0.3 * manner.size * apart, -0.62, 1.15))


def stretch(c: Controls, begin: float, end: float, manner: Manner) -> None:
    """Both arms go up and out and come down, again and again."""
    t, period = c.frames, 46 / manner.pace
    count = max(1, int((end - begin) / period))
    period = (end - begin) / count if count > 1 else min(period * 1.3, end - begin)
    for number in range(count):
        start = begin + number * period
        high = ease(t, start, 0.4 * period) - ease(t, start + 0.55 * period, 0.42 * period)
        c.spine[:, 0] -= 0.12 * high
        c.head[:, 0] -= 0.3 * high
        c.pelvis[:, 1] += 0.01 * high
        for side in (LEFT, RIGHT):
            c.pose_arm(side, high, (0.1, 2.55 + 0.2 * manner.size, 0.0, 0.2))


def stand(c: Controls, begin: float, end: float, manner: Manner) -> None:
    """Nothing but breathing, which everybody does."""


def chosen(manner: Manner) -> int:
    """The hand or leg of a manner; of a cycle that begins in its second half, the right one."""
    if manner.side is not None:
        return manner.side
    return LEFT if manner.phase < 0.5 else RIGHT


Verb = Callable[[Controls, float, float, Manner], None]
VERBS: dict[str, Verb] = {
    "walk": walk,
    "run": run,
    "sneak": sneak,
    "march": march,
    "jump": jump,
    "wave": wave,
    "sit": sit,
    "crouch": crouch,
    "kick": kick,
    "punch": punch,
    "bow": bow,
    "dance": dance,
    "clap": clap,
    "stretch": stretch,
}
