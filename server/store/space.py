# SPDX-License-Identifier: GPL-3.0-or-later
"""Room on the disk: kept free, given back, and asked for before something is accepted."""

from __future__ import annotations

import contextlib
import logging
import os
import shutil
import threading
import time
from pathlib import Path

from ..errors import DiskFull, disk_full, store_full
from .blobs import YOUNG, BlobStore
from .files import remove_parts
from .jobs import Jobs

RESERVE_FILE = "reserve"
RESERVE = 2 << 20  # bytes that are given up so that the end of a job can be written
LEAST = 1 << 20  # free bytes below which nothing is accepted
PLENTY = 64 << 20  # free bytes at which a job that found the disk full tries again
SHARE = 0.1  # or as much of the disk, if that is less
SWEEP = 3600.0  # seconds from one cleaning to the next

log = logging.getLogger(__name__)


class Room:
    """The room of one state folder. Methods may be called from any thread."""

    def __init__(self, folder: Path, store: BlobStore, jobs: Jobs, checkpoints: Path) -> None:
        self._reserve = folder / RESERVE_FILE
        self._checkpoints = checkpoints
        self._store = store
        self._jobs = jobs
        self._lock = threading.Lock()
        self._sweep_at = 0.0

    def require(self, size: int) -> None:
        """Make sure that `size` bytes more may come. Raises DiskFull."""
        least = LEAST if self._reserve.exists() else LEAST + RESERVE  # which is not for this
        if self._store.free_bytes() - size < least:
            raise disk_full()
        quota = self._store.quota
        if quota is None:
            return
        with self._lock:
            excess = self._store.used_bytes() + size - quota
            if excess <= 0:
                return
            excess -= self._store.collect(self._jobs.used_blobs(), YOUNG, excess)
            while excess > 0 and self._jobs.forget_oldest():
                excess -= self._store.collect(self._jobs.used_blobs(), YOUNG, excess)
        if excess > 0:
            raise store_full(quota)

    def keep_quota(self) -> None:
        """Give back what is over the quota, as far as it may be given back: a result came in."""
        try:
            self.require(0)
        except DiskFull as error:
            log.warning("%s", error)

    def drop_unused(self) -> None:
        """Remove now what no job needs, but for what came in a moment ago."""
        with self._lock:
            self._store.collect(self._jobs.used_blobs(), YOUNG)

    def clean_after(self, process: int) -> None:
        """Remove the beginnings of files that a dead process has left."""
        for folder in (self._store.folder, self._checkpoints):
            remove_parts(folder, process)

    def is_plenty(self) -> bool:
        total = shutil.disk_usage(self._store.folder).total
        return self._store.free_bytes() >= min(PLENTY, SHARE * total)

    def sweep(self) -> None:
        """Now and then, remove what nobody needs any more and fill up the reserve."""
        if time.monotonic() < self._sweep_at:
            return
        self._sweep_at = time.monotonic() + SWEEP
        with self._lock:
            forgotten = self._jobs.forget()
            freed = self._store.collect(self._jobs.used_blobs())
        if forgotten or freed:
            log.info("forgot %d old jobs and removed %d bytes", forgotten, freed)
        self.fill_reserve()

    def fill_reserve(self) -> None:
        if self._reserve.exists() or not self.is_plenty():
            return
        try:
            with open(os.open(self._reserve, os.O_WRONLY | os.O_CREAT, 0o600), "wb") as file:
                file.write(os.urandom(RESERVE))  # which no file system can make smaller
                os.fsync(file.fileno())
        except OSError:
            self.release_reserve()

    def release_reserve(self) -> bool:
        """Give the reserve up; return whether there was one."""
        with contextlib.suppress(OSError):
            self._reserve.unlink()
            return True
        return False
