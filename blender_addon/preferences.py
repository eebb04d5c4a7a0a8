# SPDX-License-Identifier: GPL-3.0-or-later
"""The add-on's preferences: where the engine is installed."""

# Postponed annotations would hide the properties from Blender: no `from __future__` here.
import bpy
from bpy.props import StringProperty

from . import engine


class SYNCSDE_AP_preferences(bpy.types.AddonPreferences):
    """Settings that hold for every file."""

    bl_idname = __package__  # pyright: ignore[reportAssignmentType]

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

    def draw(self, context: bpy.types.Context) -> None:
        layout = self.layout
        layout.use_property_split = True
        layout.prop(self, "engine")
        try:
            layout.label(text=f"Found: {find_engine_program()}", icon="CHECKMARK")
        except engine.NotInstalled as error:
            layout.label(text=str(error), icon="ERROR")
        layout.prop(self, "models")


def find_engine_program() -> str:
    """Find the engine's program. Raises engine.NotInstalled, whose text says what to do."""
    preferences = bpy.context.preferences.addons[__package__].preferences
    engine.models_dir = bpy.path.abspath(preferences.models)
    return engine.find_program(bpy.path.abspath(preferences.engine))


def register() -> None:
    bpy.utils.register_class(SYNCSDE_AP_preferences)


def unregister() -> None:
    bpy.utils.unregister_class(SYNCSDE_AP_preferences)
