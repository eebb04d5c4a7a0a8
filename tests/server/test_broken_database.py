# SPDX-License-Identifier: GPL-3.0-or-later
"""A database that breaks: it is set aside, and what was accepted or done is found again."""

from __future__ import annotations

import os
import sqlite3
import time
from contextlib import closing
from pathlib import Path

import pytest

from syncsde_client.client import EngineError
from syncsde_client.protocol import JobRequest, JobState
from syncsde_engine import cli
from syncsde_server.errors import is_disk_full
from syncsde_server.store import queue
from syncsde_server.store.jobs import Jobs
from tests.server.running import COMMAND, wait_until

ERROR = {"code": "worker_crashed", "message": "gone", "hint": "", "field": None}


def garbage(path: Path) -> None:
    path.write_bytes(b"this is no database" * 1000)


def emptied(path: Path) -> None:
    path.write_bytes(b"")


def gone(path: Path) -> None:
    path.unlink()


def cut(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2 // 4096 * 4096)


def flipped(path: Path) -> None:
    """The head of every page but the first."""
    content = bytearray(path.read_bytes())
    for page in range(4096, len(content), 4096):
        content[page : page + 8] = b"\xff" * 8
    path.write_bytes(content)


def zeroed_log(path: Path) -> None:
    log = path.with_name(path.name + "-wal")
    assert log.stat().st_size
    log.write_bytes(bytes(log.stat().st_size))


@pytest.mark.parametrize("harm", [garbage, emptied, gone, cut, flipped, zeroed_log])
def test_jobs_are_found_again(starting, harm, capsys):
    engine = starting()
    done = engine.finish(engine.walk(steps=3, seed=3))
    files = engine.client.files(done)
    cancelled = engine.client.cancel(engine.count(steps=1000, sleep=0.05).id)
    engine.finish(cancelled)
    running = engine.walk(key="mine", steps=60, sleep=0.05, seed=4)
    waiting = engine.count(steps=2)
    engine.step(running, 5)
    heard = engine.client.events(running.id)[-1].number
    engine.kill()
    path = engine.folder / "jobs.sqlite"
    if harm is not zeroed_log:  # as after an engine that left in good order
        with closing(sqlite3.connect(path)) as db:
            db.execute("PRAGMA journal_mode = DELETE")
    harm(path)

    engine = starting()
    assert engine.client.files(engine.client.job(done.id)) == files
    assert engine.client.job(cancelled.id).state == JobState.CANCELLED
    assert engine.finish(running).state == JobState.DONE
    assert engine.finish(waiting).state == JobState.DONE
    told = engine.client.events(running.id, after=heard)
    assert told[0].data["code"] == "restored"
    assert told[-1].data["state"] == "done"
    with pytest.raises(EngineError) as raised:  # the key is known, too
        engine.count(key="mine", steps=5)
    assert raised.value.code == "conflict"
    assert "4 jobs were found again, of which 2 wait" in engine.client.status()["trouble"]
    assert cli.main(["jobs", "--state-dir", str(engine.folder)]) == 0
    said = capsys.readouterr()
    assert "The job database was" in said.err
    assert said.out.count("\n") == 4
    aside = list(engine.folder.glob("jobs.damaged-*.sqlite"))
    assert len(aside) == (0 if harm is gone else 1)


def test_a_database_that_breaks_while_it_is_used(starting):
    engine = starting()
    done = engine.finish(engine.walk(steps=3))
    files = engine.client.files(done)
    running = engine.walk(steps=40, sleep=0.1)
    engine.step(running, 3)
    with closing(sqlite3.connect(engine.folder / "jobs.sqlite")) as db:
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        pages = db.execute("PRAGMA page_count").fetchone()[0]
    with (engine.folder / "jobs.sqlite").open("r+b") as file:
        for page in range(1, pages):
            file.seek(4096 * page)
            file.write(b"\xff" * 4096)
    with closing(sqlite3.connect(engine.folder / "jobs.sqlite")) as db:  # lets caches go
        db.execute("PRAGMA user_version = 2")

    def ended():
        try:
            return engine.client.job(running.id).state.ended
        except EngineError:  # until it is mended
            return False

    wait_until(ended, 40)
    assert engine.client.job(running.id).state == JobState.DONE
    assert engine.client.files(engine.client.job(done.id)) == files
    assert engine.finish(engine.count()).state == JobState.DONE


@pytest.mark.parametrize("damage", ["{", "[]", "{}", '{"task": 1, "x": 2}', "\x00"])
def test_a_damaged_row_fails_alone(jobs, damage):
    first = jobs.submit(JobRequest("count", {"n": 1}))[0].id
    second = jobs.submit(JobRequest("count", {"n": 2}))[0].id
    jobs._db.execute("UPDATE jobs SET request = ? WHERE id = ?", (damage, first))
    assert jobs.claim().id == second
    found = jobs.get(first)
    assert found.state == JobState.FAILED
    assert "damaged" in found.error["message"]
    assert jobs.last_request() is not None


@pytest.mark.parametrize(
    ("column", "value"), [("result", "{"), ("result", "[1]"), ("error", "{"), ("state", "x")]
)
def test_damaged_columns_do_not_hide_other_jobs(jobs, column, value):
    broken = jobs.submit(JobRequest("count", {}), recipe="r")[0].id
    jobs.claim()
    jobs.end(broken, JobState.DONE, result={})
    jobs._db.execute(f"UPDATE jobs SET {column} = ? WHERE id = ?", (value, broken))
    jobs._db.execute("UPDATE events SET data = '{'")
    other = jobs.submit(JobRequest("count", {}), recipe="r")[0].id
    assert {job.id for job in jobs.newest()} == {broken, other}
    assert jobs.events(broken)[0].data == {}
    assert jobs.ask_cancel(other).state.ended


def test_a_row_that_is_damaged_does_not_stop_the_engine(starting):
    engine = starting()
    running = engine.count(steps=30, sleep=0.05)
    broken, behind = engine.count(), engine.count()
    with closing(sqlite3.connect(engine.folder / "jobs.sqlite", isolation_level=None)) as db:
        db.execute("UPDATE jobs SET request = '{' WHERE id = ?", (broken.id,))
    assert engine.finish(running).state == JobState.DONE
    assert engine.finish(behind).state == JobState.DONE
    assert engine.client.job(broken.id).state == JobState.FAILED


def test_limits_of_the_system_are_a_full_disk(starting):
    """A limit for the size of files reaches SQLite as an error of the disk."""
    engine = starting(command=["sh", "-c", 'ulimit -f 600; exec "$@"', "sh", *COMMAND])

    def fill() -> None:
        for _ in range(200):
            engine.count(steps=1000, sleep=60, marker="x" * 20_000)

    with pytest.raises(EngineError) as raised:
        fill()
    assert raised.value.code == "disk_full"
    assert engine.client.healthz()["supervisor_age"] < 5


@pytest.mark.parametrize("name", ["IOERR_WRITE", "IOERR_FSYNC", "IOERR_SHMSIZE", "FULL"])
def test_what_sqlite_calls_a_full_disk(name):
    error = sqlite3.OperationalError("disk I/O error")
    error.sqlite_errorcode = getattr(sqlite3, f"SQLITE_{name}")
    assert is_disk_full(error)


@pytest.mark.parametrize("days", [100, -365])
def test_a_clock_that_is_set_costs_no_results(tmp_path, monkeypatch, days):
    path = tmp_path / "jobs.sqlite"
    with closing(Jobs(path)) as jobs:
        done = jobs.submit(JobRequest("count", {}))[0].id
        jobs.claim()
        jobs.end(done, JobState.DONE, result={})
        jobs.submit(JobRequest("count", {"n": 1}))
        jobs.claim()
    now = time.time
    monkeypatch.setattr(time, "time", lambda: now() + days * 86400)
    with closing(Jobs(path)) as jobs:
        assert jobs.forget() == 0
        assert jobs.get(done).state == JobState.DONE
        waits = jobs.submit(JobRequest("count", {"n": 2}))[0]
        assert waits.wait is not None
        assert 0 <= waits.wait < 60
        assert jobs.forget_oldest()  # of an hour that is certainly over, or to come


def test_a_clock_that_is_set_during_a_job_makes_no_guess_of_years(jobs):
    for seconds in (3.0, 4.0, 100 * 86400.0):
        job = jobs.submit(JobRequest("count", {"n": seconds}))[0].id
        jobs.claim()
        jobs.end(job, JobState.DONE, result={})
        jobs._db.execute("UPDATE jobs SET finished = started + ? WHERE id = ?", (seconds, job))
    assert queue._duration(jobs._db, "count") == pytest.approx(4.0, abs=0.01)
