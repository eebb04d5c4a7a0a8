# SPDX-License-Identifier: GPL-3.0-or-later
"""A worker process, seen from the engine: started, spoken to, and ended."""

from __future__ import annotations

import json
import logging
import queue
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from typing import Any, NamedTuple

log = logging.getLogger(__name__)

MOST_WORDS = 100  # lines
LONGEST_WORDS = 200  # characters of one that is told
LAST_WORDS = 1.0  # seconds that those of a dead worker may still be on the way

# -P: the folder that the engine was started in is no place to import from.
WORKER_COMMAND = (sys.executable, "-P", "-m", "syncsde_server.work.worker")


class Message(NamedTuple):
    """A line from a worker; `{"type": "exit"}`, with code and last words, is its last."""

    worker: Worker
    content: dict[str, Any]


class Worker:
    def __init__(self, command: Sequence[str], inbox: queue.SimpleQueue[Message | None]) -> None:
        """Start `command`; what it says arrives in `inbox`. Its stderr goes on to the engine's."""
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            encoding="utf-8",
            errors="replace",
            creationflags=subprocess.CREATE_NO_WINDOW if sys.platform == "win32" else 0,
        )
        self.pid = self._process.pid
        self.ready = False
        self.told_to_load = False
        self.devices: list[str] = []
        self.memory: int | None = None  # bytes
        self.heard = time.monotonic()
        self._inbox = inbox
        self._words: deque[str] = deque(maxlen=MOST_WORDS)
        self._listener = threading.Thread(
            target=self._listen, name=f"stderr of worker {self.pid}", daemon=True
        )
        self._listener.start()
        threading.Thread(target=self._read, name=f"worker {self.pid}", daemon=True).start()

    def send(self, kind: str, **content: Any) -> None:
        """A worker that is dead already does not mind; its exit message is on the way."""
        assert self._process.stdin is not None
        self._words.clear()  # what was said before has nothing to do with this
        try:
            self._process.stdin.write(json.dumps({"type": kind, **content}) + "\n")
            self._process.stdin.flush()
        except OSError:
            log.warning("worker %d does not listen", self.pid)

    def kill(self) -> None:
        self._process.kill()

    def stop(self, seconds: float) -> None:
        """Let it go by closing its stdin, and kill it if it is not gone in time."""
        assert self._process.stdin is not None
        with suppress(OSError):  # what was not written yet is not wanted any more
            self._process.stdin.close()
        try:
            self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def _read(self) -> None:
        assert self._process.stdout is not None
        with self._process.stdout as lines:
            for line in lines:
                self.heard = time.monotonic()
                content = _content(line)
                if content is None:
                    log.warning("worker %d said something that is no message", self.pid)
                else:
                    self._inbox.put(Message(self, content))
        code = self._process.wait()
        self._listener.join(LAST_WORDS)
        self._inbox.put(Message(self, {"type": "exit", "code": code, "words": self._last_words()}))

    def _listen(self) -> None:
        assert self._process.stderr is not None
        with self._process.stderr as lines:
            for line in lines:
                self._words.append(line.strip())
                with suppress(OSError, ValueError, AttributeError):  # we may have no stderr
                    sys.stderr.write(line)
                    sys.stderr.flush()

    def _last_words(self) -> str:
        """What it died of, as far as it has said so; or nothing."""
        said = [line for line in self._words if line]
        fatal = [line for line in said if line.startswith("Fatal Python error")]
        return (fatal or said or [""])[-1][:LONGEST_WORDS]


def _content(line: str) -> dict[str, Any] | None:
    try:
        content = json.loads(line)
    except (ValueError, RecursionError):
        return None
    is_message = isinstance(content, dict) and isinstance(content.get("type"), str)
    return content if is_message else None
