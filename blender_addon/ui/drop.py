# SPDX-License-Identifier: GPL-3.0-or-later
"""Picture files dropped on a 3D viewport whose sidebar shows our tab become the one to paint like.

Blender has a use of its own for pictures there, an empty that shows it: where both are possible, it
asks which is meant. Elsewhere nothing changes.
"""

# Postponed annotations would hide the properties from Blender: no `from __future__` here.
from pathlib import Path
from typing import TYPE_CHECKING

import bpy
from bpy.props import StringProperty

from ..jobs import results
from .panel import SYNCSDE_PT_texture

if TYPE_CHECKING:
    from bpy.stub_internal.rna_enums import OperatorReturnItems

SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".tif", ".tiff", ".bmp", ".tga", ".exr", ".hdr")


class SYNCSDE_OT_like_file(bpy.types.Operator):
    """Open a picture file and paint like it"""

    bl_idname = "syncsde.like_file"
    bl_label = "Paint Like This Picture"
    bl_options = {"REGISTER", "UNDO"}  # noqa: RUF012

    filepath: StringProperty(
        name="Picture",
        description="The picture file",
        subtype="FILE_PATH",
        options={"SKIP_SAVE"},
    )

    def invoke(
        self, context: bpy.types.Context, event: bpy.types.Event
    ) -> "set[OperatorReturnItems]":
        """Ask for the file unless one was dropped."""
        if self.filepath:
            return self.execute(context)
        context.window_manager.fileselect_add(self)
        return {"RUNNING_MODAL"}

    def execute(self, context: bpy.types.Context) -> "set[OperatorReturnItems]":
        path = Path(bpy.path.abspath(self.filepath))
        before = set(bpy.data.images)
        try:
            image = bpy.data.images.load(str(path), check_existing=True)
        except RuntimeError as error:
            self.report({"ERROR"}, results.sentence(error))
            return {"CANCELLED"}
        if not all(image.size):
            if image not in before:
                bpy.data.images.remove(image)
            self.report({"ERROR"}, f"{path.name!r} is not a picture that Blender can read.")
            return {"CANCELLED"}
        context.scene.syncsde.like = image
        return {"FINISHED"}


class SYNCSDE_FH_like(bpy.types.FileHandler):
    """Takes picture files where our tab is open."""

    bl_idname = "SYNCSDE_FH_like"
    bl_label = "Paint Like This Picture"
    bl_import_operator = SYNCSDE_OT_like_file.bl_idname
    bl_file_extensions = ";".join(SUFFIXES)

    @classmethod
    def poll_drop(cls, context: bpy.types.Context) -> bool:
        area = context.area
        return area is not None and area.type == "VIEW_3D" and shows_tab(area)


def shows_tab(area: bpy.types.Area) -> bool:
    """Whether the sidebar of a 3D viewport is open at our tab."""
    return area.spaces.active.show_region_ui and any(
        region.active_panel_category == SYNCSDE_PT_texture.bl_category
        for region in area.regions
        if region.type == "UI"
    )


CLASSES = (SYNCSDE_OT_like_file, SYNCSDE_FH_like)

register, unregister = bpy.utils.register_classes_factory(CLASSES)
