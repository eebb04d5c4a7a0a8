# SPDX-License-Identifier: GPL-3.0-or-later
"""The rows of the job that runs and of what came of others, in the tabs of both editors."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import bpy
import bpy.utils.previews

from ..client import engine
from ..jobs import runs, session
from ..jobs.results import OBJECT_MODE
from ..scene import textures
from .operators import about
from .operators_result import last_objects, shows_textures, viewports
from .views import opened

MOST_OFFERS = 3
SCALE = 6.0  # of the picture of what is being painted, in lines of the panel

_previews: Any = None  # Blender's collection of the one picture


def draw_engine_state(layout: bpy.types.UILayout, model: str, device: str) -> None:
    """Draw how the engine is, which model and device are asked for, and the button for it."""
    row = layout.split(factor=0.75)
    chosen = [name for name in (model, device) if name != "auto"]
    if session.is_starting():
        row.label(text="Engine Starting", icon="SORTTIME")
    elif engine.is_there():
        row.label(text=", ".join(["Engine Ready", *chosen]), icon="RADIOBUT_ON")
        if engine.is_ours():
            row.operator("syncsde.stop_engine", text="Stop")
    else:
        row.label(text=", ".join(["Engine Off", *chosen]), icon="RADIOBUT_OFF")
        row.operator("syncsde.start_engine", text="Start")


def draw_job(context: bpy.types.Context, layout: bpy.types.UILayout, job: session.Job) -> None:
    """Draw the job that runs, or its result that waits for a mode; Cancel is below in any case."""
    if session.waiting == OBJECT_MODE:
        draw_message(context, layout, "The result is ready and waits for Object Mode", "INFO")
        layout.operator("syncsde.apply_now", icon="CHECKMARK")
        layout.operator("syncsde.cancel", text="Discard", icon="TRASH")
        return
    layout.progress(factor=job.fraction, text=job.text)
    layout.operator("syncsde.cancel", icon="CANCEL")
    if job.preview:
        layout.template_icon(icon_of(job.preview_path, job.preview), scale=SCALE)


def icon_of(path: Path, number: int) -> int:
    """The icon of the picture in a file whose content has changed `number` times."""
    key = f"{path}:{number}"
    if key not in _previews:
        _previews.clear()
        _previews.load(key, str(path), "IMAGE")
    return _previews[key].icon_id


def draw_outcome(
    context: bpy.types.Context, layout: bpy.types.UILayout, tasks: Sequence[str]
) -> None:
    """Draw what became of the last job, if it was one of these tasks, and of those that wait."""
    offers = [each for each in session.offers() if each.run.task in tasks]
    for offer in offers[:MOST_OFFERS]:
        draw_offer(context, layout, offer)
    if session.last_task not in tasks:
        return
    if session.last_error:
        if session.last_error not in [offer.amiss for offer in offers]:
            draw_error(context, layout, session.last_error)
    elif session.outcome is not None:
        draw_box(context, layout, session.outcome)


def draw_error(context: bpy.types.Context, layout: bpy.types.UILayout, error: str) -> None:
    """Draw an error until the settings that it is of change."""
    now = about(context, session.last_task)
    session.last_about = session.last_about or now
    if session.last_about == now:
        row = layout.row()
        draw_message(context, row, error, "ERROR")
        row.operator("syncsde.copy_text", text="", icon="COPYDOWN", emboss=False).text = error


def draw_box(
    context: bpy.types.Context, layout: bpy.types.UILayout, outcome: session.Outcome
) -> None:
    """Draw that a job went well, what to know of it and what to do now."""
    box = layout.box()
    draw_message(context, box, outcome.text, "CHECKMARK")
    if outcome.note:
        draw_message(context, box, outcome.note, "BLANK1")
    for warning in outcome.warnings:
        draw_message(context, box, warning, "ERROR")
    if session.last_task == "texture" and last_objects():
        column = box.column(align=True)
        if not all(shows_textures(shading) for shading in viewports(context)):
            column.operator("syncsde.show_texture", icon="SHADING_TEXTURE")
        column.operator("syncsde.revert", icon="LOOP_BACK")
        draw_views(column, outcome.run)


def draw_views(layout: bpy.types.UILayout, run: runs.Run | None) -> None:
    """Draw what can be done with the views that a texture was made from."""
    if run is None or not (Path(run.directory) / textures.VIEWS.replace("*", "00")).exists():
        return
    row = layout.row(align=True)
    row.operator("syncsde.open_views", icon="RENDERLAYERS").folder = run.folder
    if opened(run):
        row.operator("syncsde.resynchronize", icon="FILE_REFRESH").folder = run.folder


def draw_offer(
    context: bpy.types.Context, layout: bpy.types.UILayout, offer: session.Offer
) -> None:
    """Draw a result that waits, and what can be done with it."""
    box = layout.box()
    draw_message(context, box, offer.text, "ERROR" if offer.amiss else "INFO")
    row = box.row(align=True)
    begun = offer.run.state == runs.BEGUN
    label = "Go On" if begun else "Apply Anyway" if offer.amiss else "Apply"
    use = row.operator("syncsde.use_run", text=label)
    use.folder, use.anyway = offer.run.folder, bool(offer.amiss)
    row.operator("syncsde.forget_run").folder = offer.run.folder


def draw_message(
    context: bpy.types.Context, layout: bpy.types.UILayout, text: str, icon: str
) -> None:
    """Draw a sentence as lines of the panel's width: labels do not wrap by themselves."""
    width = context.region.width / context.preferences.system.ui_scale if context.region else 240
    column = layout.column(align=True)
    for index, line in enumerate(textwrap.wrap(text, max(int(width / 7) - 6, 16))):
        column.label(text=line, icon="BLANK1" if index else icon)


def register() -> None:
    global _previews
    _previews = bpy.utils.previews.new()


def unregister() -> None:
    global _previews
    bpy.utils.previews.remove(_previews)
    _previews = None
