# SPDX-License-Identifier: GPL-3.0-or-later
"""Which material a prompt names: the longest of the phrases that stand in it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, NamedTuple

from .colors import COLORS, SHADES

if TYPE_CHECKING:
    from . import Material

WORD = re.compile(r"\w+")
# Phrases that hold the name of a material and do not mean it.
OTHERWISE = ("brick red", "ice cream", "rock star", "rock band", "sand castle", "stone age")
# What may stand between a color and the material it describes: "a blue old brick wall".
BETWEEN = {
    *(
        "aged",
        "ancient",
        "clean",
        "cracked",
        "dark",
        "dirty",
        "dry",
        "fine",
        "glossy",
        "light",
        "old",
    ),
    *(
        "painted",
        "polished",
        "rough",
        "shiny",
        "small",
        "smooth",
        "soft",
        "weathered",
        "wet",
        "worn",
    ),
}

# What may stand beside the material in the name of a flat image: "a seamless brick wall texture".
FLAT = {
    *("a", "an", "the", "of", "with", "and", "made", "photo", "picture", "image"),
    *("wall", "floor", "ground", "surface", "texture", "pattern", "material"),
    *("seamless", "tileable", "tiling", "endless", "repeating"),
}


# What follows these is where the subject of a prompt is: "a cat on grass".
WHERE = {
    *("on", "under", "above", "below", "over", "beside", "near", "behind", "before", "front"),
    *("at", "against", "between", "among", "around"),
}
# What follows these is beside what a prompt is about: "a stone statue with a red hat".
ASIDE = WHERE | {
    *("with", "without", "wearing", "holding", "carrying", "has", "having", "in", "by", "from"),
}
PART = re.compile(r"[,;:.!?]|\w+")  # a word, or what ends a phrase


class Found(NamedTuple):
    """A material that a prompt names."""

    material: Material
    color: str | None  # of COLORS; None leaves the picture as it is


def find_among(materials: Iterable[Material], prompt: str) -> Found | None:
    """The longest name or synonym in the prompt wins; of equal ones the first in the prompt.

    Whole words count, in upper or lower case, in the singular or the plural. What only tells where
    the subject is, names no material: "a cat on grass". A color word before
    the phrase means recoloring, unless the material is of that color or must not be recolored.
    """
    words = [word.lower() for word in WORD.findall(prompt)]
    stems = [singular(word) for word in words]
    taken = {place + i for place, size in _places(stems, OTHERWISE) for i in range(size)}
    taken |= _surroundings(prompt)
    best: tuple[tuple[int, int, int], Material, int] | None = None
    for material in materials:
        for phrase in (material.name, *material.words):
            for place, size in _places(stems, (phrase,)):
                if taken & set(range(place, place + size)):
                    continue
                length = sum(len(stem) for stem in stems[place : place + size])
                rank = (size, length, -place)
                if best is None or rank > best[0]:
                    best = (rank, material, place)
    if best is None:
        return None
    _, material, place = best
    return Found(material, _unless_its_own(material, _color_before(words, place)))


def color_of(materials: Iterable[Material], material: Material, prompt: str) -> str | None:
    """The color that a prompt gives to a material that was chosen beside it, whatever it names.

    The color before the material's own name, if it stands in the prompt. Else that of what the
    prompt is about ("a blue statue", "a statue in blue"), unless it describes another of the
    `materials` ("a blue stone statue"), or there are several ("a blue and white statue"). What a
    prompt says after "with" and the like is not what it is about ("a statue with a red hat").
    """
    words = [word.lower() for word in WORD.findall(prompt)]
    stems = [singular(word) for word in words]
    phrases = (material.name, *material.words)
    for place, _ in sorted(_places(stems, phrases), key=lambda found: (-found[1], found[0])):
        if color := _color_before(words, place):
            return _unless_its_own(material, color)
    about = _subject(prompt)
    stems = [singular(word) for word in about]
    others = [phrase for each in materials for phrase in (each.name, *each.words)]
    described = {_color_before(about, place) for place, _ in _places(stems, others)}
    colors = {SHADES.get(word, word) for word in about} & set(COLORS) - described
    return _unless_its_own(material, colors.pop()) if len(colors) == 1 else None


def names_nothing_else(found: Found, prompt: str) -> bool:
    """Whether a prompt is about the material alone, not a scene that it lies in."""
    words = [word.lower() for word in WORD.findall(prompt)]
    stems = [singular(word) for word in words]
    phrases = (found.material.name, *found.material.words)
    taken = {place + i for place, size in _places(stems, phrases) for i in range(size)}
    known = FLAT | BETWEEN | set(COLORS) | set(SHADES)
    return all(
        place in taken or words[place] in known or stems[place] in known
        for place in range(len(words))
    )


def singular(word: str) -> str:
    """One form for singular and plural: it only has to be the same for both."""
    for ending, kept in (
        ("ves", "f"),
        ("ies", "y"),
        ("sses", "ss"),
        ("shes", "sh"),
        ("ches", "ch"),
    ):
        if word.endswith(ending) and len(word) > len(ending) + 1:
            return word[: -len(ending)] + kept
    return word[:-1] if word.endswith("s") and not word.endswith("ss") and len(word) > 3 else word


def _places(stems: Sequence[str], phrases: Iterable[str]) -> list[tuple[int, int]]:
    """Where phrases stand among words: (first word, number of words)."""
    found = []
    for phrase in phrases:
        wanted = [singular(word.lower()) for word in WORD.findall(phrase)]
        size = len(wanted)
        for place in range(len(stems) - size + 1 if size else 0):
            if list(stems[place : place + size]) == wanted:
                found.append((place, size))
    return found


def _surroundings(prompt: str) -> set[int]:
    """Which words of a prompt tell where its subject is."""
    found, place, outside = set[int](), 0, False
    for part in PART.findall(prompt.lower()):
        if not WORD.match(part):
            outside = False
            continue
        outside = outside or part in WHERE
        if outside:
            found.add(place)
        place += 1
    return found


def _subject(prompt: str) -> list[str]:
    """The words of a prompt that say what it is about: all before the first aside."""
    parts = PART.findall(prompt.lower())
    for place, part in enumerate(parts):
        if part in ASIDE or not WORD.match(part):
            after = parts[place + 1 : place + 3]
            ends = len(after) == 1 or (after and (after[1] in ASIDE or not WORD.match(after[1])))
            return parts[:place] + (after[:1] if part == "in" and ends else [])  # "in blue"
    return parts


def _unless_its_own(material: Material, color: str | None) -> str | None:
    return color if material.tint and color != material.color else None


def _color_before(words: Sequence[str], place: int) -> str | None:
    for word in reversed(words[:place]):
        name = SHADES.get(word, word)
        if name in COLORS:
            return name
        if word not in BETWEEN:
            return None
    return None
