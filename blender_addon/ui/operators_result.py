# SPDX-License-Identifier: GPL-3.0-or-later
"""The operators of results: show, revert, use one that waits or an older one, throw away."""

# Postponed annotations would hide the properties from Blender: no `from __future__` here.
from pathlib import Path
from typing import TYPE_CHECKING

import bpy
from bpy.props import BoolProperty, StringProperty

from ..client import engine
from ..jobs import results, runs, session
from ..scene import material
from . import preferences
from .operators import WhenIdle

if TYPE_CHECKING:
    from bpy.stub_internal.rna_enums import OperatorReturnItems


def shows_textures(shading: bpy.types.View3DShading) -> bool:
    """Whether a viewport shows the textures of materials."""
    if shading.type == "SOLID":
        return shading.color_type == "TEXTURE"
    return shading.type in ("MATERIAL", "RENDERED")


def viewports(context: bpy.types.Context) -> "list[bpy.types.View3DShading]":
    """The shading of each 3D viewport that can be seen."""
    areas = [area for window in context.window_manager.windows for area in window.screen.areas]
    return [area.spaces.active.shading for area in areas if area.type == "VIEW_3D"]


class SYNCSDE_OT_show_texture(bpy.types.Operator):
    """Let the 3D viewports show textures, by the color Texture of Solid shading"""

    bl_idname = "syncsde.show_texture"
    bl_label = "Show in Viewport"
    bl_options = {"REGISTER"}  # noqa: RUF012

    def execute(self, context: bpy.types.Context) -> "set[OperatorReturnItems]":
        for shading in viewports(context):
            if not shows_textures(shading):
                shading.type, shading.color_type = "SOLID", "TEXTURE"
        return {"FINISHED"}


class SYNCSDE_OT_revert(bpy.types.Operator):
    """Take the texture of the last run off the objects it was made for"""

    bl_idname = "syncsde.revert"
    bl_label = "Revert"
    bl_options = {"REGISTER", "UNDO"}  # noqa: RUF012

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        cls.poll_message_set("No object has the texture of the last run")
        return bool(last_objects())

    def execute(self, context: bpy.types.Context) -> "set[OperatorReturnItems]":
        for obj in last_objects():
            material.remove(obj)
        session.outcome = None
        return {"FINISHED"}


def last_objects() -> list[bpy.types.Object]:
    """The objects of the last run that show a generated texture."""
    run = session.outcome and session.outcome.run
    if not run or run.result["kind"] != "objects":
        return []
    found = [target.find() for target in results.read(run.result).targets]
    return [obj for obj in found if obj is not None and material.is_textured(obj)]


class SYNCSDE_OT_apply_now(bpy.types.Operator):
    """Leave this mode and put the texture that is ready on its objects"""

    bl_idname = "syncsde.apply_now"
    bl_label = "Apply Now"
    bl_options = {"REGISTER"}  # noqa: RUF012

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        cls.poll_message_set("No result waits for a mode")
        return session.waiting == results.OBJECT_MODE

    def execute(self, context: bpy.types.Context) -> "set[OperatorReturnItems]":
        results.leave_mode(context)
        session.use_now()
        return {"FINISHED"}


class OfRun:
    """What operators of a run have in common."""

    folder: StringProperty(
        name="Run",
        description="Folder of the run",
        subtype="DIR_PATH",
        options={"SKIP_SAVE"},
    )

    def run(self) -> runs.Run | None:
        """The run, or None and an error."""
        found = runs.read(Path(self.folder))
        if found is None:
            self.report({"ERROR"}, f"There is no run in {self.folder}.")
        return found


class SYNCSDE_OT_use_run(OfRun, WhenIdle, bpy.types.Operator):
    """Put the result of this run on its objects, or go on with it if it was not done"""

    bl_idname = "syncsde.use_run"
    bl_label = "Apply"
    bl_options = {"REGISTER"}  # noqa: RUF012

    anyway: BoolProperty(
        name="Anyway",
        description="Also on objects that changed since",
        default=False,
        options={"SKIP_SAVE"},
    )

    def execute(self, context: bpy.types.Context) -> "set[OperatorReturnItems]":
        if (run := self.run()) is None:
            return {"CANCELLED"}
        try:
            if run.state == runs.BEGUN:
                session.go_on(run, preferences.find_engine_program())
                error = session.wait() if bpy.app.background else ""
            else:
                error = session.use(run, anyway=self.anyway)
        except (ValueError, KeyError, TypeError, engine.NotInstalled) as problem:
            error = str(problem)
        if error:
            self.report({"ERROR"}, error)
            return {"CANCELLED"}
        return {"FINISHED"}


class SYNCSDE_OT_forget_run(OfRun, bpy.types.Operator):
    """Throw this result away; objects that show it stay as they are"""

    bl_idname = "syncsde.forget_run"
    bl_label = "Discard"
    bl_options = {"REGISTER"}  # noqa: RUF012

    def execute(self, context: bpy.types.Context) -> "set[OperatorReturnItems]":
        if (run := self.run()) is None:
            return {"CANCELLED"}
        session.forget(run)
        return {"FINISHED"}


class SYNCSDE_OT_copy_text(bpy.types.Operator):
    """Copy this message to the clipboard"""

    bl_idname = "syncsde.copy_text"
    bl_label = "Copy"
    bl_options = {"INTERNAL"}  # noqa: RUF012

    text: StringProperty(name="Text", description="What is copied", options={"SKIP_SAVE"})

    def execute(self, context: bpy.types.Context) -> "set[OperatorReturnItems]":
        context.window_manager.clipboard = self.text
        return {"FINISHED"}


CLASSES = (
    SYNCSDE_OT_show_texture,
    SYNCSDE_OT_revert,
    SYNCSDE_OT_apply_now,
    SYNCSDE_OT_use_run,
    SYNCSDE_OT_forget_run,
    SYNCSDE_OT_copy_text,
)

register, unregister = bpy.utils.register_classes_factory(CLASSES)
