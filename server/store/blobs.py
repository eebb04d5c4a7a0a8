# SPDX-License-Identifier: GPL-3.0-or-later
"""Files named by the SHA-256 of their content: either complete and on the disk, or not there.

One that the disk has damaged is not there either: whoever asks finds that out, and it is removed,
so that it is made or sent once more.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
import os
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from syncsde_client.protocol import is_sha256, make_private

from ..errors import Conflict
from .files import NEW, part_of, publish

HEAD = (1 << 20) + 8  # bytes of a blob that a check is shown
UNUSED = 86400.0  # seconds that a blob which no job needs is kept after it was last asked for
YOUNG = 600.0  # seconds that it is kept in any case: its job may be on the way

log = logging.getLogger(__name__)

Check = Callable[[bytes, int], None]  # of the first bytes and the size; raises InvalidRequest


class BlobStore:
    """Safe to use from several threads and processes: a blob never changes once it has its name."""

    def __init__(self, folder: Path, quota: int | None = None) -> None:
        self.folder = make_private(folder)
        self.quota = quota  # bytes

    def find(self, sha256: str) -> Path | None:
        path = self.folder / sha256
        return path if is_sha256(sha256) and path.is_file() else None

    def touch(self, sha256: str) -> bool:
        """Say whether a blob is here as it was written; if so, it stays for a while."""
        path = self.find(sha256)
        if path is None or not self.verify(sha256):
            return False
        with contextlib.suppress(FileNotFoundError):
            os.utime(path)
        return path.is_file()

    def verify(self, sha256: str) -> bool:
        """Read a blob and say whether it is what its name says; if not, it is removed."""
        path = self.folder / sha256
        try:
            with path.open("rb") as file:
                found = hashlib.file_digest(file, "sha256").hexdigest()
        except FileNotFoundError:
            return False
        except OSError as error:  # the disk cannot read it
            log.warning("the file %s cannot be read: %s", sha256, error)
            found = ""
        if found != sha256:
            self._remove_damaged(sha256)
        return found == sha256

    def read(self, sha256: str) -> bytes:
        """Raises FileNotFoundError, also if the blob is damaged."""
        content = (self.folder / sha256).read_bytes()
        if hashlib.sha256(content).hexdigest() != sha256:
            self._remove_damaged(sha256)
            raise FileNotFoundError(f"The file {sha256} is damaged.")
        return content

    def remove(self, sha256: str) -> None:
        (self.folder / sha256).unlink(missing_ok=True)

    def _remove_damaged(self, sha256: str) -> None:
        log.warning("the file %s was damaged on the disk and is removed", sha256)
        self.remove(sha256)

    def put(self, content: bytes) -> str:
        """Store `content` and return its SHA-256."""
        name = hashlib.sha256(content).hexdigest()
        if not self.touch(name):
            with self.writing(name) as incoming:
                incoming.write(content)
                incoming.commit()
        return name

    @contextmanager
    def writing(self, sha256: str, check: Check | None = None) -> Iterator[Incoming]:
        """Receive a blob piece by piece; without `commit` nothing of it stays."""
        incoming = Incoming(self, sha256, check)
        try:
            yield incoming
        finally:
            incoming.close()

    def free_bytes(self) -> int:
        return shutil.disk_usage(self.folder).free

    def used_bytes(self) -> int:
        """The size of all blobs together."""
        return sum(stat.st_size for _, stat in self._blobs())

    def collect(self, used: set[str], unused_for: float = UNUSED, enough: int | None = None) -> int:
        """Remove blobs that are not `used` and were not asked for so long; return their bytes.

        The oldest go first, and no more of them once `enough` bytes are free.
        """
        freed, now = 0, time.time()
        for path, stat in sorted(self._blobs(), key=lambda blob: blob[1].st_mtime):
            if enough is not None and freed >= enough:
                break
            # A time to come is of a clock that was set back since.
            if path.name not in used and abs(now - stat.st_mtime) >= unused_for:
                path.unlink(missing_ok=True)
                freed += stat.st_size
        return freed

    def _blobs(self) -> Iterator[tuple[Path, os.stat_result]]:
        for entry in os.scandir(self.folder):
            if is_sha256(entry.name):
                with contextlib.suppress(FileNotFoundError):
                    yield Path(entry.path), entry.stat()


class Incoming:
    """A blob on its way in."""

    def __init__(self, store: BlobStore, sha256: str, check: Check | None = None) -> None:
        self.size = 0
        self._check = check
        self._store = store
        self._target = store.folder / sha256
        self._part = part_of(self._target)
        self._hash = hashlib.sha256()
        self._file = open(os.open(self._part, NEW, 0o600), "w+b", buffering=0)  # noqa: SIM115

    def write(self, chunk: bytes) -> None:
        self._hash.update(chunk)
        view = memoryview(chunk)
        while view:  # an unbuffered write may take less than it was given
            view = view[self._file.write(view) :]
        self.size += len(chunk)

    def commit(self) -> None:
        """Give the blob its name for good. Raises Conflict if its content has another hash."""
        found = self._hash.hexdigest()
        if found != self._target.name:
            raise Conflict(
                f"The content has the SHA-256 {found}, not {self._target.name}.", field="sha256"
            )
        if self._check is not None:
            self._file.seek(0)
            self._check(self._file.read(HEAD), self.size)
        os.fsync(self._file.fileno())
        self._file.close()
        if not self._store.verify(found):
            publish(self._part, self._target)

    def close(self) -> None:
        self._file.close()
        self._part.unlink(missing_ok=True)
