# SPDX-License-Identifier: GPL-3.0-or-later
"""Waiting for changes, without a network."""

from __future__ import annotations

import asyncio
import threading

import pytest

from syncsde_client.protocol import JobRequest, JobState
from syncsde_server.http import waiting as follow
from syncsde_server.store.changes import Changes
from syncsde_server.store.jobs import Jobs


@pytest.fixture
def changes():
    return Changes()


@pytest.fixture
def jobs(tmp_path, changes):
    opened = Jobs(tmp_path / "jobs.sqlite", changes.notify)
    yield opened
    opened.close()


@pytest.fixture
def job(jobs):
    return jobs.submit(JobRequest("count", {}))[0].id


def test_silent_stream_is_kept_alive(jobs, changes, job, monkeypatch):
    monkeypatch.setattr(follow, "KEEP_ALIVE", 0.05)

    async def read() -> list[bytes]:
        found: list[bytes] = []
        async for text in follow.stream_events(jobs, changes, job, 0):
            found.append(text)
            if len(found) == 3:
                jobs.ask_cancel(job)
        return found

    first, second, third, last = asyncio.run(read())
    assert first.startswith(b"id: 1\nevent: state\ndata: {")
    assert second == third == b": still here\n\n"
    assert b'"state": "cancelled"' in last


def test_stream_ends_when_the_engine_leaves(jobs, changes, job):
    async def read() -> list[bytes]:
        found: list[bytes] = []
        async for text in follow.stream_events(jobs, changes, job, 0):
            found.append(text)
            changes.close()
        return found

    assert len(asyncio.run(read())) == 1


def test_waiting_ends_at_once_with_the_job(jobs, changes, job):
    threading.Timer(0.1, jobs.ask_cancel, [job]).start()
    waiting = follow.wait_for_end(jobs, changes, job, 3600)
    ended = asyncio.run(asyncio.wait_for(waiting, 20))
    assert ended.state == JobState.CANCELLED
