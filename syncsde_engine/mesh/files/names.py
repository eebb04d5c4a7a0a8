# SPDX-License-Identifier: GPL-3.0-or-later
"""Names of objects and materials that a file gives twice."""

from __future__ import annotations

from collections.abc import Iterable

LONGEST = 255  # characters


def unique(names: Iterable[str], longest: int = LONGEST) -> tuple[str, ...]:
    """Names of at most `longest` characters, told apart as Blender does: Leaf, Leaf.001, ..."""
    taken: set[str] = set()
    following: dict[str, int] = {}
    made = []
    for name in names:
        free, number = name[:longest], following.get(name, 0)
        while free in taken:
            number += 1
            free = f"{name[: longest - 1 - max(3, len(str(number)))]}.{number:03}"
        following[name] = number
        taken.add(free)
        made.append(free)
    return tuple(made)
