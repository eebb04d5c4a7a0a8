# SPDX-License-Identifier: GPL-3.0-or-later
"""The worker's end of the pipes to the engine: requests in, messages out, as JSON lines."""

from __future__ import annotations

import json
import logging
import os
import queue
import threading
from typing import IO, Any

HEARTBEAT = 1.0  # seconds

Message = dict[str, Any]


class Pipes:
    """The original stdin and stdout, which from now on nothing else in this process can touch.

    A library that prints would break the protocol; on Windows a library that only looks at stdin
    while a thread reads from it would hang.
    """

    def __init__(self) -> None:
        self._in = _take(0, os.open(os.devnull, os.O_RDONLY), "r")
        self._out = _take(1, os.dup(2), "w")
        self._lock = threading.Lock()
        self.requests: queue.SimpleQueue[Message] = queue.SimpleQueue()
        self._cancelled: set[str] = set()

    def start(self) -> None:
        threading.Thread(target=self._read, name="requests", daemon=True).start()
        threading.Thread(target=self._beat, name="heartbeat", daemon=True).start()

    def send(self, kind: str, **content: Any) -> None:
        with self._lock:
            self._out.write(json.dumps({"type": kind, **content}) + "\n")
            self._out.flush()

    def is_cancelled(self, job_id: str) -> bool:
        return job_id in self._cancelled

    def _read(self) -> None:
        for line in self._in:
            message = json.loads(line)
            if message["type"] == "cancel":
                self._cancelled.add(message["job"])
            else:
                self.requests.put(message)
        os._exit(0)  # the engine is gone; the main thread may be deep inside a step

    def _beat(self) -> None:
        pause = threading.Event()
        try:
            while not pause.wait(HEARTBEAT):
                self.send("heartbeat", memory=resident_bytes())
        except OSError:
            os._exit(0)


class LogToEngine(logging.Handler):
    """Sends log records to the engine, which keeps the log."""

    def __init__(self, pipes: Pipes) -> None:
        super().__init__()
        self.setFormatter(logging.Formatter("%(message)s"))
        self._pipes = pipes

    def emit(self, record: logging.LogRecord) -> None:
        try:
            text = self.format(record)
            self._pipes.send("log", level=record.levelno, name=record.name, message=text)
        except OSError:
            os._exit(0)


def resident_bytes() -> int | None:
    """How much memory this process has at the moment; None where that is not told (not Linux)."""
    try:
        with open("/proc/self/statm", encoding="ascii") as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        return None


def _take(number: int, instead: int, mode: str) -> IO[str]:
    stream = os.fdopen(os.dup(number), mode, encoding="utf-8")
    os.dup2(instead, number)
    os.close(instead)
    return stream
