# SPDX-License-Identifier: GPL-3.0-or-later
"""The picture library: photographs of materials, and finding one by the words of a prompt.

Its own pictures lie in `pictures/`; `library.json` says of each who made it and under which
license. A user's folder of pictures is a library, too.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from .. import map_names
from ..errors import InvalidRequest
from .colors import COLORS
from .match import Found, find_among, names_nothing_else
from .recolor import recolor

__all__ = ["COLORS", "Found", "Material", "find", "materials", "names_nothing_else", "recolor"]

FOLDER = Path(__file__).resolve().parent
LIST = "library.json"
SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".tif", ".tiff")


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


def materials(folders: Iterable[Path | str] = ()) -> list[Material]:
    """The packaged materials, after those of the users' `folders`. Raises InvalidRequest."""
    own = [material for folder in folders for material in in_folder(Path(folder))]
    return own + _listed(FOLDER)


def find(prompt: str, folders: Iterable[Path | str] = ()) -> Found | None:
    """The material that a prompt names, and the color it names it with. Raises InvalidRequest."""
    return find_among(materials(folders), prompt)


def in_folder(folder: Path) -> list[Material]:
    """Every picture of a folder, called as its file is; a library.json beside them says more."""
    if not folder.is_dir():
        raise InvalidRequest(
            f"There is no folder {str(folder)!r}.",
            hint="Give a folder of pictures.",
            field="folder",
        )
    listed = _listed(folder) if (folder / LIST).is_file() else []
    known = {material.path for material in listed}
    pictures = sorted(path for path in folder.iterdir() if path.suffix.lower() in SUFFIXES)
    pictures = map_names.without_maps(pictures)
    found = listed + [_unlisted(path) for path in pictures if path not in known]
    if not found:
        raise InvalidRequest(
            f"The folder {str(folder)!r} has no pictures.",
            hint=f"Put pictures into it: {', '.join(SUFFIXES)}.",
            field="folder",
        )
    return found


def _unlisted(path: Path) -> Material:
    name = path.stem.replace("_", " ").replace("-", " ").lower()
    return Material(name=" ".join(name.split()), file=path.name, path=path, source=str(path))


def _listed(folder: Path) -> list[Material]:
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


def _unusable(listing: Path, what: str) -> InvalidRequest:
    return InvalidRequest(
        f"The list {str(listing)!r} {what}",
        hint="It is a list of objects with name, file and, as needed, "
        + ", ".join(name for name in _TYPES if name not in ("name", "file", "path"))
        + ".",
        field="folder",
    )
