# SPDX-License-Identifier: GPL-3.0-or-later
"""Loops compiled by numba where it is installed; every user has a numpy or torch way beside it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

try:
    import numba
except ImportError:  # a Python or a platform that numba has no wheel for yet
    numba = None

prange: Any = range if numba is None else numba.prange


def compiled(kernel: Callable[..., Any], *, fast: bool = False) -> Callable[..., Any] | None:
    """Compile a kernel to run on all cores; None without numba.

    With `fast` sums may be taken in any order, several numbers at once.

    The machine code is kept beside the source or, where that folder is read-only, in the user's
    cache folder; where neither can be written each process compiles anew.
    """
    if numba is None:
        return None
    try:
        return numba.njit(kernel, parallel=True, cache=True, error_model="numpy", fastmath=fast)
    except RuntimeError:  # no folder for the cache
        return numba.njit(kernel, parallel=True, fastmath=fast)


def inlined(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compile a function that kernels call; it stays as it is without numba."""
    return function if numba is None else numba.njit(function, error_model="numpy", inline="always")


def settle_threads() -> None:
    """Start numba's threads now, and leave torch as many as it has.

    numba starts its threads with its first kernel, and sets OpenMP's number of threads by that,
    which is torch's, too. From there on networks would sum in another order: what a run makes
    would depend on the runs before it.
    """
    if numba is not None:
        import torch

        count = torch.get_num_threads()
        numba.get_num_threads()
        torch.set_num_threads(count)
