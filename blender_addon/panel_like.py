# SPDX-License-Identifier: GPL-3.0-or-later
"""The rows that say which picture the result looks like, in the tabs of both editors."""

from __future__ import annotations

from typing import Any

import bpy

from . import library, suggestions


def draw_like(layout: bpy.types.UILayout, settings: Any) -> None:
    """An image of Blender's; without one, the library's thumbnails and what the prompt finds."""
    layout.template_ID(settings, "like", open="image.open", text="Like")
    if settings.like or not library.materials():
        return
    layout.template_icon_view(settings, "library", show_labels=True, scale=4, scale_popup=4)
    text, icon = says(settings)
    if text:
        layout.label(text=text, icon_value=icon)


def says(settings: Any) -> tuple[str, int]:
    """Which picture of the library will be taken, and its thumbnail's number."""
    if settings.material:
        return f"Like {settings.material}", library.icon(settings.material)
    if not settings.prompt.strip() or settings.model not in suggestions.PICTURES:
        return "", 0
    name, color = library.found_by(settings.prompt)
    if name:
        return f"Like {name}" + (f", but {color}" if color else ""), library.icon(name)
    return ("Names no picture: painted by mini", 0) if settings.model == "auto" else ("", 0)


def draw_part(layout: bpy.types.UILayout, part: Any) -> None:
    """What an object or material looks like instead: its own prompt, its own picture."""
    row = layout.row(align=True)
    row.prop(part, "syncsde_prompt", text=part.name)
    row.prop(part, "syncsde_like", text="")
