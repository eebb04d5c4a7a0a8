# SPDX-License-Identifier: GPL-3.0-or-later
"""Real engine processes on real ports, and what tests do with them."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from syncsde_client.client import (
    Client,
    find_engine,
    last_words,
    start_engine,
)
from syncsde_client.protocol import Job, JobRequest, JobState
from syncsde_client.tensors import tensors_to_bytes

COMMAND = [sys.executable, str(Path(__file__).with_name("counting_engine.py"))]


@dataclass
class Engine:
    """A running engine; `client` is good until it is ended."""

    folder: Path
    process: subprocess.Popen[bytes]
    client: Client

    @property
    def port(self) -> int:
        return self.client.connection.port

    @property
    def worker(self) -> int:
        return wait_until(lambda: self.client.status()["worker_pid"])

    def count(self, key: str | None = None, **parameters: Any) -> Job:
        """Submit a job of its own, whatever was done before."""
        if key is None:
            parameters["nonce"] = uuid.uuid4().hex
        return self.client.submit(JobRequest("count", parameters, key=key))

    def walk(self, key: str | None = None, **parameters: Any) -> Job:
        parameters["nonce"] = uuid.uuid4().hex
        return self.client.submit(JobRequest("walk", parameters, key=key))

    def finish(self, job: Job) -> Job:
        return wait_until(lambda: (now := self.client.job(job.id)).state.ended and now)

    def reach(self, job: Job, state: JobState) -> Job:
        return wait_until(lambda: (now := self.client.job(job.id)).state == state and now)

    def step(self, job: Job, step: int) -> None:
        """Wait until the job has made so many steps."""
        wait_until(
            lambda: any(event.data.get("step", 0) >= step for event in self.client.events(job.id))
        )

    def end(self) -> None:
        if self.process.stdin is not None:
            self.process.stdin.close()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(5)
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()

    def kill(self) -> None:
        self.process.kill()
        self.end()


def packed(content: bytes) -> bytes:
    """Any bytes as a file that may be uploaded."""
    return tensors_to_bytes({"data": np.frombuffer(content, np.uint8)})


def wait_until(condition: Callable[[], Any], seconds: float = 20.0) -> Any:
    """Return the first true value; fail if none comes in time."""
    deadline = time.monotonic() + seconds
    while not (value := condition()):
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.01)
    return value


def is_gone(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    # Where the init process does not collect its orphans, an ended one stays as a zombie.
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"


def start(folder: Path, *options: str, command: list[str] = COMMAND) -> Engine:
    process = start_engine([*command, *options], folder)

    def ready() -> Client | None:
        assert process.poll() is None, last_words(folder)
        return find_engine(folder)

    return Engine(folder, process, wait_until(ready))


@dataclass(frozen=True)
class Answer:
    status: int
    headers: dict[str, str]
    body: bytes


def exchange(port: int, request: bytes) -> Answer:
    """Send bytes as they are and read until the engine closes or has answered in full."""
    with socket.create_connection(("127.0.0.1", port), timeout=10) as link:
        with contextlib.suppress(ConnectionError):
            link.sendall(request)
        received = b""
        with contextlib.suppress(ConnectionError):
            while not _complete(received) and (chunk := link.recv(1 << 16)):
                received += chunk
    head, _, body = received.partition(b"\r\n\r\n")
    lines = head.decode("latin-1").split("\r\n")
    headers = dict(line.lower().split(": ", 1) for line in lines[1:])
    return Answer(int(lines[0].split()[1]), headers, body)


def _complete(received: bytes) -> bool:
    head, found, body = received.partition(b"\r\n\r\n")
    for line in head.lower().split(b"\r\n"):
        if line.startswith(b"content-length:"):
            return len(body) >= int(line.partition(b":")[2])
    return bool(found) and b"\r\ntransfer-encoding" not in head.lower() and b" 204 " in head
