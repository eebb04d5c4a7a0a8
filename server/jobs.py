# SPDX-License-Identifier: GPL-3.0-or-later
"""The jobs and their numbered events in SQLite: whatever is killed, an accepted job is still here.

queued -> running -> done | failed | cancelled;  running -> queued after a crash, or paused while
the disk is full;  paused -> queued.
"""

from __future__ import annotations

import hashlib
import json
import sqlite3
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from blender_addon.protocol import MAX_EVENTS, Event, Job, JobRequest, JobState

from .errors import Busy, Conflict, NotFound, UnusableState

Json = Mapping[str, Any]

SCHEMA_VERSION = 1
MAX_ATTEMPTS = 3
MAX_QUEUED = 1000

_SCHEMA = """
CREATE TABLE jobs (
    position INTEGER PRIMARY KEY AUTOINCREMENT,
    id TEXT NOT NULL UNIQUE,
    key TEXT UNIQUE,
    request TEXT NOT NULL,
    request_sha256 TEXT NOT NULL,
    task TEXT NOT NULL,
    state TEXT NOT NULL,
    attempts INTEGER NOT NULL DEFAULT 0,
    cancel_asked INTEGER NOT NULL DEFAULT 0,
    last_event INTEGER NOT NULL DEFAULT 0,
    created REAL NOT NULL,
    started REAL,
    finished REAL,
    result TEXT,
    error TEXT
) STRICT;
CREATE INDEX jobs_by_state ON jobs (state, position);
CREATE TABLE events (
    job INTEGER NOT NULL REFERENCES jobs (position) ON DELETE CASCADE,
    number INTEGER NOT NULL,
    type TEXT NOT NULL,
    time REAL NOT NULL,
    data TEXT NOT NULL,
    PRIMARY KEY (job, number)
) STRICT, WITHOUT ROWID;
PRAGMA user_version = 1;
"""


class Claim(NamedTuple):
    """A job that the caller now has to run."""

    id: str
    attempt: int
    request: JobRequest


class Jobs:
    """All jobs of one state folder. Methods may be called from any thread and are durable when
    they return; `changed` is called after each that changed something."""

    def __init__(self, path: Path, changed: Callable[[], None] = lambda: None) -> None:
        self._changed = changed
        self._lock = threading.Lock()
        self._db = sqlite3.connect(path, check_same_thread=False, isolation_level=None, timeout=5)
        self._db.row_factory = sqlite3.Row
        version = self._db.execute("PRAGMA user_version").fetchone()[0]
        if version > SCHEMA_VERSION:
            self._db.close()
            raise UnusableState(
                f"{path} was written by a newer version of the engine.",
                hint="Update this engine, or use another --state-dir.",
            )
        self._db.execute("PRAGMA journal_mode = WAL")
        self._db.execute("PRAGMA synchronous = FULL")
        self._db.execute("PRAGMA foreign_keys = ON")
        if version == 0:
            self._db.executescript(f"BEGIN; {_SCHEMA} COMMIT;")

    def close(self) -> None:
        with self._lock:
            self._db.close()

    # What clients ask for

    def submit(self, request: JobRequest) -> tuple[Job, bool]:
        """Queue a job, or find the one with the same key; the second value says if it is new.

        Raises Conflict if the key was used for another request, Busy if the queue is full.
        """
        text = json.dumps(
            {
                "task": request.task,
                "parameters": dict(request.parameters),
                "inputs": dict(request.inputs),
            },
            sort_keys=True,
        )
        digest = hashlib.sha256(text.encode()).hexdigest()
        with self._transaction():
            if request.key is not None:
                known = self._db.execute(
                    "SELECT * FROM jobs WHERE key = ?", (request.key,)
                ).fetchone()
                if known is not None:
                    if known["request_sha256"] != digest:
                        raise Conflict(
                            "This key was used for another request.",
                            hint="Use a new key for each new job.",
                            field="key",
                        )
                    return _job(known), False
            if len(self._in_state(JobState.QUEUED)) >= MAX_QUEUED:
                raise Busy(f"{MAX_QUEUED} jobs are waiting already.", hint="Try again later.")
            job_id = uuid.uuid4().hex
            self._db.execute(
                "INSERT INTO jobs (id, key, request, request_sha256, task, state, created)"
                " VALUES (?, ?, ?, ?, ?, ?, ?)",
                (job_id, request.key, text, digest, request.task, JobState.QUEUED, time.time()),
            )
            self._record_state(self._row(job_id))
            return _job(self._row(job_id)), True

    def get(self, job_id: str) -> Job:
        """Raises NotFound."""
        with self._lock:
            return _job(self._row(job_id))

    def newest(self, limit: int = 100) -> list[Job]:
        with self._lock:
            rows = self._db.execute("SELECT * FROM jobs ORDER BY position DESC LIMIT ?", (limit,))
            return [_job(row) for row in rows]

    def events(self, job_id: str, after: int = 0) -> list[Event]:
        """Return up to MAX_EVENTS events numbered above `after`. Raises NotFound."""
        with self._lock:
            position = self._row(job_id)["position"]
            rows = self._db.execute(
                "SELECT number, type, time, data FROM events"
                " WHERE job = ? AND number > ? ORDER BY number LIMIT ?",
                (position, after, MAX_EVENTS),
            )
            return [Event(row[0], row[1], row[2], json.loads(row[3])) for row in rows]

    def counts(self) -> dict[str, int]:
        """Return how many jobs are in each state."""
        with self._lock:
            found = self._db.execute("SELECT state, count(*) FROM jobs GROUP BY state")
            return {state.value: 0 for state in JobState} | {row[0]: row[1] for row in found}

    def ask_cancel(self, job_id: str) -> Job:
        """Cancel a job that waits at once, and mark one that runs. Raises NotFound."""
        with self._transaction():
            row = self._row(job_id)
            if not JobState(row["state"]).ended:
                self._db.execute("UPDATE jobs SET cancel_asked = 1 WHERE id = ?", (job_id,))
                if row["state"] != JobState.RUNNING:
                    self._end(job_id, JobState.CANCELLED)
            return _job(self._row(job_id))

    # What the supervisor does

    def claim(self) -> Claim | None:
        """Take the job that waits longest; it is running from now on and this is an attempt."""
        with self._transaction():
            waiting = self._db.execute(
                "SELECT id FROM jobs WHERE state = ? ORDER BY position LIMIT 1", (JobState.QUEUED,)
            ).fetchone()
            if waiting is None:
                return None
            self._db.execute(
                "UPDATE jobs SET state = ?, attempts = attempts + 1, started = ? WHERE id = ?",
                (JobState.RUNNING, time.time(), waiting["id"]),
            )
            row = self._row(waiting["id"])
            self._record_state(row)
            return Claim(row["id"], row["attempts"], JobRequest(**json.loads(row["request"])))

    def cancel_asked(self, job_id: str) -> bool:
        with self._lock:
            return bool(self._row(job_id)["cancel_asked"])

    def progress(self, job_id: str, data: Mapping[str, Any]) -> None:
        with self._transaction():
            self._record(job_id, "progress", data)

    def end(
        self, job_id: str, state: JobState, *, result: Json | None = None, error: Json | None = None
    ) -> None:
        """The job is done, failed or cancelled, for good."""
        with self._transaction():
            self._end(job_id, state, result=result, error=error)

    def interrupted(self, job_id: str, error: Json, *, pause: bool = False) -> None:
        """The attempt came to nothing: try again, or give up with `error` after the last attempt.

        With `pause` the job waits for `resume_paused` instead of its turn.
        """
        with self._transaction():
            self._interrupt(self._row(job_id), error, pause)

    def released(self, job_id: str) -> None:
        """The engine leaves in an orderly way: the job waits again, the attempt does not count."""
        with self._transaction():
            self._db.execute("UPDATE jobs SET attempts = attempts - 1 WHERE id = ?", (job_id,))
            self._wait(self._row(job_id), JobState.QUEUED)

    def resume_paused(self) -> None:
        with self._transaction():
            for row in self._in_state(JobState.PAUSED):
                self._wait(row, JobState.QUEUED)

    def recover(self, error: Json) -> None:
        """Once at start: jobs that ran when the last engine was killed are interrupted."""
        with self._transaction():
            for row in self._in_state(JobState.RUNNING):
                self._interrupt(row, error, pause=False)

    # Inside a transaction

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        with self._lock:
            before = self._db.total_changes
            self._db.execute("BEGIN IMMEDIATE")
            try:
                yield
                self._db.execute("COMMIT")
            except BaseException:
                if self._db.in_transaction:  # a full disk may have rolled it back already
                    self._db.execute("ROLLBACK")
                raise
            changed = self._db.total_changes != before
        if changed:
            self._changed()

    def _row(self, job_id: str) -> sqlite3.Row:
        row = self._db.execute("SELECT * FROM jobs WHERE id = ?", (job_id,)).fetchone()
        if row is None:
            raise NotFound(f"There is no job {job_id!r}.")
        return row

    def _in_state(self, state: JobState) -> list[sqlite3.Row]:
        return self._db.execute("SELECT * FROM jobs WHERE state = ?", (state,)).fetchall()

    def _interrupt(self, row: sqlite3.Row, error: Json, pause: bool) -> None:
        if row["attempts"] >= MAX_ATTEMPTS and not row["cancel_asked"]:
            self._end(row["id"], JobState.FAILED, error=error)
        else:
            self._wait(row, JobState.PAUSED if pause else JobState.QUEUED, error)

    def _wait(self, row: sqlite3.Row, state: JobState, error: Json | None = None) -> None:
        if row["cancel_asked"]:
            return self._end(row["id"], JobState.CANCELLED)
        self._db.execute("UPDATE jobs SET state = ? WHERE id = ?", (state, row["id"]))
        self._record_state(self._row(row["id"]), error)

    def _end(
        self, job_id: str, state: JobState, *, result: Json | None = None, error: Json | None = None
    ) -> None:
        self._db.execute(
            "UPDATE jobs SET state = ?, finished = ?, result = ?, error = ? WHERE id = ?",
            (state, time.time(), _dump(result), _dump(error), job_id),
        )
        self._record_state(self._row(job_id), error)

    def _record_state(self, row: sqlite3.Row, error: Json | None = None) -> None:
        data: dict[str, Any] = {"state": row["state"], "attempt": row["attempts"]}
        self._record(row["id"], "state", data if error is None else {**data, "error": error})

    def _record(self, job_id: str, kind: str, data: Json) -> None:
        self._db.execute("UPDATE jobs SET last_event = last_event + 1 WHERE id = ?", (job_id,))
        self._db.execute(
            "INSERT INTO events SELECT position, last_event, ?, ?, ? FROM jobs WHERE id = ?",
            (kind, time.time(), json.dumps(data), job_id),
        )


def _dump(content: Json | None) -> str | None:
    return None if content is None else json.dumps(content)


def _job(row: sqlite3.Row) -> Job:
    return Job(
        id=row["id"],
        task=row["task"],
        state=JobState(row["state"]),
        attempts=row["attempts"],
        last_event=row["last_event"],
        created=row["created"],
        started=row["started"],
        finished=row["finished"],
        result=None if row["result"] is None else json.loads(row["result"]),
        error=None if row["error"] is None else json.loads(row["error"]),
    )
