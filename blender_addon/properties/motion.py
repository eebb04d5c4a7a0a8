# SPDX-License-Identifier: GPL-3.0-or-later
"""The parameters of the motion task as Blender properties, and what its panel edits.

The panel has a list of segments: prompts that are made, with their frames, and prompts to come.
"""

# Postponed annotations would hide the properties from Blender: no `from __future__` here.
from typing import Any

import bpy
from bpy.props import (
    BoolProperty,
    CollectionProperty,
    EnumProperty,
    FloatProperty,
    IntProperty,
    PointerProperty,
    StringProperty,
)

from ..library import suggestions
from ..scene import armatures, bone_names
from .sampling import SamplingParameters, fields


class MotionParameters(SamplingParameters):
    """The fields of the engine's motion task of which there is one."""

    frames: IntProperty(
        name="Frames",
        description="Length of a segment in the engine's frames, 20 a second. Neighbors share some",
        default=120,
        min=40,
        max=196,
    )
    overlap: IntProperty(
        name="Overlap",
        description="How many of these a segment shares with the next one, up to half of them",
        default=30,
        min=0,
        max=98,
    )
    join: EnumProperty(
        name="Join",
        description="What is seen of the frames that neighbors share",
        items=(
            ("fade", "Fade", "Both, one fading into the other"),
            ("over", "Over", "The later one, as in the paper"),
        ),
        default="fade",
    )
    foot_lock: BoolProperty(
        name="Foot Lock",
        description="Keep feet where they stand, knees follow",
        default=False,
    )
    compare: BoolProperty(
        name="Compare",
        description="Report the figures of segments that know nothing of each other, too",
        default=False,
    )
    reroll: IntProperty(
        name="Re-Roll",
        description="Number of the segment of a finished motion that is made again, 1 is the "
        "first. 0 makes all anew, or more",
        default=0,
        min=0,
    )
    extend_to: EnumProperty(
        name="Extend To",
        description="Where a finished motion goes on",
        items=(
            ("end", "End", "After what there is"),
            ("start", "Start", "Before what there is"),
        ),
        default="end",
    )
    let_move: BoolProperty(
        name="Let Move",
        description="What was there may move in the world, where new motion leads elsewhere",
        default=False,
    )
    strategy: EnumProperty(
        name="Strategy",
        description="How segments are made to fit each other",
        items=(
            ("syncsde", "SyncSDE", "Each segment is guided by the ones before it"),
            ("synctweedies", "SyncTweedies", "Neighbors meet in the mean of clean estimates"),
            ("multidiffusion", "MultiDiffusion", "Neighbors meet in their mean after every step"),
            ("visual-anagrams", "Visual Anagrams", "Neighbors share the mean of their noise"),
            ("syncmvd", "SyncMVD", "Means of clean estimates, with fresh noise in every step"),
            ("independent", "Independent", "Segments know nothing of each other, for comparison"),
            ("doubletake", "DoubleTake", "Neighbors fade into each other in every step"),
        ),
        default="syncsde",
    )
    inverse_lambda: FloatProperty(
        name="Synchronization",
        description="How strongly segments agree with SyncSDE (1/lambda), 0 is off",
        default=3.0,
        min=0.0,
        max=100.0,
        soft_max=20.0,
    )
    model: StringProperty(
        name="Model",
        description="Name of a model: mime, which has learned procedural motion only, or a folder "
        "in the Models of the preferences",
        default="mime",
        search=suggestions.for_motion_model,
        search_options={"SUGGESTION"},
    )


class MotionLines:
    """What the operator takes several of."""

    prompt: StringProperty(
        name="Prompt",
        description="What happens, one line for each segment, one after another",
        default="",
    )


class MotionPlace:
    """Onto what the motion goes, as operators and panel have it."""

    root_motion: EnumProperty(
        name="Root Motion",
        description="What the hips are moved by",
        items=(
            ("ON", "On", "The figure travels, as far as its legs are long"),
            ("IN_PLACE", "In Place", "It turns, sinks and rises, but goes nowhere"),
            ("OFF", "Off", "The hips get no keys of their location"),
        ),
        default="ON",
    )
    at_cursor: BoolProperty(
        name="Start At Cursor",
        description="Begin on the floor at the 3D cursor, not where the armature stands",
        default=False,
    )
    start: IntProperty(
        name="Start Frame",
        description="The scene's frame with which it begins",
        default=1,
        min=-1048574,
        max=1048574,
    )


class MotionTarget(MotionPlace):
    """The same with what an operator has as text."""

    target: StringProperty(
        name="Target",
        description="Name of the armature object that gets the motion. Empty makes a mannequin",
        default="",
    )
    bones: StringProperty(
        name="Bones",
        description="Which bone follows which joint, one line each: the joint, a colon and the "
        "bone's name, such as left_knee: shin.L. Empty guesses",
        default="",
    )


class SYNCSDE_PG_segment(bpy.types.PropertyGroup):
    """A part of a motion."""

    prompt: StringProperty(
        name="Prompt",
        description="What happens",
        default="a person walks",
        maxlen=2000,
        search=suggestions.for_motion,
        search_options={"SUGGESTION"},
    )
    made: BoolProperty(
        name="Made",
        description="Whether the target's motion shows it",
        default=False,
    )
    begin: IntProperty(name="First Frame", description="Where it begins in the scene", default=0)
    end: IntProperty(name="Last Frame", description="Where it ends in the scene", default=0)


class SYNCSDE_PG_bone(bpy.types.PropertyGroup):
    """A joint, which is its name, and the bone that follows it."""

    bone: StringProperty(
        name="Bone",
        description="Bone of the target that follows this joint. Empty: none does",
        default="",
    )


class SYNCSDE_PG_former(bpy.types.PropertyGroup):
    """What Revert goes back to."""

    target: PointerProperty(
        type=bpy.types.Object,
        name="Target",
        description="What got the new motion",
    )
    new: PointerProperty(
        type=bpy.types.Action,
        name="New Action",
        description="The new motion",
    )
    action: PointerProperty(
        type=bpy.types.Action,
        name="Former Action",
        description="What moved the target before, if anything did",
    )
    slot: StringProperty(name="Slot", description="Of the former action, by which it moved")
    pose: StringProperty(name="Pose", description="Of the bones that the new action moves")
    made_target: BoolProperty(name="Made Target", description="The target is new, too")
    frame_end: IntProperty(name="Frame End", description="Of the scene before")


def is_armature(_: object, obj: bpy.types.Object) -> bool:
    """Whether an object can be chosen as a target."""
    return obj.type == "ARMATURE"


def guess_bones(settings: Any, _: object = None) -> None:
    """Fill the list of bones for the target that was chosen."""
    settings.bones.clear()
    if settings.target is None or settings.target.type != "ARMATURE":
        return
    found = armatures.guess(settings.target)
    for joint in bone_names.JOINTS:
        entry = settings.bones.add()
        entry.name, entry.bone = joint, found.get(joint, "")


class SYNCSDE_PG_motion(MotionParameters, MotionPlace, bpy.types.PropertyGroup):
    """What the panel edits, saved with the scene."""

    segments: CollectionProperty(name="Segments", type=SYNCSDE_PG_segment)
    active: IntProperty(name="Active Segment", description="The one that is chosen", default=0)
    target: PointerProperty(
        type=bpy.types.Object,
        name="Target",
        description="Armature that gets the motion. None makes a new mannequin",
        poll=is_armature,
        update=guess_bones,
    )
    bones: CollectionProperty(name="Bones", type=SYNCSDE_PG_bone)
    former: PointerProperty(type=SYNCSDE_PG_former)

    def arguments(self) -> dict[str, Any]:
        """What the operator is called with to make all of the list."""
        return {name: getattr(self, name) for name in fields(MotionParameters)} | {
            "prompt": "\n".join(" ".join(each.prompt.split()) for each in self.segments),
            **self.place(),
        }

    def place(self) -> dict[str, Any]:
        """Onto what the motion goes."""
        bones = {each.name: each.bone for each in self.bones}
        target = self.chosen_target()
        return {
            "root_motion": self.root_motion,
            "at_cursor": self.at_cursor,
            "start": self.start,
            "target": target.name if target else "",
            "bones": bone_names.to_lines(bones) if target else "",
        }

    def chosen_target(self) -> Any:
        """The armature, unless it was deleted: this pointer alone would keep it in the file."""
        target = self.target
        return target if target is not None and target.name in self.id_data.objects else None

    def made(self) -> list[int]:
        """Which of the list the target's motion shows: places next to each other."""
        return [place for place, each in enumerate(self.segments) if each.made]

    def forget_made(self) -> None:
        """The list is no longer what the target's motion shows."""
        for each in self.segments:
            each.made = False

    def to_come(self) -> tuple[str, list[str]]:
        """Where the motion can go on, `end` or `start`, and with which prompts; or no prompts."""
        made = self.made()
        prompts = [each.prompt for each in self.segments]
        if not made:
            return "end", []
        if made[-1] + 1 < len(prompts):
            return "end", prompts[made[-1] + 1 :]
        return "start", prompts[: made[0]]


CLASSES = (
    SYNCSDE_PG_segment,
    SYNCSDE_PG_bone,
    SYNCSDE_PG_former,
    SYNCSDE_PG_motion,
)


_register_classes, _unregister_classes = bpy.utils.register_classes_factory(CLASSES)


def register() -> None:
    _register_classes()
    bpy.types.Scene.syncsde_motion = PointerProperty(type=SYNCSDE_PG_motion)


def unregister() -> None:
    del bpy.types.Scene.syncsde_motion
    _unregister_classes()
