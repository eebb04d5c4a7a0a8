# SPDX-License-Identifier: GPL-3.0-or-later
"""The one job of this Blender session: a timer advances it in the window, a loop in background.

Nothing here is saved in files, so that a crash or an error never leaves a panel stuck.
"""

from __future__ import annotations

import logging
import tempfile
import time
from pathlib import Path

import bpy

from ..client import engine, report
from .job import Job, Request
from .results import Result

log = logging.getLogger(__name__)

TICK_SECONDS = 0.1
AREAS = ("VIEW_3D", "IMAGE_EDITOR")  # where our panels are

current: Job | None = None
last_error: str = ""
last_task: str = ""  # which the error or the note is of
last_note: str = ""  # which model painted the last result
_result: Result | None = None


def is_running() -> bool:
    return current is not None


def temporary_folder() -> Path:
    """A new folder that Blender removes when it quits."""
    return Path(tempfile.mkdtemp(prefix="syncsde-", dir=bpy.app.tempdir or None))


def start(request: Request, result: Result) -> None:
    """Begin a job."""
    global current, last_error, last_task, last_note, _result
    _result = result
    last_error, last_task, last_note = "", request.task, ""
    current = Job(request)
    if not bpy.app.background:
        bpy.app.timers.register(_tick, first_interval=TICK_SECONDS, persistent=True)


def wait() -> str:
    """Advance the job until it ends and use its result; return the error, or nothing."""
    shown = ""
    try:
        while current is not None and current.pump():
            if current.stage != shown:
                shown = current.stage
                log.info(shown)
            time.sleep(TICK_SECONDS)
        _finish()
    finally:
        cancel()  # after Ctrl-C, or a mistake of ours; else there is nothing left
    return last_error


def cancel() -> None:
    """Stop the job, if any."""
    global current
    job, current = current, None
    if job is not None:
        job.cancel()
    _redraw()


def fail(task: str, message: str) -> None:
    """Keep what is wrong with a job that did not even start, for the panel."""
    global last_error, last_task, last_note
    last_error, last_task, last_note = message, task, ""


def _tick() -> float | None:
    if current is None:
        return None
    again = False
    try:
        again = current.pump() or _must_wait(current)
        if not again:
            _finish()
    finally:
        if again:
            _redraw()
        else:
            cancel()
    return TICK_SECONDS if again else None


def _must_wait(job: Job) -> bool:
    assert _result is not None
    reason = "" if job.error else _result.waiting()
    if reason:
        job.stage = reason
    return bool(reason)


def _finish() -> None:
    global current, last_error, last_note
    job, current = current, None
    if job is None:
        last_error = "Cancelled."
    elif job.error:
        last_error = job.error
    else:
        last_error = _apply(job.request.directory / job.request.file)
        if not last_error:
            last_note = report.painted_by(job.request.directory, job.request.images)


def _apply(filepath: Path) -> str:
    assert _result is not None
    return _result.apply(filepath)


def _redraw() -> None:
    for window in bpy.context.window_manager.windows:
        for area in window.screen.areas:
            if area.type in AREAS:
                area.tag_redraw()


def register() -> None:
    """Nothing to set up: timers come with jobs."""


def unregister() -> None:
    """Leave no job, timer or engine behind."""
    global last_error, last_note
    cancel()
    last_error = last_note = ""
    if bpy.app.timers.is_registered(_tick):
        bpy.app.timers.unregister(_tick)
    engine.stop()
