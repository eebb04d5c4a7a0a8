# SPDX-License-Identifier: GPL-3.0-or-later
"""Motion in the tab of the 3D viewport's sidebar: prompts, and what they become."""

from __future__ import annotations

import bpy

from ..jobs import takes
from ..scene import actions, armatures, bone_names
from .panel import draw_engine, draw_message, draw_outcome, draw_settings

SAMPLING = (
    "steps", "eta", "guidance_scale", "strategy", "inverse_lambda", "join", "frames", "overlap",
    "model", "device",
)  # fmt: skip


class SYNCSDE_UL_segments(bpy.types.UIList):
    """Prompts, and the frames of those that are made."""

    def draw_item(
        self,
        context: bpy.types.Context,
        layout: bpy.types.UILayout,
        data: object,
        item: bpy.types.PropertyGroup,
        icon: int,
        active_data: object,
        active_property: str,
        index: int = 0,
        flt_flag: int = 0,
    ) -> None:
        row = layout.row()
        row.prop(item, "prompt", text="", emboss=False, icon="ACTION" if item.made else "ADD")
        frames = row.row()
        frames.alignment = "RIGHT"
        frames.label(text=f"{item.begin} - {item.end}" if item.made else "New")


class SYNCSDE_PT_motion(bpy.types.Panel):
    """Onto what, what happens, and the buttons that make it."""

    bl_idname = "SYNCSDE_PT_motion"
    bl_label = "Motion"
    bl_space_type = "VIEW_3D"
    bl_region_type = "UI"
    bl_category = "SyncSDE"
    bl_order = 10
    bl_options = {"DEFAULT_CLOSED"}  # noqa: RUF012

    def draw(self, context: bpy.types.Context) -> None:
        layout = self.layout
        layout.use_property_split = True
        layout.use_property_decorate = False
        settings = context.scene.syncsde_motion
        layout.prop(settings, "target", placeholder="New Mannequin")
        draw_segments(layout, settings)
        layout.prop(settings, "root_motion")
        layout.prop(settings, "foot_lock")
        layout.prop(settings, "at_cursor")
        layout.prop(settings, "start")
        layout.prop(settings, "seed")
        if not draw_engine(context, layout):
            return
        reason = why_not(settings)
        column = layout.column(align=True)
        column.enabled = not reason
        column.operator("syncsde.motion", icon="ARMATURE_DATA")
        target = settings.chosen_target()
        if target is not None and actions.ours(target) is not None and settings.made():
            row = column.row(align=True)
            made = row.row(align=True)
            made.enabled = settings.active in settings.made()
            made.operator("syncsde.motion_reroll", icon="FILE_REFRESH")
            end, prompts = settings.to_come()
            more = row.row(align=True)
            more.enabled = bool(prompts)
            text = "Extend at Start" if prompts and end == "start" else "Extend"
            more.operator("syncsde.motion_extend", text=text, icon="ADD")
        if takes.is_open(settings):
            row = layout.row(align=True)
            row.operator("syncsde.motion_accept", icon="CHECKMARK")
            row.operator("syncsde.motion_revert", icon="LOOP_BACK")
        if reason:
            draw_message(context, layout, reason, "INFO")
        draw_outcome(context, layout, ("motion",))


def draw_segments(layout: bpy.types.UILayout, settings: bpy.types.PropertyGroup) -> None:
    """Draw the list of prompts, and beside it what changes it."""
    row = layout.row()
    row.template_list("SYNCSDE_UL_segments", "", settings, "segments", settings, "active", rows=4)
    column = row.column(align=True)
    column.operator("syncsde.add_segment", text="", icon="ADD")
    column.operator("syncsde.remove_segment", text="", icon="REMOVE")
    column.separator()
    column.operator("syncsde.move_segment", text="", icon="TRIA_UP").direction = "UP"
    column.operator("syncsde.move_segment", text="", icon="TRIA_DOWN").direction = "DOWN"


def why_not(settings: bpy.types.PropertyGroup) -> str:
    """Say why no motion can be generated, or nothing if one can."""
    if not settings.segments:
        return "Add a segment and describe what happens"
    if not all(each.prompt.strip() for each in settings.segments):
        return "Describe what happens in each segment"
    target = settings.chosen_target()
    if target is None:
        return ""
    reason = armatures.why_not(target)
    missing = bone_names.missing({each.name: each.bone for each in settings.bones})
    if not reason and missing:
        reason = f"Choose under Bones which bones are {', '.join(missing)}"
    return reason


class SYNCSDE_PT_bones(bpy.types.Panel):
    """Which bone of the target follows which joint, as guessed and corrected."""

    bl_idname = "SYNCSDE_PT_bones"
    bl_label = "Bones"
    bl_parent_id = "SYNCSDE_PT_motion"
    bl_space_type = "VIEW_3D"
    bl_region_type = "UI"
    bl_category = "SyncSDE"
    bl_options = {"DEFAULT_CLOSED"}  # noqa: RUF012

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        return context.scene.syncsde_motion.chosen_target() is not None

    def draw(self, context: bpy.types.Context) -> None:
        layout = self.layout
        layout.use_property_split = True
        layout.use_property_decorate = False
        settings = context.scene.syncsde_motion
        kind = bone_names.kind_of({each.name: each.bone for each in settings.bones if each.bone})
        row = layout.row()
        row.label(text=kind or "Guessed by Names")
        row.operator("syncsde.guess_bones", text="", icon="FILE_REFRESH")
        column = layout.column(align=True)
        data = settings.chosen_target().data
        for entry in settings.bones:
            line = column.row()
            line.alert = entry.name in bone_names.NEEDED and not entry.bone
            line.prop_search(entry, "bone", data, "bones", text=bone_names.label(entry.name))


class SYNCSDE_PT_motion_sampling(bpy.types.Panel):
    """How segments are drawn and made to agree."""

    bl_idname = "SYNCSDE_PT_motion_sampling"
    bl_label = "Sampling"
    bl_parent_id = "SYNCSDE_PT_motion"
    bl_space_type = "VIEW_3D"
    bl_region_type = "UI"
    bl_category = "SyncSDE"
    bl_options = {"DEFAULT_CLOSED"}  # noqa: RUF012

    def draw(self, context: bpy.types.Context) -> None:
        draw_settings(self.layout, context.scene.syncsde_motion, SAMPLING)


CLASSES = (
    SYNCSDE_UL_segments,
    SYNCSDE_PT_motion,
    SYNCSDE_PT_bones,
    SYNCSDE_PT_motion_sampling,
)

register, unregister = bpy.utils.register_classes_factory(CLASSES)
