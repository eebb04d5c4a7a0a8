# SPDX-License-Identifier: GPL-3.0-or-later
"""The pictures of the library, the user's own first: names, thumbnails, and which a prompt finds.

The zip has the engine's list and the modules that match words with it, copied from the engine.
"""

from __future__ import annotations

import importlib
import json
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import bpy
import bpy.utils.previews

from . import own_pictures

FOLDER = Path(__file__).parent
THUMBNAILS = FOLDER / "thumbnails"
NONE = "NONE"  # in the menu: no picture is chosen
MODELS = ("auto", "exemplar")  # those that paint like pictures
# What only networks have: with such a setting the engine paints a prompt with a network.
OF_NETWORKS: dict[str, object] = {
    "guidance_scale": -1.0,
    "negative_prompt": "",
    "control_scale": -1.0,
    "controlnet": "",
    "lora": "",
    "shared_attention": "off",
}

Item = tuple[str, str, str, int | str, int]

_previews: Any = None  # Blender's collection of the thumbnails, while the add-on is enabled
_items: dict[tuple[Any, str], list[Item]] = {}  # Blender keeps no strings of a menu: we must


class Material(NamedTuple):
    """A picture of the library, as `match.find_among` looks at it."""

    name: str
    path: Path  # of its thumbnail; of one of the user's own, of itself
    words: tuple[str, ...]
    color: str | None
    tint: bool
    credit: str
    tile: float = 1.0
    stamp: int = 0  # not 0: the user's own, as it was then

    @property
    def own(self) -> bool:
        """Whether the engine does not have it, and must be sent it."""
        return self.stamp != 0


class Taken(NamedTuple):
    """A picture, and the color that it is given, if any."""

    material: Material
    color: str

    @property
    def title(self) -> str:
        """What to call it."""
        return f"{self.color} {self.material.name}" if self.color else self.material.name


def materials() -> tuple[Material, ...]:
    """All of them, in the engine's order; of equal names the first."""
    return _with_packaged(tuple(own_pictures.found()))


@lru_cache(maxsize=16)
def _with_packaged(folders: tuple[own_pictures.Folder, ...]) -> tuple[Material, ...]:
    own = [
        Material(
            each.name,
            each.path,
            each.words,
            each.color,
            each.tint,
            f"{each.author}, {each.license}".strip(", ") or str(each.path),
            each.tile,
            max(folder.stamp, 1),
        )
        for folder in folders
        for each in folder.entries
    ]
    names: dict[str, Material] = {}
    for each in (*own, *packaged()):
        names.setdefault(each.name.lower(), each)
    return tuple(names.values())


@lru_cache(maxsize=1)
def packaged() -> tuple[Material, ...]:
    """Those that the engine has; none if the add-on was not built."""
    listing = FOLDER / "library.json"
    if not listing.is_file():
        return ()
    return tuple(
        Material(
            entry["name"],
            THUMBNAILS / Path(entry["file"]).name,
            tuple(entry.get("words", ())),
            entry.get("color"),
            entry.get("tint", True),
            f"{entry.get('author', '')}, {entry.get('license', '')}".strip(", "),
        )
        for entry in json.loads(listing.read_text("utf-8"))
    )


def named(name: str) -> Material | None:
    """The picture of that name."""
    wanted = name.strip().lower()
    return next((each for each in materials() if each.name.lower() == wanted), None)


def found_by(prompt: str, alone: bool = False) -> Taken | None:
    """The picture that the engine takes for a prompt, and how it recolors it.

    With `alone` as for wide images: only if the prompt names nothing else.
    """
    return _found_among(materials(), prompt, alone)


@lru_cache(maxsize=64)
def _found_among(known: tuple[Material, ...], prompt: str, alone: bool) -> Taken | None:
    if not known:
        return None
    match = importlib.import_module(".match", __package__)
    found = match.find_among(known, prompt)
    if found is None or (alone and not match.names_nothing_else(found, prompt)):
        return None
    return Taken(found.material, found.color or "")


def taken(settings: Any) -> Taken | None:
    """The picture that is chosen, or that the prompt finds, and how it is recolored."""
    if not settings.material:
        return prompted(settings)
    material = named(settings.material)
    if material is None:
        return None
    match = importlib.import_module(".match", __package__)
    return Taken(material, match.color_of(materials(), material, settings.prompt) or "")


def prompted(settings: Any) -> Taken | None:
    """The picture that the prompt finds, and how it is recolored."""
    if settings.model not in MODELS or for_network(settings):
        return None
    wide = hasattr(settings, "wrap") and settings.model == "auto"
    return found_by(settings.prompt, alone=wide)


def for_network(settings: Any) -> bool:
    """Whether a setting means something to networks only, so that words are painted by one."""
    if any(getattr(settings, name, unset) != unset for name, unset in OF_NETWORKS.items()):
        return True
    changes = getattr(settings, "prompt_at", "") or len(getattr(settings, "parts", ()))
    return bool(changes) and settings.model == "auto"


def to_send(
    settings: Any, prompts: Sequence[Sequence[str]] = (), likes: Mapping[str, str] | None = None
) -> dict[str, Taken]:
    """The user's own pictures that a job needs, by the object or material; "" is all else.

    `prompts` are names and texts of parts, `likes` what is given to parts as images.
    """
    likes = likes or {}
    pictures: dict[str, Taken | None] = {} if settings.like else {"": taken(settings)}
    if settings.model in MODELS and not for_network(settings):
        pictures |= {name: found_by(text) for name, text in prompts if name not in likes}
    if not (settings.like or settings.material or likes) and None in pictures.values():
        return {}  # words that name no picture: all is painted by a network
    return {name: each for name, each in pictures.items() if each and each.material.own}


def for_regions(settings: Any, words: Sequence[str], given: Sequence[int]) -> dict[str, Taken]:
    """The user's own pictures that words of a mask image name, by the mask's number.

    `words` are those of the background, whose number is "", and of the masks' foregrounds; `given`
    are the numbers of regions, from 0, that have images. As the engine finds those it has.
    """
    if settings.model not in MODELS or for_network(settings):
        return {}
    alone = settings.model == "auto" and not given
    found = {i: found_by(text, alone) for i, text in enumerate(words) if i not in given}
    if not given and None in found.values():
        return {}  # a scene: all is painted by a network
    return {str(i or ""): each for i, each in found.items() if each and each.material.own}


def icon(material: Material | None) -> int:
    """The number of a picture's thumbnail among Blender's icons; 0 is none."""
    if _previews is None or material is None:
        return 0
    key = f"{material.path}?{material.stamp}"
    if key not in _previews:
        _previews.load(key, str(material.path), "IMAGE")
    return _previews[key].icon_id


def items(settings: Any, _: bpy.types.Context | None) -> list[Item]:
    """Every picture for a menu with thumbnails, after the one that the prompt finds."""
    known, found = materials(), prompted(settings)
    key = (known, found.material.name if found else "")
    if key not in _items:
        first = (
            NONE,
            "By Prompt",
            "The picture that the prompt names",
            icon(found.material if found else None) or "VIEWZOOM",
        )
        pictures = [(each.name, title(each.name), each.credit, icon(each)) for each in known]
        _items[key] = [(*item, number) for number, item in enumerate([first, *pictures])]
    return _items[key]


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


def unregister() -> None:
    global _previews
    bpy.utils.previews.remove(_previews)
    _previews = None
    _items.clear()
