# SPDX-License-Identifier: GPL-3.0-or-later
"""Long work in slices, between which Blender draws: generators that return what they have made."""

from __future__ import annotations

from collections.abc import Generator
from typing import TypeVar

T = TypeVar("T")


def at_once(slices: Generator[object, None, T]) -> T:
    """Do all of it now."""
    while True:
        try:
            next(slices)
        except StopIteration as end:
            return end.value
