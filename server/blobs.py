# SPDX-License-Identifier: GPL-3.0-or-later
"""Files named by the SHA-256 of their content: either complete and on the disk, or not there."""

from __future__ import annotations

import hashlib
import os
import secrets
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from blender_addon.protocol import is_sha256, make_private, replace
from syncsde_engine.errors import InvalidRequest

PART = ".part"


class BlobStore:
    """Safe to use from several threads and processes: a blob never changes once it has its name."""

    def __init__(self, folder: Path) -> None:
        self.folder = make_private(folder)

    def remove_parts(self) -> None:
        """Remove what an interrupted engine left; only for the one that holds the folder's lock."""
        for part in self.folder.glob(f"*{PART}"):
            part.unlink(missing_ok=True)

    def find(self, sha256: str) -> Path | None:
        path = self.folder / sha256
        return path if is_sha256(sha256) and path.is_file() else None

    def read(self, sha256: str) -> bytes:
        """Raises FileNotFoundError."""
        return (self.folder / sha256).read_bytes()

    def put(self, content: bytes) -> str:
        """Store `content` and return its SHA-256."""
        name = hashlib.sha256(content).hexdigest()
        if self.find(name) is None:
            with self.writing(name) as incoming:
                incoming.write(content)
                incoming.commit()
        return name

    @contextmanager
    def writing(self, sha256: str) -> Iterator[Incoming]:
        """Receive a blob piece by piece; without `commit` nothing of it stays."""
        incoming = Incoming(self.folder, sha256)
        try:
            yield incoming
        finally:
            incoming.close()

    def free_bytes(self) -> int:
        return shutil.disk_usage(self.folder).free


class Incoming:
    """A blob on its way in."""

    def __init__(self, folder: Path, sha256: str) -> None:
        self.size = 0
        self._target = folder / sha256
        self._part = folder / f"{sha256[:16]}.{secrets.token_hex(8)}{PART}"
        self._hash = hashlib.sha256()
        self._file = open(os.open(self._part, _FLAGS, 0o600), "wb", buffering=0)  # noqa: SIM115

    def write(self, chunk: bytes) -> None:
        self._hash.update(chunk)
        view = memoryview(chunk)
        while view:  # an unbuffered write may take less than it was given
            view = view[self._file.write(view) :]
        self.size += len(chunk)

    def commit(self) -> None:
        """Give the blob its name for good. Raises InvalidRequest if the content differs."""
        found = self._hash.hexdigest()
        if found != self._target.name:
            raise InvalidRequest(
                f"The content has the SHA-256 {found}, not {self._target.name}.", field="sha256"
            )
        os.fsync(self._file.fileno())
        self._file.close()
        if not self._target.exists():
            replace(self._part, self._target)
            _sync_folder(self._target.parent)

    def close(self) -> None:
        self._file.close()
        self._part.unlink(missing_ok=True)


_FLAGS = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0)


def _sync_folder(folder: Path) -> None:
    """Make a rename survive a power cut; Windows does so by itself and cannot open folders."""
    if sys.platform != "win32":
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
