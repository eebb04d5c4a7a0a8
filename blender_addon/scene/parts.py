# SPDX-License-Identifier: GPL-3.0-or-later
"""What objects and materials look like instead: their own prompts and pictures, a line for each."""

from __future__ import annotations

from collections.abc import Sequence

import bpy

from . import material

MOST_LIKES = 8  # the engine takes no more pictures for parts


class LineError(ValueError):
    """A line cannot be used; the text says why and what to do."""


def materials_of(objects: Sequence[bpy.types.Object]) -> list[bpy.types.Material]:
    """The artist's materials on some objects, also while generated ones are shown there."""
    slots = [(obj, index) for obj in objects for index in range(len(obj.material_slots))]
    found = dict.fromkeys(material.original(obj, index) for obj, index in slots)
    return [own for own in found if own is not None]


def own_prompts(objects: Sequence[bpy.types.Object]) -> list[str]:
    """Lines for `prompt_for` from the prompts that objects and their materials carry."""
    carriers = [*objects, *materials_of(objects)]
    return [f"{each.name}: {each.syncsde_prompt}" for each in carriers if each.syncsde_prompt]


def own_likes(objects: Sequence[bpy.types.Object]) -> list[str]:
    """Lines for `like_for` from the pictures that objects and their materials carry."""
    carriers = [*objects, *materials_of(objects)]
    return [f"{each.name}: {each.syncsde_like.name}" for each in carriers if each.syncsde_like]


def names_of(objects: Sequence[bpy.types.Object]) -> list[str]:
    """What lines can be about: the objects and their materials."""
    return [each.name for each in (*objects, *materials_of(objects))]


def prompts(lines: str, names: Sequence[str] = ()) -> list[list[str]]:
    """Read lines such as "Helmet: rusty metal" into names and prompts. Raises LineError.

    A colon may be in one of the `names`.
    """
    return [_pair(line, "prompt", names) for line in lines.splitlines() if line.strip()]


def likes(lines: str, names: Sequence[str] = ()) -> list[list[str]]:
    """Read lines such as "Helmet: Rust.png" into names and those of images. Raises LineError."""
    return [_pair(line, "image", names) for line in lines.splitlines() if line.strip()]


def views(lines: str) -> list[tuple[int, str]]:
    """Read lines such as "0: View 00" into numbers of views and names of images.

    Raises LineError.
    """
    found = []
    for line in lines.splitlines():
        if line.strip():
            number, image = _pair(line, "image", of="a view's number")
            if not number.isdecimal():
                raise LineError(f"{line!r} does not begin with the number of a view.")
            found.append((int(number), image))
    return found


def at_most(names: list[str]) -> list[str]:
    """The names of what has a picture of its own, if the engine takes so many. Raises LineError."""
    if len(names) > MOST_LIKES:
        raise LineError(
            f"{len(names)} objects and materials have pictures of their own, and at most "
            f"{MOST_LIKES} can: take some away, or give them prompts."
        )
    return names


def _pair(
    line: str, what: str, names: Sequence[str] = (), of: str = "an object or material"
) -> list[str]:
    known = [name for name in names if line.startswith(f"{name}: ")]
    name = max(known, key=len) if known else line.partition(": ")[0]
    said = line[len(name) + 2 :]
    if not name.strip() or not said.strip():
        raise LineError(f"{line!r} is not {of}, a colon and its {what}.")
    return [name.strip(), said.strip()]
