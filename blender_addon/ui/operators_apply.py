# SPDX-License-Identifier: GPL-3.0-or-later
"""The operators that put textures on objects and take them off."""

# Postponed annotations would hide the properties from Blender: no `from __future__` here.
from pathlib import Path
from typing import TYPE_CHECKING

import bpy
import numpy as np
from bpy.props import BoolProperty, StringProperty

from ..jobs import results
from ..scene import material, textures
from .operators import chosen

if TYPE_CHECKING:
    from bpy.stub_internal.rna_enums import OperatorReturnItems


class SYNCSDE_OT_apply_texture(bpy.types.Operator):
    """Show an image file on an object as the base color of one new material"""

    bl_idname = "syncsde.apply_texture"
    bl_label = "Apply Texture"
    bl_options = {"REGISTER", "UNDO"}  # noqa: RUF012

    filepath: StringProperty(
        name="Image",
        description="The texture, an image file",
        subtype="FILE_PATH",
        options={"SKIP_SAVE"},
    )
    object_name: StringProperty(
        name="Object",
        description="Name of the mesh object. Empty takes the active one",
        options={"SKIP_SAVE"},
    )
    material_name: StringProperty(
        name="Material Name",
        description="Name of the new material. Empty takes the file's",
        options={"SKIP_SAVE"},
    )
    uv_layer: StringProperty(
        name="UV Layer",
        description="UV layer of the texture. Empty takes the active one",
        options={"SKIP_SAVE"},
    )
    uv_filepath: StringProperty(
        name="New UVs",
        description="NumPy file with a UV for each corner, if the UV layer is to be added",
        subtype="FILE_PATH",
        options={"HIDDEN", "SKIP_SAVE"},
    )

    def invoke(
        self, context: bpy.types.Context, event: bpy.types.Event
    ) -> "set[OperatorReturnItems]":
        """Ask for the image unless the caller gave one."""
        if self.filepath:
            return self.execute(context)
        context.window_manager.fileselect_add(self)
        return {"RUNNING_MODAL"}

    def execute(self, context: bpy.types.Context) -> "set[OperatorReturnItems]":
        obj = bpy.data.objects.get(self.object_name) if self.object_name else context.object
        if obj is None or obj.type != "MESH":
            self.report({"ERROR"}, f"There is no mesh object {self.object_name!r}.")
            return {"CANCELLED"}
        active = obj.data.uv_layers.active
        uv_layer = self.uv_layer or (active.name if active else "")
        if not uv_layer:
            self.report({"ERROR"}, f"{obj.name!r} has no UV layer: unwrap it first.")
            return {"CANCELLED"}
        image_path = Path(bpy.path.abspath(self.filepath))
        if context.mode != "OBJECT":  # other modes keep an undo history of their own
            bpy.ops.object.mode_set(mode="OBJECT")
        try:
            new_uvs = np.load(self.uv_filepath) if self.uv_filepath else None
            material.apply(obj, image_path, uv_layer, new_uvs, self.material_name)
        except (ValueError, OSError, RuntimeError) as error:
            self.report({"ERROR"}, results.sentence(error))
            return {"CANCELLED"}
        return {"FINISHED"}


class SYNCSDE_OT_apply_run(bpy.types.Operator):
    """Show the textures of a finished run on the objects it was made for"""

    bl_idname = "syncsde.apply_run"
    bl_label = "Apply Textures"
    bl_options = {"INTERNAL", "UNDO"}  # noqa: RUF012

    directory: StringProperty(subtype="DIR_PATH", options={"SKIP_SAVE"})
    targets: StringProperty(options={"SKIP_SAVE"})
    name: StringProperty(options={"SKIP_SAVE"})
    anyway: BoolProperty(
        name="Anyway",
        description="Also on objects that changed since",
        default=False,
        options={"SKIP_SAVE"},
    )

    def execute(self, context: bpy.types.Context) -> "set[OperatorReturnItems]":
        results.leave_mode(context)
        try:
            targets = textures.from_json(self.targets)
            textures.apply(Path(self.directory), targets, self.name, anyway=self.anyway)
        except (ValueError, KeyError, TypeError, OSError, RuntimeError) as error:
            self.report({"ERROR"}, results.sentence(error))
            return {"CANCELLED"}
        return {"FINISHED"}


class SYNCSDE_OT_remove_texture(bpy.types.Operator):
    """Take the generated textures off the selected objects and restore their own materials"""

    bl_idname = "syncsde.remove_texture"
    bl_label = "Remove Texture"
    bl_options = {"REGISTER", "UNDO"}  # noqa: RUF012

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        cls.poll_message_set("No selected object has a generated texture")
        return any(material.is_textured(obj) for obj in chosen(context))

    def execute(self, context: bpy.types.Context) -> "set[OperatorReturnItems]":
        if context.mode != "OBJECT":
            bpy.ops.object.mode_set(mode="OBJECT")
        for obj in chosen(context):
            if material.is_textured(obj):
                material.remove(obj)
        return {"FINISHED"}


CLASSES = (SYNCSDE_OT_apply_texture, SYNCSDE_OT_apply_run, SYNCSDE_OT_remove_texture)

register, unregister = bpy.utils.register_classes_factory(CLASSES)
