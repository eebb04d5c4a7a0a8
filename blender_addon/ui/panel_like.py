# SPDX-License-Identifier: GPL-3.0-or-later
"""The rows that say which picture the result looks like, in the tabs of both editors."""

from __future__ import annotations

from typing import Any

import bpy

from ..library import catalog, suggestions
from ..properties import sampling
from .panel_result import draw_message

MOST_WORDS = 6
SCALE = 4.0  # of the pictures, in lines of the panel


def draw_like(context: bpy.types.Context, layout: bpy.types.UILayout, settings: Any) -> None:
    """An image of Blender's; without one, the library's thumbnails and what the prompt finds."""
    if settings.model not in catalog.MODELS:
        if settings.like or settings.material:  # the engine refuses it
            layout.label(text="Pictures need the model auto", icon="INFO")
        layout = layout.column()
        layout.active = False
    if name := sampling.like_material_of(settings):
        layout.label(text=f"Like the material {name}")
    layout.template_ID(settings, "like", open="image.open", text="Like")
    if settings.like:
        layout.template_icon(settings.like.preview_ensure().icon_id, scale=SCALE)
        return
    if not catalog.materials():
        return
    layout.template_icon_view(settings, "library", show_labels=True, scale=SCALE, scale_popup=SCALE)
    if text := says(settings):
        draw_message(context, layout, text, "NONE")


def says(settings: Any) -> str:
    """Which picture of the library will be taken, or that none will."""
    taken = catalog.taken(settings)
    if taken is not None:
        return f"Like {taken.material.name}" + (f", but {taken.color}" if taken.color else "")
    if settings.material:
        return f"There is no picture {settings.material!r}"
    if settings.prompt.strip() and settings.model == "auto":
        unknown = ", ".join(suggestions.unknown_words(settings.prompt)[:MOST_WORDS])
        painted = "Names no picture: painted by mini"
        return f"{painted}, which does not know: {unknown}" if unknown else painted
    return ""


def draw_part(layout: bpy.types.UILayout, part: Any, icon: str) -> None:
    """What an object or material looks like instead: its own prompt, its own picture."""
    layout.label(text=part.name, icon=icon)
    row = layout.row(align=True)
    row.prop(part, "syncsde_prompt", text="", placeholder="As the prompt says")
    row.prop(part, "syncsde_like", text="")
