# SPDX-License-Identifier: GPL-3.0-or-later
"""Motion as a picture: figures over time, with a band for each segment, and their path below."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw

from ..motion.features import heading
from ..motion.rotations import about_axis
from ..motion.sequence import Layout
from ..motion.skeleton import FPS, PARENTS

EVERY = 8  # frames from figure to figure
ACROSS = 15  # figures of a row
CELL, HEIGHT, SCALE = 84, 176, 70.0  # pixels; and pixels of a meter
LABEL = 16
MAP = 200  # pixels of the path's height
VIEW = np.radians(40)  # from the figure's own left
PAPER, INK = (250, 250, 248), (40, 40, 44)
BANDS = ((222, 235, 247), (253, 231, 212), (224, 243, 219), (239, 226, 245), (250, 240, 200))
LEFT, RIGHT, MIDDLE = (205, 92, 60), (52, 106, 160), (90, 92, 100)
WIDTHS = {0: 13, 3: 13, 6: 14, 9: 11, 12: 8, 15: 15}  # pixels of bones that end there, roughly
LEFT_JOINTS = {1, 4, 7, 10, 13, 16, 18, 20}
RIGHT_JOINTS = {2, 5, 8, 11, 14, 17, 19, 21}


def band(frame: int, layout: Layout) -> int:
    """The segment that a frame belongs to."""
    for segment in range(layout.count):
        if frame < layout.own(segment)[1]:
            return segment
    return layout.count - 1


def sheet(joints: np.ndarray, layout: Layout, prompts: Sequence[str], title: str) -> np.ndarray:
    """Draw joints (T, 22, 3) as (H, W, 3) uint8."""
    frames = list(range(0, len(joints), EVERY))
    rows = [frames[start : start + ACROSS] for start in range(0, len(frames), ACROSS)]
    width = CELL * ACROSS
    image = Image.new("RGB", (width, LABEL + len(rows) * (HEIGHT + LABEL) + MAP), PAPER)
    draw = ImageDraw.Draw(image)
    draw.text((4, 2), title, fill=INK)
    yaw = heading(joints)
    told: set[int] = set()
    for number, row in enumerate(rows):
        top = LABEL + number * (HEIGHT + LABEL)
        for column, frame in enumerate(row):
            segment = band(frame, layout)
            left = column * CELL
            color = BANDS[segment % len(BANDS)]
            draw.rectangle((left, top, left + CELL - 1, top + HEIGHT + LABEL - 1), fill=color)
        for column, frame in enumerate(row):
            segment = band(frame, layout)
            left = column * CELL
            if segment not in told:
                told.add(segment)
                inside = width - draw.textlength(prompts[segment]) - 3
                draw.text((min(left + 3, inside), top + 2), prompts[segment], fill=INK)
            draw.text((left + 3, top + HEIGHT), f"{frame / FPS:.1f} s", fill=MIDDLE)
            place = (left + CELL / 2, top + HEIGHT - 8)
            _figure(draw, joints[frame], float(yaw[frame]), place)
    _path(draw, joints[:, 0], layout, (0, image.height - MAP, width, image.height))
    return np.asarray(image)


def _figure(
    draw: ImageDraw.ImageDraw, joints: np.ndarray, yaw: float, foot: tuple[float, float]
) -> None:
    """One figure, seen from ahead and to its left, bones far away first."""
    seen = (joints - joints[0] * (1, 0, 1)) @ about_axis("y", -yaw - VIEW).T
    x, y = foot[0] + seen[:, 0] * SCALE, foot[1] - seen[:, 1] * SCALE
    bones = sorted(range(1, len(joints)), key=lambda j: seen[j, 2] + seen[PARENTS[j], 2])
    draw.line((foot[0] - 30, foot[1], foot[0] + 30, foot[1]), fill=(180, 180, 180))
    for joint in bones:
        parent = PARENTS[joint]
        color = LEFT if joint in LEFT_JOINTS else RIGHT if joint in RIGHT_JOINTS else MIDDLE
        wide = WIDTHS.get(joint, 7)
        draw.line((x[parent], y[parent], x[joint], y[joint]), fill=color, width=wide)
        for end in (parent, joint):
            half = wide / 2
            draw.ellipse((x[end] - half, y[end] - half, x[end] + half, y[end] + half), fill=color)
    draw.ellipse((x[15] - 9, y[15] - 14, x[15] + 9, y[15] + 6), fill=MIDDLE)


def _path(
    draw: ImageDraw.ImageDraw,
    root: np.ndarray,
    layout: Layout,
    box: tuple[int, int, int, int],
) -> None:
    """The way of the pelvis from above, +x to the left and +z up, in the segments' colors."""
    flat = root[:, [0, 2]] * (-1, 1)
    low, high = flat.min(0), flat.max(0)
    left, top, right, bottom = box
    scale = min(
        (right - left - 40) / max(high[0] - low[0], 1),
        (bottom - top - 36) / max(high[1] - low[1], 1),
    )
    middle = (low + high) / 2
    x = (left + right) / 2 + (flat[:, 0] - middle[0]) * scale
    y = (top + bottom) / 2 + 6 - (flat[:, 1] - middle[1]) * scale
    draw.text((4, top + 3), f"from above; a meter is {scale:.0f} pixels", fill=MIDDLE)
    for frame in range(len(root) - 1):
        shade = tuple(int(0.72 * part) for part in BANDS[band(frame, layout) % len(BANDS)])
        draw.line((x[frame], y[frame], x[frame + 1], y[frame + 1]), fill=shade, width=5)
    for frame in range(0, len(root), FPS):
        draw.ellipse((x[frame] - 2, y[frame] - 2, x[frame] + 2, y[frame] + 2), fill=INK)


def strip(joints: np.ndarray, layout: Layout) -> np.ndarray:
    """A small picture (H, W, 3) uint8 of motion that is not finished: figures in one row."""
    frames = np.linspace(0, len(joints) - 1, min(ACROSS, 4 * layout.count)).astype(int)
    image = Image.new("RGB", (CELL * len(frames), HEIGHT), PAPER)
    draw = ImageDraw.Draw(image)
    yaw = heading(joints)
    for column, frame in enumerate(frames.tolist()):
        left = column * CELL
        color = BANDS[band(frame, layout) % len(BANDS)]
        draw.rectangle((left, 0, left + CELL - 1, HEIGHT), fill=color)
        _figure(draw, joints[frame], float(yaw[frame]), (left + CELL / 2, HEIGHT - 8))
    return np.asarray(image)
