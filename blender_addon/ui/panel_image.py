# SPDX-License-Identifier: GPL-3.0-or-later
"""The tab in the sidebar of the Image Editor: a task and its own fields, then how it is sampled."""

from __future__ import annotations

import types

import bpy

from ..jobs.image_jobs import JOBS, Incomplete
from .operators_image import of_editor, shown_image
from .panel import (
    draw_engine,
    draw_setting,
    draw_settings,
    draw_troubles,
)
from .panel_like import draw_like
from .panel_result import draw_message, draw_outcome

SAMPLING = ("steps", "strategy", "inverse_lambda", "model")
MOST_PARTS = {"mask": 8, "wide": 64, "ambiguous": 7}
ADD = {"mask": "Add Foreground", "wide": "Add Change", "ambiguous": "Add View"}


class SYNCSDE_PT_image(bpy.types.Panel):
    """What to make of which images; progress while it runs; what went wrong if it did."""

    bl_idname = "SYNCSDE_PT_image"
    bl_label = "Image"
    bl_space_type = "IMAGE_EDITOR"
    bl_region_type = "UI"
    bl_category = "SyncSDE"

    def draw(self, context: bpy.types.Context) -> None:
        layout = self.layout
        layout.use_property_split = True
        layout.use_property_decorate = False
        task = context.scene.syncsde_image.task
        settings = getattr(context.scene.syncsde_image, task)
        layout.prop(context.scene.syncsde_image, "task", text="")
        DRAW[task](context, layout, settings)
        row = layout.row(align=True)
        row.prop(settings, "seed")
        new = row.operator("syncsde.new_seed", text="", icon="FILE_REFRESH")
        new.group = settings.path_from_id()
        if task == "wide":
            draw_troubles(context, layout)
        if not draw_engine(context, layout):
            return
        try:
            JOBS[task](types.SimpleNamespace(**of_editor(context, task)))
            reason = ""
        except Incomplete as incomplete:
            reason = str(incomplete)
        button = layout.column()
        button.enabled = not reason
        button.operator(f"syncsde.{task}", icon="IMAGE_DATA")
        if reason:
            draw_message(context, layout, reason, "INFO")
        draw_outcome(context, layout, tuple(JOBS))


class SYNCSDE_PT_image_sampling(bpy.types.Panel):
    """The settings that the tasks have in common, each with values of its own."""

    bl_idname = "SYNCSDE_PT_image_sampling"
    bl_label = "Sampling"
    bl_parent_id = "SYNCSDE_PT_image"
    bl_space_type = "IMAGE_EDITOR"
    bl_region_type = "UI"
    bl_category = "SyncSDE"
    bl_options = {"DEFAULT_CLOSED"}  # noqa: RUF012

    def draw(self, context: bpy.types.Context) -> None:
        settings = getattr(context.scene.syncsde_image, context.scene.syncsde_image.task)
        own = ("patch_size", "stride") if context.scene.syncsde_image.task == "wide" else ()
        draw_settings(self.layout, settings, (*SAMPLING, *own))


def draw_mask(
    context: bpy.types.Context, layout: bpy.types.UILayout, settings: bpy.types.PropertyGroup
) -> None:
    layout.prop(settings, "prompt")
    layout.prop(settings, "background")
    layout.template_ID(settings, "like", open="image.open", text="Like")
    for index, part in enumerate(settings.parts):
        box = draw_part(layout, part, index)
        box.template_ID(part, "mask", open="image.open", new="image.new")
        box.template_ID(part, "like", open="image.open", text="Like")
    draw_add(layout, "mask", settings)
    draw_setting(layout, settings, "tile_size")
    draw_setting(layout, settings, "size")


def draw_edit(
    context: bpy.types.Context, layout: bpy.types.UILayout, settings: bpy.types.PropertyGroup
) -> None:
    layout.prop(settings, "image")
    if settings.image is None and (shown := shown_image(context)):
        draw_message(context, layout, f"Edits {shown.name!r}, which is shown", "INFO")
    layout.prop(settings, "source_prompt")
    layout.prop(settings, "prompt")
    layout.prop(settings, "mask")
    if settings.mask is None:
        layout.prop(settings, "mask_threshold")
    if settings.strategy == "sdedit":
        layout.prop(settings, "strength")


def draw_wide(
    context: bpy.types.Context, layout: bpy.types.UILayout, settings: bpy.types.PropertyGroup
) -> None:
    layout.prop(settings, "prompt")
    draw_like(context, layout, settings)
    draw_setting(layout, settings, "tile_size")
    draw_setting(layout, settings, "width")
    draw_setting(layout, settings, "height")
    layout.prop(settings, "wrap")
    layout.prop(settings, "extend")
    if settings.extend is not None:
        layout.prop(settings, "extend_to")
    for index, part in enumerate(settings.parts):
        box = draw_part(layout, part, index)
        box.prop(part, "start")
    draw_add(layout, "wide", settings)


def draw_ambiguous(
    context: bpy.types.Context, layout: bpy.types.UILayout, settings: bpy.types.PropertyGroup
) -> None:
    layout.prop(settings, "prompt")
    for index, part in enumerate(settings.parts):
        box = draw_part(layout, part, index)
        box.prop(part, "transform")
    draw_add(layout, "ambiguous", settings)
    draw_setting(layout, settings, "size")


def draw_part(
    layout: bpy.types.UILayout, part: bpy.types.PropertyGroup, index: int
) -> bpy.types.UILayout:
    """Draw the first field of a part and the button that removes it; return its box."""
    box = layout.box()
    row = box.row()
    row.prop(part, "prompt")
    row.operator("syncsde.remove_part", text="", icon="X", emboss=False).index = index
    return box


def draw_add(layout: bpy.types.UILayout, task: str, settings: bpy.types.PropertyGroup) -> None:
    if len(settings.parts) < MOST_PARTS[task]:
        layout.operator("syncsde.add_part", text=ADD[task], icon="ADD")


DRAW = {"mask": draw_mask, "edit": draw_edit, "wide": draw_wide, "ambiguous": draw_ambiguous}
CLASSES = (SYNCSDE_PT_image, SYNCSDE_PT_image_sampling)

register, unregister = bpy.utils.register_classes_factory(CLASSES)
