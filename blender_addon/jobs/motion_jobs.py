# SPDX-License-Identifier: GPL-3.0-or-later
"""What is asked of a motion: all anew, more at an end of a finished one, or a segment of it again.

A finished motion goes on from its states, a file of some megabytes that is kept in the folder of
the extension, or in the one that the caller named.
"""

from __future__ import annotations

import contextlib
import shutil
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import bpy

from .. import NAME
from ..properties.motion import MotionParameters
from ..properties.sampling import to_job
from ..scene import actions, bone_names, motions
from ..scene.motions import Placement
from . import session
from .image_jobs import Incomplete, need, split

KEPT = 20  # motions whose states stay in the extension's folder
ENGINE_FPS = 20.0


class MotionJob(NamedTuple):
    """A job, and what becomes of it."""

    parameters: dict[str, Any]
    states: Path | None  # of the finished motion
    placement: Placement


def anew(source: Any, context: bpy.types.Context) -> MotionJob:
    """Read the operator that makes a whole motion, or whatever else has its properties."""
    prompts = described(split(source.prompt), "Add a segment and describe what happens first.")
    parameters = to_job(source, MotionParameters) | {"prompt": prompts}
    states = Path(bpy.path.abspath(source.states)) if source.states else None
    if states is None and source.reroll:
        raise Incomplete("Name the states of a finished motion to make a segment of it again.")
    if states is not None:
        states = _there(states)
    try:
        bones = bone_names.from_lines(source.bones)
    except ValueError as error:
        raise Incomplete(str(error)) from None
    obj = bpy.data.objects.get(source.target)
    placement = Placement(
        target=source.target,
        uid=obj.session_uid if obj else 0,
        bones=bones or None,
        root_motion=source.root_motion,
        lock_feet=source.foot_lock,
        origin=tuple(context.scene.cursor.location) if source.at_cursor else None,
        start=float(source.start),
        title=title(prompts),
        made="" if states is None else "reroll" if source.reroll else source.extend_to,
    )
    return MotionJob(parameters, states, placement)


def more(
    context: bpy.types.Context, obj: bpy.types.Object, prompts: Sequence[str], end: str
) -> MotionJob:
    """More of a finished motion at its `end` or `start`; what there is stays in its frames."""
    about = finished(obj)
    nothing = "Add a segment before or after those that are made, and describe it first."
    changes = {"prompt": described(prompts, nothing), "extend_to": end, "reroll": None}
    job = _again(obj, about, changes, end)
    if end == "start":
        stride = job.parameters["frames"] - job.parameters["overlap"]
        earlier = len(prompts) * stride * motions.scene_fps(context.scene) / ENGINE_FPS
        start = about["placement"]["start"] - earlier
        job = job._replace(placement=replace(job.placement, start=start))
    return job


def described(prompts: Sequence[str], nothing: str) -> list[str]:
    """What happens in each segment. Raises Incomplete; if there is none it says `nothing`."""
    need(prompts, nothing)
    need(all(each.strip() for each in prompts), "Describe what happens in each segment first.")
    return [each.strip() for each in prompts]


def again(obj: bpy.types.Object, segment: int, prompt: str, seed: int) -> MotionJob:
    """One segment of a finished motion again, counted from 1."""
    about = finished(obj)
    parts = about["parts"]
    if not 1 <= segment <= len(parts):
        raise Incomplete(f"There is no segment {segment}: the motion has {len(parts)}.")
    said = prompt.strip() or parts[segment - 1]["prompt"]
    return _again(obj, about, {"prompt": [said], "reroll": segment, "seed": seed}, "reroll")


def finished(obj: bpy.types.Object | None) -> dict[str, Any]:
    """What is known of the motion that an armature has. Raises Incomplete."""
    about = actions.about(actions.ours(obj)) if obj is not None else {}
    if not about:
        name = f"{obj.name} has" if obj is not None else "There is"
        raise Incomplete(f"{name} no motion of ours yet: generate one first.")
    return about


def _again(
    obj: bpy.types.Object, about: Mapping[str, Any], changes: Mapping[str, Any], made: str
) -> MotionJob:
    parameters = {**about["parameters"], **changes}
    prompts = [part["prompt"] for part in about["parts"]]
    if made == "reroll":
        prompts[parameters["reroll"] - 1] = parameters["prompt"][0]
    elif made == "end":
        prompts += parameters["prompt"]
    else:
        prompts = [*parameters["prompt"], *prompts]
    new = {"target": obj.name, "uid": obj.session_uid, "title": title(prompts), "made": made}
    placement = Placement.of(about["placement"] | new)
    return MotionJob(parameters, _there(Path(about["states"])), placement)


def _there(states: Path) -> Path:
    if not states.is_file():
        raise Incomplete(
            f"What the motion is extended and made again from is no longer at {states}: generate "
            "it anew."
        )
    return states


def title(prompts: Sequence[str]) -> str:
    """A name for an action: the last words of its first prompts."""
    said = ", ".join(" ".join(each.split()[2:]) or each for each in prompts)
    return said if len(said) <= 60 else f"{said[:57].rstrip(' ,')}..."


def with_states(placement: Placement, directory: Path | None) -> Placement:
    """Say where the states will be kept; old ones in the extension's folder go."""
    return replace(placement, states=_place(directory))


def _place(directory: Path | None) -> str:
    if directory is not None:
        return str(directory / motions.STATES)
    try:
        folder = Path(bpy.utils.extension_path_user(NAME, path="motions", create=True))
    except ValueError:  # it is not installed as an extension
        folder = session.temporary_folder()
    kept = sorted(folder.glob("*.safetensors"), key=lambda path: path.stat().st_mtime)
    for old in kept[: max(0, len(kept) - KEPT + 1)]:
        with contextlib.suppress(OSError):
            old.unlink()
    return str(folder / f"{uuid.uuid4().hex}.safetensors")


def keep_states(folder: Path, placement: Placement) -> None:
    """Bring the states of a finished job where they will be looked for."""
    made, kept = folder / motions.STATES, Path(placement.states)
    if placement.states and made.is_file() and made != kept:
        shutil.copyfile(made, kept)
