# SPDX-License-Identifier: GPL-3.0-or-later
"""SyncSDE in Blender: panels and operators; the work itself is done by the local engine."""

from __future__ import annotations

import importlib

NAME = __package__  # what Blender calls the add-on, in its preferences for one
MODULES = (
    "ui.installing",
    "ui.preferences",
    "library.catalog",
    "properties.texture",
    "properties.scene_image",
    "properties.motion",
    "ui.operators",
    "ui.operators_apply",
    "ui.operators_image",
    "ui.operators_motion",
    "ui.operators_result",
    "ui.operators_setting",
    "ui.views",
    "ui.panel_result",
    "ui.panel",
    "ui.repaint",
    "ui.history",
    "ui.panel_image",
    "ui.panel_motion",
    "ui.drop",
    "ui.command",
    "jobs.session",
)


def register() -> None:
    """Register what each module brings."""
    for name in MODULES:
        importlib.import_module(f".{name}", __package__).register()


def unregister() -> None:
    """Take everything back in reverse order; ends the job and the engine process, too."""
    for name in reversed(MODULES):
        importlib.import_module(f".{name}", __package__).unregister()
