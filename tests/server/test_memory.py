# SPDX-License-Identifier: GPL-3.0-or-later
"""Running out of memory: once more with less at a time, then failed with what would have fitted."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest

from syncsde_client.protocol import JobState
from syncsde_server.work.attempt import no_memory, smaller_batch
from tests.server.running import wait_until


def notices(engine, job):
    return [event.data for event in engine.client.events(job.id) if event.type == "notice"]


def test_once_more_with_a_smaller_batch(engine):
    """Four trajectories do not fit and two do: the result is that of a run that always fitted."""
    small = engine.finish(engine.walk(steps=5, fits=2))
    assert small.state == JobState.DONE
    assert small.attempts == 1
    (notice,) = notices(engine, small)
    assert (notice["code"], notice["batch_size"]) == ("out_of_memory", 2)
    large = engine.finish(engine.walk(steps=5))
    assert small.result == large.result


def test_fails_with_what_would_have_fitted(engine):
    job = engine.finish(engine.walk(steps=5, fits=1))
    assert job.state == JobState.FAILED
    assert job.error["code"] == "out_of_memory"
    assert job.error["field"] == "batch_size"
    assert "batch_size 2" in job.error["message"]
    assert "batch_size 1" in job.error["hint"]
    assert len(notices(engine, job)) == 1


def test_bomb_fails_its_job_alone(engine):
    """A terabyte is asked for; the limit of the worker's memory makes that an error, not a kill."""
    worker = engine.worker
    job = engine.finish(engine.count(fault="bomb"))
    assert job.state == JobState.FAILED
    assert job.error["code"] == "out_of_memory"
    assert engine.worker == worker
    assert engine.finish(engine.count()).state == JobState.DONE


def test_limit_of_the_worker(starting):
    engine = starting("--memory", "0.4")

    def limit():
        lines = Path(f"/proc/{engine.worker}/limits").read_text().splitlines()
        return next(line for line in lines if line.startswith("Max data size")).split()[3]

    # A worker limits itself as soon as it runs.
    assert wait_until(lambda: (now := limit()) != "unlimited" and now, 30) == "400000000"


@pytest.mark.parametrize(
    ("batch_size", "trajectories", "attention", "smaller"),
    [
        (None, 10, "off", 5),
        (None, 12, "off", 3),  # two balanced batches of six
        (4, 10, "off", 2),
        (1, 10, "off", None),
        (None, None, "off", None),  # it did not even begin
        (None, 10, "ring", None),  # all of them are needed together
    ],
)
def test_how_much_smaller(batch_size, trajectories, attention, smaller):
    config = SimpleNamespace(batch_size=batch_size, shared_attention=attention)
    assert smaller_batch(config, trajectories) == smaller  # type: ignore[arg-type]


def test_nothing_smaller_than_one():
    assert "batch_size" not in no_memory(1).hint
