# SPDX-License-Identifier: GPL-3.0-or-later
"""The add-on's preferences: where the engine, its models and the user's own pictures are."""

# Postponed annotations would hide the properties from Blender: no `from __future__` here.
from pathlib import Path
from typing import TYPE_CHECKING

import bpy
from bpy.props import CollectionProperty, IntProperty, StringProperty

from .. import NAME
from ..client import engine
from ..library import own_pictures

if TYPE_CHECKING:
    from bpy.stub_internal.rna_enums import OperatorReturnItems


class SYNCSDE_PG_folder(bpy.types.PropertyGroup):
    """A folder of the user's own."""

    path: StringProperty(
        name="Folder",
        description="Folder of pictures of materials, each called as its file is",
        subtype="DIR_PATH",
        default="",
    )


class SYNCSDE_AP_preferences(bpy.types.AddonPreferences):
    """Settings that hold for every file."""

    bl_idname = NAME  # pyright: ignore[reportAssignmentType]

    engine: StringProperty(
        name="Engine",
        description="The engine's program, named syncsde. Empty looks for it on the PATH",
        subtype="FILE_PATH",
        default="",
    )
    models: StringProperty(
        name="Models",
        description="A folder of models in diffusers format, each a folder whose name can be given "
        "as Model. Read when the engine starts",
        subtype="DIR_PATH",
        default="",
    )

    libraries: CollectionProperty(
        name="Libraries",
        description="Folders of pictures of materials, shown beside those of the library",
        type=SYNCSDE_PG_folder,
    )

    def draw(self, context: bpy.types.Context) -> None:
        layout = self.layout
        layout.use_property_split = True
        layout.prop(self, "engine")
        try:
            layout.label(text=f"Found: {find_engine_program()}", icon="CHECKMARK")
        except engine.NotInstalled as error:
            layout.label(text=str(error), icon="ERROR")
        layout.prop(self, "models")
        column = layout.column(heading="Own Pictures")
        for index, folder in enumerate(self.libraries):
            row = column.row(align=True)
            row.prop(folder, "path", text="")
            row.operator("syncsde.remove_folder", text="", icon="X").index = index
        column.operator("syncsde.add_folder", icon="ADD")
        for trouble in own_pictures.troubles():
            layout.label(text=trouble, icon="ERROR")


class SYNCSDE_OT_add_folder(bpy.types.Operator):
    """Add a folder of your own pictures to the library"""

    bl_idname = "syncsde.add_folder"
    bl_label = "Add Folder"
    bl_options = {"INTERNAL"}  # noqa: RUF012

    directory: StringProperty(
        name="Folder",
        description="Folder of pictures of materials",
        subtype="DIR_PATH",
        options={"SKIP_SAVE"},
    )

    def invoke(
        self, context: bpy.types.Context, event: bpy.types.Event
    ) -> "set[OperatorReturnItems]":
        """Ask for the folder."""
        context.window_manager.fileselect_add(self)
        return {"RUNNING_MODAL"}

    def execute(self, context: bpy.types.Context) -> "set[OperatorReturnItems]":
        libraries = own().libraries
        known = {Path(bpy.path.abspath(each.path)) for each in libraries}
        if Path(bpy.path.abspath(self.directory)) not in known:
            libraries.add().path = self.directory
            context.preferences.is_dirty = True
        return {"FINISHED"}


class SYNCSDE_OT_remove_folder(bpy.types.Operator):
    """Take this folder out of the library; its pictures stay where they are"""

    bl_idname = "syncsde.remove_folder"
    bl_label = "Remove Folder"
    bl_options = {"INTERNAL"}  # noqa: RUF012

    index: IntProperty(name="Index", description="Which one, counted from 0", min=0)

    def execute(self, context: bpy.types.Context) -> "set[OperatorReturnItems]":
        own().libraries.remove(self.index)
        context.preferences.is_dirty = True
        return {"FINISHED"}


def own() -> "SYNCSDE_AP_preferences":
    """These preferences, as they are set."""
    return bpy.context.preferences.addons[NAME].preferences


def find_engine_program() -> str:
    """Find the engine's program. Raises engine.NotInstalled, whose text says what to do."""
    engine.models_dir = bpy.path.abspath(own().models)
    return engine.find_program(bpy.path.abspath(own().engine))


CLASSES = (
    SYNCSDE_PG_folder,
    SYNCSDE_AP_preferences,
    SYNCSDE_OT_add_folder,
    SYNCSDE_OT_remove_folder,
)


def register() -> None:
    for each in CLASSES:
        bpy.utils.register_class(each)


def unregister() -> None:
    for each in reversed(CLASSES):
        bpy.utils.unregister_class(each)
