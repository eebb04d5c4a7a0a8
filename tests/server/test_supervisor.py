# SPDX-License-Identifier: GPL-3.0-or-later
"""The supervisor with a real worker process, in this process, so that its patience can be cut."""

from __future__ import annotations

import sys
import threading

import pytest

from syncsde_client.protocol import JobRequest, JobState, make_private
from syncsde_server.store.blobs import BlobStore
from syncsde_server.store.jobs import Jobs
from syncsde_server.store.space import Room
from syncsde_server.work import supervisor as supervisor_module
from syncsde_server.work.supervisor import MAX_CRASHES, Supervisor
from tests.server.running import COMMAND, is_gone, wait_until

# A worker that says each of its arguments, then does every job; in them JOB is its id.
SCRIPTED = """
import json, sys
out = sys.stdout.buffer
said = [text.encode("latin-1") + b"\\n" for text in sys.argv[2:]]
first = sys.argv[1] == "at start"
out.writelines(said if first else [])
out.write(b'{"type": "ready"}\\n')
out.flush()
for line in sys.stdin:
    message = json.loads(line)
    if message["type"] != "run":
        continue
    job = message["job"].encode()
    out.writelines([] if first else [text.replace(b"JOB", job) for text in said])
    out.write(b'{"type": "done", "job": "%s", "result": {}}\\n' % job)
    out.flush()
"""


@pytest.fixture
def supervise(jobs, tmp_path):
    """Start a supervisor, with the counting worker unless told otherwise; it is stopped after."""
    started: list[Supervisor] = []

    def begin(command: list[str] | None = None) -> Supervisor:
        store, checkpoints = BlobStore(tmp_path / "blobs"), make_private(tmp_path / "checkpoints")
        counting = [*COMMAND, "--worker", "--blobs", str(store.folder)]
        counting += ["--checkpoints", str(checkpoints)]
        room = Room(tmp_path, store, jobs, checkpoints)
        started.append(Supervisor(jobs, room, command or counting, checkpoints))
        started[-1].start()
        return started[-1]

    yield begin
    for each in started:
        each.stop()


def submit(jobs: Jobs, **parameters) -> str:
    return jobs.submit(JobRequest("count", parameters))[0].id


def reach(jobs: Jobs, job: str, state: JobState) -> None:
    wait_until(lambda: jobs.get(job).state == state)


def states(jobs: Jobs, job: str) -> list[str]:
    return [event.data["state"] for event in jobs.events(job) if event.type == "state"]


def test_step_that_hangs_is_killed_after_cancel(jobs, supervise, monkeypatch):
    monkeypatch.setattr(supervisor_module, "CANCEL_PATIENCE", 0.5)
    supervisor = supervise()
    job = submit(jobs, fault="hang", fault_step=1)
    wait_until(lambda: jobs.get(job).last_event == 3)
    hung = supervisor.state()["worker_pid"]
    jobs.ask_cancel(job)
    reach(jobs, job, JobState.CANCELLED)
    assert is_gone(hung)
    reach(jobs, submit(jobs), JobState.DONE)


def test_full_disk_pauses_the_job(jobs, supervise, monkeypatch, tmp_path):
    monkeypatch.setattr(supervisor_module, "LOOK_FOR_ROOM", 0.2)
    job = submit(jobs, fault="disk_full", marker=str(tmp_path / "marker"))
    supervise()
    reach(jobs, job, JobState.DONE)
    assert states(jobs, job) == ["queued", "running", "paused", "queued", "running", "done"]


def test_disk_that_stays_full_pauses_the_job_until_it_is_cancelled(jobs, supervise, monkeypatch):
    monkeypatch.setattr(supervisor_module, "LOOK_FOR_ROOM", 0.05)
    job = submit(jobs, fault="disk_full")
    supervise()
    wait_until(lambda: states(jobs, job).count("paused") > 4)
    assert not jobs.get(job).state.ended
    jobs.ask_cancel(job)
    reach(jobs, job, JobState.CANCELLED)


def test_end_of_a_job_is_written_when_there_is_room_again(jobs, supervise):
    """A full disk must neither end the supervisor nor lose what the worker has done."""
    job = submit(jobs, steps=20, sleep=0.01)
    supervisor = supervise()
    wait_until(lambda: jobs.get(job).last_event > 5)
    jobs._db.execute("PRAGMA query_only = ON")
    with pytest.raises(AssertionError):
        wait_until(lambda: jobs.get(job).state.ended, seconds=1.5)
    assert supervisor.state()["supervisor_age"] < 2
    jobs._db.execute("PRAGMA query_only = OFF")
    reach(jobs, job, JobState.DONE)
    assert jobs.get(job).attempts == 1
    assert len(jobs.events(job)) == 23


@pytest.mark.parametrize("command", [[sys.executable, "-c", ""], ["no-such-program"]])
def test_worker_that_never_starts(jobs, supervise, command):
    job = submit(jobs)
    supervise(command)
    reach(jobs, job, JobState.FAILED)
    error = jobs.get(job).error
    assert error is not None
    assert error["code"] == "worker_crashed"


@pytest.mark.parametrize(
    "line",
    ["123", "null", '"text"', "[]", "{}", '{"type": 1}', "\xff", "[" * 100_000],
    ids=lambda line: line[:12],
)
def test_line_that_is_no_message_is_ignored(jobs, supervise, line):
    job = submit(jobs)
    supervise([sys.executable, "-c", SCRIPTED, "at start", line])
    reach(jobs, job, JobState.DONE)
    assert jobs.get(job).attempts == 1


@pytest.mark.parametrize(
    "line",
    [
        '{"type": "done", "job": "JOB"}',
        '{"type": "failed", "job": "JOB", "error": "text"}',
        '{"type": "no such thing", "job": "JOB"}',
        '{"type": "exit"}',
    ],
)
def test_message_that_makes_no_sense_costs_an_attempt(jobs, supervise, line, monkeypatch):
    """The supervisor goes on with a new worker; the job fails only after its last attempt."""
    monkeypatch.setattr(supervisor_module, "PAUSE_AFTER_ERROR", 0.1)
    job = submit(jobs)
    supervisor = supervise([sys.executable, "-c", SCRIPTED, "during a job", line])
    reach(jobs, job, JobState.FAILED)
    found = jobs.get(job)
    assert found.attempts == MAX_CRASHES
    assert found.error is not None
    assert found.error["code"] == "worker_crashed"
    assert supervisor.state()["supervisor_age"] < 5
    assert supervisor.state()["job"] is None


def test_job_does_not_wait_for_the_next_tick(jobs, supervise, monkeypatch):
    """A click reaches the worker at once: `wake` does not leave it to the supervisor's clock."""
    monkeypatch.setattr(supervisor_module, "TICK", 30.0)  # longer than `reach` waits
    supervisor = supervise([sys.executable, "-c", SCRIPTED, "at start"])
    wait_until(lambda: supervisor.state()["worker"] == "ready")
    job = submit(jobs)
    supervisor.wake()
    reach(jobs, job, JobState.DONE)


def test_stop_does_not_wait_for_the_job_and_leaves_it_queued(jobs, supervise):
    supervisor = supervise()
    job = submit(jobs, steps=1000, sleep=0.1)
    wait_until(lambda: jobs.get(job).last_event > 3)
    worker = supervisor.state()["worker_pid"]
    stopping = threading.Thread(target=supervisor.stop)
    stopping.start()
    stopping.join(20)  # the job would go on for 100 seconds
    assert not stopping.is_alive()
    assert is_gone(worker)
    assert jobs.get(job).state == JobState.QUEUED
    assert jobs.get(job).attempts == 0
