# SPDX-License-Identifier: GPL-3.0-or-later
"""The wire between the add-on and the engine process: what both sides must agree on.

Standard library only and no bpy, because the engine imports this module too. It is an envelope:
what a task's parameters mean is known by the engine alone.
"""

from __future__ import annotations

import hmac
import json
import os
import re
import secrets
import stat
import sys
import time
from collections.abc import Mapping
from dataclasses import MISSING, asdict, dataclass, field, fields
from enum import StrEnum
from pathlib import Path
from typing import Any, TypeVar

PROTOCOL = 2  # raised whenever an older client or engine would misunderstand the other

HOST = "127.0.0.1"
PROTOCOL_HEADER = "SyncSDE-Protocol"
CLIENT_HEADER = "SyncSDE-Client"  # who asks: an id that the client has made up for itself
CHALLENGE_HEADER = "SyncSDE-Challenge"  # of a request to /healthz without the token
PROOF_HEADER = "SyncSDE-Proof"  # of its answer: `proof` of the challenge
JSON_TYPE = "application/json"
BLOB_TYPE = "application/octet-stream"
EVENT_STREAM_TYPE = "text/event-stream"

MAX_JSON_BYTES = 1 << 20
MAX_BLOB_BYTES = 4 << 30
MAX_EVENTS = 1000  # in one answer
MAX_WAIT = 60.0  # seconds
MAX_PRIORITY = 100  # and as much below 0
LEASE = 15.0  # seconds that an engine without parent stays after a client's last request

SHA256_PATTERN = r"^[0-9a-f]{64}$"
KEY_PATTERN = r"^[A-Za-z0-9_.-]{1,64}$"
JOB_ID_PATTERN = r"^[0-9a-f]{32}$"
CHALLENGE_PATTERN = r"^[0-9a-f]{32}$"
MAX_NAME = 1000  # characters of the name of a result's file
EXIT_CODES = {  # of command lines, by the code of the error; 1 for all others
    "invalid_request": 2,
    "invalid_mesh": 2,
    "missing_blob": 2,
    "not_found": 2,
    "conflict": 2,
    "missing_weights": 3,
    "device_unavailable": 3,
    "not_running": 3,
    "unreachable": 3,
    "unavailable": 3,  # no engine is installed, or a client's own files are out of reach
    "untrusted": 3,
    "disk_full": 3,
    "out_of_memory": 4,
    "cancelled": 5,
}

CONNECTION_FILE = "engine.json"
STATE_DIR_VARIABLE = "SYNCSDE_STATE_DIR"

T = TypeVar("T")


class JobState(StrEnum):
    """Where a job is; `paused` waits for room on the disk and goes on by itself."""

    QUEUED = "queued"
    RUNNING = "running"
    PAUSED = "paused"
    DONE = "done"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def ended(self) -> bool:
        return self in (JobState.DONE, JobState.FAILED, JobState.CANCELLED)


@dataclass(frozen=True)
class JobRequest:
    """One job to do: `inputs` maps names to the SHA-256 of blobs that the engine already has.

    Two requests with the same `key` are one job, however often they are sent. Higher priorities
    go first.
    """

    task: str
    parameters: Mapping[str, Any]
    inputs: Mapping[str, str] = field(default_factory=dict)
    key: str | None = None
    priority: int = 0


@dataclass(frozen=True)
class Job:
    """A job as the engine reports it; times are seconds since the epoch."""

    id: str
    task: str
    state: JobState
    attempts: int
    last_event: int
    created: float
    started: float | None
    finished: float | None
    result: dict[str, dict[str, Any]] | None  # file name -> {"sha256": ..., "size": bytes}
    error: dict[str, Any] | None  # code, message, hint, field; of a paused job, why it waits
    owner: str | None = None  # the client that submitted it
    priority: int = 0
    place: int | None = None  # of a queued job: 1 is next
    wait: float | None = None  # of a queued job: seconds until its turn, where that can be guessed


@dataclass(frozen=True)
class Event:
    """Something that happened to a job, numbered from 1 without gaps.

    `data` depends on `type`:
    - "state": `state`, `attempt`, perhaps `error`; of a queued job also `place` and `wait`.
    - "queue": a new `place` and `wait` of a queued job.
    - "progress": `stage`, `step`, `total`, `seconds_left` of the stage or None, and `preview`, the
      SHA-256 of a PNG or None.
    - "notice": `code` and `message` of something worth knowing that ends nothing.
    """

    number: int
    type: str
    time: float
    data: dict[str, Any]


@dataclass(frozen=True)
class Connection:
    """How to reach a running engine. The token is a secret of this user."""

    protocol: int
    host: str
    port: int
    token: str = field(repr=False)
    pid: int
    instance: str
    version: str
    certificate: str | None = None  # PEM, where the engine speaks TLS

    def write(self, folder: Path) -> None:
        """Publish this in `folder`, readable by this user alone, all at once."""
        temporary = folder / f"{CONNECTION_FILE}.{secrets.token_hex(4)}"
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL
        with os.fdopen(os.open(temporary, flags, 0o600), "w", encoding="utf-8") as file:
            json.dump(asdict(self), file)
            file.flush()
            os.fsync(file.fileno())
        replace(temporary, folder / CONNECTION_FILE)

    @classmethod
    def read(cls, folder: Path) -> Connection | None:
        """Return what the last engine published in `folder`; None if there is nothing usable.

        Raises PermissionError if another user could have written it: who owns the address that it
        names would be sent everything.
        """
        path = folder / CONNECTION_FILE
        flags = os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)
        try:
            _require_private(folder.stat(), folder)
            with os.fdopen(os.open(path, flags), encoding="utf-8") as file:
                _require_private(os.fstat(file.fileno()), path)
                return from_json(cls, json.load(file))
        except OSError as error:
            if is_not_private(error):
                raise
            return None
        except (ValueError, RecursionError):
            return None


def from_json(cls: type[T], content: Any) -> T:
    """Make one of the dataclasses above from decoded JSON, ignoring fields it does not know.

    Raises ValueError when a field is missing that has no default.
    """
    known = {each.name: each.default is MISSING for each in fields(cls)}  # type: ignore[arg-type]
    if not isinstance(content, dict) or not all(
        name in content for name, needed in known.items() if needed
    ):
        raise ValueError(f"this is not a {cls.__name__}")
    values: dict[str, Any] = {name: content[name] for name in known if name in content}
    if "state" in values:
        values["state"] = JobState(values["state"])
    return cls(**values)


def is_sha256(text: str) -> bool:
    return re.fullmatch(SHA256_PATTERN, text) is not None


def is_plain_path(name: str) -> bool:
    """Say whether the name of a result's file stays in the folder that it is written to.

    Folders in it are separated by slashes; no part is hidden, on any system.
    """
    return (
        0 < len(name) <= MAX_NAME
        and not re.search(r"[\x00-\x1f\x7f\\:]", name)
        and all(part and not part.startswith(".") for part in name.split("/"))
    )


def proof(token: str, challenge: str, address: str) -> str:
    """What only who has the token can answer to a challenge, at HOST:PORT, which tells no token."""
    return hmac.new(token.encode(), f"{challenge} {address}".encode(), "sha256").hexdigest()


def state_dir() -> Path:
    """Return the folder of the engine's files: $SYNCSDE_STATE_DIR, or the user's own place."""
    if chosen := os.environ.get(STATE_DIR_VARIABLE):
        return Path(chosen)
    if sys.platform == "win32":
        local = os.environ.get("LOCALAPPDATA")
        return (Path(local) if local else Path.home() / "AppData" / "Local") / "SyncSDE"
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Application Support" / "SyncSDE"
    state = os.environ.get("XDG_STATE_HOME")
    return (Path(state) if state else Path.home() / ".local" / "state") / "syncsde"


def make_private(folder: Path) -> Path:
    """Create `folder` for this user alone; one that exists must be so already and stays as it is.

    Raises PermissionError if others can enter it or it is somebody else's.
    """
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    _require_private(folder.stat(), folder)
    return folder


def _require_private(found: os.stat_result, path: Path) -> None:
    """Raise PermissionError unless a file or folder is this user's own and closed to all others."""
    if sys.platform == "win32":  # there the user's own folder is private by inheritance
        return
    if found.st_uid != os.getuid():
        raise PermissionError(f"{path} belongs to another user.")
    if found.st_mode & 0o077 and stat.S_ISDIR(found.st_mode):
        raise PermissionError(
            f"Other users can enter {path}: name a folder that does not exist yet, "
            "or close this one to them with chmod 700."
        )
    if found.st_mode & 0o077:
        raise PermissionError(
            f"Other users can read {path}: end the engine, delete the file and start it again."
        )


def is_not_private(error: OSError) -> bool:
    """Tell what `make_private` and `Connection.read` refuse from what the system does."""
    return isinstance(error, PermissionError) and error.strerror is None


def replace(source: Path, target: Path) -> None:
    """Rename over `target`, trying again for a second while Windows has it open elsewhere."""
    for _ in range(20):
        try:
            return os.replace(source, target)
        except PermissionError:
            if sys.platform != "win32":
                raise
            time.sleep(0.05)
    os.replace(source, target)
