# SPDX-License-Identifier: GPL-3.0-or-later
"""One engine per state folder, by a lock that the system drops when its process dies."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ..errors import AlreadyRunning

LOCK_FILE = "engine.lock"
PATIENCE = 2.0  # seconds: an engine whose parent has just gone is still leaving


@contextmanager
def only_engine(folder: Path) -> Iterator[None]:
    """Hold `folder` for this process. Raises AlreadyRunning if another engine has it."""
    deadline = time.monotonic() + PATIENCE
    handle = os.open(folder / LOCK_FILE, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        while not _lock(handle):
            if time.monotonic() > deadline:
                raise AlreadyRunning(
                    f"An engine is already running on {folder}.",
                    hint="Use that one, or give this one another --state-dir.",
                )
            time.sleep(0.05)
        yield
    finally:
        os.close(handle)


if sys.platform == "win32":
    import msvcrt

    def _lock(handle: int) -> bool:
        try:
            msvcrt.locking(handle, msvcrt.LK_NBLCK, 1)
        except OSError:
            return False
        return True

else:
    import fcntl

    def _lock(handle: int) -> bool:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True
