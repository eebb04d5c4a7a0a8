# SPDX-License-Identifier: GPL-3.0-or-later
"""The process that does the work: jobs in and events out as JSON lines over pipes.

It is a process of its own so that a crash of torch or of a driver costs one attempt of one job,
and so that a step that cannot be interrupted can be killed.
"""

from __future__ import annotations

import argparse
import ctypes
import dataclasses
import importlib
import json
import logging
import os
import queue
import signal
import sys
import threading
from pathlib import Path
from typing import IO, Any

from syncsde_engine import tasks
from syncsde_engine.config import CONFIGS, build
from syncsde_engine.errors import OutOfMemory, SyncSDEError

from .blobs import BlobStore
from .errors import disk_full, is_disk_full

HEARTBEAT = 1.0  # seconds

log = logging.getLogger(__name__)
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
                self.send("heartbeat")
        except OSError:
            os._exit(0)


def _take(number: int, instead: int, mode: str) -> IO[str]:
    stream = os.fdopen(os.dup(number), mode, encoding="utf-8")
    os.dup2(instead, number)
    os.close(instead)
    return stream


def run(request: Message, pipes: Pipes, store: BlobStore, device: str) -> None:
    """Run one job to its end and report it."""
    job = request["job"]
    try:
        artifacts = _artifacts(request, pipes, store, device)
        if artifacts is None:
            pipes.send("cancelled", job=job)
            return
        result = {
            name: {"sha256": store.put(content), "size": len(content)}
            for name, content in artifacts.items()
        }
    except SyncSDEError as error:
        log.warning("job %s failed: %s", job, error.code)
        pipes.send("failed", job=job, error=error.as_dict())
    except MemoryError:
        error = OutOfMemory("There is not enough memory.", hint="Lower batch_size or the size.")
        pipes.send("failed", job=job, error=error.as_dict())
    except Exception as error:  # the job fails, with what is known; the worker goes on
        if is_disk_full(error):
            pipes.send("failed", job=job, error=disk_full().as_dict())
            return
        log.exception("job %s failed", job)
        unexpected = SyncSDEError(
            f"The engine made a mistake: {type(error).__name__}: {error}.",
            hint="The engine's log has the details.",
        )
        pipes.send("failed", job=job, error=unexpected.as_dict())
    else:
        pipes.send("done", job=job, result=result)


def _artifacts(
    request: Message, pipes: Pipes, store: BlobStore, device: str
) -> tasks.Artifacts | None:
    config = build(request["task"], request["parameters"])
    if getattr(config, "device", None) == "auto":
        config = dataclasses.replace(config, device=device)
    inputs = {name: store.read(sha256) for name, sha256 in request["inputs"].items()}
    steps = tasks.run(request["task"], config, inputs)
    try:
        while not pipes.is_cancelled(request["job"]):
            try:
                progress = next(steps)
            except StopIteration as finished:
                return finished.value
            pipes.send(
                "progress",
                job=request["job"],
                stage=progress.stage,
                step=progress.step,
                total=progress.total,
                preview=None if progress.preview is None else store.put(progress.preview),
            )
        return None
    finally:
        steps.close()


def _warm_up() -> None:
    """Import torch and all that the tasks need now, while the client still exports its mesh."""
    for task in CONFIGS:
        try:
            importlib.import_module(f"{tasks.__name__}.{task}")
        except Exception:  # a job of this task will fail with the reason; others need not
            log.exception("task %s cannot be loaded", task)


def _die_with_parent() -> None:
    """Linux: be killed when the engine is, even while stuck where no pipe is read."""
    if sys.platform == "linux":
        set_death_signal = 1
        ctypes.CDLL(None).prctl(set_death_signal, signal.SIGKILL)


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="syncsde_server.worker")
    parser.add_argument("--blobs", type=Path, required=True)
    parser.add_argument("--device", default="auto")
    arguments = parser.parse_args(argv)
    pipes = Pipes()
    pipes.start()
    _die_with_parent()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the engine's to handle
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s worker: %(message)s")
    store = BlobStore(arguments.blobs)
    _warm_up()
    pipes.send("ready")
    while True:
        run(pipes.requests.get(), pipes, store, arguments.device)


if __name__ == "__main__":
    sys.exit(main())
