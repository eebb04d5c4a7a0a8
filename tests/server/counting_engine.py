# SPDX-License-Identifier: GPL-3.0-or-later
"""The real engine with two small tasks in place of the real ones, which count, copy, and go wrong.

Run as a script with the arguments of `syncsde serve`; with `--worker` first it is the worker.
"""

from __future__ import annotations

import errno
import os
import signal
import sys
import time
from collections.abc import Generator, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field
from pydantic.dataclasses import dataclass

from syncsde_engine import config, errors, tasks

Fault = Literal["none", "kill", "raise", "invalid", "hang", "print", "disk_full", "memory"]


@dataclass(frozen=True, config=config.STRICT)
class CountConfig:
    inputs: ClassVar[tuple[str, ...]] = ()
    optional_inputs: ClassVar[tuple[str, ...]] = ()

    steps: Annotated[int, Field(ge=1, le=1000)] = 3
    sleep: Annotated[float, Field(ge=0)] = 0.0
    preview: bool = False
    fault: Fault = "none"
    fault_step: int = 0
    marker: str = ""  # with this file, the fault comes only once


@dataclass(frozen=True, config=config.STRICT)
class CopyConfig:
    inputs: ClassVar[tuple[str, ...]] = ("data",)
    optional_inputs: ClassVar[tuple[str, ...]] = ("more",)


def count(settings: CountConfig, _: Mapping[str, bytes]) -> Generator[tasks.Progress, None, Any]:
    for step in range(settings.steps):
        time.sleep(settings.sleep)
        if step == settings.fault_step:
            go_wrong(settings)
        preview = f"picture {step}".encode() if settings.preview else None
        yield tasks.Progress("count", step + 1, settings.steps, preview)
    return {"count.txt": str(settings.steps).encode(), "views/00.png": b"not a picture"}


def go_wrong(settings: CountConfig) -> None:
    if settings.marker:
        try:
            Path(settings.marker).touch(exist_ok=False)
        except FileExistsError:
            return
    if settings.fault == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
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


def copy(_: CopyConfig, inputs: Mapping[str, bytes]) -> Generator[tasks.Progress, None, Any]:
    yield tasks.Progress("copy", 1, 1)
    return {f"{name}.bin": content for name, content in inputs.items()}


def register() -> None:
    configs: Any = config.CONFIGS
    configs.clear()
    for name, kind, run in (("count", CountConfig, count), ("copy", CopyConfig, copy)):
        configs[name] = kind
        sys.modules[f"{tasks.__name__}.{name}"] = SimpleNamespace(run=run)  # type: ignore[assignment]


if __name__ == "__main__":
    register()
    if sys.argv[1] == "--worker":
        from syncsde_server import worker

        sys.exit(worker.main(sys.argv[2:]))
    from syncsde_server.__main__ import main

    sys.exit(main(sys.argv[1:], worker=[sys.executable, __file__, "--worker"]))
