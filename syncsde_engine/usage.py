# SPDX-License-Identifier: GPL-3.0-or-later
"""What a run costs: seconds by stage, samples through the networks, memory."""

from __future__ import annotations

import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import torch

try:
    import resource
except ImportError:  # Windows
    resource = None


class Clock:
    """Seconds by stage, and in total since it was made."""

    def __init__(self) -> None:
        self.start = time.perf_counter()
        self.stages: dict[str, float] = {}

    @contextmanager
    def measure(self, stage: str) -> Iterator[None]:
        start = time.perf_counter()
        yield
        self.stages[stage] = time.perf_counter() - start

    def timings(self) -> dict[str, float]:
        return {**self.stages, "total": time.perf_counter() - self.start}


@dataclass
class Usage:
    """Samples through each network, and the seconds spent inside all of them."""

    evaluations: Counter[str] = field(default_factory=Counter)
    seconds: float = 0.0

    @contextmanager
    def count(self, device: torch.device, **samples: int) -> Iterator[None]:
        self.evaluations.update(samples)
        wait_for(device)
        start = time.perf_counter()
        yield
        wait_for(device)
        self.seconds += time.perf_counter() - start


def wait_for(device: torch.device) -> None:
    """Let the device finish what was sent to it, so that clocks tell the truth."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def peak_memory(device: torch.device) -> int | None:
    """The most memory used so far: on the device for CUDA, else by the process; None on Windows."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    if resource is None:
        return None
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
