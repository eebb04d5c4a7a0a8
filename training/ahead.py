# SPDX-License-Identifier: GPL-3.0-or-later
"""Batches that other processes draw before they are needed, for devices that would wait for them.

They depend on nothing but the plan and the step, so who draws them makes no difference.
"""

from __future__ import annotations

import multiprocessing
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch

from .batches import Batch, Batches
from .crops import Crops
from .data import Renders
from .plan import Plan

T = TypeVar("T")
_FOR_EACH = 3  # batches waiting for each process


@contextmanager
def drawn_ahead(
    draw: Callable[[int], T], name: str, plan: Plan, folder: Path
) -> Iterator[Callable[[int], T]]:
    """Give `draw` itself, or with loaders in the plan one that does the same in their processes.

    Args:
        draw: gives the batch of a step.
        name: what it is called here: "crops", "first_phase" or "joint".
    """
    if not plan.loaders:
        yield draw
        return
    pool = ProcessPoolExecutor(
        plan.loaders,
        multiprocessing.get_context("spawn"),
        initializer=_begin,
        initargs=(name, plan, folder),
    )
    waiting: deque[tuple[int, Future]] = deque()

    def next_of(step: int) -> T:
        if not waiting or waiting[0][0] != step:  # the first, or of another place
            waiting.clear()
            waiting.append((step, pool.submit(_draw, step)))
        while len(waiting) < _FOR_EACH * plan.loaders:
            later = waiting[-1][0] + 1
            waiting.append((later, pool.submit(_draw, later)))
        return waiting.popleft()[1].result()

    try:
        yield next_of
    finally:
        pool.shutdown(wait=False, cancel_futures=True)


_drawing: list[Callable[[int], object]] = []  # of this process


def _begin(name: str, plan: Plan, folder: Path) -> None:
    torch.set_num_threads(1)
    renders = Renders(plan, folder / "renders")
    if name == "crops":
        _drawing[:] = [Crops(plan, renders).draw]
        return
    from .stages import load_tokenizer  # imports what imports this

    latents = np.load(folder / "latents.npy", mmap_mode="r")
    batches = Batches(plan, renders, latents, load_tokenizer(plan, folder))
    _drawing[:] = [getattr(batches, name)]


def _draw(step: int) -> Batch | object:
    return _drawing[0](step)
