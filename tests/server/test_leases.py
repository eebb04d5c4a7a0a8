# SPDX-License-Identifier: GPL-3.0-or-later
"""Several Blenders share an engine: it leaves with the last of them."""

from __future__ import annotations

import safetensors.numpy
from safetensors import safe_open

from syncsde_client.client import Client
from syncsde_client.protocol import JobState
from syncsde_server.store.leases import Leases
from syncsde_server.work import checkpoint
from tests.server.running import wait_until


def test_leases_end_by_themselves():
    leases = Leases(seconds=0.2)
    leases.renew("a")
    leases.renew("b")
    assert leases.count() == 2
    leases.end("a")
    leases.end("a")
    assert leases.count() == 1
    wait_until(lambda: leases.count() == 0)


def test_engine_stays_for_the_other_blender(starting):
    """Its parent quits while another client's job runs: the job is done, then the engine leaves."""
    engine = starting()
    other = Client(engine.client.connection, name="other-blender")
    job = engine.walk(steps=20, sleep=0.1)
    other.lease()
    engine.process.stdin.close()
    assert other.finish(job.id).state == JobState.DONE
    assert engine.process.poll() is None
    assert other.status()["clients"] == 1
    engine.process.wait(40)


def test_owner_of_a_job(engine):
    one, two = (Client(engine.client.connection, name=name) for name in ("one", "two"))
    for client in (one, two):
        engine.client = client
        engine.walk(steps=300, sleep=0.05)
    assert {job.owner for job in two.jobs(mine=True)} == {"two"}
    assert len(one.cancel_mine()) == 1
    assert len(two.cancel_mine()) == 1
    for client in (one, two):
        assert client.finish(client.jobs(mine=True)[0].id).state == JobState.CANCELLED


def test_order_over_http(engine):
    client = engine.client
    first = engine.walk(steps=300, sleep=0.05)
    engine.step(first, 1)  # it is in nobody's way any more
    a, b = engine.walk(), engine.walk()
    assert [client.job(job.id).place for job in (a, b)] == [1, 2]
    assert client.move(b.id, to="first").place == 1
    assert client.move(a.id, priority=3).place == 1
    assert client.move(b.id, before=a.id).priority == 3
    for job in (first, a, b):
        client.cancel(job.id)
        engine.finish(job)


def test_long_poll_of_events(engine):
    job = engine.walk(steps=3, sleep=0.2)
    last, seen = 0, []
    while not seen or not (seen[-1].type == "state" and seen[-1].data["state"] == "done"):
        events = engine.client.events(job.id, last, wait=10)
        assert events
        seen += events
        last = seen[-1].number
    assert [event.number for event in seen] == list(range(1, last + 1))
    assert engine.client.events(job.id, last, wait=10) == []  # at once: it has ended


def test_same_work_is_not_done_twice(engine):
    client = engine.client
    job = engine.count(key="first", steps=3)
    done = engine.finish(job)
    again = engine.count(key="second", steps=3)
    assert again.id != done.id
    assert (again.state, again.result, again.attempts) == (JobState.DONE, done.result, 0)
    (engine.folder / "blobs" / done.result["count.txt"]["sha256"]).unlink()
    assert client.job(engine.count(key="third", steps=3).id).state != JobState.DONE


def test_foreign_checkpoint_is_told_and_not_used(starting):
    engine = starting()
    job = engine.walk(steps=40, sleep=0.05)
    engine.step(job, 20)
    path = engine.folder / "checkpoints" / f"{job.id}.safetensors"
    wait_until(path.exists)
    engine.kill()
    with safe_open(path, "numpy") as file:
        told, y = file.metadata(), file.get_tensor("y")
    told = {name: value for name, value in told.items() if name != checkpoint.CHECKSUM}
    told["model"] = "of another"
    whole = {**told, checkpoint.CHECKSUM: checkpoint._checksum(told, y)}
    path.write_bytes(safetensors.numpy.save({"y": y}, whole))
    engine = starting()
    ended = engine.finish(job)
    assert ended.state == JobState.DONE
    notices = [event.data for event in engine.client.events(job.id) if event.type == "notice"]
    assert [notice["code"] for notice in notices] == ["restarted"]
    assert "its model is another" in notices[0]["message"]
