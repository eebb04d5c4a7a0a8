# SPDX-License-Identifier: GPL-3.0-or-later
"""Who uses the engine: each request of a client is a lease of some seconds."""

from __future__ import annotations

import threading
import time

from syncsde_client.protocol import LEASE


class Leases:
    """May be used from any thread. Clients are ids that they have made up for themselves."""

    def __init__(self, seconds: float = LEASE) -> None:
        self._seconds = seconds
        self._until: dict[str, float] = {}
        self._lock = threading.Lock()

    def renew(self, client: str) -> None:
        with self._lock:
            now = time.monotonic()
            self._until = {name: until for name, until in self._until.items() if until > now}
            self._until[client] = now + self._seconds

    def end(self, client: str) -> None:
        """A client is known to be gone."""
        with self._lock:
            self._until.pop(client, None)

    def count(self) -> int:
        """How many clients are still thought to be there."""
        with self._lock:
            now = time.monotonic()
            return sum(until > now for until in self._until.values())
