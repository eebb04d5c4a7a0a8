# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from syncsde_server.store.jobs import Jobs
from tests.server.running import COMMAND, Engine, start


@pytest.fixture(scope="session")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    """One engine for all tests that leave it as they found it."""
    running = start(tmp_path_factory.mktemp("engine") / "state")
    yield running
    running.end()


@pytest.fixture
def starting(tmp_path: Path) -> Iterator[Callable[..., Engine]]:
    """Start engines on a folder of this test's own; they are ended after it."""
    started: list[Engine] = []

    def begin(*options: str, command: list[str] = COMMAND) -> Engine:
        started.append(start(tmp_path / "state", *options, command=command))
        return started[-1]

    yield begin
    for each in started:
        each.end()


@pytest.fixture
def jobs(tmp_path: Path) -> Iterator[Jobs]:
    """A job store of this test's own."""
    opened = Jobs(tmp_path / "jobs.sqlite")
    yield opened
    opened.close()
