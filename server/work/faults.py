# SPDX-License-Identifier: GPL-3.0-or-later
"""Named places where a test makes things go wrong; outside of tests nothing is ever installed.

worker: "step", "checkpoint" (written, not yet renamed), "result" (stored, not yet told), "cancel"
engine: "claim" (before), "commit" (of a result, before), "cancelling" (told, not yet answered)
"""

from __future__ import annotations

from collections.abc import Callable

_actions: dict[str, Callable[[], None]] = {}


def install(point: str, action: Callable[[], None]) -> None:
    """Run `action` whenever this process gets to `point`."""
    _actions[point] = action


def reach(point: str) -> None:
    if point in _actions:
        _actions[point]()
