# SPDX-License-Identifier: GPL-3.0-or-later
"""What is offered while something is typed: library pictures, words that mini knows, models."""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path

import bpy

from ..client import engine
from . import catalog

MINI = Path(__file__).with_name("mini.json")  # the model's own description, put into the zip
MOST = 24
MODELS = ("auto", "exemplar", "mini")
WORDS = ("auto", "mini")  # models that know the words of mini
MOTION_MODELS = ("mime",)
MOTIONS = (  # what mime has learned
    "a person walks",
    "a person walks in a circle to the left",
    "a person walks backwards",
    "a person walks slowly",
    "a person runs",
    "a person runs in a circle to the right",
    "a person sneaks",
    "a person marches",
    "a person jumps",
    "a person waves with the right hand",
    "a person waves with the left hand",
    "a person sits down",
    "a person crouches",
    "a person kicks with the right leg",
    "a person punches with the left hand",
    "a person bows",
    "a person dances",
    "a person claps",
    "a person stretches",
    "a person stands",
)
HARD = ("brick", "checker", "striped", "dotted", "scaly")  # regular patterns: mini blurs them
DEVICES = ("auto", "cpu", "cuda", "cuda:1", "mps")
# Words of English that say how others belong together.
SMALL = re.findall(
    r"\w+", "a an the of in on at with and or by from to made under very its is like looks"
)


def for_surface(properties: object, context: bpy.types.Context | None, typed: str) -> list[str]:
    """Prompts that begin as `typed` does, those that name a picture of the library first."""
    model = getattr(properties, "model", "auto")
    pictures = complete_picture(typed) if model in catalog.MODELS else []
    return list(dict.fromkeys([*pictures, *for_prompt(properties, context, typed)]))


def for_prompt(properties: object, context: bpy.types.Context | None, typed: str) -> list[str]:
    """Prompts that begin as `typed` does; none for models whose words are not known."""
    return complete(typed) if getattr(properties, "model", "auto") in WORDS else []


def for_motion(_: object, __: bpy.types.Context | None, typed: str) -> list[str]:
    """Prompts of motion with what is typed in them."""
    return [each for each in MOTIONS if typed.lower().strip() in each and each != typed]


def for_model(_: object, __: bpy.types.Context | None, typed: str) -> list[str]:
    """The engine's own models, then the folders and files in the Models of the preferences."""
    return _models(MODELS, typed)


def for_motion_model(_: object, __: bpy.types.Context | None, typed: str) -> list[str]:
    """The same for motion."""
    return _models(MOTION_MODELS, typed)


def _models(engines: tuple[str, ...], typed: str) -> list[str]:
    own: list[str] = []
    if engine.models_dir:
        with contextlib.suppress(OSError):
            there = Path(engine.models_dir).iterdir()
            own = [each.name for each in there if each.is_dir() or each.suffix == ".safetensors"]
    return [name for name in (*engines, *sorted(own)) if typed.lower() in name.lower()]


def for_device(_: object, __: bpy.types.Context | None, typed: str) -> list[str]:
    """Where the engine may compute."""
    return [name for name in DEVICES if typed.lower() in name]


def unknown_words(prompt: str) -> list[str]:
    """The words of a prompt that mini has not learned, in their order."""
    learned = {part for word in known()[0] for part in word.split()} | set(SMALL)
    said = re.findall(r"[a-z]+", prompt.lower())
    return list(dict.fromkeys(word for word in said if word not in learned)) if known()[0] else []


def complete_picture(typed: str) -> list[str]:
    """Finish the name of a picture that the last words begin; for an empty field, all names."""
    names = [each.name for each in catalog.materials()]
    if not typed.strip():
        return names
    synonyms = [word for each in catalog.materials() for word in each.words]
    found = [
        said + phrase
        for said, begun in _ends(typed)
        for phrase in (*names, *synonyms)
        if phrase.startswith(begun.lower()) and phrase != begun.lower()
    ]
    return list(dict.fromkeys(found))[:MOST]


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
    plain = [*(each for each in materials if each not in HARD), *HARD]
    statues = [f"a {each} statue" for each in plain if each in materials and each != "plain"]
    return tuple(words), (*statues, *places[:4])


def _ends(typed: str) -> Iterator[tuple[str, str]]:
    """Split into what stays and what is being typed: the last three words, two, one."""
    for word in list(re.finditer(r"\S+", typed))[-3:]:
        yield typed[: word.start()], typed[word.start() :]
