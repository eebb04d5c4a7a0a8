# SPDX-License-Identifier: GPL-3.0-or-later
"""SyncSDE in Blender: panels and operators; the work itself is done by the local engine.

Importing this package needs no Blender, so that the engine can share `protocol`.
"""

from __future__ import annotations

import importlib

MODULES = (
    "preferences",
    "library",
    "properties_texture",
    "scene_image",
    "operators",
    "operators_image",
    "panel",
    "panel_image",
    "drop",
    "session",
)


def register() -> None:
    """Register what each module brings."""
    for name in MODULES:
        importlib.import_module(f".{name}", __package__).register()


def unregister() -> None:
    """Take everything back in reverse order; ends the job and the engine process, too."""
    for name in reversed(MODULES):
        importlib.import_module(f".{name}", __package__).unregister()
