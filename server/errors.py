# SPDX-License-Identifier: GPL-3.0-or-later
"""The engine's own errors, and the HTTP status of each code of `syncsde_engine.errors`.

SyncSDEError
  Unauthorized      no token, or a wrong one
  Forbidden         a web page or a foreign name knocks
  Refused(status)   a request that breaks a rule of HTTP or of ours, before its content is looked at
  NotFound          no such job, blob or path
  MissingBlob       an input was not uploaded
  Conflict          the idempotency key belongs to another request
  Busy              the queue is full
  DiskFull          no room in the state folder, or more than its quota
  AlreadyRunning    another engine has the state folder
  UnusableState     the state folder is not ours or from a newer version
"""

from __future__ import annotations

import errno
import sqlite3

from syncsde_engine.errors import SyncSDEError


class Unauthorized(SyncSDEError):
    code = "unauthorized"


class Forbidden(SyncSDEError):
    code = "forbidden"


class Refused(SyncSDEError):
    """With its own status and code, such as 415 and unsupported_media_type."""

    def __init__(self, status: int, code: str, message: str, *, hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.status = status
        self.code = code


class NotFound(SyncSDEError):
    code = "not_found"


class MissingBlob(SyncSDEError):
    code = "missing_blob"


class Conflict(SyncSDEError):
    code = "conflict"


class Busy(SyncSDEError):
    code = "busy"


class DiskFull(SyncSDEError):
    code = "disk_full"
    exit_code = 3


class AlreadyRunning(SyncSDEError):
    code = "already_running"
    exit_code = 3


class UnusableState(SyncSDEError):
    code = "unusable_state"
    exit_code = 3


_STATUS = {
    "unauthorized": 401,
    "forbidden": 403,
    "not_found": 404,
    "conflict": 409,
    "invalid_request": 422,
    "invalid_mesh": 422,
    "missing_blob": 409,
    "missing_weights": 424,
    "busy": 429,
    "device_unavailable": 503,
    "disk_full": 507,
    "out_of_memory": 507,
}


def status_of(error: SyncSDEError) -> int:
    return error.status if isinstance(error, Refused) else _STATUS.get(error.code, 500)


# What SQLite says when a quota or the limit of a file's size is reached: "full" is a disk alone.
_NO_ROOM = (
    sqlite3.SQLITE_IOERR_WRITE,
    sqlite3.SQLITE_IOERR_FSYNC,
    sqlite3.SQLITE_IOERR_TRUNCATE,
    sqlite3.SQLITE_IOERR_SHMSIZE,
)


def is_disk_full(error: BaseException) -> bool:
    """Say whether the disk or the user's share of it is full, as SQLite or the system puts it."""
    if isinstance(error, sqlite3.Error):
        code = getattr(error, "sqlite_errorcode", 0)
        return code & 0xFF == sqlite3.SQLITE_FULL or code in _NO_ROOM
    return isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def is_damaged(error: BaseException) -> bool:
    """Say whether a database is broken for good."""
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    return isinstance(error, sqlite3.Error) and code in (
        sqlite3.SQLITE_CORRUPT,
        sqlite3.SQLITE_NOTADB,
    )


def disk_full() -> DiskFull:
    return DiskFull(
        "The disk, or what this user may have of it, is full.",
        hint="Free some space; what was accepted goes on then.",
    )


def store_full(quota: int) -> DiskFull:
    return DiskFull(
        f"The engine's files would take more than {quota} bytes, and all of them are needed.",
        hint="Delete results with syncsde results --delete ID, or start the engine with a larger "
        "--quota; results older than an hour go by themselves.",
    )
