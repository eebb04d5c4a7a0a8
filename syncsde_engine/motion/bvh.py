# SPDX-License-Identifier: GPL-3.0-or-later
"""Motion as BVH, the text format that every program for animation reads. Meters, y up."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from .fit import Fit
from .rotations import about_axis, to_zxy
from .skeleton import CHILDREN, FPS, JOINTS

LEAF = 0.08  # meters that bones without a child are drawn with
CHANNELS = {
    "Xposition": 0,
    "Yposition": 1,
    "Zposition": 2,
    "Xrotation": "x",
    "Yrotation": "y",
    "Zrotation": "z",
}


@dataclass(frozen=True)
class Bvh:
    """What a file holds."""

    names: tuple[str, ...]
    parents: tuple[int, ...]
    offsets: np.ndarray  # (J, 3) in the file's unit
    rotations: np.ndarray  # (F, J, 3, 3), of each joint within its parent's frame
    translations: np.ndarray  # (F, J, 3) from each joint's parent to it
    frame_time: float  # seconds

    def joints(self) -> np.ndarray:
        """Where the joints are, (F, J, 3)."""
        world, places = self.rotations.copy(), self.translations.copy()
        for joint, parent in enumerate(self.parents):
            if parent >= 0:
                turn = world[:, parent]
                places[:, joint] = places[:, parent] + np.einsum(
                    "fij,fj->fi", turn, self.translations[:, joint]
                )
                world[:, joint] = turn @ self.rotations[:, joint]
        return places


def write(motion: Fit, fps: float = FPS) -> str:
    """A file with the 22 joints, positions of the root and angles about z, x and y in degrees."""
    lines = ["HIERARCHY"]
    order: list[int] = []
    _describe(lines, order, motion.offsets, 0, 0)
    angles = np.unwrap(to_zxy(motion.rotations), axis=0)
    values = np.degrees(angles[:, order]).reshape(len(angles), -1)
    rows = np.concatenate([motion.root, values], axis=1)
    lines += ["MOTION", f"Frames: {len(rows)}", f"Frame Time: {1 / fps:.6f}"]
    lines += [" ".join(f"{value:.7f}" for value in row) for row in rows]
    return "\n".join(lines) + "\n"


def _describe(
    lines: list[str], order: list[int], offsets: np.ndarray, joint: int, depth: int
) -> None:
    indent = "  " * depth
    rotation = "Zrotation Xrotation Yrotation"
    here = offsets[joint] if joint else np.zeros(3)
    lines += [f"{indent}{'JOINT' if joint else 'ROOT'} {JOINTS[joint]}", f"{indent}{{"]
    lines.append(f"{indent}  OFFSET {_numbers(here)}")
    lines.append(
        f"{indent}  CHANNELS 3 {rotation}"
        if joint
        else f"{indent}  CHANNELS 6 Xposition Yposition Zposition {rotation}"
    )
    order.append(joint)
    for child in CHILDREN[joint]:
        _describe(lines, order, offsets, child, depth + 1)
    if not CHILDREN[joint]:
        length = np.linalg.norm(here)
        beyond = here / length * LEAF if length else np.array([0, LEAF, 0])
        lines += [f"{indent}  End Site", f"{indent}  {{"]
        lines += [f"{indent}    OFFSET {_numbers(beyond)}", f"{indent}  }}"]
    lines.append(f"{indent}}}")


def _numbers(values: Sequence[float] | np.ndarray) -> str:
    return " ".join(f"{value:.7f}" for value in values)


def read(text: str) -> Bvh:
    """Read any BVH, whatever the order of its channels. Raises ValueError saying what is wrong."""
    words = text.split()
    if words[:1] != ["HIERARCHY"] or "MOTION" not in words:
        raise ValueError("it does not begin with HIERARCHY, or has no MOTION")
    begin = words.index("MOTION")
    names, parents, offsets, channels = _hierarchy(words[1:begin])
    try:
        if words[begin + 1] != "Frames:" or words[begin + 3 : begin + 5] != ["Frame", "Time:"]:
            raise ValueError("MOTION does not tell Frames and Frame Time")
        count, frame_time = int(words[begin + 2]), float(words[begin + 5])
        values = np.array(words[begin + 6 :], dtype=np.float64)
    except IndexError:
        raise ValueError("MOTION ends too soon") from None
    width = sum(len(each) for each in channels)
    if len(values) != count * width:
        raise ValueError(f"{count} frames of {width} channels are not {len(values)} numbers")
    rows = values.reshape(count, width)
    rotations = np.broadcast_to(np.eye(3), (count, len(names), 3, 3)).copy()
    translations = np.broadcast_to(np.array(offsets), (count, len(names), 3)).copy()
    column = 0
    for joint, each in enumerate(channels):
        for channel in each:
            what = CHANNELS[channel]
            if isinstance(what, int):
                translations[:, joint, what] = rows[:, column]
            else:
                turn = about_axis(what, np.radians(rows[:, column]))  # pyright: ignore[reportArgumentType]
                rotations[:, joint] = rotations[:, joint] @ turn
            column += 1
    return Bvh(tuple(names), tuple(parents), np.array(offsets), rotations, translations, frame_time)


def _hierarchy(
    words: list[str],
) -> tuple[list[str], list[int], list[list[float]], list[list[str]]]:
    """Names, parents, offsets and channels of the joints; end sites are left out."""
    names: list[str] = []
    parents: list[int] = []
    offsets: list[list[float]] = []
    channels: list[list[str]] = []
    open_joints, at = [-1], 0
    try:
        while at < len(words):
            word = words[at]
            if word in ("ROOT", "JOINT"):
                names.append(words[at + 1])
                parents.append(open_joints[-1])
                offsets.append([0.0, 0.0, 0.0])
                channels.append([])
                open_joints.append(len(names) - 1)
                at += 3
            elif word == "End":
                open_joints.append(-2)
                at += 3
            elif word == "OFFSET":
                if open_joints[-1] >= 0:
                    offsets[open_joints[-1]] = [float(value) for value in words[at + 1 : at + 4]]
                at += 4
            elif word == "CHANNELS":
                count = int(words[at + 1])
                channels[open_joints[-1]] = words[at + 2 : at + 2 + count]
                at += 2 + count
            elif word == "}":
                open_joints.pop()
                at += 1
            else:
                raise ValueError(f"{word!r} is no part of a HIERARCHY")
    except IndexError:
        raise ValueError("HIERARCHY ends too soon") from None
    unknown = {channel for each in channels for channel in each} - set(CHANNELS)
    if unknown or not names:
        raise ValueError(f"it has no joints, or unknown channels: {sorted(unknown)}")
    return names, parents, offsets, channels
