# SPDX-License-Identifier: GPL-3.0-or-later
"""Writing a task's files to a folder: all of them or none."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

from .errors import InvalidRequest


@contextlib.contextmanager
def staging(folder: Path) -> Iterator[Path]:
    """Yield a hidden folder beside the results' place; it is gone afterwards, whatever happened.

    Entering it early shows before any work that `folder` can be written. Raises InvalidRequest.
    """
    created = [path for path in (folder, *folder.parents) if not path.exists()]
    with unwritable(folder):
        folder.mkdir(parents=True, exist_ok=True)
        stage = Path(tempfile.mkdtemp(prefix=".syncsde-", dir=folder))
    try:
        yield stage
    finally:
        shutil.rmtree(stage, ignore_errors=True)
        with contextlib.suppress(OSError):  # leave no empty folders of a run that wrote nothing
            for path in created:
                path.rmdir()


def write(folder: Path, stage: Path, artifacts: Mapping[str, bytes]) -> None:
    """Write every file into `stage`, then move them into `folder`. Raises InvalidRequest."""
    with unwritable(folder):
        for name, content in artifacts.items():
            path = stage / name
            path.parent.mkdir(parents=True, exist_ok=True)
            with path.open("wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
        for name in artifacts:
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            os.replace(stage / name, folder / name)


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
