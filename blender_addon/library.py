# SPDX-License-Identifier: GPL-3.0-or-later
"""The pictures of the engine's library: their names, their thumbnails, and which a prompt finds.

The zip has the library's list and the modules that match words with it, copied from the engine.
"""

from __future__ import annotations

import importlib
import json
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import bpy
import bpy.utils.previews

FOLDER = Path(__file__).parent
THUMBNAILS = FOLDER / "thumbnails"
NONE = "NONE"  # in the menu: no picture is chosen
MODELS = ("auto", "exemplar")  # those that paint like pictures

Item = tuple[str, str, str, int | str, int]

_previews: Any = None  # Blender's collection of the thumbnails, while the add-on is enabled
_items: dict[str, list[Item]] = {}  # Blender keeps no strings of a menu: we must


class Material(NamedTuple):
    """A picture of the library, as `match.find_among` looks at it."""

    name: str
    file: str  # of its thumbnail
    words: tuple[str, ...]
    color: str | None
    tint: bool
    credit: str


@lru_cache(maxsize=1)
def materials() -> tuple[Material, ...]:
    """All of them, in the engine's order; none if the add-on was not built."""
    listing = FOLDER / "library.json"
    if not listing.is_file():
        return ()
    return tuple(
        Material(
            entry["name"],
            Path(entry["file"]).name,
            tuple(entry.get("words", ())),
            entry.get("color"),
            entry.get("tint", True),
            f"{entry.get('author', '')}, {entry.get('license', '')}".strip(", "),
        )
        for entry in json.loads(listing.read_text("utf-8"))
    )


@lru_cache(maxsize=16)
def found_by(prompt: str, alone: bool = False) -> tuple[str, str]:
    """Name of the picture that the engine takes for a prompt, and how it recolors it, if at all.

    With `alone` as for wide images: only if the prompt names nothing else.
    """
    if not materials():
        return "", ""
    match = importlib.import_module(".match", __package__)
    found = match.find_among(materials(), prompt)
    if found is None or (alone and not match.names_nothing_else(found, prompt)):
        return "", ""
    return found.material.name, found.color or ""


def taken(settings: Any) -> tuple[str, str]:
    """The picture that is chosen, or that the prompt finds, and how it is recolored, if at all."""
    if settings.material:
        name, color = found_by(f"{settings.prompt} {settings.material}")
        return settings.material, color if name == settings.material else ""
    return prompted(settings)


def prompted(settings: Any) -> tuple[str, str]:
    """The picture that the prompt finds, and how it is recolored, if at all."""
    wide = hasattr(settings, "wrap") and settings.model == "auto"
    return found_by(settings.prompt, alone=wide) if settings.model in MODELS else ("", "")


def icon(name: str) -> int:
    """The number of a picture's thumbnail among Blender's icons; 0 is none."""
    return _previews[name].icon_id if _previews is not None and name in _previews else 0


def items(settings: Any, _: bpy.types.Context | None) -> list[Item]:
    """Every picture for a menu with thumbnails, after the one that the prompt finds."""
    found, _ = prompted(settings)
    if found not in _items:
        first = (
            NONE,
            "By Prompt",
            "The picture that the prompt names",
            icon(found) or "VIEWZOOM",
        )
        pictures = [
            (each.name, title(each.name), each.credit, icon(each.name)) for each in materials()
        ]
        _items[found] = [(*item, number) for number, item in enumerate([first, *pictures])]
    return _items[found]


def title(name: str) -> str:
    """A name as Blender writes labels."""
    return name.title()


def get_number(settings: Any) -> int:
    """Which item of the menu the settings' `material` is."""
    names = [each.name for each in materials()]
    return names.index(settings.material) + 1 if settings.material in names else 0


def set_number(settings: Any, number: int) -> None:
    """Choose an item of the menu as the settings' `material`."""
    settings.material = materials()[number - 1].name if number else ""


def register() -> None:
    global _previews
    _previews = bpy.utils.previews.new()
    for each in materials():
        _previews.load(each.name, str(THUMBNAILS / each.file), "IMAGE")


def unregister() -> None:
    global _previews
    bpy.utils.previews.remove(_previews)
    _previews = None
    _items.clear()
