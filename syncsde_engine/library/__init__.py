# SPDX-License-Identifier: GPL-3.0-or-later
"""The picture library: photographs of materials, and finding one by the words of a prompt.

Its own pictures lie in `pictures/`; `library.json` says of each who made it and under which
license. A user's folder of pictures is a library, too.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from ..errors import InvalidRequest
from .colors import COLORS
from .listing import FOLDERS, Material, Unusable, listed, own_folders, plain
from .listing import in_folder as _in_folder
from .match import Found, color_of, find_among, names_nothing_else
from .recolor import recolor

__all__ = [
    "COLORS",
    "FOLDERS",
    "Found",
    "Material",
    "color_of",
    "find",
    "in_folder",
    "materials",
    "names_nothing_else",
    "own_folders",
    "plain",
    "recolor",
]

FOLDER = Path(__file__).resolve().parent


def materials(folders: Iterable[Path | str] = ()) -> list[Material]:
    """The packaged materials, after those of the users' `folders`. Raises InvalidRequest."""
    own = [material for folder in folders for material in in_folder(Path(folder))]
    return own + listed(FOLDER)


def find(prompt: str, folders: Iterable[Path | str] = ()) -> Found | None:
    """The material that a prompt names, and the color it names it with. Raises InvalidRequest."""
    return find_among(materials(folders), prompt)


def in_folder(folder: Path) -> list[Material]:
    """Every picture of a folder, called as its file is; a library.json beside them says more.

    Raises InvalidRequest.
    """
    try:
        return _in_folder(folder)
    except Unusable as error:
        hint = error.hint
        if folder in own_folders():
            hint = f"{hint.rstrip('.')}, or take the folder out of {FOLDERS}."
        raise InvalidRequest(error.message, hint=hint, field="folder") from None
