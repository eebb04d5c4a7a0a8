# SPDX-License-Identifier: GPL-3.0-or-later
"""The thread that gives jobs to the worker, keeps a worker alive, and writes down what happens."""

from __future__ import annotations

import logging
import queue
import signal
import sqlite3
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from syncsde_client.protocol import JobRequest, JobState
from syncsde_engine.errors import SyncSDEError

from ..errors import is_disk_full
from ..store.files import CHECKPOINT
from ..store.jobs import Claim, Jobs
from ..store.space import Room
from . import faults
from .process import Message, Worker

CANCEL_PATIENCE = 10.0  # seconds that a step may go on after its job was cancelled
SILENCE = 120.0  # seconds without a heartbeat after which a worker is given up
ASLEEP = 10.0  # seconds without a turn: the whole machine slept, and the worker with it
MAX_CRASHES = 3  # as the error says: of workers in a row, by one job that gets no further
MAX_FAILED_STARTS = 3
MAX_RESTART_PAUSE = 60.0  # seconds, after a worker that did not even start
LOOK_FOR_ROOM = 5.0  # seconds
TICK = 0.5  # seconds
PAUSE_AFTER_ERROR = 1.0  # seconds

log = logging.getLogger(__name__)
worker_log = logging.getLogger("worker")

FIRST_GUESS = JobRequest("texture", {"prompt": "anything"})  # of what will be asked for


class WorkerCrashed(SyncSDEError):
    code = "worker_crashed"


class Supervisor:
    """Runs one job at a time on one worker; `stop` leaves a running job queued for next time."""

    def __init__(self, jobs: Jobs, room: Room, command: Sequence[str], checkpoints: Path) -> None:
        self._jobs = jobs
        self._room = room
        self._command = command
        self._checkpoints = checkpoints
        self._inbox: queue.SimpleQueue[Message | None] = queue.SimpleQueue()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="supervisor")
        self._beat = time.monotonic()
        self._worker: Worker | None = None
        self._starts = 0
        self._failed_starts = 0
        self._claim: Claim | None = None
        self._crashes: dict[str, int] = {}  # of jobs, since they last got further
        self._at = ""  # where the job is that runs
        self._kill_at: float | None = None
        self._start_at = 0.0
        self._look_at = 0.0

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """End the worker and return when both are gone, after about a second at most."""
        self._stopping.set()
        self.wake()
        self._thread.join()

    def wake(self) -> None:
        """There is a new job or a new wish to cancel one; from any thread."""
        self._inbox.put(None)

    def state(self) -> dict[str, Any]:
        """Return how the worker is and how many seconds ago each part gave a sign of life."""
        worker, claim = self._worker, self._claim
        now = time.monotonic()
        return {
            "worker": "down" if worker is None else "ready" if worker.ready else "starting",
            "worker_age": None if worker is None else round(now - worker.heard, 3),
            "worker_pid": None if worker is None else worker.pid,
            "worker_memory": None if worker is None else worker.memory,
            "devices": [] if worker is None else worker.devices,
            "worker_restarts": max(0, self._starts - 1),
            "supervisor_age": round(now - self._beat, 3),
            "job": None if claim is None else claim.id,
        }

    def _run(self) -> None:
        # The worker is started here because Linux ends it together with the thread that started it.
        while not self._stopping.is_set():
            now = time.monotonic()
            if self._worker is not None and now - self._beat > ASLEEP:
                self._worker.heard = now
            self._beat = now
            try:
                if self._jobs.damaged:
                    self._restore_jobs()
                self._turn()
            except Exception:  # nothing may end this thread: jobs would be accepted and never run
                log.exception("the supervisor cannot go on and tries again")
                self._stopping.wait(PAUSE_AFTER_ERROR)
        if self._worker is not None:
            self._worker.stop(1.0)
        if self._claim is not None:
            try:
                self._jobs.released(self._claim.id)
            except sqlite3.Error:  # then the next start finds it running and takes it up
                log.exception("job %s could not be released", self._claim.id)

    def _turn(self) -> None:
        try:
            self._next_job()
            self._keep_worker()
            self._watch_worker()
            self._watch_cancel()
            self._handle(self._inbox.get(timeout=TICK))
        except queue.Empty:
            pass
        except (sqlite3.Error, OSError):  # a full disk, mostly; the job itself is well
            raise
        except Exception as error:
            self._lose_worker(f"Internal error of the supervisor: {type(error).__name__}: {error}.")
            raise

    def _restore_jobs(self) -> None:
        """The database broke: what ran is found again as a job that waits."""
        worker, self._worker = self._worker, None
        self._free()
        if worker is not None:
            worker.stop(0)
            self._room.clean_after(worker.pid)
        self._jobs.restore()

    def _keep_worker(self) -> None:
        if self._worker is not None or time.monotonic() < self._start_at:
            return
        self._starts += 1
        try:
            self._worker = Worker(self._command, self._inbox)
        except OSError:
            self._start_failed()
            raise
        log.info("worker %d started", self._worker.pid)

    def _watch_worker(self) -> None:
        worker = self._worker
        if worker is not None and worker.ready and time.monotonic() - worker.heard > SILENCE:
            log.warning("worker %d is silent and is killed", worker.pid)
            worker.kill()

    def _start_failed(self) -> None:
        self._failed_starts += 1
        self._start_at = time.monotonic() + min(MAX_RESTART_PAUSE, 2.0**self._failed_starts / 4)

    def _next_job(self) -> None:
        if self._claim is not None:
            return
        self._resume_paused()
        self._room.sweep()
        if self._failed_starts >= MAX_FAILED_STARTS:
            # Waiting for ever would be worse than to say that nothing works here.
            while (claim := self._jobs.claim()) is not None:
                self._jobs.end(claim.id, JobState.FAILED, error=_cannot_start().as_dict())
        elif self._worker is not None and self._worker.ready:
            faults.reach("claim")
            self._claim = self._jobs.claim()
            if self._claim is not None:
                claim, self._at = self._claim, ""
                log.info("job %s: attempt %d", claim.id, claim.attempt)
                self._worker.send(
                    "run",
                    job=claim.id,
                    task=claim.request.task,
                    parameters=claim.request.parameters,
                    inputs=claim.request.inputs,
                    request_sha256=claim.request_sha256,
                )
            else:
                self._load_model(self._worker)

    def _load_model(self, worker: Worker) -> None:
        """Nothing is to be done yet: let the worker load what will probably be needed."""
        if not worker.told_to_load:
            worker.told_to_load = True
            guess = self._jobs.last_request() or FIRST_GUESS
            worker.send("load", task=guess.task, parameters=guess.parameters)

    def _watch_cancel(self) -> None:
        if self._claim is None or self._worker is None:
            return
        if self._kill_at is None:
            if self._jobs.cancel_asked(self._claim.id):
                self._worker.send("cancel", job=self._claim.id)
                faults.reach("cancelling")
                self._kill_at = time.monotonic() + CANCEL_PATIENCE
        elif time.monotonic() > self._kill_at:
            log.warning("job %s does not stop: the worker is killed", self._claim.id)
            self._worker.kill()

    def _handle(self, message: Message | None) -> None:
        if message is None:
            return
        worker, content = message
        if worker is not self._worker:
            return  # last words of one that was given up
        kind = content.pop("type")
        if kind == "ready":
            log.info("worker %d is ready", worker.pid)
            worker.ready = True
            worker.devices = content.get("devices", [])
            self._failed_starts = 0
        elif kind == "exit":
            self._worker_gone(worker, content["code"], content["words"])
        elif kind == "heartbeat":
            worker.memory = content["memory"]
        elif kind == "log":
            worker_log.log(content["level"], "%s: %s", content["name"], content["message"])
        elif self._claim is not None and content.pop("job", None) == self._claim.id:
            self._report(self._claim.id, kind, content)

    def _report(self, job_id: str, kind: str, content: dict[str, Any]) -> None:
        if kind == "progress":
            self._at = f"step {content['step']} of {content['total']} of {content['stage']}"
            return self._write(lambda: self._jobs.progress(job_id, content), needed=False)
        if kind == "kept":  # a checkpoint: the next attempt begins there
            self._crashes.pop(job_id, None)
            return
        if kind == "notice":
            return self._write(lambda: self._jobs.notice(job_id, content))
        log.info("job %s: %s", job_id, kind)
        error: dict[str, Any] = content.get("error", {})
        if kind == "done":
            result = content["result"]
            self._write(lambda: self._commit(job_id, result))
            self._room.keep_quota()
        elif kind == "cancelled":
            self._write(lambda: self._jobs.end(job_id, JobState.CANCELLED))
        elif error["code"] == "disk_full":
            self._write(lambda: self._jobs.interrupted(job_id, error, pause=True))
        else:
            self._write(lambda: self._jobs.end(job_id, JobState.FAILED, error=error))
        self._free()
        self._forget_checkpoint(job_id)

    def _commit(self, job_id: str, result: dict[str, Any]) -> None:
        faults.reach("commit")
        self._jobs.end(job_id, JobState.DONE, result=result)

    def _worker_gone(self, worker: Worker, code: int, words: str) -> None:
        log.warning("worker %d ended with code %d: %s", worker.pid, code, words)
        place = f"after {self._at}" if self._at else "before the first step"
        self._lose_worker(f"The worker process {_ended(code)} {place} of this job.", words)

    def _lose_worker(self, message: str, words: str = "") -> None:
        """End the worker; the job it had is interrupted, because of `message`."""
        worker, self._worker = self._worker, None
        if worker is not None:
            worker.stop(0)
            self._room.clean_after(worker.pid)
            if not worker.ready:
                self._start_failed()
        if self._claim is not None:
            job_id = self._claim.id
            hint = f"It said: {words}" if words else "The engine's log has the details."
            crashes = self._crashes[job_id] = self._crashes.get(job_id, 0) + 1
            if crashes >= MAX_CRASHES:
                message = f"{message} That was the third time that it got no further."
            error = WorkerCrashed(message, hint=hint).as_dict()
            if crashes >= MAX_CRASHES and not self._jobs.cancel_asked(job_id):
                self._write(lambda: self._jobs.end(job_id, JobState.FAILED, error=error))
            else:
                self._write(lambda: self._jobs.interrupted(job_id, error))
            self._free()
            self._forget_checkpoint(job_id)

    def _free(self) -> None:
        self._claim = None
        self._kill_at = None

    def _forget_checkpoint(self, job_id: str) -> None:
        """Of a job that has ended; one that waits goes on from it."""
        if self._jobs.get(job_id).state.ended:
            self._crashes.pop(job_id, None)
            (self._checkpoints / f"{job_id}{CHECKPOINT}").unlink(missing_ok=True)

    def _resume_paused(self) -> None:
        now = time.monotonic()
        if now >= self._look_at:
            self._look_at = now + LOOK_FOR_ROOM
            if self._room.is_plenty():
                self._jobs.resume_paused()

    def _write(self, write: Callable[[], None], *, needed: bool = True) -> None:
        """Make a change in the database, however long the disk stays full: it must not get lost.

        What is not `needed` may get lost then, and does not use up the reserve.
        """
        while True:
            try:
                return write()
            except sqlite3.DatabaseError as error:
                if self._jobs.damaged:
                    raise
                if is_disk_full(error) and not needed:
                    return
                if is_disk_full(error) and self._room.release_reserve():
                    log.warning("the disk is full: the reserve is used")
                    continue
                if self._stopping.wait(1.0):
                    raise
                self._beat = time.monotonic()
                log.exception("the job database cannot be written")


def _ended(code: int) -> str:
    """How a process ended, by its return code."""
    if code >= 0:
        return f"ended with code {code}"
    try:
        return f"was ended by {signal.Signals(-code).name}"
    except ValueError:
        return f"was ended by signal {-code}"


def _cannot_start() -> WorkerCrashed:
    return WorkerCrashed(
        "The worker process does not start.", hint="The engine's log has the details."
    )
