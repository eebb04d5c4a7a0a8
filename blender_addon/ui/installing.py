# SPDX-License-Identifier: GPL-3.0-or-later
"""The engine's installation in the preferences: buttons, progress, and what it takes."""

# Postponed annotations would hide the properties from Blender: no `from __future__` here.
import logging
import os
import time
from pathlib import Path
from typing import TYPE_CHECKING

import bpy
from bpy.props import EnumProperty, StringProperty

from ..client import engine
from ..jobs import installation, session
from ..jobs.installation import CannotInstall, Installation, Plan

if TYPE_CHECKING:
    from bpy.stub_internal.rna_enums import OperatorReturnItems

log = logging.getLogger(__name__)

TICK_SECONDS = 0.2
BROUGHT = Path(__file__).parent.parent / "engine"  # in the zip: the wheel, and versions
TAKES = {  # measured for the CPU on Linux
    "cpu": "About 0.6 GB are downloaded and 2 GB stay on the disk.",
    "cuda": "About 3 GB are downloaded and 7 GB stay on the disk.",
}
LICENSES = "The engine is GPL-3.0; torch (BSD-3) and what else it needs are free software, too."

current: Installation | None = None
last_error: str = ""


def brought_wheel() -> str:
    """The engine's wheel that came with the add-on, if one did."""
    return next((str(path) for path in sorted(BROUGHT.glob("syncsde-*.whl"))), "")


class SYNCSDE_OT_install_engine(bpy.types.Operator):
    """Install the engine into a folder of its own; nothing else on this computer changes"""

    bl_idname = "syncsde.install_engine"
    bl_label = "Install Engine"
    bl_options = {"REGISTER"}  # noqa: RUF012

    wheel: StringProperty(
        name="Wheel",
        description="File of the engine. Empty takes the one that came with the add-on",
        subtype="FILE_PATH",
        default="",
        options={"SKIP_SAVE"},
    )
    torch: EnumProperty(
        name="Compute On",
        description="Which build of torch, which does the computing, is fetched",
        items=(
            ("auto", "Automatic", "NVIDIA GPU where there is one"),
            ("cpu", "CPU", "Works everywhere"),
            ("cuda", "NVIDIA GPU", "The CUDA build, several gigabytes larger"),
        ),
        default="auto",
        options={"SKIP_SAVE"},
    )

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        reason = "It is being installed" if current is not None else ""
        reason = reason or ("A job is running" if session.is_running() else "")
        cls.poll_message_set(reason)
        return not reason

    def invoke(
        self, context: bpy.types.Context, event: bpy.types.Event
    ) -> "set[OperatorReturnItems]":
        """Show first what it takes."""
        return context.window_manager.invoke_props_dialog(self, width=480)

    def draw(self, context: bpy.types.Context) -> None:
        layout = self.layout
        layout.use_property_split = True
        layout.prop(self, "torch")
        if not brought_wheel():
            layout.prop(self, "wheel")
        column = layout.column(align=True)
        column.label(text=TAKES[self.build])
        column.label(text=f"Folder: {engine.environment_dir()}")
        column.label(text=LICENSES)

    @property
    def build(self) -> str:
        return installation.best_build() if self.torch == "auto" else self.torch

    def execute(self, context: bpy.types.Context) -> "set[OperatorReturnItems]":
        global current, last_error
        last_error = ""
        try:
            require_online()
            engine.stop()
            wheel = bpy.path.abspath(self.wheel) or brought_wheel()
            versions = BROUGHT / "versions.txt"
            plan = Plan(Path(wheel), versions if versions.exists() else None, self.build)
            current = Installation(plan)
        except (CannotInstall, OSError) as error:
            last_error = str(error)
            self.report({"ERROR"}, last_error)
            return {"CANCELLED"}
        if not bpy.app.background:
            bpy.app.timers.register(tick, first_interval=TICK_SECONDS, persistent=True)
            return {"FINISHED"}
        shown = ""
        while tick() is not None:
            if current is not None and current.text != shown:
                shown = current.text
                log.info("%s", shown)
            time.sleep(TICK_SECONDS)
        if last_error:
            self.report({"ERROR"}, last_error)
            return {"CANCELLED"}
        return {"FINISHED"}


class SYNCSDE_OT_cancel_install(bpy.types.Operator):
    """Stop installing; what is downloaded already is not downloaded again the next time"""

    bl_idname = "syncsde.cancel_install"
    bl_label = "Cancel"
    bl_options = {"INTERNAL"}  # noqa: RUF012

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        return current is not None

    def execute(self, context: bpy.types.Context) -> "set[OperatorReturnItems]":
        cancel()
        return {"FINISHED"}


class SYNCSDE_OT_remove_engine(bpy.types.Operator):
    """Delete the engine that the add-on has installed; results and models stay"""

    bl_idname = "syncsde.remove_engine"
    bl_label = "Remove Engine"
    bl_options = {"REGISTER"}  # noqa: RUF012

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        reason = "A job is running" if session.is_running() or current is not None else ""
        reason = reason or ("" if engine.is_installed() else "The add-on has installed none")
        cls.poll_message_set(reason)
        return not reason

    def invoke(
        self, context: bpy.types.Context, event: bpy.types.Event
    ) -> "set[OperatorReturnItems]":
        """Ask before."""
        return context.window_manager.invoke_confirm(self, event)

    def execute(self, context: bpy.types.Context) -> "set[OperatorReturnItems]":
        engine.stop()
        try:
            installation.remove()
        except OSError as error:
            self.report({"ERROR"}, f"The engine cannot be removed: {error.strerror}.")
            return {"CANCELLED"}
        return {"FINISHED"}


def draw(context: bpy.types.Context, layout: bpy.types.UILayout) -> None:
    """Draw the buttons, or how far it is. Longer sentences are drawn by the caller."""
    if current is not None:
        row = layout.row()
        row.label(text=current.text, icon="SORTTIME")
        row.operator("syncsde.cancel_install", icon="CANCEL")
        return
    row = layout.row()
    again = engine.is_installed()
    row.operator("syncsde.install_engine", text="Install Again" if again else "", icon="IMPORT")
    if again:
        row.operator("syncsde.remove_engine", icon="TRASH")


def require_online() -> None:
    """Raise CannotInstall where Blender may not use the network."""
    if bpy.app.online_access or os.environ.get(installation.NO_INDEX):
        return
    raise CannotInstall(
        "Blender may not use the network: turn on Allow Online Access in the preferences, System, "
        "or install the engine by hand."
    )


def tick() -> float | None:
    """Look how far it is, from a timer."""
    global current, last_error
    going = current
    if going is None or not going.pump():
        if going is not None:
            last_error, current = going.error, None
        redraw()
        return None
    redraw()
    return TICK_SECONDS


def cancel() -> None:
    global current
    going, current = current, None
    if going is not None:
        going.cancel()
    redraw()


def redraw() -> None:
    for window in bpy.context.window_manager.windows:
        for area in window.screen.areas:
            if area.type == "PREFERENCES":
                area.tag_redraw()


CLASSES = (SYNCSDE_OT_install_engine, SYNCSDE_OT_cancel_install, SYNCSDE_OT_remove_engine)


def register() -> None:
    for each in CLASSES:
        bpy.utils.register_class(each)


def unregister() -> None:
    cancel()
    if bpy.app.timers.is_registered(tick):
        bpy.app.timers.unregister(tick)
    for each in reversed(CLASSES):
        bpy.utils.unregister_class(each)
