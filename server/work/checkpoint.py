# SPDX-License-Identifier: GPL-3.0-or-later
"""The sampler's state on the disk, so that a job goes on where its worker was killed."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import safetensors.numpy
from safetensors import SafetensorError, safe_open

from syncsde_engine.tasks import Progress, Saved, saved

from ..store.files import CHECKPOINT, NEW, part_of, publish
from . import faults

CHECKSUM = "sha256"
INTERVAL = 2.0  # seconds between two checkpoints

log = logging.getLogger(__name__)


class Unusable(Exception):
    """There is a checkpoint, but not of this work, or it cannot be read."""


class Checkpoint:
    """The checkpoint of one job. `origin` says of what work it is: request, weights, version."""

    def __init__(self, folder: Path, job: str, origin: Callable[[], dict[str, str]]) -> None:
        self.path = folder / f"{job}{CHECKPOINT}"
        self._origin = origin
        self._due = time.monotonic() + INTERVAL

    def read(self) -> Saved | None:
        """Return what was kept, or None if nothing was. Raises Unusable."""
        if not self.path.exists():
            return None
        try:
            with safe_open(self.path, "numpy") as file:
                told, y = file.metadata() or {}, file.get_tensor("y")
            kept = Saved(told["stage"], int(told["step"]), y)
            checksum = told.pop(CHECKSUM)
        except (SafetensorError, OSError, KeyError, ValueError) as error:
            raise Unusable(f"it cannot be read ({error})") from None
        if _checksum(told, y) != checksum:
            raise Unusable("it was damaged on the disk")
        for name, value in self._origin().items():
            if told.get(name) != value:
                raise Unusable(f"its {name} is another")
        if y.dtype != np.float32 or y.ndim != 4 or not np.isfinite(y).all():
            raise Unusable("its state makes no sense")
        return kept

    def keep(self, progress: Progress) -> bool:
        """Write the state after a step, if the last time was long enough ago; say if it was so.

        Raises OSError.
        """
        if progress.state is None or time.monotonic() < self._due:
            return False
        kept = saved(progress)
        if kept is not None:
            self._write(kept)
        self._due = time.monotonic() + INTERVAL
        return True

    def remove(self) -> None:
        self.path.unlink(missing_ok=True)

    def _write(self, kept: Saved) -> None:
        told = {**self._origin(), "stage": kept.stage, "step": str(kept.step)}
        y = np.ascontiguousarray(kept.y)
        content = safetensors.numpy.save({"y": y}, {**told, CHECKSUM: _checksum(told, y)})
        part = part_of(self.path)
        try:
            with open(os.open(part, NEW, 0o600), "wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            faults.reach("checkpoint")
            publish(part, self.path)
        finally:
            part.unlink(missing_ok=True)


def _checksum(told: dict[str, str], y: np.ndarray) -> str:
    """SHA-256 of all that a checkpoint says: of what work and step it is, shape, type and bytes."""
    what = json.dumps([sorted(told.items()), y.shape, y.dtype.str])
    return hashlib.sha256(what.encode() + b"\0" + y.tobytes()).hexdigest()
