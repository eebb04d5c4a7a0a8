# SPDX-License-Identifier: GPL-3.0-or-later
"""The job table by itself."""

from __future__ import annotations

import sqlite3

import pytest

from syncsde_client.protocol import JobRequest, JobState
from syncsde_server.errors import Busy, Conflict, NotFound, is_disk_full
from syncsde_server.store import jobs as jobs_module
from syncsde_server.store.jobs import Jobs

ERROR = {"code": "worker_crashed", "message": "gone", "hint": "", "field": None}


def request(steps: int = 1, key: str | None = None) -> JobRequest:
    return JobRequest("count", {"steps": steps}, {"data": "0" * 64}, key)


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


def test_deaths_of_the_engine_are_no_fault_of_the_job(jobs):
    job = submitted(jobs)
    for attempt in range(1, 9):
        assert jobs.get(job).state == JobState.QUEUED
        assert jobs.claim().attempt == attempt
        jobs.recover(ERROR)
    assert jobs.get(job).state == JobState.QUEUED


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


def test_pauses_are_no_attempts(jobs):
    job = submitted(jobs)
    for _ in range(10):
        jobs.claim()
        jobs.interrupted(job, ERROR, pause=True)
        assert jobs.get(job).state == JobState.PAUSED
        jobs.resume_paused()
    jobs.claim()
    assert jobs.get(job).attempts == 1


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


def order(jobs: Jobs) -> list[str]:
    waiting = [job for job in jobs.newest() if job.place is not None]
    return [job.id for job in sorted(waiting, key=lambda job: job.place or 0)]


def test_higher_priority_goes_first(jobs):
    low, normal, high = (
        jobs.submit(JobRequest("count", {"n": n}, priority=n))[0].id for n in (-1, 0, 5)
    )
    assert order(jobs) == [high, normal, low]
    assert [jobs.claim().id for _ in range(3)] == [high, normal, low]


def test_reorder(jobs):
    a, b, c, d = (submitted(jobs, steps=number) for number in (1, 2, 3, 4))
    jobs.move(d, to="first")
    assert order(jobs) == [d, a, b, c]
    jobs.move(a, to="last")
    assert order(jobs) == [d, b, c, a]
    jobs.move(a, before=c)
    assert order(jobs) == [d, b, a, c]
    jobs.move(c, priority=1)
    assert order(jobs) == [c, d, b, a]
    jobs.move(a, before=c)  # with its priority
    assert order(jobs) == [a, c, d, b]
    assert jobs.get(a).priority == 1
    jobs.move(b)
    jobs.move(b, before=b)
    assert order(jobs) == [a, c, d, b]
    assert jobs.claim().id == a
    with pytest.raises(Conflict):
        jobs.move(a, to="last")
    with pytest.raises(Conflict):
        jobs.move(b, before=a)
    with pytest.raises(NotFound):
        jobs.move(b, before="0" * 32)


def test_cancel_all_mine(jobs):
    mine = [jobs.submit(request(steps=n), owner="me")[0].id for n in (1, 2)]
    other = jobs.submit(request(steps=3), owner="you")[0].id
    jobs.claim()
    assert jobs.ask_cancel_all("me") == mine
    assert jobs.cancel_asked(mine[0])
    assert jobs.get(mine[1]).state == JobState.CANCELLED
    assert jobs.get(other).state == JobState.QUEUED
    assert [job.id for job in jobs.newest(owner="you")] == [other]


def test_place_and_wait_are_told(jobs):
    """Two seconds a job, as the last ones took: known before, and told again when they change."""
    for number in (1, 2):
        done = submitted(jobs, steps=number)
        jobs.claim()
        jobs.end(done, JobState.DONE, result={})
        jobs._db.execute("UPDATE jobs SET started = finished - 2 WHERE id = ?", (done,))
    ids = [submitted(jobs, steps=number) for number in (3, 4, 5)]
    told = [jobs.events(job)[0].data for job in ids]
    assert [(data["place"], data["wait"]) for data in told] == [(1, 0.0), (2, 2.0), (3, 4.0)]
    jobs.claim()
    assert jobs.get(ids[0]).place is None
    assert jobs.get(ids[1]).place == 1
    assert jobs.get(ids[1]).wait == pytest.approx(2.0, abs=0.2)
    last = jobs.events(ids[2])[-1]
    assert (last.type, last.data["place"]) == ("queue", 2)


def test_same_recipe_has_the_same_result(jobs):
    first = jobs.submit(request(), recipe="cake")[0].id
    assert jobs.submit(request(key="b"), recipe="cake")[0].state == JobState.QUEUED
    jobs.claim()
    result = {"a.png": {"sha256": "1" * 64, "size": 2}}
    jobs.end(first, JobState.DONE, result=result)
    again, is_new = jobs.submit(request(key="c"), recipe="cake")
    assert is_new
    assert (again.state, again.result, again.attempts) == (JobState.DONE, result, 0)
    events = jobs.events(again.id)
    assert [event.type for event in events] == ["state", "notice", "state"]
    assert events[1].data["code"] == "reused"
    for other in ({"recipe": "bread"}, {"recipe": "cake", "is_here": lambda sha256: False}, {}):
        assert jobs.submit(request(), **other)[0].state == JobState.QUEUED


def test_blobs_that_are_needed(jobs):
    job = submitted(jobs)
    assert jobs.used_blobs() == {"0" * 64}
    jobs.claim()
    jobs.progress(job, {"step": 1, "preview": "1" * 64})
    assert jobs.used_blobs() == {"0" * 64, "1" * 64}
    jobs.end(job, JobState.DONE, result={"a": {"sha256": "2" * 64}})
    assert jobs.used_blobs() == {"2" * 64}
    assert jobs.forget(keep=1) == 0
    assert jobs.forget(keep=0) == 1
    assert jobs.used_blobs() == set()
    assert jobs._db.execute("SELECT count(*) FROM events").fetchone()[0] == 0


def test_paused_job_says_why(jobs):
    job = submitted(jobs)
    jobs.claim()
    jobs.interrupted(job, ERROR, pause=True)
    assert jobs.get(job).error == ERROR
    jobs.resume_paused()
    assert jobs.get(job).error is None
