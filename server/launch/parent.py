# SPDX-License-Identifier: GPL-3.0-or-later
"""Who started the engine, and whether anybody still needs it."""

from __future__ import annotations

import json
import logging
import os
import sys
import threading
import time
from collections.abc import Callable

from syncsde_engine.errors import InvalidRequest

from ..store.leases import Leases

LOOK = 0.5  # seconds

log = logging.getLogger(__name__)


def leave_with_parent(leases: Leases, leave: Callable[[], None]) -> None:
    """Call `leave` when nobody holds the other end of our stdin and no other client is there.

    The parent's first line may say which client it is itself: {"client": id}.
    """
    # As in pipes.py: on Windows nothing else may look at a stdin that a thread reads from.
    if sys.stdin is None:  # what is number 0 by now is something else
        raise InvalidRequest("There is no stdin to wait for.", hint="Use --stay.")
    stdin = os.dup(0)
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)

    def wait() -> None:
        parent = _read_to_end(stdin)
        log.info("the parent is gone")
        if parent is not None:
            leases.end(parent)
        while leases.count():
            time.sleep(LOOK)
        log.info("no client is left")
        leave()

    threading.Thread(target=wait, name="parent", daemon=True).start()


def _read_to_end(stdin: int) -> str | None:
    """Wait until the pipe is closed; return the client that the parent said it is."""
    said = b""
    try:
        while chunk := os.read(stdin, 1 << 12):
            said = (said + chunk)[: 1 << 12]
    except OSError:
        pass  # as good as closed
    try:
        client = json.loads(said.partition(b"\n")[0])["client"]
    except (ValueError, KeyError, TypeError, RecursionError):
        return None
    return client if isinstance(client, str) else None
