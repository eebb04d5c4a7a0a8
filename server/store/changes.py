# SPDX-License-Identifier: GPL-3.0-or-later
"""Tell waiting coroutines from any thread that a job changed."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress


class Changes:
    def __init__(self) -> None:
        self.closed = False
        self._lock = threading.Lock()
        self._waiting: set[Waiting] = set()

    def notify(self) -> None:
        with self._lock:
            for each in self._waiting:
                each.wake()

    def close(self) -> None:
        """The engine is leaving: nobody shall wait any longer."""
        self.closed = True
        self.notify()

    @contextmanager
    def watch(self) -> Iterator[Waiting]:
        """Every change from here on is seen by `wait`, also one that came before waiting began."""
        each = Waiting()
        with self._lock:
            self._waiting.add(each)
        try:
            yield each
        finally:
            with self._lock:
                self._waiting.discard(each)


class Waiting:
    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._event = asyncio.Event()

    def wake(self) -> None:
        self._loop.call_soon_threadsafe(self._event.set)

    async def wait(self, seconds: float) -> bool:
        """Return True at the next change, False if none comes in time."""
        with suppress(TimeoutError):
            await asyncio.wait_for(self._event.wait(), seconds)
        changed = self._event.is_set()
        self._event.clear()
        return changed
