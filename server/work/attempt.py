# SPDX-License-Identifier: GPL-3.0-or-later
"""One attempt of one job in the worker: it goes on from a checkpoint and reports every step."""

from __future__ import annotations

import dataclasses
import gc
import logging
import time
from pathlib import Path
from typing import Any

from syncsde_engine import __version__, tasks
from syncsde_engine.config import TaskConfig
from syncsde_engine.errors import OutOfMemory, SyncSDEError
from syncsde_engine.request import build

from ..errors import MissingBlob, disk_full, is_disk_full
from ..store.blobs import BlobStore
from . import faults
from .checkpoint import Checkpoint, Unusable
from .pipes import Message, Pipes

MOST_AT_ONCE = 10  # trajectories in the networks, if batch_size is left open
EARLY = (1, 2)  # steps after which a preview is made
EVERY = 4  # steps from there on
SHARE = 0.01  # of the time that previews may take

log = logging.getLogger(__name__)


class Attempt:
    def __init__(
        self, request: Message, pipes: Pipes, store: BlobStore, checkpoints: Path, device: str
    ) -> None:
        self._job: str = request["job"]
        self._request = request
        self._pipes = pipes
        self._store = store
        self._device = device
        self._config: TaskConfig | None = None
        self._trajectories: int | None = None
        self._checkpoint = Checkpoint(checkpoints, self._job, self._origin)

    def run(self) -> None:
        """Run the job to its end and report it."""
        try:
            artifacts = self._artifacts()
            if artifacts is None:
                faults.reach("cancel")
                return self._send("cancelled")
            result = {
                name: {"sha256": self._store.put(content), "size": len(content)}
                for name, content in artifacts.items()
            }
            faults.reach("result")
        except SyncSDEError as error:
            log.warning("job %s failed: %s", self._job, error.code)
            self._send("failed", error=error.as_dict())
        except Exception as error:  # the job fails, with what is known; the worker goes on
            if is_disk_full(error):
                return self._send("failed", error=disk_full().as_dict())
            log.exception("job %s failed", self._job)
            unexpected = SyncSDEError(
                f"Internal engine error: {type(error).__name__}: {error}.",
                hint="The engine's log has the details.",
            )
            self._send("failed", error=unexpected.as_dict())
        else:
            self._send("done", result=result)

    def _artifacts(self) -> tasks.Artifacts | None:
        """The files of the job; None if it was cancelled. Once more if memory runs out."""
        config = build(self._request["task"], self._request["parameters"])
        if getattr(config, "device", None) == "auto":
            config = dataclasses.replace(config, device=self._device)
        self._config = config
        inputs = {name: self._read(name, blob) for name, blob in self._request["inputs"].items()}
        try:
            return self._follow(config, inputs)
        except OutOfMemory:
            smaller = smaller_batch(config, self._trajectories)
            if smaller is None:
                raise
        gc.collect()  # what the failed run held
        self._notice(
            "out_of_memory",
            f"There is not enough memory: once more with batch_size {smaller}.",
            batch_size=smaller,
        )
        try:
            return self._follow(dataclasses.replace(config, batch_size=smaller), inputs)
        except OutOfMemory:
            raise no_memory(smaller) from None

    def _follow(self, config: TaskConfig, inputs: dict[str, bytes]) -> tasks.Artifacts | None:
        resume = self._resume()
        pace, previews, reached = Pace(), Previews(), resume is None
        steps = tasks.run(self._request["task"], config, inputs, resume)
        try:
            while not self._pipes.is_cancelled(self._job):
                try:
                    progress = next(steps)
                except StopIteration as finished:
                    return finished.value
                faults.reach("step")
                if progress.start is not None:
                    self._trajectories = len(progress.start)
                # Stages before the resumed one are run again: they must not replace its state.
                reached = reached or (resume is not None and progress.stage == resume.stage)
                if reached and self._checkpoint.keep(progress):
                    self._send("kept")
                preview = previews.png(progress)
                self._send(
                    "progress",
                    stage=progress.stage,
                    step=progress.step,
                    total=progress.total,
                    seconds_left=pace.seconds_left(progress),
                    preview=None if preview is None else self._store.put(preview),
                )
            return None
        finally:
            steps.close()

    def _read(self, name: str, sha256: str) -> bytes:
        try:
            return self._store.read(sha256)
        except FileNotFoundError:
            raise MissingBlob(
                f"The blob {sha256} is not here any more, or was damaged on the disk.",
                hint="Upload it and submit the job again.",
                field=f"inputs.{name}",
            ) from None

    def _resume(self) -> tasks.Saved | None:
        try:
            resume = self._checkpoint.read()
        except Unusable as error:
            log.warning("job %s: the checkpoint is not used: %s", self._job, error)
            self._notice("restarted", f"The checkpoint is not used, since {error}.")
            self._checkpoint.remove()
            return None
        if resume is not None:
            self._notice(
                "resumed",
                f"The stage {resume.stage!r} goes on after step {resume.step}.",
                stage=resume.stage,
                step=resume.step,
            )
        return resume

    def _origin(self) -> dict[str, str]:
        assert self._config is not None
        return {
            "request": self._request["request_sha256"],
            "model": tasks.model_sha256(self._config),
            "version": __version__,
        }

    def _notice(self, code: str, message: str, **more: Any) -> None:
        self._send("notice", code=code, message=message, **more)

    def _send(self, kind: str, **content: Any) -> None:
        self._pipes.send(kind, job=self._job, **content)


class Pace:
    """How long the steps of a stage take, and thus how long it still takes."""

    def __init__(self) -> None:
        self._stage = ""
        self._since = 0.0
        self._taken = 0

    def seconds_left(self, progress: tasks.Progress) -> float | None:
        now = time.monotonic()
        if progress.stage != self._stage:
            self._stage, self._since, self._taken = progress.stage, now, 0
        else:
            self._taken += 1  # not its number: a resumed stage begins in the middle
        if not self._taken:
            return None
        each = (now - self._since) / self._taken
        return round(each * (progress.total - progress.step), 2)


class Previews:
    """Decides which steps are shown: early ones and every few, never at more than SHARE."""

    def __init__(self) -> None:
        self._not_before = 0.0

    def png(self, progress: tasks.Progress) -> bytes | None:
        wanted = progress.step in EARLY or progress.step % EVERY == 0
        start = time.monotonic()
        if progress.preview is None or not wanted or start < self._not_before:
            return None
        content = progress.preview()
        end = time.monotonic()
        # The very first may have to study the autoencoder; that is no measure of the others.
        self._not_before = end + ((end - start) / SHARE if self._not_before else 0.0)
        return content


def smaller_batch(config: TaskConfig, trajectories: int | None) -> int | None:
    """Half of what went through the networks at once; None if there is no less of it."""
    mixes = getattr(config, "shared_attention", "off") != "off"  # needs all of them together
    if trajectories is None or mixes or not hasattr(config, "batch_size"):
        return None
    chunks = -(-trajectories // (config.batch_size or MOST_AT_ONCE))
    at_once = -(-trajectories // chunks)
    return at_once // 2 or None


def no_memory(batch_size: int) -> OutOfMemory:
    """The error of a job that did not fit a second time, with what would have."""
    half = batch_size // 2
    hint = (
        f"batch_size {half} needs about half of that; so do pictures of 0.7 times the side."
        if half
        else "Pictures of 0.7 times the side need about half of that."
    )
    return OutOfMemory(
        f"There is not enough memory, even with batch_size {batch_size}.",
        hint=hint,
        field="batch_size",
    )
