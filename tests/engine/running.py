# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs a task to its end."""

from syncsde_engine import tasks
from syncsde_engine.request import build


def finish(task, parameters, inputs=None):
    """The files of a finished run."""
    return tasks.follow(tasks.run(task, build(task, parameters), inputs or {}))
