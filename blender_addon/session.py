# SPDX-License-Identifier: GPL-3.0-or-later
"""The one job of this Blender session: a timer advances it in the window, a loop in background.

Nothing here is saved in files, so that a crash or an error never leaves the panel stuck.
"""

from __future__ import annotations

import logging
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import bpy
import numpy as np

from . import engine
from .export_mesh import ExportedMesh
from .job import TEXTURE, Job, Request

log = logging.getLogger(__name__)

TICK_SECONDS = 0.1
NAME_LENGTH = 48  # of the material; Blender's limit is 63 bytes


@dataclass(frozen=True)
class Target:
    """Where the texture belongs; no datablock, because undo and file load replace those."""

    session_uid: int
    object_name: str
    material_name: str
    uv_layer: str
    uv_filepath: str


current: Job | None = None
last_error: str = ""
_target: Target | None = None


def is_running() -> bool:
    return current is not None


def start(
    context: bpy.types.Context,
    program: str,
    parameters: Mapping[str, Any],
    exported: ExportedMesh,
    directory: Path | None,
) -> None:
    """Begin a job for the active object; without a directory, files go to Blender's own."""
    global current, last_error, _target
    temporary = Path(tempfile.mkdtemp(prefix="syncsde-", dir=bpy.app.tempdir or None))
    uv_filepath = ""
    if exported.new_uvs is not None:
        uv_filepath = str(temporary / "uv.npy")
        np.save(uv_filepath, exported.new_uvs)
    _target = Target(
        context.object.session_uid,
        context.object.name,
        parameters["prompt"].encode()[:NAME_LENGTH].decode(errors="ignore"),
        exported.uv_layer,
        uv_filepath,
    )
    last_error = ""
    current = Job(
        Request(program, parameters, exported.tensors, directory or temporary, bool(directory))
    )
    if not bpy.app.background:
        bpy.app.timers.register(_tick, first_interval=TICK_SECONDS, persistent=True)


def wait() -> str:
    """Advance the job until it ends and apply it; return the error, or nothing."""
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
    """Whether applying would throw the artist out of a mode, whose undo history is its own."""
    obj = _find_target()
    if job.error or obj is None:
        return False
    busy = bpy.context.mode != "OBJECT" or obj.mode != "OBJECT"
    if busy:
        job.stage = "Waiting for Object Mode"
    return busy


def _finish() -> None:
    global current, last_error
    job, current = current, None
    if job is None:
        last_error = "Cancelled."
    elif job.error:
        last_error = job.error
    else:
        last_error = _apply(job.request.directory / TEXTURE)


def _apply(filepath: Path) -> str:
    assert _target is not None
    obj = _find_target()
    if obj is None:
        return f"{_target.object_name!r} is gone; its texture is {filepath}."
    try:
        # True: an operator called from a timer pushes its undo step only when told to.
        bpy.ops.syncsde.apply_texture(
            "EXEC_DEFAULT",
            True,
            filepath=str(filepath),
            object_name=obj.name,
            material_name=_target.material_name,
            uv_layer=_target.uv_layer,
            uv_filepath=_target.uv_filepath,
        )
    except RuntimeError as error:  # what the operator reported
        return str(error).removeprefix("Error: ").strip()
    return ""


def _find_target() -> bpy.types.Object | None:
    assert _target is not None
    return next((o for o in bpy.data.objects if o.session_uid == _target.session_uid), None)


def _redraw() -> None:
    for window in bpy.context.window_manager.windows:
        for area in window.screen.areas:
            if area.type == "VIEW_3D":
                area.tag_redraw()


def register() -> None:
    """Nothing to set up: timers come with jobs."""


def unregister() -> None:
    """Leave no job, timer or engine behind."""
    global last_error
    cancel()
    last_error = ""
    if bpy.app.timers.is_registered(_tick):
        bpy.app.timers.unregister(_tick)
    engine.stop()
