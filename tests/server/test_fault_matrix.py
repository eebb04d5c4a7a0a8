# SPDX-License-Identifier: GPL-3.0-or-later
"""Who dies and when: nothing accepted is lost, and the result is the undisturbed one."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from syncsde_client.client import Client, find_engine
from syncsde_client.protocol import JobState
from syncsde_engine.tasks import follow
from tests.server.counting_engine import FAULT_FILE, WalkConfig, walk
from tests.server.running import COMMAND, Engine, is_gone, wait_until

STEPS = {"steps": 30, "sleep": 0.02, "seed": 11}
POINTS = {
    "before claim": "claim",
    "during a step": "step",
    "during a checkpoint write": "checkpoint",
    "between result and commit": "commit",
    "during cancel": "cancel",
}


class Survivor:
    """An engine under a parent of its own; whatever died is started again."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.parent: subprocess.Popen[str] | None = None
        self.begin()

    def begin(self) -> None:
        """Blender's stand-in: it starts an engine and lives on."""
        code = (
            "import time; from pathlib import Path\n"
            "from syncsde_client.client import CLIENT, start_engine\n"
            f"process = start_engine({COMMAND!r}, Path({str(self.folder)!r}))\n"
            "print(CLIENT, flush=True); process.wait(); time.sleep(60)"
        )
        self.parent = subprocess.Popen(
            [sys.executable, "-c", code], stdout=subprocess.PIPE, text=True
        )
        assert self.parent.stdout is not None
        self.name = self.parent.stdout.readline().strip()
        self.client: Client = wait_until(lambda: find_engine(self.folder, self.name))

    def engine(self) -> Engine:
        assert self.parent is not None
        return Engine(self.folder, self.parent, self.client)  # type: ignore[arg-type]

    def end(self) -> None:
        assert self.parent is not None
        self.parent.kill()
        self.parent.wait()
        assert self.parent.stdout is not None
        self.parent.stdout.close()
        wait_until(lambda: is_gone(self.client.connection.pid))

    def again(self) -> None:
        """Wait for the end of whoever dies, and start a new parent with a new engine."""
        self.end()
        self.begin()


@pytest.fixture(scope="module")
def survivor(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Survivor]:
    started = Survivor(tmp_path_factory.mktemp("matrix") / "state")
    yield started
    started.end()


def undisturbed() -> bytes:
    return follow(walk(WalkConfig(**STEPS), {}))["walk.bin"]


@pytest.mark.parametrize("when", POINTS)
@pytest.mark.parametrize("who", ["worker", "engine", "parent", "disk"])
def test_nothing_is_lost(survivor: Survivor, who: str, when: str) -> None:
    assert survivor.parent is not None
    engine, point = survivor.engine(), POINTS[when]
    wait_until(lambda: engine.client.status()["worker"] == "ready")
    fault = engine.folder / FAULT_FILE
    wanted = f"{point} {who} {survivor.parent.pid}"
    before = engine.walk(steps=10, sleep=0.05)
    job = engine.walk(**STEPS)
    behind = engine.walk(steps=1)  # what waits is not lost either
    if point != "claim":
        engine.finish(before)
        engine.step(job, 12 if point == "step" else 1)
    fault.write_text(wanted)
    if point == "cancel":
        engine.client.cancel(job.id)
    wait_until(lambda: not fault.exists())  # it has happened
    if who in ("engine", "parent"):
        survivor.again()
        engine = survivor.engine()
    ended = engine.finish(job)
    assert engine.finish(behind).state == JobState.DONE
    if point == "cancel":
        assert ended.state == JobState.CANCELLED
    else:
        assert ended.state == JobState.DONE, ended.error
        assert ended.result is not None
        assert engine.client.get_blob(ended.result["walk.bin"]["sha256"]) == undisturbed()
    events = engine.client.events(job.id)
    assert [event.number for event in events] == list(range(1, len(events) + 1))
    if point == "step":  # the state was on the disk, so it did not begin anew
        assert any(event.data.get("code") == "resumed" for event in events)
    assert not list((engine.folder / "checkpoints").iterdir())
    assert not list((engine.folder / "blobs").glob("*.part"))
