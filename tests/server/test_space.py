# SPDX-License-Identifier: GPL-3.0-or-later
"""Room on the disk: quota, what nobody needs, the reserve, and a disk that is really full."""

from __future__ import annotations

import contextlib
import os
import sqlite3
import subprocess
import time

import pytest

from syncsde_client.client import EngineError
from syncsde_client.protocol import JobRequest, JobState, make_private
from syncsde_server.errors import DiskFull
from syncsde_server.store import space as room_module
from syncsde_server.store.blobs import BlobStore
from syncsde_server.store.files import part_of
from syncsde_server.store.jobs import Jobs
from syncsde_server.store.space import Room
from tests.server.counting_engine import WalkConfig
from tests.server.running import packed, start, wait_until
from tests.server.test_fault_matrix import STEPS, undisturbed

DAY = 86400.0


@pytest.fixture
def store(tmp_path):
    return BlobStore(tmp_path / "blobs", quota=1000)


@pytest.fixture
def room(tmp_path, store, jobs):
    return Room(tmp_path, store, jobs, make_private(tmp_path / "checkpoints"))


def stored(store: BlobStore, content: bytes, age: float = 0.0) -> str:
    sha256 = store.put(content)
    then = time.time() - age
    os.utime(store.folder / sha256, (then, then))
    return sha256


def done(jobs: Jobs, result: str, age: float = 0.0) -> str:
    job = jobs.submit(JobRequest("count", {}))[0].id
    jobs.claim()
    jobs.end(job, JobState.DONE, result={"a": {"sha256": result, "size": 1}})
    jobs._db.execute("UPDATE jobs SET finished = finished - ? WHERE id = ?", (age, job))
    return job


def test_what_nobody_needs_goes_and_the_rest_stays(room, store, jobs):
    old, new = stored(store, b"old", 2 * DAY), stored(store, b"new")
    wanted, result = stored(store, b"input", 2 * DAY), stored(store, b"result", 2 * DAY)
    jobs.submit(JobRequest("copy", {}, {"data": wanted}, priority=-1))
    done(jobs, result)
    room.sweep()
    assert store.find(old) is None
    assert all(store.find(each) for each in (new, wanted, result))
    stored(store, b"old", 2 * DAY)
    room.sweep()  # not again within the hour
    assert store.find(old)


def test_asking_for_a_blob_keeps_it(room, store):
    sha256 = stored(store, b"mesh", 2 * DAY)
    assert store.touch(sha256)
    room.sweep()
    assert store.find(sha256)


def test_quota_takes_the_oldest_unused_first(room, store):
    oldest, older = stored(store, b"1" * 400, 3000), stored(store, b"2" * 400, 2000)
    room.require(500)
    assert store.find(oldest) is None
    assert store.find(older)


def test_quota_then_takes_old_results_but_no_young_ones(room, store, jobs):
    old, young = stored(store, b"1" * 400, 2 * DAY), stored(store, b"2" * 400, 2 * DAY)
    forgotten, kept = done(jobs, old, age=DAY), done(jobs, young)
    room.require(500)
    assert [job.id for job in jobs.newest()] == [kept]
    assert forgotten != kept
    assert store.find(old) is None
    with pytest.raises(DiskFull, match="1000 bytes"):
        room.require(700)
    assert store.find(young)


def test_quota_over_http(starting):
    engine = starting("--quota", "0.001")
    first = engine.client.put_blob(packed(os.urandom(600_000)))
    with pytest.raises(EngineError) as raised:
        engine.client.put_blob(packed(os.urandom(600_000)))
    assert raised.value.code == "disk_full"
    assert engine.client.has_blob(first)
    assert engine.client.status()["quota_bytes"] == 1_000_000


def test_reserve(room, tmp_path, monkeypatch):
    reserve = tmp_path / room_module.RESERVE_FILE
    room.fill_reserve()
    assert reserve.stat().st_size == room_module.RESERVE
    assert room.release_reserve()
    assert not reserve.exists()
    assert not room.release_reserve()
    monkeypatch.setattr(room_module, "PLENTY", 1 << 60)
    monkeypatch.setattr(room_module, "SHARE", 1.0)
    room.fill_reserve()  # not while there is little room
    assert not reserve.exists()


def test_reserve_is_given_up_for_the_end_of_a_job(jobs, room, tmp_path):
    """As the supervisor does it: a write that finds the disk full is made with the reserve."""
    from syncsde_server.work.supervisor import Supervisor

    room.fill_reserve()
    supervisor = Supervisor(jobs, room, [], tmp_path)
    failures = [1]

    def write() -> None:
        if failures:
            failures.pop()
            error = sqlite3.OperationalError("full")
            error.sqlite_errorcode = sqlite3.SQLITE_FULL
            raise error

    supervisor._write(write)
    assert not (tmp_path / room_module.RESERVE_FILE).exists()


def test_parts_of_a_dead_process_alone_are_removed(room, store, tmp_path):
    mine = part_of(store.folder / ("1" * 64))
    mine.touch()
    dead = store.folder / f"{'1' * 32}.99999.ab.part"
    other = tmp_path / "checkpoints" / "job.99999.cd.part"
    dead.touch(), other.touch()
    room.clean_after(99999)
    assert mine.exists()
    assert not dead.exists()
    assert not other.exists()


@pytest.fixture
def small_disk(tmp_path):
    """A real disk of 12 MB, where that may be mounted."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=12m,mode=700", "tmpfs", folder], capture_output=True
    )
    if mounted.returncode:
        pytest.skip("a disk cannot be mounted here")
    yield folder
    subprocess.run(["umount", "-l", folder], check=True)


def fill(path):
    with contextlib.suppress(OSError), open(path, "wb", buffering=0) as file:
        while True:
            file.write(bytes(1 << 12))


def test_disk_that_fills_up_under_a_job(small_disk):
    """Everything is refused or paused, the engine stays, and all is done when there is room."""
    engine = start(small_disk / "state")
    try:
        wait_until(lambda: engine.client.status()["worker"] == "ready")
        job = engine.walk(**{**STEPS, "sleep": 0.1})
        waiting = engine.walk(steps=2)
        engine.step(job, 3)
        ballast = small_disk / "ballast"
        fill(ballast)
        with pytest.raises(EngineError) as raised:
            engine.walk(steps=1)
        assert raised.value.code == "disk_full"
        with pytest.raises(EngineError) as raised:
            engine.client.put_blob(packed(bytes(100_000)))
        assert raised.value.code == "disk_full"
        time.sleep(2.0)
        health = engine.client.healthz()
        assert health["supervisor_age"] < 5
        assert health["worker_age"] < 5
        ballast.unlink()
        ended = wait_until(lambda: (now := engine.client.job(job.id)).state.ended and now, 40)
        assert ended.state == JobState.DONE, ended.error
        result = ended.result or {}
        assert engine.client.get_blob(result["walk.bin"]["sha256"]) == undisturbed()
        assert engine.finish(waiting).state == JobState.DONE
        assert WalkConfig(**STEPS).steps == 30
    finally:
        engine.end()
