# SPDX-License-Identifier: GPL-3.0-or-later
"""Making the assets of a batch, one after another, in this process: its model stays loaded."""

from __future__ import annotations

import contextlib
import gc
import signal
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from ... import output, tasks
from ...errors import OutOfMemory, SyncSDEError
from ...hashes import add_sources
from ...tasks import Artifacts
from ..console import Console
from ..input_files import naming_files
from ..room import require_space
from ..verify import RESULT
from . import records
from .assets import Asset
from .records import Record

MOST_TRIES = 3  # that ended with the whole program, after which an asset has failed
Ended = Literal["done", "failed", "skipped", "failed before"]


@dataclass
class Work:
    assets: Sequence[Asset]  # to be made, in this order
    folder: Path
    console: Console
    resume: bool
    retry_failed: bool
    states: dict[str, Ended] = field(default_factory=dict)  # of the assets that were come to
    seconds: list[float] = field(default_factory=list)  # from one made asset to the next
    is_ending: bool = False
    left: int = 0  # assets to be made
    told: float = field(default_factory=time.perf_counter)  # when the last one was

    def run(self) -> None:
        """Make what is not there yet. Ctrl-C ends it after the asset at hand, a second one at once.

        Raises what no other asset can do better with: a folder that cannot be written.
        """
        self.look()
        with self.listening():
            for asset in self.assets:
                if self.is_ending:
                    return
                self.note(asset, *self.one(asset))

    def look(self) -> None:
        """Count the assets that are to be made, for the time that is left."""
        kept = (self.is_kept(asset, read(self.folder, asset)) for asset in self.assets)
        self.left = len(self.assets) - sum(kept)

    def note(self, asset: Asset, ended: Ended, record: Record) -> None:
        """Take down what has become of an asset, and tell it."""
        now = time.perf_counter()
        self.states[asset.id] = ended
        if ended in ("done", "failed"):
            self.left -= 1
            self.seconds.append(now - self.told)
        self.told = now
        self._tell(asset, ended, record, max(0, self.left))

    def is_kept(self, asset: Asset, record: Record | None) -> bool:
        """Whether a record, as far as it alone can tell, spares making an asset."""
        if record is None or not self.resume or record.spec != asset.spec:
            return False
        if record.state == "failed":
            return not self.retry_failed
        return record.state == "done" and record.is_there(self.folder / asset.output)

    def stays(self, asset: Asset, record: Record | None) -> bool:
        """Whether an asset would be skipped: its inputs are read for that."""
        if record is None or not self.is_kept(asset, record):
            return False
        try:
            found = records.identity(asset, asset.read())
        except SyncSDEError:
            found = None
        return found == record.identity

    def one(self, asset: Asset) -> tuple[Ended, Record]:
        """Make an asset, unless it is there. Raises what no other asset can do better with."""
        old = read(self.folder, asset)
        begun = time.perf_counter()
        blobs, identity, trouble = None, None, None
        try:
            with _no_surprise():
                blobs = asset.read()
                identity = records.identity(asset, blobs)
        except SyncSDEError as error:
            trouble = error
        if old is not None and old.identity == identity and self.is_kept(asset, old):
            return ("skipped" if old.state == "done" else "failed before"), old
        again = old is not None and old.state == "started" and old.spec == asset.spec
        record = Record(
            id=asset.id,
            task=asset.task,
            state="started",
            spec=asset.spec,
            identity=identity,
            tries=old.tries + 1 if old is not None and again else 1,
            files=old.files if old else {},
        )
        if trouble is None and record.tries > MOST_TRIES:
            trouble = SyncSDEError(
                f"The program ended {MOST_TRIES} times in a row while it made this asset.",
                hint="Run it alone and look at what the system says.",
            )
        folder = self.folder / asset.output
        with output.staging(folder) as stage, _marked(folder, record, old):
            files: Artifacts | SyncSDEError = trouble or SyncSDEError("There are no inputs.")
            if trouble is None and blobs is not None:
                require_space(folder, asset.config)
                files = self._make(asset, blobs)
            seconds = time.perf_counter() - begun
            if isinstance(files, SyncSDEError):
                ended = records.failed(record, files, seconds)
            else:
                files = add_sources(files, asset.paths, folder, **asset.how)
                for name, content in files.items():
                    stage.add(name, content)
                ended = records.finished(record, files, seconds)
            stage.add(RESULT, ended.as_json())  # last: it says that all the others are there
            output.publish([stage])
        if ended.state == "done":
            records.remove_old(folder, old, ended)
        return ("done" if ended.state == "done" else "failed"), ended

    def _make(self, asset: Asset, blobs: dict[str, bytes]) -> Artifacts | SyncSDEError:
        """The files of an asset, or what is wrong with it."""
        try:
            with (
                self.console.showing(asset=asset.id) as show,
                naming_files(asset.paths),
                _no_surprise(),
            ):
                return tasks.follow(tasks.run(asset.task, asset.config, blobs), show)
        except SyncSDEError as error:
            failure = error.with_traceback(None)
        if isinstance(failure, OutOfMemory):
            gc.collect()  # what the failed run held
        return failure

    def _tell(self, asset: Asset, ended: Ended, record: Record, left: int) -> None:
        """An event, or a line, of one asset, with what is left, by what the others took."""
        count = Counter(self.states.values())
        place = f"[{len(self.states)}/{len(self.assets)}] {asset.id}"
        pace: dict[str, Any] = {}
        if self.seconds:
            mean = sum(self.seconds) / len(self.seconds)
            pace = {"per_minute": round(60 / mean, 2), "seconds_left": round(mean * left, 1)}
        self.console.event(
            "asset",
            id=asset.id,
            line=asset.line,
            state=ended,
            output=asset.output,
            seconds=record.seconds,
            error=record.error,
            number=len(self.states),
            total=len(self.assets),
            counts=dict(count),
            **pace,
        )
        if ended == "skipped":
            return
        told = f"{record.seconds:.1f} s"
        if record.error is not None:
            told = f"{ended}: {record.error['message']}"
        if pace and left:
            told += f"; {pace['per_minute']:.3g} a minute, {span(pace['seconds_left'])} left"
        self.console.say(f"{place}: {told}")

    @contextlib.contextmanager
    def listening(self) -> Iterator[None]:
        """Let the first Ctrl-C wait for the asset at hand. Only the main thread hears it."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return

        def hear(*_: object) -> None:
            if self.is_ending:
                raise KeyboardInterrupt
            self.is_ending = True
            print(
                "syncsde: ending after this asset; Ctrl-C again stops at once",
                file=sys.stderr,
                flush=True,
            )

        if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:  # as in a shell's background
            yield
            return
        before = signal.signal(signal.SIGINT, hear)
        try:
            yield
        finally:
            signal.signal(signal.SIGINT, before)


def read(folder: Path, asset: Asset) -> Record | None:
    return records.read(folder / asset.output)


@contextlib.contextmanager
def _marked(folder: Path, record: Record, old: Record | None) -> Iterator[None]:
    """Leave a mark for the case that the program does not survive this; else it goes again."""
    records.write(folder, record)
    try:
        yield
    except BaseException:
        if old is None:
            (folder / RESULT).unlink(missing_ok=True)
        else:
            records.write(folder, old)
        raise


@contextlib.contextmanager
def _no_surprise() -> Iterator[None]:
    """Turn what nobody has thought of into an error of one asset: the others go on."""
    try:
        yield
    except (SyncSDEError, BrokenPipeError):  # nobody reads our lines any more
        raise
    except Exception as error:
        raise SyncSDEError(
            f"Internal error: {type(error).__name__}: {error}.",
            hint="Please report it, with this asset.",
        ) from error


def span(seconds: float) -> str:
    """A time to wait, in words."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
