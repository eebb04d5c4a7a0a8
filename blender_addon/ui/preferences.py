# SPDX-License-Identifier: GPL-3.0-or-later
"""The add-on's preferences: where the engine, its models and the user's own pictures are."""

# Postponed annotations would hide the properties from Blender: no `from __future__` here.
import textwrap
from pathlib import Path
from typing import TYPE_CHECKING

import bpy
from bpy.props import CollectionProperty, IntProperty, StringProperty

from .. import NAME
from ..client import engine
from ..jobs import session
from ..library import own_pictures
from . import installing

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
            draw_lines(context, layout, f"Found: {find_engine_program()}", "CHECKMARK")
        except engine.NotInstalled as error:
            told = str(error).replace("Engine in the add-on's preferences", "Engine")
            told = told.replace(" in the add-on's preferences", " above")
            draw_lines(context, layout, told.replace(") there.", ") above."), "ERROR")
        installing.draw(context, layout)
        if installing.last_error:
            draw_lines(context, layout, installing.last_error, "ERROR")
        layout.prop(self, "models")
        if engine.is_ours():
            layout.operator("syncsde.stop_engine", icon="CANCEL")
        column = layout.column(heading="Own Pictures")
        for index, folder in enumerate(self.libraries):
            row = column.row(align=True)
            row.prop(folder, "path", text="")
            row.operator("syncsde.remove_folder", text="", icon="X").index = index
        column.operator("syncsde.add_folder", icon="ADD")
        for trouble in own_pictures.troubles():
            layout.label(text=trouble, icon="ERROR")


def draw_lines(
    context: bpy.types.Context, layout: bpy.types.UILayout, text: str, icon: str
) -> None:
    """Draw a sentence as lines as wide as the window of the preferences is."""
    width = context.region.width / context.preferences.system.ui_scale if context.region else 480
    column = layout.column(align=True)
    for index, line in enumerate(textwrap.wrap(text, max(int(width / 8), 40))):
        column.label(text=line, icon="BLANK1" if index else icon)


class SYNCSDE_OT_start_engine(bpy.types.Operator):
    """Start the engine now, so that the first job need not wait for it"""

    bl_idname = "syncsde.start_engine"
    bl_label = "Start Engine"
    bl_options = {"REGISTER"}  # noqa: RUF012

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        cls.poll_message_set("The engine runs")
        return not (engine.is_ours() or session.is_running() or session.is_starting())

    def execute(self, context: bpy.types.Context) -> "set[OperatorReturnItems]":
        try:
            session.start_engine(find_engine_program())
        except engine.NotInstalled as error:
            self.report({"ERROR"}, str(error))
            return {"CANCELLED"}
        return {"FINISHED"}


class SYNCSDE_OT_stop_engine(bpy.types.Operator):
    """Stop the engine; the next job starts it again, with the models and programs chosen now"""

    bl_idname = "syncsde.stop_engine"
    bl_label = "Stop Engine"
    bl_options = {"REGISTER"}  # noqa: RUF012

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        reason = "A job is running" if session.is_running() else ""
        reason = reason or ("" if engine.is_ours() else "No engine of this Blender runs")
        cls.poll_message_set(reason)
        return not reason

    def execute(self, context: bpy.types.Context) -> "set[OperatorReturnItems]":
        engine.stop()
        return {"FINISHED"}


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
    SYNCSDE_OT_start_engine,
    SYNCSDE_OT_stop_engine,
    SYNCSDE_OT_add_folder,
    SYNCSDE_OT_remove_folder,
)

register, unregister = bpy.utils.register_classes_factory(CLASSES)
