# SPDX-License-Identifier: GPL-3.0-or-later
"""A new motion on an armature, what was there before, and the way back to it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import bpy
from mathutils import Matrix

from ..scene import actions, armatures, motions
from ..scene.motions import Placement
from .motion_jobs import keep_states


def apply(
    context: bpy.types.Context, folder: Path, placement: Placement, action: bpy.types.Action
) -> bpy.types.Object:
    """Give an armature, or a new mannequin, its new action; the former one is kept in the file.

    Raises ArmatureError.
    """
    settings, scene = context.scene.syncsde_motion, context.scene
    obj = motions.target_of(placement)
    accept(settings)
    former = settings.former
    former.made_target = obj is None
    if obj is None:
        place = placement.origin or (0.0, 0.0, 0.0)
        obj = armatures.add_mannequin(context, motions.read(folder).clip, place)
    keep_states(folder, placement)
    former.target, former.new = obj, action
    former.pose = json.dumps(_pose(obj, action))
    former.slot = actions.slot_of(obj)
    former.action = obj.animation_data.action if obj.animation_data else None
    if former.action is not None:
        former.action.use_fake_user = True
    action.use_fake_user = True
    actions.assign(obj, action)
    actions.add_strips(obj, action)
    about = actions.about(action)
    former.frame_end = scene.frame_end
    scene.frame_end = max(scene.frame_end, round(about["parts"][-1]["end"]))
    show(settings, obj, about, placement.made)
    scene.frame_set(scene.frame_current)
    return obj


def is_open(settings: Any) -> bool:
    """Whether there is a new motion to accept or revert."""
    former = settings.former
    return former.target is not None and former.new is not None


def accept(settings: Any) -> None:
    """Keep the new motion. A former one of ours goes when the file is saved, others stay."""
    former = settings.former
    if former.action is not None and actions.about(former.action):
        former.action.use_fake_user = False
    _forget(former)


def revert(context: bpy.types.Context) -> None:
    """Go back to the former action and pose; the new motion, and a mannequin with it, goes."""
    settings, scene = context.scene.syncsde_motion, context.scene
    former = settings.former
    obj, new = former.target, former.new
    scene.frame_end = former.frame_end
    if former.made_target:
        _remove(obj)
        settings.target = None
        settings.forget_made()
    else:
        actions.remove_strips(obj)
        actions.assign(obj, former.action, former.slot)
        for name, said in json.loads(former.pose).items():
            bone = obj.pose.bones.get(name)
            if bone is not None:
                bone.matrix_basis = Matrix(said["basis"])
                for prop, value in said["properties"].items():
                    bone[prop] = value
        about = actions.about(former.action)
        if about:
            actions.add_strips(obj, former.action)
            show(settings, obj, about, "")
        else:
            settings.forget_made()
    bpy.data.actions.remove(new)
    _forget(former)
    scene.frame_set(scene.frame_current)


def show(settings: Any, obj: bpy.types.Object, about: Mapping[str, Any], made: str) -> None:
    """Let the panel's list say what the motion has; prompts that are still to come stay in it."""
    there = settings.made()
    prompts = [each.prompt for each in settings.segments]
    before = prompts[: there[0]] if there and made in ("end", "reroll") else []
    after = prompts[there[-1] + 1 :] if there and made in ("start", "reroll") else []
    settings.segments.clear()
    for prompt in before:
        settings.segments.add().prompt = prompt
    for part in about["parts"]:
        segment = settings.segments.add()
        segment.prompt, segment.made = part["prompt"], True
        segment.begin, segment.end = round(part["begin"]), round(part["end"])
    for prompt in after:
        settings.segments.add().prompt = prompt
    settings.active = min(settings.active, len(settings.segments) - 1)
    if settings.target != obj:
        settings.target = obj
    for entry in settings.bones:
        if about["placement"]["bones"]:
            entry.bone = about["placement"]["bones"].get(entry.name, "")


def _pose(obj: bpy.types.Object, action: bpy.types.Action) -> dict[str, Any]:
    """How those bones are that an action moves, and those of their properties."""
    found: dict[str, Any] = {}
    for curve in actions.bag(action).fcurves:
        name, _, prop = curve.data_path.removeprefix('pose.bones["').partition('"]')
        bone = obj.pose.bones.get(name)
        if bone is None:
            continue
        said = found.setdefault(name, {"basis": _rows(bone.matrix_basis), "properties": {}})
        if prop.startswith('["'):
            said["properties"][prop[2:-2]] = bone[prop[2:-2]]
    return found


def _rows(matrix: Matrix) -> list[list[float]]:
    return [list(row) for row in matrix]


def _forget(former: Any) -> None:
    former.target = former.new = former.action = None
    former.slot = former.pose = ""
    former.made_target = False


def _remove(obj: bpy.types.Object) -> None:
    """Remove a mannequin with its mesh."""
    armature = obj.data
    for child in list(obj.children):
        mesh = child.data
        bpy.data.objects.remove(child)
        if mesh is not None and not mesh.users:
            bpy.data.meshes.remove(mesh)
    bpy.data.objects.remove(obj)
    if not armature.users:
        bpy.data.armatures.remove(armature)
