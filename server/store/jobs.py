# SPDX-License-Identifier: GPL-3.0-or-later
"""The jobs and their numbered events in SQLite: whatever is killed, an accepted job is still here.

queued -> running -> done | failed | cancelled;  running -> queued after a crash that need not be
the job's own fault, or paused while the disk is full;  paused -> queued.
"""

from __future__ import annotations

import json
import logging
import sqlite3
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Literal, NamedTuple

from syncsde_client.protocol import MAX_EVENTS, Event, Job, JobRequest, JobState

from ..errors import Busy, Conflict, NotFound, is_damaged, is_disk_full
from . import queue as queue_order
from . import rows
from .ledger import ACCEPTED, ENDED, Ledger
from .restore import opened, start_anew

log = logging.getLogger(__name__)

Json = Mapping[str, Any]

MAX_QUEUED = 1000
MAX_ENDED = 1000  # older ones are forgotten, with their results
KEPT_FOR_CERTAIN = 3600.0  # seconds that a result is kept even if the store is full


class Claim(NamedTuple):
    """A job that the caller now has to run."""

    id: str
    attempt: int
    request: JobRequest
    request_sha256: str


class Jobs:
    """All jobs of one state folder. Methods may be called from any thread and are durable when
    they return; `changed` is called after each that changed something.

    A broken database is set aside, and the jobs come back from their second record; `trouble` says
    so in one sentence. When it breaks later on, `damaged` is set until `restore` is called.
    """

    def __init__(self, path: Path, changed: Callable[[], None] = lambda: None) -> None:
        self.damaged = False
        self._path = path
        self._changed = changed
        self._lock = threading.Lock()
        self._ledger = Ledger(path.with_suffix(".jsonl"))
        self._lines: list[dict[str, Any]] = []  # for the ledger, when the transaction is done
        self._db, self.trouble = opened(path, self._ledger)

    def close(self) -> None:
        with self._lock:
            self._db.close()

    def restore(self) -> None:
        """Set a database aside that broke while it was in use, and go on with what is known."""
        with self._lock:
            self._db.close()
            self._db, self.trouble = start_anew(self._path, self._ledger)
            self.damaged = False
        self._changed()

    # What clients ask for

    def submit(
        self,
        request: JobRequest,
        *,
        owner: str | None = None,
        recipe: str | None = None,
        is_here: Callable[[str], bool] = lambda sha256: True,
    ) -> tuple[Job, bool]:
        """Queue a job, or find the one with the same key; the second value says if it is new.

        Two jobs with the same `recipe` have the same result: if there is one that is done and whose
        files are still here, the new job is done at once. Raises Conflict if the key was used for
        another request, Busy if the queue is full.
        """
        text, digest = rows.canonical(request)
        with self._transaction():
            known = self._with_key(request.key, digest)
            if known is not None:
                return self._job(known), False
            if len(self._in_state(JobState.QUEUED)) >= MAX_QUEUED:
                raise Busy(f"{MAX_QUEUED} jobs are waiting already.", hint="Try again later.")
            job_id = uuid.uuid4().hex
            self._db.execute(
                "INSERT INTO jobs (id, key, request, request_sha256, task, state, created, owner,"
                " priority, recipe, turn) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?,"
                " (SELECT ifnull(max(turn), 0) + 1 FROM jobs))",
                (
                    job_id,
                    request.key,
                    text,
                    digest,
                    request.task,
                    JobState.QUEUED,
                    time.time(),
                    owner,
                    request.priority,
                    recipe,
                ),
            )
            self._use(job_id, "input", *request.inputs.values())
            self._record_state(job_id)
            row = self._row(job_id)
            self._lines.append({name: row[name] for name in ACCEPTED})
            finished = self._finished(recipe, is_here)
            if finished is not None:
                self._record(
                    job_id,
                    "notice",
                    {"code": "reused", "message": f"Job {finished['id']} had the same result."},
                )
                self._end(job_id, JobState.DONE, result=json.loads(finished["result"]))
            return self._job(self._row(job_id)), True

    def get(self, job_id: str) -> Job:
        """Raises NotFound."""
        with self._reading():
            return self._job(self._row(job_id))

    def newest(self, limit: int = 100, owner: str | None = None) -> list[Job]:
        """The jobs submitted last, latest first; with `owner`, only that client's."""
        with self._reading():
            found = self._db.execute(
                "SELECT * FROM jobs WHERE ?1 IS NULL OR owner = ?1 ORDER BY position DESC LIMIT ?2",
                (owner, limit),
            ).fetchall()
            places = queue_order.places(self._db)
            return [rows.job(row, places) for row in found]

    def events(self, job_id: str, after: int = 0) -> list[Event]:
        """Return up to MAX_EVENTS events numbered above `after`. Raises NotFound."""
        with self._reading():
            position = self._row(job_id)["position"]
            found = self._db.execute(
                "SELECT number, type, time, data FROM events"
                " WHERE job = ? AND number > ? ORDER BY number LIMIT ?",
                (position, after, MAX_EVENTS),
            )
            return [Event(row[0], row[1], row[2], rows.load(row[3]) or {}) for row in found]

    def counts(self) -> dict[str, int]:
        """Return how many jobs are in each state."""
        with self._reading():
            found = self._db.execute("SELECT state, count(*) FROM jobs GROUP BY state")
            return {state.value: 0 for state in JobState} | {row[0]: row[1] for row in found}

    def ask_cancel(self, job_id: str) -> Job:
        """Cancel a job that waits at once, and mark one that runs. Raises NotFound."""
        with self._transaction():
            self._cancel(self._row(job_id))
            self._announce()
            return self._job(self._row(job_id))

    def ask_cancel_all(self, owner: str | None) -> list[str]:
        """Cancel all jobs of a client that have not ended; return their ids."""
        with self._transaction():
            found = self._db.execute(
                "SELECT * FROM jobs WHERE owner IS ? AND state IN (?, ?, ?) ORDER BY position",
                (owner, JobState.QUEUED, JobState.PAUSED, JobState.RUNNING),
            ).fetchall()
            for row in found:
                self._cancel(row)
            self._announce()
            return [row["id"] for row in found]

    def move(
        self,
        job_id: str,
        to: Literal["first", "last"] | None = None,
        before: str | None = None,
        priority: int | None = None,
    ) -> Job:
        """Give a queued job another place: among those of its priority, or of `before`'s.

        Raises NotFound, Conflict if one of them does not wait.
        """
        with self._transaction():
            for each in (job_id, *([before] if before else [])):
                if self._row(each)["state"] != JobState.QUEUED:
                    raise Conflict(f"Job {each} does not wait in the queue.", field="id")
            queue_order.move(self._db, job_id, to, before, priority)
            self._announce()
            return self._job(self._row(job_id))

    # What the supervisor does

    def claim(self) -> Claim | None:
        """Take the next job in the queue; it is running from now on and this is an attempt."""
        with self._transaction():
            waiting = self._next()
            while waiting is not None and rows.request(waiting) is None:
                self._end(waiting["id"], JobState.FAILED, error=rows.damaged())  # it alone
                waiting = self._next()
            if waiting is None:
                return None
            self._db.execute(
                "UPDATE jobs SET state = ?, attempts = attempts + 1, started = ? WHERE id = ?",
                (JobState.RUNNING, time.time(), waiting["id"]),
            )
            row = self._row(waiting["id"])
            self._record_state(row["id"])
            self._announce()
            request = rows.request(row)
            assert request is not None
            return Claim(row["id"], row["attempts"], request, row["request_sha256"])

    def cancel_asked(self, job_id: str) -> bool:
        with self._reading():
            return bool(self._row(job_id)["cancel_asked"])

    def progress(self, job_id: str, data: Json) -> None:
        """Record a step. Survives the engine's death; the last ones may be lost in a power cut."""
        with self._transaction(durable=False):
            self._record(job_id, "progress", data)
            if data.get("preview"):
                self._use(job_id, "preview", data["preview"])

    def notice(self, job_id: str, data: Json) -> None:
        """Record something worth knowing that does not end the job."""
        with self._transaction():
            self._record(job_id, "notice", data)

    def end(
        self, job_id: str, state: JobState, *, result: Json | None = None, error: Json | None = None
    ) -> None:
        """The job is done, failed or cancelled, for good."""
        with self._transaction():
            self._end(job_id, state, result=result, error=error)

    def interrupted(self, job_id: str, error: Json, *, pause: bool = False) -> None:
        """The attempt came to nothing, because of `error`: the job waits for another.

        With `pause` for no fault of the job: it waits for `resume_paused` instead of its turn, and
        the attempt does not count.
        """
        with self._transaction():
            if pause:
                self._db.execute("UPDATE jobs SET attempts = attempts - 1 WHERE id = ?", (job_id,))
            row = self._row(job_id)
            self._wait(row, JobState.PAUSED if pause else JobState.QUEUED, error)

    def released(self, job_id: str) -> None:
        """The engine leaves in an orderly way: the job waits again, the attempt does not count."""
        with self._transaction():
            self._db.execute("UPDATE jobs SET attempts = attempts - 1 WHERE id = ?", (job_id,))
            self._wait(self._row(job_id), JobState.QUEUED)

    def resume_paused(self) -> None:
        with self._transaction():
            for row in self._in_state(JobState.PAUSED):
                self._wait(row, JobState.QUEUED)
            self._announce()

    def recover(self, error: Json) -> None:
        """Once at start: jobs that ran when the last engine was killed are interrupted."""
        with self._transaction():
            for row in self._in_state(JobState.RUNNING):
                self._wait(row, JobState.QUEUED, error)

    def unfinished(self) -> set[str]:
        """The ids of all jobs that have not ended."""
        with self._reading():
            found = self._db.execute(
                "SELECT id FROM jobs WHERE state NOT IN ('done', 'failed', 'cancelled')"
            )
            return {row["id"] for row in found}

    def last_request(self) -> JobRequest | None:
        """What was asked for last, as a guess of what will be asked next."""
        with self._reading():
            row = self._db.execute(
                "SELECT request FROM jobs ORDER BY position DESC LIMIT 1"
            ).fetchone()
            return None if row is None else rows.request(row)

    # What keeps the store small

    def used_blobs(self) -> set[str]:
        """The SHA-256 of every blob that a job still needs, or that is its result."""
        with self._reading():
            return {row[0] for row in self._db.execute("SELECT DISTINCT sha256 FROM uses")}

    def forget(self, keep: int = MAX_ENDED) -> int:
        """Forget ended jobs beyond the last `keep`; return how many.

        By their order and not by their age: a clock that is set ahead must cost nobody a result.
        """
        with self._transaction():
            return self._db.execute(
                "DELETE FROM jobs WHERE state IN ('done', 'failed', 'cancelled') AND"
                " position NOT IN (SELECT position FROM jobs WHERE finished"
                " IS NOT NULL ORDER BY position DESC LIMIT ?)",
                (keep,),
            ).rowcount

    def forget_job(self, job_id: str) -> None:
        """Forget an ended job and its result. Raises NotFound, Conflict if it has not ended."""
        with self._transaction():
            if not self._job(self._row(job_id)).state.ended:
                raise Conflict(f"Job {job_id} has not ended.", hint="Cancel it first.", field="id")
            self._db.execute("DELETE FROM jobs WHERE id = ?", (job_id,))

    def forget_oldest(self) -> bool:
        """Forget the ended job with a result that ended first, if there is one, to make room."""
        with self._transaction():
            return bool(
                self._db.execute(
                    "DELETE FROM jobs WHERE position = (SELECT position FROM jobs WHERE"
                    " result IS NOT NULL AND abs(finished - ?) > ? ORDER BY position LIMIT 1)",
                    (time.time(), KEPT_FOR_CERTAIN),
                ).rowcount
            )

    # Inside a transaction

    @contextmanager
    def _reading(self) -> Iterator[None]:
        with self._lock:
            try:
                yield
            except sqlite3.DatabaseError as error:
                self.damaged = self.damaged or is_damaged(error)
                raise

    @contextmanager
    def _transaction(self, *, durable: bool = True) -> Iterator[None]:
        with self._reading():
            self._lines.clear()
            before = self._db.total_changes
            if not durable:
                self._db.execute("PRAGMA synchronous = NORMAL")
            self._db.execute("BEGIN IMMEDIATE")
            try:
                yield
                self._db.execute("COMMIT")
            except BaseException as error:
                if self._db.in_transaction:  # a full disk may have rolled it back already
                    self._db.execute("ROLLBACK")
                if is_disk_full(error):  # the log may be what has become too large
                    with suppress(sqlite3.Error):
                        self._db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
                raise
            finally:
                if not durable:
                    self._db.execute("PRAGMA synchronous = FULL")
            changed = self._db.total_changes != before
            if self._lines:
                self._ledger.append(self._lines)
        if changed:
            self._changed()

    def _row(self, job_id: str) -> sqlite3.Row:
        row = self._db.execute("SELECT * FROM jobs WHERE id = ?", (job_id,)).fetchone()
        if row is None:
            raise NotFound(f"There is no job {job_id!r}.")
        return row

    def _job(self, row: sqlite3.Row) -> Job:
        waits = row["state"] == JobState.QUEUED
        return rows.job(row, queue_order.places(self._db) if waits else {})

    def _with_key(self, key: str | None, digest: str) -> sqlite3.Row | None:
        if key is None:
            return None
        row = self._db.execute("SELECT * FROM jobs WHERE key = ?", (key,)).fetchone()
        if row is not None and row["request_sha256"] != digest:
            raise Conflict(
                "This key was used for another request.",
                hint="Use a new key for each new job.",
                field="key",
            )
        return row

    def _finished(self, recipe: str | None, is_here: Callable[[str], bool]) -> sqlite3.Row | None:
        row = self._db.execute(
            "SELECT * FROM jobs WHERE recipe = ? AND state = ? ORDER BY position DESC LIMIT 1",
            (recipe, JobState.DONE),
        ).fetchone()
        if row is None:
            return None
        files = rows.load(row["result"])
        if files is None:
            return None
        return row if all(is_here(file["sha256"]) for file in files.values()) else None

    def _next(self) -> sqlite3.Row | None:
        return self._db.execute(
            "SELECT * FROM jobs WHERE state = ? ORDER BY priority DESC, turn LIMIT 1",
            (JobState.QUEUED,),
        ).fetchone()

    def _in_state(self, state: JobState) -> list[sqlite3.Row]:
        return self._db.execute(
            "SELECT * FROM jobs WHERE state = ? ORDER BY turn DESC", (state,)
        ).fetchall()

    def _cancel(self, row: sqlite3.Row) -> None:
        if not JobState(row["state"]).ended:
            self._db.execute("UPDATE jobs SET cancel_asked = 1 WHERE id = ?", (row["id"],))
            if row["state"] != JobState.RUNNING:
                self._end(row["id"], JobState.CANCELLED)

    def _wait(self, row: sqlite3.Row, state: JobState, error: Json | None = None) -> None:
        """Let a job wait that was begun: in the queue it comes before all of its priority."""
        if row["cancel_asked"]:
            return self._end(row["id"], JobState.CANCELLED)
        reason = rows.dump(error) if state == JobState.PAUSED else None
        self._db.execute(
            "UPDATE jobs SET state = ?, error = ?, turn = (SELECT min(turn) - 1 FROM jobs)"
            " WHERE id = ?",
            (state, reason, row["id"]),
        )
        self._record_state(row["id"], error)

    def _end(
        self, job_id: str, state: JobState, *, result: Json | None = None, error: Json | None = None
    ) -> None:
        self._db.execute(
            "UPDATE jobs SET state = ?, finished = ?, result = ?, error = ? WHERE id = ?",
            (state, time.time(), rows.dump(result), rows.dump(error), job_id),
        )
        self._db.execute(
            "DELETE FROM uses WHERE job = (SELECT position FROM jobs WHERE id = ?)", (job_id,)
        )
        self._use(job_id, "result", *(file["sha256"] for file in (result or {}).values()))
        self._record_state(job_id, error)
        row = self._row(job_id)
        self._lines.append({name: row[name] for name in ENDED})

    def _use(self, job_id: str, kind: str, *blobs: str) -> None:
        self._db.executemany(
            "INSERT OR IGNORE INTO uses SELECT ?, position, ? FROM jobs WHERE id = ?",
            [(sha256, kind, job_id) for sha256 in blobs],
        )

    def _announce(self) -> None:
        """Tell those at the head of the queue how far they have come."""
        for job_id, place in queue_order.news(self._db):
            self._record(job_id, "queue", place._asdict())

    def _record_state(self, job_id: str, error: Json | None = None) -> None:
        row = self._row(job_id)
        data: dict[str, Any] = {"state": row["state"], "attempt": row["attempts"]}
        if row["state"] == JobState.QUEUED:
            data |= queue_order.places(self._db)[job_id]._asdict()
        self._record(job_id, "state", data if error is None else {**data, "error": error})

    def _record(self, job_id: str, kind: str, data: Json) -> None:
        self._db.execute("UPDATE jobs SET last_event = last_event + 1 WHERE id = ?", (job_id,))
        self._db.execute(
            "INSERT INTO events SELECT position, last_event, ?, ?, ? FROM jobs WHERE id = ?",
            (kind, time.time(), json.dumps(data), job_id),
        )
