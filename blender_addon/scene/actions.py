# SPDX-License-Identifier: GPL-3.0-or-later
"""Actions and their F-curves, whose API differs: Blender 4.2 has them in the action itself, since
4.4 they are in layers, for the slot of each object that an action moves.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, NamedTuple

import bpy
import numpy as np

SLOTS = "slots" in bpy.types.Action.bl_rna.properties  # since 4.4
LINEAR = 1  # the number of the interpolation
ABOUT = "syncsde"  # our property of an action: what it shows, as JSON
TRACK = "SyncSDE"


class Curve(NamedTuple):
    """One F-curve with a key in each frame."""

    path: str
    index: int
    frames: np.ndarray  # (N,)
    values: np.ndarray  # (N,)
    group: str


def new(name: str) -> bpy.types.Action:
    """An empty action for an object."""
    action = bpy.data.actions.new(name)
    if SLOTS:
        action.slots.new(id_type="OBJECT", name=name)
        action.layers.new("Layer").strips.new(type="KEYFRAME")
    return action


def bag(action: bpy.types.Action) -> Any:
    """What holds the F-curves and their groups of an action that `new` made."""
    if not SLOTS:
        return action
    return action.layers[0].strips[0].channelbag(action.slots[0], ensure=True)


def write(action: bpy.types.Action, curves: Sequence[Curve]) -> None:
    """Add F-curves, straight between their keys."""
    holder = bag(action)
    for curve in curves:
        fcurve = holder.fcurves.new(curve.path, index=curve.index)
        group = holder.groups.get(curve.group) or holder.groups.new(curve.group)
        fcurve.group = group
        keys = fcurve.keyframe_points
        keys.add(len(curve.frames))
        keys.foreach_set("co", np.stack([curve.frames, curve.values], 1).astype(np.float32).ravel())
        keys.foreach_set("interpolation", np.full(len(curve.frames), LINEAR, np.int32))
        fcurve.update()


def assign(obj: bpy.types.Object, action: bpy.types.Action | None, slot: str = "") -> None:
    """Let an action move an object, by one of its slots or the first."""
    data = obj.animation_data or obj.animation_data_create()
    data.action = action
    if SLOTS and action is not None and action.slots:
        named = [each for each in action.slots if each.identifier == slot]
        data.action_slot = (named or list(action.slots))[0]


def slot_of(obj: bpy.types.Object) -> str:
    """Which slot of its action moves an object."""
    slot = obj.animation_data.action_slot if SLOTS and obj.animation_data else None
    return slot.identifier if slot else ""


def describe(action: bpy.types.Action, about: dict[str, Any]) -> None:
    """Keep with an action what it shows: `parts` are prompts with their frames, and more."""
    action[ABOUT] = json.dumps(about)
    for part in about["parts"]:
        action.pose_markers.new(part["prompt"][:63]).frame = round(part["begin"])


def about(action: bpy.types.Action | None) -> dict[str, Any]:
    """What `describe` kept, or nothing if the action is not ours."""
    return json.loads(action[ABOUT]) if action is not None and ABOUT in action else {}


def ours(obj: bpy.types.Object) -> bpy.types.Action | None:
    """The action of ours that moves an object, by itself or in strips; or None."""
    data = obj.animation_data
    if data is None:
        return None
    strips = [strip.action for track in data.nla_tracks for strip in track.strips]
    return next((each for each in (data.action, *strips) if about(each)), None)


def add_strips(obj: bpy.types.Object, action: bpy.types.Action) -> None:
    """Put an NLA strip for each prompt on a track of our own, in place of that of another motion.

    Each ends where the next one begins: with a frame between them there would be a hole.
    """
    remove_strips(obj)
    track = obj.animation_data.nla_tracks.new()
    track.name = TRACK
    for part in about(action)["parts"]:
        begin, end = round(part["begin"]), round(part["end"])
        if begin >= end:
            continue
        strip = track.strips.new(part["prompt"][:63], begin, action)
        strip.name = part["prompt"][:63]  # which 4.2 to 5.0 ignore above
        if SLOTS:
            strip.action_slot = action.slots[0]
        strip.action_frame_start, strip.action_frame_end = begin, end
        strip.frame_start, strip.frame_end = begin, end


def remove_strips(obj: bpy.types.Object) -> None:
    """Take our track away; others stay."""
    tracks = obj.animation_data.nla_tracks if obj.animation_data else ()
    for track in [each for each in tracks if each.name == TRACK and _ours(each)]:
        tracks.remove(track)


def _ours(track: bpy.types.NlaTrack) -> bool:
    return all(strip.action is not None and ABOUT in strip.action for strip in track.strips)
