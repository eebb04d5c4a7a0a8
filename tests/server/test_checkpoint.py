# SPDX-License-Identifier: GPL-3.0-or-later
"""The checkpoint of a job: what is kept, when, and what is not gone on from."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import safetensors.numpy

from syncsde_engine.tasks import Progress
from syncsde_server.store.files import keep_checkpoints
from syncsde_server.work import checkpoint as checkpoint_module
from syncsde_server.work.checkpoint import Checkpoint, Unusable
from tests.server.counting_engine import States

JOB = "a" * 32
ORIGIN = {"request": "1", "model": "2", "version": "3"}


def progress(step: int, seed: int = 0) -> Progress:
    y = np.random.default_rng(seed).standard_normal((2, 4, 8, 8), np.float32)
    state = SimpleNamespace(step=SimpleNamespace(index=step - 1), y=States(y))
    return Progress("views", step, 10, state=state)  # type: ignore[arg-type]


def opened(folder, origin=ORIGIN) -> Checkpoint:
    return Checkpoint(folder, JOB, lambda: origin)


@pytest.fixture
def at_once(monkeypatch):
    monkeypatch.setattr(checkpoint_module, "INTERVAL", 0.0)


def test_round_trip(tmp_path, at_once):
    written = progress(3)
    assert opened(tmp_path).keep(written)
    found = opened(tmp_path).read()
    assert found is not None
    assert (found.stage, found.step) == ("views", 3)
    np.testing.assert_array_equal(found.y, written.state.y.values)
    assert [path.name for path in tmp_path.iterdir()] == [f"{JOB}.safetensors"]
    assert (tmp_path / f"{JOB}.safetensors").stat().st_mode & 0o077 == 0


def test_the_last_one_stays(tmp_path, at_once):
    kept = opened(tmp_path)
    for step in (1, 2, 3):
        kept.keep(progress(step, step))
    assert opened(tmp_path).read().step == 3
    kept.remove()
    assert opened(tmp_path).read() is None


def test_not_every_step_is_written(tmp_path):
    kept = opened(tmp_path)
    assert not kept.keep(progress(1))
    assert not list(tmp_path.iterdir())
    assert not kept.keep(Progress("load", 0, 1))


@pytest.mark.parametrize("name", ORIGIN)
def test_of_other_work(tmp_path, at_once, name):
    opened(tmp_path).keep(progress(1))
    with pytest.raises(Unusable, match=f"its {name} is another"):
        opened(tmp_path, {**ORIGIN, name: "other"}).read()


@pytest.mark.parametrize("damage", ["cut", "empty", "garbage", "no state", "not finite", "no step"])
def test_unreadable(tmp_path, at_once, damage):
    opened(tmp_path).keep(progress(1))
    path = tmp_path / f"{JOB}.safetensors"
    content = path.read_bytes()
    told = {**ORIGIN, "stage": "views", "step": "1"}
    y = np.full((1, 4, 8, 8), np.nan, np.float32)
    path.write_bytes(
        {
            "cut": content[:-100],
            "empty": b"",
            "garbage": b"\xff" * 1000,
            "no state": safetensors.numpy.save({"z": y}, told),
            "not finite": safetensors.numpy.save({"y": y}, told),
            "no step": safetensors.numpy.save({"y": np.zeros_like(y)}, {**told, "step": "one"}),
        }[damage]
    )
    with pytest.raises(Unusable):
        opened(tmp_path).read()


def flipped(content: bytes) -> bytes:
    return content[:-1000] + bytes([content[-1000] ^ 1]) + content[-999:]


@pytest.mark.parametrize(
    "damage",
    [
        flipped,
        lambda content: content.replace(b'"step":"3"', b'"step":"9"'),
        lambda content: content.replace(b'"stage":"views"', b'"stage":"VIEWS"'),
        lambda content: content.replace(b"[2,4,8,8]", b"[2,4,8,9]"),
        lambda content: content.replace(b"[2,4,8,8]", b"[4,2,8,8]"),
    ],
    ids=["bit flip", "another step", "another stage", "no shape", "another shape"],
)
def test_what_is_not_as_it_was_written_is_not_gone_on_from(tmp_path, at_once, damage):
    opened(tmp_path).keep(progress(3))
    path = tmp_path / f"{JOB}.safetensors"
    before = path.read_bytes()
    path.write_bytes(damage(before))
    assert path.read_bytes() != before
    with pytest.raises(Unusable):
        opened(tmp_path).read()


def test_only_those_of_jobs_that_wait_are_kept(tmp_path):
    for name in (f"{JOB}.safetensors", "b" * 32 + ".safetensors", f"{JOB}.12.ab.part"):
        (tmp_path / name).write_bytes(b"")
    keep_checkpoints(tmp_path, {JOB})
    assert [path.name for path in tmp_path.iterdir()] == [f"{JOB}.safetensors"]
