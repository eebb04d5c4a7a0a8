# SPDX-License-Identifier: GPL-3.0-or-later
"""Writing what a run made to one or more folders: all of it or nothing."""

from __future__ import annotations

import contextlib
import os
import platform
import shutil
import signal
import tempfile
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from .errors import InvalidRequest


@dataclass
class Stage:
    """Files that wait, in a hidden folder beside their place, to be published."""

    folder: Path
    hidden: Path
    parameter: str  # that named the folder
    replaces: str | None = None  # pattern of older files that go
    names: list[str] = field(default_factory=list)

    def add(self, name: str, content: bytes) -> None:
        """Write one file, `name` being its path in the folder. Raises InvalidRequest."""
        path = self.hidden / "new" / name
        with unwritable(self.folder, self.parameter):
            path.parent.mkdir(parents=True, exist_ok=True)
            with path.open("wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
        if name not in self.names:
            self.names.append(name)


@contextlib.contextmanager
def staging(
    folder: Path, parameter: str = "output", replaces: str | None = None
) -> Iterator[Stage]:
    """Open a stage for a folder; what is not published is gone afterwards, whatever happened.

    Entering it early shows before any work that `folder` can be written. Raises InvalidRequest.
    """
    created: list[Path] = []
    hidden = None
    try:
        with unwritable(folder, parameter):
            created = [path for path in (folder, *folder.parents) if not path.exists()]
            folder.mkdir(parents=True, exist_ok=True)
            _remove_left_behind(folder)
            prefix = f".syncsde-{platform.node()}-{os.getpid()}-"
            hidden = Path(tempfile.mkdtemp(prefix=prefix, dir=folder))
        yield Stage(folder, hidden, parameter, replaces)
    finally:
        if hidden is not None:
            shutil.rmtree(hidden, ignore_errors=True)
        for path in created:  # leave no empty folders of a run that wrote nothing
            with contextlib.suppress(OSError):
                path.rmdir()


def _remove_left_behind(folder: Path) -> None:
    """Remove the stages of runs of this machine that were killed, and cannot do it themselves.

    One that was killed while it published has older files of the user in it, and stays.
    """
    if os.name != "posix":  # where it is not that simple to know who lives
        return
    for stage in folder.glob(f".syncsde-{platform.node()}-*-*"):
        pid = stage.name.split("-")[-2]
        try:
            os.kill(int(pid), 0)
        except ProcessLookupError:
            if not (stage / "old").exists():
                shutil.rmtree(stage, ignore_errors=True)
        except (OSError, ValueError, OverflowError):
            continue


def publish(stages: Sequence[Stage]) -> None:
    """Move the files of all stages into place.

    If one cannot be moved, those it would have replaced come back. Raises InvalidRequest.
    """
    with uninterrupted(), contextlib.ExitStack() as undo:
        for stage in stages:
            with unwritable(stage.folder, stage.parameter):
                for path in stage.folder.glob(stage.replaces) if stage.replaces else ():
                    _put_aside(stage, path.name, undo)
                for name in stage.names:
                    _move(stage, name, undo)
        undo.pop_all()


def _move(stage: Stage, name: str, undo: contextlib.ExitStack) -> None:
    target = stage.folder / name
    missing = [path for path in target.parents if not path.exists()]
    for path in reversed(missing):
        path.mkdir()
        undo.callback(path.rmdir)
    if target.is_dir():
        raise IsADirectoryError(0, f"{name!r} is a folder there")
    if target.exists():
        _put_aside(stage, name, undo)
    os.replace(stage.hidden / "new" / name, target)
    undo.callback(target.unlink)


def _put_aside(stage: Stage, name: str, undo: contextlib.ExitStack) -> None:
    target, old = stage.folder / name, stage.hidden / "old" / name
    old.parent.mkdir(parents=True, exist_ok=True)
    os.replace(target, old)
    undo.callback(os.replace, old, target)


@contextlib.contextmanager
def uninterrupted() -> Iterator[None]:
    """Ignore Ctrl-C and termination for a moment, where Python can: in the main thread."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    numbers = [signal.SIGINT, signal.SIGTERM]
    numbers += [signal.SIGHUP] if hasattr(signal, "SIGHUP") else []
    before = [signal.signal(number, signal.SIG_IGN) for number in numbers]
    try:
        yield
    finally:
        for number, handler in zip(numbers, before, strict=True):
            signal.signal(number, handler)


def write_file(path: Path, content: bytes) -> None:
    """Write one file at once: whoever reads it meanwhile, or writes it, too, has all of one.

    Raises InvalidRequest.
    """
    with unwritable(path.parent, "output"):
        path.parent.mkdir(parents=True, exist_ok=True)
        number, name = tempfile.mkstemp(prefix=f".{path.name}-", dir=path.parent)
        try:
            with os.fdopen(number, "wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            os.chmod(name, 0o666 & ~_umask())
            os.replace(name, path)
        except BaseException:
            Path(name).unlink(missing_ok=True)
            raise


def _umask() -> int:
    mask = os.umask(0o077)
    os.umask(mask)
    return mask


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
def unwritable(folder: Path, parameter: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise InvalidRequest(
            f"Cannot write to {str(folder)!r}: {error.strerror}.",
            hint="Choose another output folder.",
            field=parameter,
        ) from None
