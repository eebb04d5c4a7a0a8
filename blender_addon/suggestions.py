# SPDX-License-Identifier: GPL-3.0-or-later
"""Words that the embedded model knows, offered while a prompt is typed."""

from __future__ import annotations

import json
from functools import lru_cache
from pathlib import Path

import bpy

MINI = Path(__file__).with_name("mini.json")  # the model's own description, put into the zip
MOST = 24


def for_prompt(properties: object, context: bpy.types.Context | None, typed: str) -> list[str]:
    """Prompts that begin as `typed` does; none for models whose words are not known."""
    return complete(typed) if getattr(properties, "model", "mini") == "mini" else []


def complete(typed: str) -> list[str]:
    """Finish the last word; for an empty field, whole examples."""
    words, examples = known()
    if not typed.strip():
        return list(examples)
    said, space, begun = typed.rpartition(" ")
    fitting = [word for word in words if begun and word.startswith(begun.lower()) and word != begun]
    return [f"{said}{space}{word}" for word in fitting[:MOST]]


@lru_cache(maxsize=1)
def known() -> tuple[tuple[str, ...], tuple[str, ...]]:
    """All words or short phrases, and prompts made of them."""
    if not MINI.is_file():  # not built, but loaded from the sources
        return (), ()
    vocabulary = json.loads(MINI.read_text("utf-8"))["vocabulary"]
    materials, places = vocabulary["materials"], vocabulary["places"]
    words = dict.fromkeys(
        [*vocabulary["colors"], *materials, *vocabulary["nouns"], *places, "background", "view"]
    )
    statues = [f"a {material} statue" for material in materials if material != "plain"]
    return tuple(words), (*statues, *places[:4])
