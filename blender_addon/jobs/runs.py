# SPDX-License-Identifier: GPL-3.0-or-later
"""What was asked of the engine and what came, a folder for each run, for as long as it matters.

So a result outlives undo, another file and the end of Blender: it is offered again where its
objects are, and results that were applied can be applied once more.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import tempfile
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import bpy

from .. import NAME
from ..client import protocol
from ..client.client import alive

FILE = "run.json"
MOST = 20  # applied runs that are kept
DAY = 86400.0  # seconds
BEGUN, DONE, APPLIED = "begun", "done", "applied"


@dataclass
class Run:
    """A run, as its folder tells it."""

    folder: str  # of this file, and of UVs that meshes do not have yet
    directory: str  # of the engine's files
    task: str
    file: str  # the engine's file that is wanted
    parameters: Mapping[str, Any]
    result: Mapping[str, Any]  # see results.Result.told
    also: tuple[str, ...] = ()
    images: Mapping[str, str] = field(default_factory=dict)
    sent: Mapping[str, str] = field(default_factory=dict)  # input -> SHA-256, once it is sent
    blend: str = ""  # the file it was asked for in
    job_id: str = ""
    state: str = BEGUN
    pid: int = field(default_factory=os.getpid)
    created: float = field(default_factory=time.time)
    seconds: float = 0.0

    def save(self) -> None:
        """Write it all at once."""
        path = Path(self.folder) / FILE
        with contextlib.suppress(OSError):  # a full disk ends no run
            path.parent.mkdir(parents=True, exist_ok=True)
            partial = path.with_suffix(".part")
            partial.write_text(json.dumps(asdict(self)), encoding="utf-8")
            protocol.replace(partial, path)

    def forget(self) -> None:
        """Delete its folder; files that the user wanted elsewhere stay."""
        shutil.rmtree(self.folder, ignore_errors=True)

    @property
    def title(self) -> str:
        return str(self.result.get("name", ""))

    @property
    def is_left_over(self) -> bool:
        """Whether its result was not used, and no other Blender looks after it."""
        if self.state == BEGUN:
            return bool(self.job_id) and (self.pid == os.getpid() or not alive(self.pid))
        return self.state == DONE


def place() -> Path:
    """The user's folder of runs, for all files and versions of Blender that share extensions."""
    try:
        return Path(bpy.utils.extension_path_user(NAME, path="runs", create=True))
    except (ValueError, OSError):  # loaded from the sources, or nowhere to write
        return Path(bpy.app.tempdir) / "syncsde-runs"


def new_folder() -> Path:
    """A new folder for a run."""
    parent = place()
    parent.mkdir(parents=True, exist_ok=True)
    return Path(tempfile.mkdtemp(prefix=time.strftime("%Y%m%d-%H%M%S-"), dir=parent))


def read(folder: Path) -> Run | None:
    """Read a run from its folder; None if there is none that this version understands."""
    try:
        told = json.loads((folder / FILE).read_text(encoding="utf-8"))
        run = Run(**{**told, "also": tuple(told["also"])})
        return run if Path(run.folder) == folder else None
    except (OSError, ValueError, TypeError, KeyError):
        return None


def all_runs() -> list[Run]:
    """The runs of this user, the newest first."""
    try:
        folders = sorted(place().iterdir(), reverse=True)
    except OSError:
        return []
    return sorted(
        (run for folder in folders if (run := read(folder)) is not None),
        key=lambda run: -run.created,
    )


def prune() -> None:
    """Forget the oldest of the runs that were applied, and folders in which nothing was begun."""
    for run in [run for run in all_runs() if run.state == APPLIED][MOST:]:
        run.forget()
    for folder in place().iterdir():
        with contextlib.suppress(OSError):  # another Blender was faster
            old = time.time() - folder.stat().st_mtime > DAY
            if old and folder.is_dir() and not (folder / FILE).exists():
                shutil.rmtree(folder, ignore_errors=True)
