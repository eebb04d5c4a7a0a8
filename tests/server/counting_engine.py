# SPDX-License-Identifier: GPL-3.0-or-later
"""The real engine with small tasks in place of the real ones, which count, walk, copy, go wrong.

Run as a script with the arguments of `syncsde serve`; with `--worker` first it is the worker. A
file `fault` in the state folder ("POINT WHO PARENT") makes things go wrong once at that point.
"""

from __future__ import annotations

import errno
import os
import signal
import sqlite3
import sys
import time
from collections.abc import Generator, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
from pydantic import Field
from pydantic.dataclasses import dataclass

from syncsde_engine import config, errors, tasks
from syncsde_server.work import checkpoint, faults

Fault = Literal[
    "none", "kill", "abort", "raise", "invalid", "hang", "print", "disk_full", "memory", "bomb"
]
POINTS = ("claim", "step", "checkpoint", "result", "commit", "cancel", "cancelling")
FAULT_FILE = "fault"


@dataclass(frozen=True, config=config.STRICT)
class CountConfig:
    inputs: ClassVar[tuple[str, ...]] = ()
    optional_inputs: ClassVar[tuple[str, ...]] = ()

    steps: Annotated[int, Field(ge=1, le=1000)] = 3
    sleep: Annotated[float, Field(ge=0, le=60)] = 0.0
    preview: bool = False
    fault: Fault = "none"
    fault_step: int = 0
    marker: str = ""  # with this file, the fault comes only once
    nonce: str = ""  # makes it another job


@dataclass(frozen=True, config=config.STRICT)
class WalkConfig:
    """Like a sampler: each state comes from the one before."""

    inputs: ClassVar[tuple[str, ...]] = ()
    optional_inputs: ClassVar[tuple[str, ...]] = ()

    seed: int = 0
    steps: Annotated[int, Field(ge=1, le=1000)] = 3
    sleep: Annotated[float, Field(ge=0, le=60)] = 0.0
    batch_size: int | None = None
    fits: int = 64  # trajectories
    nonce: str = ""


@dataclass(frozen=True, config=config.STRICT)
class CopyConfig:
    inputs: ClassVar[tuple[str, ...]] = ("data",)
    optional_inputs: ClassVar[tuple[str, ...]] = ("more",)

    nonce: str = ""


class States:
    """What a tensor is to the worker."""

    def __init__(self, values: np.ndarray) -> None:
        self.values = values

    def detach(self) -> States:
        return self

    cpu = detach

    def numpy(self) -> np.ndarray:
        return self.values

    def __len__(self) -> int:
        return len(self.values)


def count(settings: CountConfig, _: Mapping[str, bytes]) -> Generator[tasks.Progress, None, Any]:
    for step in range(settings.steps):
        time.sleep(settings.sleep)
        if step == settings.fault_step:
            go_wrong(settings)
        picture = f"picture {step}".encode()
        preview = (lambda picture=picture: picture) if settings.preview else None
        yield tasks.Progress("count", step + 1, settings.steps, preview)
    return {"count.txt": str(settings.steps).encode(), "views/00.png": b"not a picture"}


def walk(
    settings: WalkConfig, _: Mapping[str, bytes]
) -> Generator[tasks.Progress, tasks.Saved | None, Any]:
    y = np.random.Generator(np.random.Philox(key=settings.seed)).random((4, 2, 3, 3), np.float32)
    yield tasks.Progress("load", 0, 1)
    start: Any = States(y)
    saved = yield tasks.Progress("views", 0, settings.steps, start=start)
    first = 0 if saved is None else saved.step
    y = y if saved is None else saved.y
    for step in range(first, settings.steps):
        time.sleep(settings.sleep)
        if (settings.batch_size or 4) > settings.fits:
            raise MemoryError
        y = np.sin(3 * y + step).astype(np.float32)
        state: Any = SimpleNamespace(step=SimpleNamespace(index=step), y=States(y))
        yield tasks.Progress("views", step + 1, settings.steps, state=state, start=start)
    return {"walk.bin": y.tobytes()}


def go_wrong(settings: CountConfig) -> None:
    if settings.marker:
        try:
            Path(settings.marker).touch(exist_ok=False)
        except FileExistsError:
            return
    if settings.fault == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    elif settings.fault == "abort":
        os.abort()
    elif settings.fault == "raise":
        raise RuntimeError("a defect")
    elif settings.fault == "invalid":
        raise errors.InvalidMesh("The mesh has no faces.", hint="Add some.", field="mesh")
    elif settings.fault == "hang":
        time.sleep(60)
    elif settings.fault == "print":
        print("a library prints")
        os.write(1, b"and another writes\n")
    elif settings.fault == "disk_full":
        raise OSError(errno.ENOSPC, "no space left")
    elif settings.fault == "memory":
        raise MemoryError
    elif settings.fault == "bomb":
        np.ones(1 << 40, np.uint8)


def copy(_: CopyConfig, inputs: Mapping[str, bytes]) -> Generator[tasks.Progress, None, Any]:
    yield tasks.Progress("copy", 1, 1)
    return {f"{name}.bin": content for name, content in inputs.items()}


def register() -> None:
    configs: Any = config.CONFIGS
    configs.clear()
    for name, kind, run in (
        ("count", CountConfig, count),
        ("walk", WalkConfig, walk),
        ("copy", CopyConfig, copy),
    ):
        configs[name] = kind
        sys.modules[f"{tasks.__name__}.{name}"] = SimpleNamespace(run=run)  # type: ignore[assignment]
    tasks.model_sha256 = lambda config: "of no model"
    tasks.preload = lambda task, config: None
    tasks.devices = lambda: ["cpu"]
    checkpoint.INTERVAL = 0.1


def install_faults(folder: Path, *, in_worker: bool) -> None:
    """Look for the file `fault` at every point of this process."""

    def look(point: str) -> None:
        try:
            wanted, who, parent = (folder / FAULT_FILE).read_text().split()
        except (FileNotFoundError, ValueError):  # or it is just being written
            return
        if wanted != point:
            return
        (folder / FAULT_FILE).unlink()
        if who == "disk":
            raise OSError(errno.ENOSPC, "no space left") if in_worker else full()
        engine = os.getppid() if in_worker else os.getpid()
        victim = {"worker": worker_of(engine), "engine": engine, "parent": int(parent)}[who]
        os.kill(victim, signal.SIGKILL)
        if who == "worker" and in_worker:
            time.sleep(60)

    for point in POINTS:
        faults.install(point, lambda point=point: look(point))


def full() -> sqlite3.OperationalError:
    error = sqlite3.OperationalError("database or disk is full")
    error.sqlite_errorcode = sqlite3.SQLITE_FULL
    return error


def worker_of(engine: int) -> int:
    # The supervisor's thread has it as its child.
    for children in Path(f"/proc/{engine}/task").glob("*/children"):
        for pid in children.read_text().split():
            return int(pid)
    raise AssertionError("no worker")


def after(flag: str) -> Path:
    return Path(sys.argv[sys.argv.index(flag) + 1])


if __name__ == "__main__":
    register()
    if sys.argv[1] == "--worker":
        from syncsde_server.work import worker

        install_faults(after("--blobs").parent, in_worker=True)
        sys.exit(worker.main(sys.argv[2:]))
    from syncsde_server.__main__ import main

    install_faults(after("--state-dir"), in_worker=False)
    sys.exit(main(sys.argv[1:], worker=[sys.executable, __file__, "--worker"]))
