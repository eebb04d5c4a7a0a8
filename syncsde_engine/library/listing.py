# SPDX-License-Identifier: GPL-3.0-or-later
"""A folder of pictures, and the list beside them. The extension's zip has this file, too."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from .map_names import SUFFIXES, without_maps

LIST = "library.json"
FOLDERS = "SYNCSDE_LIBRARY"  # environment variable: the user's own folders


class Unusable(ValueError):
    """A folder that is no library: what is wrong, and what to do."""

    def __init__(self, message: str, hint: str) -> None:
        super().__init__(f"{message} {hint}")
        self.message = message
        self.hint = hint


@dataclass(frozen=True)
class Material:
    """A picture of a material that tiles seamlessly, and how it lies on an object."""

    name: str
    file: str  # beside library.json
    path: Path
    words: tuple[str, ...] = ()  # other phrases that name it in a prompt
    color: str | None = None  # the color word that describes it as it is
    author: str = ""
    license: str = ""  # SPDX identifier, or "public domain"
    source: str = ""
    sha256: str = ""
    tile: float = 1.0  # width of the whole picture on an object that fits a ball of radius 1
    upright: bool = False  # it has an up, as courses of bricks do
    tint: bool = True  # a color word may recolor it


def own_folders() -> list[Path]:
    """The user's folders of pictures, as the environment has them."""
    return [Path(part) for part in os.environ.get(FOLDERS, "").split(os.pathsep) if part]


def in_folder(folder: Path) -> list[Material]:
    """Every picture of a folder, called as its file is; a library.json beside them says more.

    Raises Unusable.
    """
    try:
        files = sorted(folder.iterdir())
    except OSError as error:
        missing = isinstance(error, FileNotFoundError | NotADirectoryError)
        raise Unusable(
            f"There is no folder {str(folder)!r}."
            if missing
            else f"The folder {str(folder)!r} cannot be read: {error.strerror}.",
            "Give a folder of pictures.",
        ) from None
    named = listed(folder) if (folder / LIST).is_file() else []
    known = {material.path for material in named}
    pictures = [path for path in files if path.suffix.lower() in SUFFIXES and path.is_file()]
    pictures = without_maps(pictures)
    found = named + [_unlisted(path) for path in pictures if path not in known]
    if not found:
        raise Unusable(
            f"The folder {str(folder)!r} has no pictures.",
            f"Put pictures into it: {', '.join(SUFFIXES)}.",
        )
    return found


def _unlisted(path: Path) -> Material:
    return Material(plain(path.stem), file=path.name, path=path, source=str(path))


def plain(name: str) -> str:
    """A name as it is looked up: Stone_Brick and stone-brick are stone brick."""
    return " ".join(name.replace("_", " ").replace("-", " ").lower().split())


def listed(folder: Path) -> list[Material]:
    """What the list of a folder says. Raises Unusable."""
    listing = folder / LIST
    try:
        entries = json.loads(listing.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise _unusable(listing, f"cannot be read: {error}.") from None
    if not isinstance(entries, Sequence) or isinstance(entries, str):
        raise _unusable(listing, "is not a list.")
    return [_material(entry, folder) for entry in entries]


_TYPES = {field.name: field.type for field in fields(Material)}
_VALUES = {"str": str, "str | None": (str, type(None)), "float": (int, float), "bool": bool}


def _material(entry: Any, folder: Path) -> Material:
    listing = folder / LIST
    if not isinstance(entry, dict) or not {"name", "file"} <= set(entry):
        raise _unusable(listing, f"has an entry without name and file: {entry!r}.")
    for name, value in entry.items():
        if name == "path" or name not in _TYPES:
            raise _unusable(listing, f"says {name!r} of {entry['name']!r}, which means nothing.")
        if name == "words":
            good = isinstance(value, list) and all(isinstance(word, str) for word in value)
        else:
            good = isinstance(value, _VALUES[str(_TYPES[name])])
        if not good:
            raise _unusable(listing, f"has {value!r} as {name} of {entry['name']!r}.")
    if entry.get("tile", 1.0) <= 0:
        raise _unusable(listing, f"has {entry['tile']!r} as tile of {entry['name']!r}.")
    path = folder / entry["file"]
    if not path.is_file():
        raise _unusable(listing, f"names the file {entry['file']!r}, which is not there.")
    words = tuple(entry.get("words", ()))
    return Material(**{**entry, "words": words, "tile": float(entry.get("tile", 1.0))}, path=path)


def _unusable(listing: Path, what: str) -> Unusable:
    return Unusable(
        f"The list {str(listing)!r} {what}",
        "It is a list of objects with name, file and, as needed, "
        + ", ".join(name for name in _TYPES if name not in ("name", "file", "path"))
        + ".",
    )
