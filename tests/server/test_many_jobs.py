# SPDX-License-Identifier: GPL-3.0-or-later
"""A thousand jobs leave nothing behind in memory or open files."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from syncsde_client.protocol import JobState


def resident(pid: int) -> int:
    """Kilobytes in memory."""
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.partition("VmRSS:")[2].split()[0])


def handles(pid: int) -> int:
    """Open files at rest: the least of a second, in which a connection or a file may be passing."""
    counts = []
    for _ in range(20):
        counts.append(len(list(Path(f"/proc/{pid}/fd").iterdir())))
        time.sleep(0.05)
    return min(counts)


@pytest.mark.slow
def test_a_thousand_jobs(starting):
    engine = starting()
    processes = [engine.process.pid, engine.worker]
    figures = {}
    for number in range(1, 1001):
        job = engine.walk(steps=10)
        assert engine.client.finish(job.id).state == JobState.DONE
        if number in (100, 1000):
            figures[number] = [(resident(pid), handles(pid)) for pid in processes]
    assert engine.worker == processes[1]
    for before, after in zip(figures[100], figures[1000], strict=True):
        assert after[0] <= 1.05 * before[0]
        assert after[1] == before[1]
    assert engine.client.status()["jobs"]["done"] == 1000
