# SPDX-License-Identifier: GPL-3.0-or-later
"""Armatures as the engine's `motion.retarget` takes them, and a new one with a mannequin.

The zip has that module and those that it needs, numpy only: tools/build_extension.py copies them.
"""

from __future__ import annotations

import contextlib
import importlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import bpy
import numpy as np
from mathutils import Quaternion

from . import bone_names

LEAF = {"head": (0.0, 0.0, 0.18), "wrist": 0.14, "foot": (0.0, -0.07, 0.0)}  # meters beyond joints
TRIALS = 3  # random poses that tell which bone carries which
SAME = 1e-4  # of entries of rotations that are taken for equal
# What a generated Rigify rig is set to, so that its FK controls move it: bone -> property, value.
RIGIFY = {
    **{f"{limb}_parent.{side}": ("IK_FK", 1.0) for limb in ("thigh", "upper_arm") for side in "LR"},
    "torso": ("neck_follow", 1.0),
}


class ArmatureError(ValueError):
    """Something about the armature is not as needed; the text says what, and what to do."""


class Switch(NamedTuple):
    """A property of a bone that must have a value."""

    bone: str
    name: str
    value: float


@dataclass(frozen=True)
class Figure:
    """An armature that can be posed."""

    rig: Any  # retarget.Rig
    names: tuple[str, ...]  # of its bones
    modes: tuple[str, ...]  # how each is rotated, as `PoseBone.rotation_mode`
    still: tuple[str, ...] = ()  # bones between them, which must not be turned
    switches: tuple[Switch, ...] = ()


def of_motion(name: str) -> Any:
    """A module of the engine's motion, from the zip."""
    return importlib.import_module(f"..motion.{name}", __package__)


def find(name: str, uid: int = 0) -> bpy.types.Object:
    """The armature object of a name, or what it is called now. Raises ArmatureError."""
    obj = next((each for each in bpy.data.objects if uid and each.session_uid == uid), None)
    obj = obj or bpy.data.objects.get(name)
    if obj is None:
        raise ArmatureError(f"There is no armature {name!r}: choose another target.")
    reason = why_not(obj)
    if reason:
        raise ArmatureError(f"{reason}.")
    return obj


def why_not(obj: bpy.types.Object) -> str:
    """Say why an object cannot be given a motion, or nothing if it can."""
    if obj.type != "ARMATURE":
        return f"{obj.name} is no armature"
    if not obj.is_editable:
        return f"{obj.name} is linked from another file: make a library override of it first"
    if obj.override_library is not None and obj.override_library.is_system_override:
        return f"{obj.name} is a part of a library override: make it editable first"
    return ""


def guess(obj: bpy.types.Object) -> dict[str, str]:
    """Which bone of an armature follows which joint: joint -> name."""
    parents = {bone.name: bone.parent and bone.parent.name for bone in obj.data.bones}
    return bone_names.guess(parents, parents)


def read(obj: bpy.types.Object, bones: Mapping[str, str]) -> Figure:
    """Look at an armature. Raises ArmatureError.

    Args:
        bones: joint -> the name of the bone that follows it.
    """
    there = obj.data.bones
    for joint, name in bones.items():
        if name not in there:
            raise ArmatureError(
                f"{obj.name} has no bone {name!r}: choose another for {bone_names.label(joint)}."
            )
    missing = bone_names.missing(bones)
    if missing:
        raise ArmatureError(
            f"Which bones of {obj.name} are {', '.join(missing)}? Choose them under Bones."
        )
    chosen = {name: joint for joint, name in bones.items()}
    if len(chosen) < len(bones):
        twice = next(name for joint, name in bones.items() if chosen[name] != joint)
        raise ArmatureError(f"Bone {twice!r} of {obj.name} is chosen twice under Bones.")
    switches = tuple(_switches(obj)) if bone_names.kind_of(bones) == "Rigify" else ()
    if _is_plain(obj, chosen):
        names, carriers, rest = _tree(obj, chosen)
    else:
        names, carriers, rest = _measured(obj, list(chosen), switches)
    index = of_motion("skeleton").INDEX
    rig = of_motion("retarget").Rig(
        rest,
        tuple(names.index(each) if each else -1 for each in carriers),
        tuple(index[chosen[name]] if name in chosen else -1 for name in names),
        np.array(obj.matrix_world, np.float64),
    )
    modes = tuple(obj.pose.bones[name].rotation_mode for name in names)
    still = tuple(name for name in names if name not in chosen)
    return Figure(rig, tuple(names), modes, still, switches)


def moved(figure: Figure, obj: bpy.types.Object) -> Figure | None:
    """The same where its object is now; None if its bones have changed."""
    bones = obj.pose.bones
    modes = tuple(bones[name].rotation_mode for name in figure.names if name in bones)
    if modes != figure.modes:
        return None
    world = np.array(obj.matrix_world, np.float64)
    return replace(figure, rig=replace(figure.rig, world=world))


def _switches(obj: bpy.types.Object) -> Iterator[Switch]:
    for name, (prop, value) in RIGIFY.items():
        bone = obj.pose.bones.get(name)
        if bone is not None and prop in bone:
            yield Switch(name, prop, value)


def _ways(obj: bpy.types.Object, chosen: Mapping[str, str]) -> list[bpy.types.Bone]:
    """The chosen bones and all that carry them, parents first."""
    wanted = set(chosen)
    for name in chosen:
        wanted |= {bone.name for bone in obj.data.bones[name].parent_recursive}
    bones = [bone for bone in obj.data.bones if bone.name in wanted]
    return sorted(bones, key=lambda bone: len(bone.parent_recursive))


def _is_plain(obj: bpy.types.Object, chosen: Mapping[str, str]) -> bool:
    """Whether bones follow their parents and nothing else."""
    return all(
        bone.use_inherit_rotation
        and bone.use_local_location
        and all(each.mute or not each.enabled for each in obj.pose.bones[bone.name].constraints)
        for bone in _ways(obj, chosen)
    )


def _tree(
    obj: bpy.types.Object, chosen: Mapping[str, str]
) -> tuple[list[str], list[str], np.ndarray]:
    bones = _ways(obj, chosen)
    return (
        [bone.name for bone in bones],
        [bone.parent.name if bone.parent else "" for bone in bones],
        np.array([bone.matrix_local for bone in bones], np.float64),
    )


def _measured(
    obj: bpy.types.Object, chosen: Sequence[str], switches: Sequence[Switch]
) -> tuple[list[str], list[str], np.ndarray]:
    """Find out by random poses which of the chosen bones carries which, through constraints.

    A bone's frame is its matrix without its own basis. It is carried by the bone with which that
    frame keeps together in all poses, or by none if it never moves.
    """
    random = np.random.default_rng(0)
    still = [Quaternion()] * len(chosen)
    trials = [
        [Quaternion(each / np.linalg.norm(each)) for each in random.normal(size=(len(chosen), 4))]
        for _ in range(TRIALS)
    ]
    rest, *posed = _poses(obj, chosen, [still, *trials], switches)
    bases = np.array([[each.to_matrix() for each in trial] for trial in trials])
    turns = np.array(posed)[:, :, :3, :3]
    turns = turns / np.linalg.norm(turns, axis=-2, keepdims=True)
    begin = rest[:, :3, :3] / np.linalg.norm(rest[:, :3, :3], axis=-2, keepdims=True)
    frames = turns @ np.swapaxes(bases, -1, -2)  # (T, B, 3, 3)
    carriers = []
    for number, name in enumerate(chosen):
        if np.abs(frames[:, number] - begin[number]).max() < SAME:
            carriers.append("")
            continue
        together = np.swapaxes(turns, -1, -2) @ frames[:, number, None]
        before = np.swapaxes(begin, -1, -2) @ begin[number]
        off = np.abs(together - before).max(axis=(0, 2, 3))
        off[number] = np.inf
        if off.min() > SAME:
            raise ArmatureError(
                f"Bone {name!r} of {obj.name} is held by constraints: mute them, or choose the "
                "bone that moves it under Bones."
            )
        carriers.append(chosen[int(off.argmin())])
    order: list[str] = []
    while len(order) < len(chosen):
        order += [
            name
            for name, carrier in zip(chosen, carriers, strict=True)
            if name not in order and (not carrier or carrier in order)
        ]
    places = [chosen.index(name) for name in order]
    return order, [carriers[place] for place in places], rest[places]


def _poses(
    obj: bpy.types.Object,
    chosen: Sequence[str],
    trials: Sequence[Sequence[Quaternion]],
    switches: Sequence[Switch],
) -> np.ndarray:
    """The matrices (T, B, 4, 4) of bones in poses; afterwards everything is as it was."""
    bones = [obj.pose.bones[name] for name in chosen]
    found = []
    with _unmoved(obj), _kept(obj, bones, switches):
        for switch in switches:
            obj.pose.bones[switch.bone][switch.name] = switch.value
        for trial in trials:
            for bone, turn in zip(bones, trial, strict=True):
                bone.matrix_basis = turn.to_matrix().to_4x4()
            obj.update_tag(refresh={"OBJECT", "DATA", "TIME"})
            bpy.context.view_layer.update()
            found.append([np.array(bone.matrix, np.float64) for bone in bones])
    return np.array(found)


@contextlib.contextmanager
def _kept(
    obj: bpy.types.Object,
    bones: Sequence[bpy.types.PoseBone],
    switches: Sequence[Switch],
) -> Iterator[None]:
    before = [bone.matrix_basis.copy() for bone in bones]
    values = [obj.pose.bones[switch.bone][switch.name] for switch in switches]
    try:
        yield
    finally:
        for bone, basis in zip(bones, before, strict=True):
            bone.matrix_basis = basis
        for switch, value in zip(switches, values, strict=True):
            obj.pose.bones[switch.bone][switch.name] = value


@contextlib.contextmanager
def _unmoved(obj: bpy.types.Object) -> Iterator[None]:
    """Keep an object's animation from undoing what is tried."""
    data = obj.animation_data
    if data is None:
        yield
        return
    action, slot = data.action, getattr(data, "action_slot", None)
    nla = data.use_nla
    data.action, data.use_nla = None, False
    try:
        yield
    finally:
        data.action, data.use_nla = action, nla
        if slot is not None:
            data.action_slot = slot


def mannequin_bones(clip: Any) -> tuple[list[str], np.ndarray, np.ndarray]:
    """Names, heads and tails (22, 3) in meters of a figure's own armature, on the floor."""
    skeleton = of_motion("skeleton")
    heads = of_motion("retarget").body_at_rest(clip)
    tails = np.empty_like(heads)
    for joint, name in enumerate(skeleton.JOINTS):
        toward = {"pelvis": "spine1", "spine3": "neck"}.get(name)
        children = skeleton.CHILDREN[joint]
        if children:
            tails[joint] = heads[skeleton.INDEX[toward] if toward else children[0]]
            continue
        beyond = LEAF[name.rpartition("_")[2]]
        along = heads[joint] - heads[skeleton.PARENTS[joint]]
        if isinstance(beyond, float):
            tails[joint] = heads[joint] + along / np.linalg.norm(along) * beyond
        else:
            tails[joint] = heads[joint] + beyond
    return list(skeleton.JOINTS), heads, tails


def mannequin_figure(clip: Any, place: np.ndarray) -> Figure:
    """What `read` will say of a mannequin at `place` (3,), before there is one."""
    names, heads, tails = mannequin_bones(clip)
    rest = np.tile(np.eye(4), (len(names), 1, 1))
    for bone, (head, tail) in enumerate(zip(heads, tails, strict=True)):
        axis = (tail - head) / np.linalg.norm(tail - head)
        rest[bone, :3, :3] = np.array(bpy.types.Bone.MatrixFromAxisRoll(axis.tolist(), 0.0))
        rest[bone, :3, 3] = head
    world = np.eye(4)
    world[:3, 3] = place
    parents = of_motion("skeleton").PARENTS
    rig = of_motion("retarget").Rig(rest, parents, tuple(range(len(names))), world)
    return Figure(rig, tuple(names), ("QUATERNION",) * len(names))


def add_mannequin(
    context: bpy.types.Context, clip: Any, place: Sequence[float], name: str = "Mannequin"
) -> bpy.types.Object:
    """A new armature of a figure's bones with a mesh bound to it, in the active collection."""
    names, heads, tails = mannequin_bones(clip)
    armature = bpy.data.armatures.new(name)
    armature.display_type = "STICK"
    obj = bpy.data.objects.new(name, armature)
    obj.location = place
    obj.show_in_front = True
    context.collection.objects.link(obj)
    context.view_layer.objects.active = obj
    with context.temp_override(object=obj, active_object=obj, selected_objects=[obj]):
        bpy.ops.object.mode_set(mode="EDIT")
        for bone, (head, tail) in enumerate(zip(heads, tails, strict=True)):
            new = armature.edit_bones.new(names[bone])
            new.head, new.tail, new.roll = head, tail, 0.0
            parent = of_motion("skeleton").PARENTS[bone]
            if parent >= 0:
                new.parent = armature.edit_bones[names[parent]]
        bpy.ops.object.mode_set(mode="OBJECT")
    _add_body(context, obj, clip, heads[0])
    for each in context.selected_objects:
        each.select_set(False)
    obj.select_set(True)
    return obj


def _add_body(
    context: bpy.types.Context, obj: bpy.types.Object, clip: Any, pelvis: np.ndarray
) -> None:
    retarget = of_motion("retarget")
    body = of_motion("mannequin").mannequin(clip.offsets)
    mesh = bpy.data.meshes.new(obj.name)
    vertices = body.vertices @ retarget.TO_BLENDER.T + pelvis
    mesh.from_pydata(vertices.tolist(), [], body.triangles.tolist())
    mesh.polygons.foreach_set("use_smooth", np.ones(len(mesh.polygons), bool))
    mesh.update()
    shape = bpy.data.objects.new(f"{obj.name} Body", mesh)
    shape.parent = obj
    context.collection.objects.link(shape)
    for joint, name in enumerate(of_motion("skeleton").JOINTS):
        group = shape.vertex_groups.new(name=name)
        group.add(np.flatnonzero(body.joint == joint).tolist(), 1.0, "REPLACE")
    shape.modifiers.new("Armature", "ARMATURE").object = obj
