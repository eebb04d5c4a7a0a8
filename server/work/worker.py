# SPDX-License-Identifier: GPL-3.0-or-later
"""The process that does the work: jobs in and events out as JSON lines over pipes.

It is a process of its own so that a crash of torch or of a driver costs one attempt of one job,
and so that a step that cannot be interrupted can be killed.
"""

from __future__ import annotations

import argparse
import ctypes
import dataclasses
import faulthandler
import logging
import signal
import sys
from pathlib import Path

from syncsde_engine import plugins, tasks
from syncsde_engine.config import CONFIGS
from syncsde_engine.errors import SyncSDEError
from syncsde_engine.request import build

from ..models import Models
from ..store.blobs import BlobStore
from .attempt import Attempt
from .pipes import LogToEngine, Message, Pipes

log = logging.getLogger(__name__)


def _import_tasks() -> None:
    """Import torch and all that the tasks need now, while the client still exports its mesh."""
    for task in CONFIGS:
        try:
            tasks.module_of(task)
        except Exception:  # a job of this task will fail with the reason; others need not
            log.exception("task %s cannot be loaded", task)


def _load_model(request: Message, device: str) -> None:
    """Load the model that will probably be wanted, while nothing else is."""
    try:
        config = build(request["task"], request["parameters"])
        if getattr(config, "device", None) == "auto":
            config = dataclasses.replace(config, device=device)
        tasks.preload(request["task"], config)
    except SyncSDEError as error:
        log.warning("the model is not loaded ahead: %s", error)
    except Exception:  # whatever it is, the job will say so
        log.exception("the model is not loaded ahead")


def _die_with_parent() -> None:
    """Linux: be killed when the engine is, even while stuck where no pipe is read."""
    if sys.platform == "linux":
        set_death_signal = 1
        ctypes.CDLL(None).prctl(set_death_signal, signal.SIGKILL)


def _limit_memory(limit: int) -> None:
    """Let allocations beyond `limit` bytes fail here instead of making the machine stand still.

    Linux only. What CUDA maps is no data and does not count.
    """
    if sys.platform == "linux" and limit:
        import resource

        resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="syncsde_server.work.worker")
    parser.add_argument("--blobs", type=Path, required=True)
    parser.add_argument("--checkpoints", type=Path, required=True)
    parser.add_argument("--models-dir", type=Path, action="append", default=[])
    parser.add_argument("--device", default="auto")
    parser.add_argument("--memory", type=int, default=0, help="bytes; 0 is no limit")
    arguments = parser.parse_args(argv)
    faulthandler.enable()  # last words of what crashes
    plugins.load()
    pipes = Pipes()
    pipes.start()
    _die_with_parent()
    _limit_memory(arguments.memory)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the engine's to handle
    logging.basicConfig(level=logging.INFO, handlers=[LogToEngine(pipes)])
    store, models = BlobStore(arguments.blobs), Models(arguments.models_dir)
    _import_tasks()
    pipes.send("ready", devices=tasks.devices())
    while True:
        request = pipes.requests.get()
        if offered := models.offered():
            tasks.offer_models(offered)
        if request["type"] == "load":
            if pipes.requests.empty():
                _load_model(request, arguments.device)
            continue
        Attempt(request, pipes, store, arguments.checkpoints, arguments.device).run()


if __name__ == "__main__":
    sys.exit(main())
