# SPDX-License-Identifier: GPL-3.0-or-later
"""Repaint where the artist painted: the panel, and the operator that makes a mask to paint on."""

# Postponed annotations would hide the properties from Blender: no `from __future__` here.
from typing import TYPE_CHECKING

import bpy

from ..scene import images, material
from .operators import chosen
from .panel_result import draw_message

if TYPE_CHECKING:
    from bpy.stub_internal.rna_enums import OperatorReturnItems


class SYNCSDE_OT_new_mask(bpy.types.Operator):
    """Make a black mask of the texture's size and paint on it: what is white is painted anew"""

    bl_idname = "syncsde.new_mask"
    bl_label = "New Mask"
    bl_options = {"REGISTER", "UNDO"}  # noqa: RUF012

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        cls.poll_message_set("The active object shows no generated texture")
        obj = context.object
        return obj is not None and obj.type == "MESH" and material.shown_image(obj) is not None

    def execute(self, context: bpy.types.Context) -> "set[OperatorReturnItems]":
        settings, texture = context.scene.syncsde, material.shown_image(context.object)
        width, height = texture.size
        name = images.shorten(f"Repaint {texture.name}")
        mask = bpy.data.images.new(name, width, height, is_data=True)
        settings.keep, settings.repaint_mask = texture, mask
        paint = context.scene.tool_settings.image_paint
        paint.mode, paint.canvas = "IMAGE", mask
        bpy.ops.object.mode_set(mode="TEXTURE_PAINT")
        if paint.brush is not None:
            paint.brush.color = 1, 1, 1
        return {"FINISHED"}


class SYNCSDE_PT_repaint(bpy.types.Panel):
    """What of a texture is painted anew."""

    bl_label = "Repaint"
    bl_parent_id = "SYNCSDE_PT_texture"
    bl_space_type = "VIEW_3D"
    bl_region_type = "UI"
    bl_category = "SyncSDE"

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        settings = context.scene.syncsde
        given = settings.keep or settings.keep_mask or settings.repaint_mask
        return bool(given) or any(material.is_textured(obj) for obj in chosen(context))

    def draw(self, context: bpy.types.Context) -> None:
        layout, settings = self.layout, context.scene.syncsde
        layout.operator("syncsde.new_mask", icon="BRUSH_DATA")
        layout.template_ID(settings, "repaint_mask", open="image.open", text="White Is Repainted")
        layout.template_ID(settings, "keep", open="image.open", text="Keep")
        if settings.keep_mask:
            layout.template_ID(settings, "keep_mask", open="image.open", text="White Is Kept")
        if settings.repaint_mask:
            text = f"Only what is white in {settings.repaint_mask.name!r} is painted anew"
            draw_message(context, layout, text, "INFO")


CLASSES = (SYNCSDE_OT_new_mask, SYNCSDE_PT_repaint)

register, unregister = bpy.utils.register_classes_factory(CLASSES)
