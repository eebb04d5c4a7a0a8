# SPDX-License-Identifier: GPL-3.0-or-later
"""The job table by itself."""

from __future__ import annotations

import sqlite3

import pytest

from blender_addon.protocol import JobRequest, JobState
from syncsde_server import jobs as jobs_module
from syncsde_server.errors import Busy, Conflict, NotFound, is_disk_full
from syncsde_server.jobs import Jobs

ERROR = {"code": "worker_crashed", "message": "gone", "hint": "", "field": None}


def request(steps: int = 1, key: str | None = None) -> JobRequest:
    return JobRequest("count", {"steps": steps}, {"data": "0" * 64}, key)


@pytest.fixture
def jobs(tmp_path):
    opened = Jobs(tmp_path / "jobs.sqlite")
    yield opened
    opened.close()


def submitted(jobs: Jobs, **settings) -> str:
    return jobs.submit(request(**settings))[0].id


def test_first_come_first_served(jobs):
    ids = [submitted(jobs, steps=number) for number in (1, 2, 3)]
    claims = [jobs.claim() for _ in ids]
    assert [claim.id for claim in claims] == ids
    assert claims[1].request == request(steps=2)
    assert jobs.claim() is None


def test_jobs_outlive_the_connection(jobs, tmp_path):
    job = submitted(jobs)
    jobs.claim()
    jobs.close()
    again = Jobs(tmp_path / "jobs.sqlite")
    again.recover(ERROR)
    assert again.get(job).state == JobState.QUEUED
    again.close()


def test_gives_up_after_three_attempts(jobs):
    job = submitted(jobs)
    for attempt in (1, 2, 3):
        assert jobs.get(job).state == JobState.QUEUED
        assert jobs.claim().attempt == attempt
        jobs.interrupted(job, ERROR)
    assert jobs.get(job).state == JobState.FAILED
    assert jobs.get(job).error == ERROR


def test_cancel_wins_over_another_attempt(jobs):
    job = submitted(jobs)
    jobs.claim()
    assert jobs.ask_cancel(job).state == JobState.RUNNING
    assert jobs.cancel_asked(job)
    jobs.interrupted(job, ERROR)
    assert jobs.get(job).state == JobState.CANCELLED


def test_paused_job_is_resumed_or_cancelled(jobs):
    first, second = submitted(jobs), submitted(jobs)
    for job in (first, second):
        jobs.claim()
        jobs.interrupted(job, ERROR, pause=True)
    assert jobs.claim() is None
    assert jobs.ask_cancel(second).state == JobState.CANCELLED
    jobs.resume_paused()
    assert jobs.claim().id == first


def test_events_are_numbered_without_gaps(jobs):
    one, other = submitted(jobs), submitted(jobs)
    jobs.claim()
    for step in range(5):
        jobs.progress(one, {"step": step})
        jobs.progress(other, {"step": step})
    assert [event.number for event in jobs.events(one)] == list(range(1, 8))
    assert [event.number for event in jobs.events(one, after=4)] == [5, 6, 7]
    assert jobs.get(one).last_event == 7


def test_keys(jobs):
    job, is_new = jobs.submit(request(key="a"))
    assert is_new
    assert jobs.submit(request(key="a")) == (job, False)
    with pytest.raises(Conflict):
        jobs.submit(request(steps=2, key="a"))


def test_full_queue(jobs, monkeypatch):
    monkeypatch.setattr(jobs_module, "MAX_QUEUED", 2)
    submitted(jobs), submitted(jobs, key="known")
    with pytest.raises(Busy):
        submitted(jobs)
    submitted(jobs, key="known")


def test_unknown_job(jobs):
    for call in (jobs.get, jobs.events, jobs.ask_cancel):
        with pytest.raises(NotFound):
            call("0" * 32)


def test_full_disk_changes_nothing(jobs):
    job = submitted(jobs)
    pages = jobs._db.execute("PRAGMA page_count").fetchone()[0]
    jobs._db.execute(f"PRAGMA max_page_count = {pages}")
    jobs.progress(job, {})
    with pytest.raises(sqlite3.OperationalError) as raised:
        jobs.progress(job, {"text": "x" * 100_000})
    assert is_disk_full(raised.value)
    last = jobs.get(job).last_event
    assert len(jobs.events(job)) == last
    jobs._db.execute("PRAGMA max_page_count = 100000")
    jobs.progress(job, {})
    assert jobs.get(job).last_event == last + 1


def test_changes_are_announced(tmp_path):
    heard: list[int] = []
    jobs = Jobs(tmp_path / "jobs.sqlite", lambda: heard.append(1))
    job = submitted(jobs)
    jobs.claim()
    jobs.progress(job, {})
    assert len(heard) == 3
    assert jobs.claim() is None
    jobs.get(job)
    assert len(heard) == 3
    jobs.close()
