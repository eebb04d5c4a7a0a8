# SPDX-License-Identifier: GPL-3.0-or-later
"""Writing a task's files to a folder: all of them or none."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import tempfile
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path

from .errors import InvalidRequest


@contextlib.contextmanager
def staging(folder: Path) -> Iterator[Path]:
    """Yield a hidden folder beside the results' place; it is gone afterwards, whatever happened.

    Entering it early shows before any work that `folder` can be written. Raises InvalidRequest.
    """
    created = [path for path in (folder, *folder.parents) if not path.exists()]
    stage = None
    try:
        with unwritable(folder):
            folder.mkdir(parents=True, exist_ok=True)
            stage = Path(tempfile.mkdtemp(prefix=".syncsde-", dir=folder))
        yield stage
    finally:
        if stage is not None:
            shutil.rmtree(stage, ignore_errors=True)
        for path in created:  # leave no empty folders of a run that wrote nothing
            with contextlib.suppress(OSError):
                path.rmdir()


def write(folder: Path, stage: Path, artifacts: Mapping[str, bytes]) -> None:
    """Write every file into `stage`, then move them all into `folder`.

    If one cannot be moved, those it would have replaced come back. Raises InvalidRequest.
    """
    with unwritable(folder):
        for name, content in artifacts.items():
            path = stage / "new" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            with path.open("wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
        with uninterrupted(), contextlib.ExitStack() as undo:
            for name in artifacts:
                target, old = folder / name, stage / "old" / name
                if not target.parent.exists():
                    target.parent.mkdir(parents=True)
                    undo.callback(target.parent.rmdir)
                if target.exists():
                    old.parent.mkdir(parents=True, exist_ok=True)
                    os.replace(target, old)
                    undo.callback(os.replace, old, target)
                os.replace(stage / "new" / name, target)
                undo.callback(target.unlink)
            undo.pop_all()


@contextlib.contextmanager
def uninterrupted() -> Iterator[None]:
    """Ignore Ctrl-C and termination for a moment, where Python can: in the main thread."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    numbers = (signal.SIGINT, signal.SIGTERM)
    before = [signal.signal(number, signal.SIG_IGN) for number in numbers]
    try:
        yield
    finally:
        for number, handler in zip(numbers, before, strict=True):
            signal.signal(number, handler)


def require_space(folder: Path, needed: int) -> None:
    """Refuse to start work whose files, about `needed` bytes, would not fit. InvalidRequest."""
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise InvalidRequest(
            f"{str(folder)!r} has {free / 1e6:.1f} MB left and the files need about "
            f"{needed / 1e6:.1f} MB.",
            hint="Free some space or choose another folder.",
            field="output",
        )


@contextlib.contextmanager
def unwritable(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise InvalidRequest(
            f"Cannot write to {str(folder)!r}: {error.strerror}.",
            hint="Choose another output folder.",
            field="output",
        ) from None
