# SPDX-License-Identifier: GPL-3.0-or-later
"""Whatever is killed: what was accepted is finished, or failed with a reason."""

from __future__ import annotations

import os
import signal

from syncsde_client.protocol import JobState
from tests.server.running import is_gone, wait_until


def states(engine, job):
    events = engine.client.events(job.id)
    return [event.data["state"] for event in events if event.type == "state"]


def test_worker_killed_during_a_job(engine):
    before = engine.client.status()["worker_restarts"]
    job = engine.count(steps=30, sleep=0.02)
    engine.step(job, 3)
    first = engine.worker
    os.kill(first, signal.SIGKILL)
    job = engine.finish(job)
    assert job.state == JobState.DONE
    assert job.attempts == 2
    assert states(engine, job) == ["queued", "running", "queued", "running", "done"]
    assert engine.worker != first
    assert engine.client.status()["worker_restarts"] == before + 1


def test_worker_killed_while_idle(engine):
    wait_until(lambda: engine.client.status()["worker"] == "ready")
    first = engine.worker
    os.kill(first, signal.SIGKILL)
    wait_until(lambda: engine.client.status()["worker_pid"] not in (first, None))
    job = engine.finish(engine.count())
    assert job.state == JobState.DONE
    assert job.attempts == 1


def test_job_that_always_kills_its_worker(engine):
    job = engine.finish(engine.count(fault="kill"))
    assert job.state == JobState.FAILED
    assert job.error["code"] == "worker_crashed"
    assert job.attempts == 3
    assert engine.finish(engine.count()).state == JobState.DONE


def test_what_a_job_died_of_is_told(engine):
    job = engine.finish(engine.count(steps=9, fault="abort", fault_step=4))
    assert job.error["message"] == (
        "The worker process was ended by SIGABRT after step 4 of 9 of count of this job. "
        "That was the third time that it got no further."
    )
    assert job.error["hint"] == "It said: Fatal Python error: Aborted"


def test_job_that_gets_further_is_not_given_up(engine):
    """Whoever kills the worker, eight times: each attempt begins where the last one had come to."""
    job = engine.walk(steps=60, sleep=0.05)
    for kill in range(1, 9):
        engine.step(job, 6 * kill)
        os.kill(engine.worker, signal.SIGKILL)
        wait_until(lambda kill=kill: engine.client.job(job.id).attempts == kill + 1)
    job = engine.finish(job)
    assert job.state == JobState.DONE
    assert job.attempts == 9


def test_deaths_of_the_engine_do_not_count(starting):
    engine = starting()
    job = engine.count(steps=8, sleep=0.3)  # which has no checkpoints
    for _ in range(4):
        engine.reach(job, JobState.RUNNING)
        engine.kill()
        engine = starting()
    assert engine.finish(job).state == JobState.DONE


def test_engine_killed_and_started_again(starting):
    engine = starting()
    running = engine.count(steps=20, sleep=0.05)
    waiting = [engine.count(steps=2) for _ in range(3)]
    engine.step(running, 3)
    seen = engine.client.events(running.id)
    worker = engine.worker
    engine.kill()
    wait_until(lambda: is_gone(worker), 2)

    engine = starting()
    job = engine.finish(running)
    assert job.state == JobState.DONE
    assert job.attempts == 2
    later = engine.client.events(job.id, after=seen[-1].number)
    assert later[0].number == seen[-1].number + 1
    assert [engine.finish(each).state for each in waiting] == [JobState.DONE] * 3


def test_engine_that_leaves_does_not_use_up_attempts(starting):
    engine = starting()
    job = engine.count(steps=1000, sleep=0.05)
    engine.step(job, 1)
    engine.end()
    engine = starting()
    engine.reach(job, JobState.RUNNING)
    assert engine.client.job(job.id).attempts == 1
    engine.client.cancel(job.id)
    assert engine.finish(job).state == JobState.CANCELLED
