# SPDX-License-Identifier: GPL-3.0-or-later
"""The tab in the sidebar of the 3D viewport."""

from __future__ import annotations

from collections.abc import Sequence

import bpy

from .. import NAME
from ..client import engine
from ..jobs import session
from ..jobs.job import in_words
from ..library import own_pictures
from ..properties import sampling
from ..scene import material, parts
from . import preferences
from .operators import chosen, not_ready, selected_cameras, why_not
from .panel_like import draw_like, draw_part
from .panel_result import draw_engine_state, draw_job, draw_message, draw_outcome

MOST_PARTS = 32  # objects whose own prompts and pictures are shown
WIDE = ("negative_prompt", "controlnet", "model", "lora", "device")  # texts: names go above them


class SYNCSDE_PT_texture(bpy.types.Panel):
    """Prompt, seed and steps; progress while it runs; what went wrong if it did."""

    bl_idname = "SYNCSDE_PT_texture"
    bl_label = "Texture"
    bl_space_type = "VIEW_3D"
    bl_region_type = "UI"
    bl_category = "SyncSDE"

    def draw(self, context: bpy.types.Context) -> None:
        layout = self.layout
        layout.use_property_split = True
        layout.use_property_decorate = False
        settings = context.scene.syncsde
        draw_engine_state(layout, settings.model, settings.device)
        layout.prop(settings, "prompt", text="", placeholder="Describe the surface")
        draw_like(context, layout, settings)
        draw_troubles(context, layout)
        layout.prop(settings, "quality", expand=True)
        if seconds := session.usual_seconds("texture", settings.quality):
            layout.label(text=f"The last ones took {in_words(seconds)} here", icon="TIME")
        row = layout.row(align=True)
        row.prop(settings, "seed")
        row.operator("syncsde.new_seed", text="", icon="FILE_REFRESH").group = "syncsde"
        layout.prop(settings, "steps")
        if not draw_engine(context, layout):
            if not session.is_running():
                draw_outcome(context, layout, ("texture",))
            return
        missing = not_ready(context)
        row = layout.row(align=True)
        button = row.row(align=True)
        button.enabled = not missing
        button.operator("syncsde.texture", icon="TEXTURE")
        row.operator("syncsde.copy_command", text="", icon="COPYDOWN")
        reason = why_not(context) or missing
        if reason:
            draw_message(context, layout, reason, "INFO")
        elif any(material.is_textured(obj) for obj in chosen(context)):
            layout.operator("syncsde.remove_texture", icon="TRASH")
        draw_outcome(context, layout, ("texture",))


class Section:
    """What the further panels of the tab have in common: some of the scene's settings, closed."""

    bl_parent_id = "SYNCSDE_PT_texture"
    bl_space_type = "VIEW_3D"
    bl_region_type = "UI"
    bl_category = "SyncSDE"
    bl_options = {"DEFAULT_CLOSED"}  # noqa: RUF012
    names: tuple[str, ...] = ()

    def draw(self, context: bpy.types.Context) -> None:
        draw_settings(self.layout, context.scene.syncsde, self.names)


class SYNCSDE_PT_parts(Section, bpy.types.Panel):
    """What each of several objects, and each of their materials, looks like instead."""

    bl_label = "Parts"

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        objects = chosen(context)
        return len(objects) > 1 or len(parts.materials_of(objects)) > 1

    def draw(self, context: bpy.types.Context) -> None:
        objects = chosen(context)
        drawn: set[bpy.types.Material] = set()
        for obj in objects[:MOST_PARTS]:
            column = self.layout.column(align=True)
            if len(objects) > 1:
                draw_part(column, obj, "OBJECT_DATA")
            for own in parts.materials_of([obj]):
                if own not in drawn:  # objects that share a material share what it looks like
                    draw_part(column, own, "MATERIAL")
            drawn.update(parts.materials_of([obj]))
        if len(objects) > MOST_PARTS:
            text = f"{len(objects) - MOST_PARTS} more objects: select fewer to see them"
            draw_message(context, self.layout, text, "INFO")


class SYNCSDE_PT_views(Section, bpy.types.Panel):
    """From where the objects are painted."""

    bl_label = "Cameras"
    names = (
        *("cameras", "extra_cameras", "coverage", "peel", "selected_cameras"),
        *("fov", "orthographic", "view_size"),
    )

    def draw(self, context: bpy.types.Context) -> None:
        draw_settings(self.layout, context.scene.syncsde, self.names)
        if context.scene.syncsde.selected_cameras:
            count = len(selected_cameras(context))
            text = f"{count} selected" if count else not_ready(context)
            draw_message(context, self.layout, text, "CAMERA_DATA")


class SYNCSDE_PT_surface(Section, bpy.types.Panel):
    """What the views are baked into."""

    bl_label = "Surface"
    names = ("texture_size", "tile_size", "like_material", "maps", "uv", "fill")


class SYNCSDE_PT_sampling(Section, bpy.types.Panel):
    """How the views are drawn and made to agree."""

    bl_label = "Sampling"
    names = (
        "negative_prompt", "guidance_scale", "control_scale", "strategy", "inverse_lambda",
        "synchronized_share", "sources", "model", "lora", "device",
    )  # fmt: skip


def draw_settings(
    layout: bpy.types.UILayout, settings: bpy.types.PropertyGroup, names: Sequence[str]
) -> None:
    """Draw some of the settings, one below the other."""
    layout.use_property_split = True
    layout.use_property_decorate = False
    for name in names:
        draw_setting(layout, settings, name)


def draw_setting(layout: bpy.types.UILayout, settings: bpy.types.PropertyGroup, name: str) -> None:
    """Draw a setting; a number that is left to the model or the task says so instead."""
    label = settings.bl_rna.properties[name].name
    if name in WIDE:
        column = layout.column(align=True)
        column.label(text=label)
        column.prop(settings, name, text="", placeholder="The model's own")
    elif name not in sampling.CHOSEN:
        layout.prop(settings, name)
    elif getattr(settings, name) == sampling.UNSET[name]:
        row = layout.split(factor=0.4, align=True)
        name_of = row.row()
        name_of.alignment = "RIGHT"
        name_of.label(text=label)
        draw_own(row, settings, name, "Auto", "NONE")
    else:
        row = layout.row(align=True)
        row.prop(settings, name)
        draw_own(row, settings, name, "", "X")


def draw_own(
    layout: bpy.types.UILayout, settings: bpy.types.PropertyGroup, name: str, text: str, icon: str
) -> None:
    """Draw the button that takes a setting over from the model, or gives it back."""
    button = layout.operator("syncsde.own_setting", text=text, icon=icon)
    button.group, button.name = settings.path_from_id(), name


def draw_engine(context: bpy.types.Context, layout: bpy.types.UILayout) -> bool:
    """Draw the job that runs, or what is missing; return whether a job can be started."""
    job = session.current
    if job is not None:
        draw_job(context, layout, job)
        return False
    if session.engine_error:
        draw_message(context, layout, session.engine_error, "ERROR")
    try:
        preferences.find_engine_program()
    except engine.NotInstalled as error:
        draw_message(context, layout, str(error), "INFO")
        layout.operator("preferences.addon_show", text="Open Preferences").module = NAME
        return False
    return True


def draw_troubles(context: bpy.types.Context, layout: bpy.types.UILayout) -> None:
    """Draw what is wrong with the user's own folders of pictures."""
    for trouble in own_pictures.troubles():
        draw_message(context, layout, trouble, "ERROR")


PANELS = (
    SYNCSDE_PT_texture,
    SYNCSDE_PT_parts,
    SYNCSDE_PT_views,
    SYNCSDE_PT_surface,
    SYNCSDE_PT_sampling,
)


register, unregister = bpy.utils.register_classes_factory(PANELS)
