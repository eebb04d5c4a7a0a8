# SPDX-License-Identifier: GPL-3.0-or-later
"""The words of mime, with the forms in which they are written."""

from __future__ import annotations

from .verbs import VERBS

_MORE = {
    "walk": ("stroll", "strolls", "strolling"),
    "run": ("running", "jog", "jogs", "jogging"),
    "sneak": ("creep", "creeps", "creeping", "tiptoe", "tiptoes"),
    "jump": ("hop", "hops", "hopping", "leap", "leaps"),
    "sit": ("sitting",),
    "crouch": ("squat", "squats", "squatting"),
    "punch": ("box", "boxes", "boxing"),
    "dance": ("dances", "dancing"),
    "wave": ("waves", "waving"),
    "clap": ("clapping", "applauds"),
    "stretch": ("stretching",),
}
_MANNERS = {
    "slowly": ("slow",),
    "quickly": ("quick", "fast"),
    "circle": ("circles",),
    "left": (),
    "right": (),
    "backwards": ("backward", "back"),
    "forward": ("forwards", "ahead"),
    "hand": ("arm", "fist"),
    "leg": ("foot",),
}


def forms() -> dict[str, list[str]]:
    """Each word with its other forms, in a fixed order."""
    words = {
        verb: list(dict.fromkeys([f"{verb}s", f"{verb}es", f"{verb}ing", *_MORE.get(verb, ())]))
        for verb in VERBS
    }
    return words | {word: list(others) for word, others in _MANNERS.items()}
