# SPDX-License-Identifier: GPL-3.0-or-later
"""How an evaluation's prompt names a pair of material and color."""

from __future__ import annotations

from .materials import COLORABLE

_ADJECTIVES = {"planks": "wooden", "tiles": "tiled", "gold": "golden"}


def words(material: str, color: str) -> str:
    if material == "plain":
        return color
    name = _ADJECTIVES.get(material, material)
    return f"{color} {name}" if material in COLORABLE else name
