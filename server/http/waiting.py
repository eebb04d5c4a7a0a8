# SPDX-License-Identifier: GPL-3.0-or-later
"""Wait for a job: until it has ended, or event by event, also as server-sent events."""

from __future__ import annotations

import json
import time
from collections.abc import AsyncIterator
from dataclasses import asdict

from starlette.concurrency import run_in_threadpool

from syncsde_client.protocol import Event, Job

from ..store.changes import Changes
from ..store.jobs import Jobs

KEEP_ALIVE = 15.0  # seconds


async def wait_for_end(jobs: Jobs, changes: Changes, job_id: str, seconds: float) -> Job:
    """Return the job when it has ended, or as it is after `seconds`. Raises NotFound."""
    deadline = time.monotonic() + seconds
    with changes.watch() as changed:
        while True:
            job = await run_in_threadpool(jobs.get, job_id)
            left = deadline - time.monotonic()
            if job.state.ended or left <= 0 or changes.closed:
                return job
            await changed.wait(left)


async def wait_for_events(
    jobs: Jobs, changes: Changes, job_id: str, after: int, seconds: float
) -> list[Event]:
    """Return events numbered above `after` once there are any, none after `seconds`.

    Of a job that has ended there will be no more. Raises NotFound.
    """
    deadline = time.monotonic() + seconds
    with changes.watch() as changed:
        while True:
            job = await run_in_threadpool(jobs.get, job_id)
            events = await run_in_threadpool(jobs.events, job_id, after)
            left = deadline - time.monotonic()
            if events or job.state.ended or left <= 0 or changes.closed:
                return events
            await changed.wait(left)


async def stream_events(
    jobs: Jobs, changes: Changes, job_id: str, after: int
) -> AsyncIterator[bytes]:
    """Yield the events numbered above `after` as they come, until the job has ended."""
    with changes.watch() as changed:
        while not changes.closed:
            job = await run_in_threadpool(jobs.get, job_id)
            events = await run_in_threadpool(jobs.events, job_id, after)
            if events:
                after = events[-1].number
                yield b"".join(map(_server_sent, events))
            elif job.state.ended:
                return
            elif not await changed.wait(KEEP_ALIVE):
                yield b": still here\n\n"


def _server_sent(event: Event) -> bytes:
    return (
        f"id: {event.number}\nevent: {event.type}\ndata: {json.dumps(asdict(event))}\n\n".encode()
    )
