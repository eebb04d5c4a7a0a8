# SPDX-License-Identifier: GPL-3.0-or-later
"""The operators of motion.

bpy.ops.syncsde.motion(prompt="a person walks\\na person sits down")
bpy.ops.syncsde.motion(prompt="a person runs", target="metarig", root_motion="IN_PLACE")
bpy.ops.syncsde.motion_extend(target="Mannequin", prompt="a person claps")
bpy.ops.syncsde.motion_reroll(target="Mannequin", segment=2, prompt="a person dances")
bpy.ops.syncsde.motion_revert()
"""

# Postponed annotations would hide the properties from Blender: no `from __future__` here.
from pathlib import Path
from typing import TYPE_CHECKING, Any

import bpy
from bpy.props import EnumProperty, IntProperty, StringProperty

from ..client import engine, report
from ..jobs import motion_jobs, results, session, takes
from ..jobs.image_jobs import Incomplete, split
from ..jobs.job import Request
from ..jobs.motion_jobs import MotionJob
from ..properties import sampling
from ..properties.motion import MotionLines, MotionParameters, MotionTarget, guess_bones
from ..scene import armatures, motions
from ..scene.armatures import ArmatureError
from ..scene.slices import at_once
from . import preferences
from .operators import WhenIdle, begin, fail

if TYPE_CHECKING:
    from bpy.stub_internal.rna_enums import OperatorReturnItems

NEXT = -1  # the seed after the last one


def start(operator: Any, asked: MotionJob) -> "set[OperatorReturnItems]":
    """Begin a job; a target that cannot get a motion is told before."""
    known = None
    try:
        if asked.placement.target:
            obj = armatures.find(asked.placement.target, asked.placement.uid)
            bones = asked.placement.bones or armatures.guess(obj)
            known = armatures.read(obj, bones)
        kept = sampling.kept_folder(operator)
        program = preferences.find_engine_program()
    except (ArmatureError, sampling.FolderError, engine.NotInstalled) as error:
        return fail(operator, "motion", error)
    folder = session.temporary_folder()
    placement = motion_jobs.with_states(asked.placement, kept)
    request = Request(
        program=program,
        task="motion",
        parameters=asked.parameters,
        inputs={"states": asked.states.read_bytes} if asked.states else {},
        directory=kept or folder,
        file=motions.FILE,
        keep_all=kept is not None,
        folder=folder,
        also=(report.FILE, motions.STATES),
    )
    steps = motions.build(request.directory, placement, known)
    return begin(operator, request, results.OntoArmature(placement, steps))


class SYNCSDE_OT_motion(
    MotionParameters,
    MotionLines,
    MotionTarget,
    sampling.KeptFiles,
    WhenIdle,
    bpy.types.Operator,
):
    """Generate one long motion from a prompt for each segment, on an armature or a mannequin"""

    bl_idname = "syncsde.motion"
    bl_label = "Generate Motion"
    bl_options = {"REGISTER"}  # noqa: RUF012

    states: StringProperty(
        name="States",
        description="File states.safetensors of a finished motion, to extend it or make a segment "
        "again. Empty makes all anew",
        subtype="FILE_PATH",
        default="",
        options={"SKIP_SAVE"},
    )

    def invoke(
        self, context: bpy.types.Context, event: bpy.types.Event
    ) -> "set[OperatorReturnItems]":
        """Take what the caller left open from the panel."""
        settings = context.scene.syncsde_motion
        sampling.fill(self, settings.arguments() | {"reroll": 0, "extend_to": "end"})
        return self.execute(context)

    def execute(self, context: bpy.types.Context) -> "set[OperatorReturnItems]":
        try:
            asked = motion_jobs.anew(self, context)
        except Incomplete as error:
            return fail(self, "motion", error)
        return start(self, asked)


class OfTarget(sampling.KeptFiles):
    """An armature that has a motion of ours."""

    target: StringProperty(
        name="Target",
        description="Name of the armature object that has the motion. Empty takes the panel's",
        default="",
    )


def target_of(operator: Any, context: bpy.types.Context) -> bpy.types.Object | None:
    """The armature of an operator, or of the panel. Raises ArmatureError."""
    if operator.target:
        return armatures.find(operator.target)
    return context.scene.syncsde_motion.chosen_target()


class SYNCSDE_OT_motion_extend(OfTarget, WhenIdle, bpy.types.Operator):
    """Go on with the target's motion: the new segments of the list. What there is stays as it is"""

    bl_idname = "syncsde.motion_extend"
    bl_label = "Extend"
    bl_options = {"REGISTER"}  # noqa: RUF012

    prompt: StringProperty(
        name="Prompt",
        description="What happens, one line for each new segment. Empty takes the panel's new ones",
        default="",
    )
    extend_to: EnumProperty(
        name="Extend To",
        description="Where the motion goes on",
        items=(
            ("end", "End", "After what there is"),
            ("start", "Start", "Before what there is"),
        ),
        default="end",
    )

    def invoke(
        self, context: bpy.types.Context, event: bpy.types.Event
    ) -> "set[OperatorReturnItems]":
        end, prompts = context.scene.syncsde_motion.to_come()
        sampling.fill(self, {"extend_to": end, "prompt": "\n".join(prompts)})
        return self.execute(context)

    def execute(self, context: bpy.types.Context) -> "set[OperatorReturnItems]":
        try:
            obj = target_of(self, context)
            prompts, end = split(self.prompt), self.extend_to
            if not prompts:
                end, prompts = context.scene.syncsde_motion.to_come()
            asked = motion_jobs.more(context, obj, prompts, end)
        except (Incomplete, ArmatureError) as error:
            return fail(self, "motion", error)
        return start(self, asked)


class SYNCSDE_OT_motion_reroll(OfTarget, WhenIdle, bpy.types.Operator):
    """Make one segment of the target's motion again, with the next seed. The rest stays"""

    bl_idname = "syncsde.motion_reroll"
    bl_label = "Re-Roll"
    bl_options = {"REGISTER"}  # noqa: RUF012

    segment: IntProperty(
        name="Segment",
        description="Which one, 1 is the first. 0 takes the one that is chosen in the panel",
        default=0,
        min=0,
    )
    prompt: StringProperty(
        name="Prompt",
        description="What happens instead. Empty makes another of the same",
        default="",
    )
    seed: IntProperty(
        name="Seed",
        description="Same seed, same result. -1 takes the next one",
        default=NEXT,
        min=NEXT,
    )

    def execute(self, context: bpy.types.Context) -> "set[OperatorReturnItems]":
        settings = context.scene.syncsde_motion
        segment, prompt, seed = self.segment, self.prompt, self.seed
        try:
            obj = target_of(self, context)
            about = motion_jobs.finished(obj)
            if segment == 0:
                segment, prompt = chosen(settings, prompt)
            if seed == NEXT:
                seed = max(settings.seed, about["parameters"].get("seed", 0)) + 1
                settings.seed = seed
            asked = motion_jobs.again(obj, segment, prompt, seed)
        except (Incomplete, ArmatureError) as error:
            return fail(self, "motion", error)
        return start(self, asked)


def chosen(settings: Any, prompt: str) -> tuple[int, str]:
    """The number of the segment that is chosen in the panel, and its prompt. Raises Incomplete."""
    made = settings.made()
    if settings.active not in made:
        raise Incomplete("Choose a segment that is made already, to make it again.")
    place = settings.active
    return made.index(place) + 1, prompt or settings.segments[place].prompt


class SYNCSDE_OT_apply_motion(bpy.types.Operator):
    """Give a finished motion to an armature"""

    bl_idname = "syncsde.apply_motion"
    bl_label = "Apply Motion"
    bl_options = {"INTERNAL", "UNDO"}  # noqa: RUF012

    directory: StringProperty(subtype="DIR_PATH", options={"SKIP_SAVE"})
    placement: StringProperty(options={"SKIP_SAVE"})
    action: StringProperty(options={"SKIP_SAVE"})

    def execute(self, context: bpy.types.Context) -> "set[OperatorReturnItems]":
        folder = Path(self.directory)
        placement = motions.Placement.from_json(self.placement)
        try:
            if not placement.target and context.mode != "OBJECT":
                bpy.ops.object.mode_set(mode="OBJECT")
            name = self.action if self.action in bpy.data.actions else ""
            if not name:
                name = at_once(motions.build(folder, placement))
            takes.apply(context, folder, placement, bpy.data.actions[name])
        except (ArmatureError, KeyError, ValueError, OSError, RuntimeError) as error:
            self.report({"ERROR"}, results.sentence(error))
            return {"CANCELLED"}
        return {"FINISHED"}


class Answer(WhenIdle):
    """What the operators after a motion ask before they can be called."""

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        if not super().poll(context):
            return False
        cls.poll_message_set("There is no new motion")
        return takes.is_open(context.scene.syncsde_motion)


class SYNCSDE_OT_motion_accept(Answer, bpy.types.Operator):
    """Keep the new motion. A former action that was not generated stays in the file"""

    bl_idname = "syncsde.motion_accept"
    bl_label = "Accept"
    bl_options = {"REGISTER", "UNDO"}  # noqa: RUF012

    def execute(self, context: bpy.types.Context) -> "set[OperatorReturnItems]":
        takes.accept(context.scene.syncsde_motion)
        return {"FINISHED"}


class SYNCSDE_OT_motion_revert(Answer, bpy.types.Operator):
    """Go back to what moved the target before; the new motion goes"""

    bl_idname = "syncsde.motion_revert"
    bl_label = "Revert"
    bl_options = {"REGISTER", "UNDO"}  # noqa: RUF012

    def execute(self, context: bpy.types.Context) -> "set[OperatorReturnItems]":
        takes.revert(context)
        return {"FINISHED"}


class SYNCSDE_OT_guess_bones(bpy.types.Operator):
    """Guess again which bones of the target follow which joints, from their names"""

    bl_idname = "syncsde.guess_bones"
    bl_label = "Guess Bones"
    bl_options = {"INTERNAL", "UNDO"}  # noqa: RUF012

    def execute(self, context: bpy.types.Context) -> "set[OperatorReturnItems]":
        guess_bones(context.scene.syncsde_motion)
        return {"FINISHED"}


class SYNCSDE_OT_add_segment(bpy.types.Operator):
    """Add a segment after the one that is chosen, or before all that are made"""

    bl_idname = "syncsde.add_segment"
    bl_label = "Add Segment"
    bl_options = {"INTERNAL", "UNDO"}  # noqa: RUF012

    def execute(self, context: bpy.types.Context) -> "set[OperatorReturnItems]":
        settings = context.scene.syncsde_motion
        settings.segments.add()
        settings.active = len(settings.segments) - 1
        return {"FINISHED"}


class SYNCSDE_OT_remove_segment(bpy.types.Operator):
    """Remove the chosen segment from the list; the motion stays as it is"""

    bl_idname = "syncsde.remove_segment"
    bl_label = "Remove Segment"
    bl_options = {"INTERNAL", "UNDO"}  # noqa: RUF012

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        cls.poll_message_set("There is no segment")
        return bool(context.scene.syncsde_motion.segments)

    def execute(self, context: bpy.types.Context) -> "set[OperatorReturnItems]":
        settings = context.scene.syncsde_motion
        if settings.segments[settings.active].made:
            settings.forget_made()
        settings.segments.remove(settings.active)
        settings.active = max(0, min(settings.active, len(settings.segments) - 1))
        return {"FINISHED"}


class SYNCSDE_OT_move_segment(bpy.types.Operator):
    """Move the chosen segment in the list; the motion stays as it is"""

    bl_idname = "syncsde.move_segment"
    bl_label = "Move Segment"
    bl_options = {"INTERNAL", "UNDO"}  # noqa: RUF012

    direction: EnumProperty(
        name="Direction",
        description="Where to",
        items=(("UP", "Up", "Earlier"), ("DOWN", "Down", "Later")),
        default="UP",
    )

    def execute(self, context: bpy.types.Context) -> "set[OperatorReturnItems]":
        settings = context.scene.syncsde_motion
        place = settings.active + (1 if self.direction == "DOWN" else -1)
        if not 0 <= place < len(settings.segments):
            return {"CANCELLED"}
        pair = settings.segments[place], settings.segments[settings.active]
        settings.segments.move(settings.active, place)
        settings.active = place
        if all(each.made for each in pair):
            settings.forget_made()
        return {"FINISHED"}


CLASSES = (
    SYNCSDE_OT_motion,
    SYNCSDE_OT_motion_extend,
    SYNCSDE_OT_motion_reroll,
    SYNCSDE_OT_motion_accept,
    SYNCSDE_OT_motion_revert,
    SYNCSDE_OT_apply_motion,
    SYNCSDE_OT_guess_bones,
    SYNCSDE_OT_add_segment,
    SYNCSDE_OT_remove_segment,
    SYNCSDE_OT_move_segment,
)

register, unregister = bpy.utils.register_classes_factory(CLASSES)
