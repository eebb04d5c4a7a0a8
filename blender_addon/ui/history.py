# SPDX-License-Identifier: GPL-3.0-or-later
"""The textures that the active object had: each can be shown once more, to compare."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import bpy
import bpy.utils.previews

from ..jobs import session
from ..jobs.runs import Run
from ..scene import textures
from .panel_result import draw_message, draw_views

SCALE = 3.0  # of the pictures, in lines of the panel

_previews: Any = None  # Blender's collection of the pictures


class SYNCSDE_PT_history(bpy.types.Panel):
    """Picture, prompt and seed of each run of the active object, the newest first."""

    bl_label = "History"
    bl_parent_id = "SYNCSDE_PT_texture"
    bl_space_type = "VIEW_3D"
    bl_region_type = "UI"
    bl_category = "SyncSDE"
    bl_options = {"DEFAULT_CLOSED"}  # noqa: RUF012

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        obj = context.object
        return obj is not None and obj.type == "MESH" and bool(session.history(obj))

    def draw(self, context: bpy.types.Context) -> None:
        for run in session.history(context.object):
            row = self.layout.row()
            row.template_icon(icon_of(run), scale=SCALE)
            column = row.column(align=True)
            seed = run.parameters.get("seed", 0)
            draw_message(context, column, f"{run.title}, seed {seed}", "NONE")
            buttons = column.row(align=True)
            buttons.operator("syncsde.use_run", text="Apply").folder = run.folder
            opened = buttons.operator("wm.path_open", text="", icon="FILE_FOLDER")
            opened.filepath = run.directory
            buttons.operator("syncsde.forget_run", text="", icon="TRASH").folder = run.folder
            draw_views(column, run)


def icon_of(run: Run) -> int:
    """The icon of the first texture of a run; 0 if its files are gone."""
    if run.folder not in _previews:
        folder = Path(run.directory)
        found = [path for pattern in textures.FILES for path in sorted(folder.glob(pattern))]
        if not found:
            return 0
        _previews.load(run.folder, str(found[0]), "IMAGE")
    return _previews[run.folder].icon_id


def register() -> None:
    global _previews
    _previews = bpy.utils.previews.new()
    bpy.utils.register_class(SYNCSDE_PT_history)


def unregister() -> None:
    global _previews
    bpy.utils.unregister_class(SYNCSDE_PT_history)
    bpy.utils.previews.remove(_previews)
    _previews = None
