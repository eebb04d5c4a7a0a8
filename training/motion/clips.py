# SPDX-License-Identifier: GPL-3.0-or-later
"""Clips to train on: a verb in some manner, its caption, and something else at its ends.

Without a neighbor at the ends a network has never seen an overlap and cannot make a transition.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from syncsde_engine.motion.features import encode

from .controls import Controls
from .verbs import LEFT, VERBS, Manner

FRAMES, OVERLAP = 120, 30
MARGIN = 48  # frames before and after a clip, in which its ends are under way
PACES = {"slowly": 0.62, "": 1.0, "quickly": 1.5}
PACED = ("walk", "run", "jump", "wave", "kick", "punch", "dance", "clap")
CIRCLES = ("walk", "run", "sneak", "march")
BACKWARDS = ("walk",)
HANDED = {"wave": "hand", "punch": "hand", "kick": "leg"}
# Verbs that are done once and kept, and begin from standing where nothing is before them.
KEPT = ("sit", "crouch", "bow", "stretch")
DETAILS = {"sit": "sits down", "jump": "jumps", "stretch": "stretches both arms up"}
THIRD_PERSON = {"punch": "punches", "march": "marches", "crouch": "crouches"}


@dataclass(frozen=True)
class Clip:
    verb: str
    manner: Manner
    caption: str
    joints: np.ndarray  # (FRAMES + 1, 22, 3) meters
    yaw: np.ndarray  # (FRAMES + 1,) radians
    middle: tuple[int, int]  # the frames [begin, end) that are of the verb itself

    def features(self) -> np.ndarray:
        """(FRAMES, 263) float32."""
        return encode(self.joints, yaw=self.yaw)


@dataclass(frozen=True)
class Style:
    """Who moves. Held-out styles lie in the gaps between those that are trained on."""

    width: float
    arms_out: float
    elbows: float
    size: float

    @classmethod
    def draw(cls, random: np.random.Generator, held_out: bool = False) -> Style:
        def value(low: float, high: float) -> float:
            # Thirds: the middle one is held out.
            third = (1 + random.random()) if held_out else random.choice([0, 2]) + random.random()
            return low + (high - low) * third / 3

        return cls(value(0.13, 0.25), value(0.05, 0.24), value(0.1, 0.45), value(0.84, 1.16))


def caption(verb: str, pace: str, manner: Manner) -> str:
    """How a clip is described: "a person walks slowly in a circle to the left"."""
    words = ["a person", DETAILS.get(verb, THIRD_PERSON.get(verb, f"{verb}s"))]
    if manner.forward < 0:
        words.append("backwards")
    if verb == "jump":
        words.append("forward" if manner.forward > 0 else "up and down")
    if verb in HANDED and manner.side is not None:
        words.append(f"with the {'left' if manner.side == LEFT else 'right'} {HANDED[verb]}")
    words.append(pace)
    if manner.turn:
        words.append(f"in a circle to the {'left' if manner.turn > 0 else 'right'}")
    return " ".join(word for word in words if word)


def draw_manner(
    random: np.random.Generator, verb: str, style: Style, plain: bool = False
) -> tuple[Manner, str]:
    """A manner that suits a verb, and the word for its pace."""
    pace = ""
    if verb in PACED and not plain:
        pace = str(random.choice(list(PACES), p=[0.22, 0.56, 0.22]))
    turn = 0
    if verb in CIRCLES and not plain and random.random() < 0.4:
        turn = int(random.choice([-1, 1]))
    forward = 1
    if verb in BACKWARDS and not turn and not plain and random.random() < 0.2:
        forward = -1
    if verb == "jump":
        forward = int(random.integers(2))
    side = None
    if verb in HANDED and not plain and random.random() < 0.6:
        side = int(random.integers(2))
    factor = PACES[pace] * float(random.uniform(0.93, 1.07))
    return Manner(factor, turn, forward, side, style.size, float(random.random())), pace


def draw_clip(
    seed: int, number: int, verb: str | None = None, held_out: bool = False, plain: bool = False
) -> Clip:
    """One clip, always the same for the same seed and number.

    Args:
        verb: the verb; default: one of all.
        held_out: with a style that no clip has otherwise.
        plain: without manners and neighbors.
    """
    random = np.random.Generator(np.random.Philox(key=np.array([seed, number], np.uint64)))
    style = Style.draw(random, held_out)
    names = list(VERBS)
    verb = verb or names[int(random.integers(len(names)))]
    manner, pace = draw_manner(random, verb, style, plain)
    begin, end = 0.0, float(FRAMES)
    before = after = None
    if not plain and random.random() < 0.6:
        before, begin = names[int(random.integers(len(names)))], float(random.uniform(2, OVERLAP))
    if not plain and random.random() < 0.5:
        after = names[int(random.integers(len(names)))]
        end = FRAMES - float(random.uniform(0, OVERLAP))
    if before is None and verb not in KEPT:
        begin = -float(random.uniform(6, MARGIN - 2))
    elif before is None:
        begin = float(random.uniform(-4, 14))
    if after is None:
        end = FRAMES + float(random.uniform(8, MARGIN - 2))
    frames = np.arange(-MARGIN, FRAMES + MARGIN + 1, dtype=np.float64)
    controls = Controls(frames, style.width, style.arms_out, style.elbows)
    _breathe(controls, random)
    for other, first, last in ((before, -MARGIN + 2.0, begin), (after, end, FRAMES + MARGIN - 2.0)):
        if other is not None:
            VERBS[other](controls, first, last, draw_manner(random, other, style)[0])
    VERBS[verb](controls, begin, end, manner)
    joints, yaw = controls.joints()
    inside = slice(MARGIN, MARGIN + FRAMES + 1)
    middle = (max(0, int(begin)), min(FRAMES, int(np.ceil(end))))
    return Clip(verb, manner, caption(verb, pace, manner), joints[inside], yaw[inside], middle)


def _breathe(controls: Controls, random: np.random.Generator) -> None:
    """Slow sway, so that nobody stands like a post."""
    t = controls.frames
    for array, amount in ((controls.spine, 0.012), (controls.tilt, 0.006)):
        for axis in range(3):
            period, phase = random.uniform(50, 110), random.uniform(0, 2 * np.pi)
            array[:, axis] += amount * np.sin(2 * np.pi * t / period + phase)
    controls.pelvis[:, 0] += 0.008 * np.sin(2 * np.pi * t / random.uniform(60, 120))
