# SPDX-License-Identifier: GPL-3.0-or-later
"""From motion.npz to an action of an armature, in slices that do not keep the window waiting."""

from __future__ import annotations

import json
from collections.abc import Generator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import bpy
import numpy as np

from ..client.report import FILE as REPORT
from . import actions, armatures
from .actions import Curve
from .armatures import Figure

FILE = "motion.npz"
STATES = "states.safetensors"
SLICE = 12  # F-curves at once
ROOTS = {"ON": "on", "IN_PLACE": "in place", "OFF": "off"}


@dataclass(frozen=True)
class Placement:
    """Onto what a motion goes, where and when."""

    target: str = ""  # name of the armature object; empty: a new mannequin
    uid: int = 0  # its session_uid, in case it is renamed while the engine works
    bones: Mapping[str, str] | None = None  # joint -> bone; None: guessed
    root_motion: str = "ON"
    lock_feet: bool = False
    origin: tuple[float, float, float] | None = None  # meters; None: where the armature stands
    start: float = 1.0  # the scene's frame with which it begins
    sole: float | None = None  # meters, of the finished motion that it goes on from
    title: str = "Motion"
    made: str = ""  # empty, or what was done to a finished motion: `start`, `end`, `reroll`
    states: str = ""  # where the file that it is extended and made again from will be

    def to_json(self) -> str:
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Placement:
        return cls.of(json.loads(text))

    @classmethod
    def of(cls, said: Mapping[str, Any]) -> Placement:
        """Of its fields as JSON has them."""
        origin = said["origin"]
        return cls(**{**said, "origin": tuple(origin) if origin else None})


@dataclass(frozen=True)
class Motion:
    """A finished motion, read."""

    clip: Any  # retarget.Clip
    prompts: list[str]
    ranges: np.ndarray  # (N, 2) frames of the clip [begin, end)
    fps: float

    @property
    def count(self) -> int:
        return len(self.clip.joints)


def read(folder: Path, sole: float | None = None) -> Motion:
    """Read motion.npz of a folder; `sole` is how high ankles were that stood on the floor."""
    with np.load(folder / FILE, allow_pickle=False) as arrays:
        clip = armatures.of_motion("retarget").Clip.read(arrays, sole)
        return Motion(clip, arrays["prompts"].tolist(), arrays["ranges"], float(arrays["fps"]))


def scene_fps(scene: bpy.types.Scene) -> float:
    return scene.render.fps / scene.render.fps_base


def target_of(placement: Placement) -> bpy.types.Object | None:
    """The armature of a placement, or None for a new one. Raises ArmatureError."""
    if not placement.target:
        return None
    return armatures.find(placement.target, placement.uid)


def figure_of(placement: Placement, motion: Motion) -> Figure:
    """What is to be posed. Raises ArmatureError."""
    obj = target_of(placement)
    if obj is None:
        return armatures.mannequin_figure(motion.clip, np.array(placement.origin or (0, 0, 0)))
    bones = placement.bones if placement.bones else armatures.guess(obj)
    return armatures.read(obj, bones)


def build(
    folder: Path, placement: Placement, known: Figure | None = None
) -> Generator[str, None, str]:
    """Make the action, a slice at a time; returns its name.

    `known` is the armature as it was looked at before, which takes some time for a rig of many
    constraints. Yields what is being done. Raises ArmatureError, and KeyError if the action was
    undone.
    """
    yield "Reading the Motion"
    motion = read(folder, placement.sole)
    yield "Looking at the Armature"
    figure = armatures.moved(known, target_of(placement)) if known else None
    figure = figure or figure_of(placement, motion)
    yield "Posing the Armature"
    pose = posed(placement, motion, figure)
    yield "Setting Keys"
    retarget = armatures.of_motion("retarget")
    fps = scene_fps(bpy.context.scene)
    frames, places = retarget.frames_for(motion.count, fps, placement.start)
    action = actions.new(placement.title)
    actions.describe(action, about(folder, placement, motion, frames, fps))
    name = action.name
    pending = list(curves(figure, pose.at(places), frames))
    for done in range(0, len(pending), SLICE):
        yield f"Setting Keys {done}/{len(pending)}"
        actions.write(bpy.data.actions[name], pending[done : done + SLICE])
    return name


def posed(placement: Placement, motion: Motion, figure: Figure) -> Any:
    """The retarget.Pose of each frame of a motion."""
    # A new mannequin is put where the motion begins: there it stands at rest.
    origin = placement.origin if placement.target else None
    return armatures.of_motion("retarget").retarget(
        motion.clip,
        figure.rig,
        ROOTS[placement.root_motion],
        placement.lock_feet,
        None if origin is None else np.array(origin, np.float64),
    )


def about(
    folder: Path, placement: Placement, motion: Motion, frames: np.ndarray, fps: float
) -> dict[str, Any]:
    """What is kept with the action: `parts`, and all that it is extended and made again from."""
    first, last = float(frames[0]), float(frames[-1])
    begins = [
        min(max(placement.start + begin * fps / motion.fps, first), last)
        for begin in motion.ranges[:, 0].tolist()
    ]
    parts = [
        {"prompt": prompt, "begin": begin, "end": end}
        for prompt, begin, end in zip(motion.prompts, begins, [*begins[1:], last], strict=True)
    ]
    parameters: dict[str, Any] = {}
    report = folder / REPORT
    if report.is_file():
        parameters = json.loads(report.read_text(encoding="utf-8"))["parameters"]
    kept = asdict(placement) | {"sole": motion.clip.sole()}
    return {
        "parts": parts,
        "states": placement.states,
        "parameters": parameters,
        "placement": {name: kept[name] for name in KEPT},
    }


KEPT = ("bones", "root_motion", "lock_feet", "origin", "start", "sole")


def curves(figure: Figure, pose: Any, frames: np.ndarray) -> Generator[Curve, None, None]:
    """The F-curves of a pose (F, B): of bones that follow joints, and of those that stay."""
    pelvis = figure.rig.of(0)
    for bone, name in enumerate(figure.names):
        path = f'pose.bones["{bpy.utils.escape_identifier(name)}"]'
        if name in figure.still:
            values = np.array([[1.0, 0, 0, 0]])
            yield from _turning(path, name, figure.modes[bone], frames[:1], values)
            yield from _of(f"{path}.location", name, frames[:1], np.zeros((1, 3)))
            continue
        if bone == pelvis and pose.location is not None:
            yield from _of(f"{path}.location", name, frames, pose.location)
        yield from _turning(path, name, figure.modes[bone], frames, pose.quaternions[:, bone])
    for switch in figure.switches:
        path = f'pose.bones["{switch.bone}"]["{switch.name}"]'
        yield Curve(path, 0, frames[:1], np.array([switch.value]), switch.bone)


def _turning(
    path: str, group: str, mode: str, frames: np.ndarray, quaternions: np.ndarray
) -> Generator[Curve, None, None]:
    """Curves of the rotation that a bone's mode looks at."""
    if mode == "QUATERNION":
        yield from _of(f"{path}.rotation_quaternion", group, frames, quaternions)
    elif mode == "AXIS_ANGLE":
        sine = np.linalg.norm(quaternions[:, 1:], axis=1, keepdims=True)
        angle = 2 * np.unwrap(np.arctan2(sine[:, 0], quaternions[:, 0]))
        axis = quaternions[:, 1:] / np.maximum(sine, 1e-9)
        axis[sine[:, 0] < 1e-9] = (0, 1, 0)
        values = np.concatenate([angle[:, None], axis], axis=1)
        yield from _of(f"{path}.rotation_axis_angle", group, frames, values)
    else:
        matrices = armatures.of_motion("rotations").from_quaternions(quaternions)
        angles = armatures.of_motion("retarget").to_euler(matrices, mode)
        yield from _of(f"{path}.rotation_euler", group, frames, angles)


def _of(
    path: str, group: str, frames: np.ndarray, values: np.ndarray
) -> Generator[Curve, None, None]:
    for index in range(values.shape[1]):
        yield Curve(path, index, frames, values[:, index], group)
