# SPDX-License-Identifier: GPL-3.0-or-later
"""Running out of memory, by whatever name, and giving it back. Loads no torch."""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from .errors import OutOfMemory

# Of torch, the drivers and oneDNN, in any case.
PHRASES = ("out of memory", "can't allocate memory", "could not create a primitive")


@contextmanager
def memory_named() -> Iterator[None]:
    """Turn what torch, numpy and the drivers raise when memory runs out into OutOfMemory."""
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        told = str(error).lower()
        if isinstance(error, MemoryError) or any(phrase in told for phrase in PHRASES):
            raise OutOfMemory(
                "There is not enough memory for this run.",
                hint="Lower batch_size or the size of the pictures.",
                field="batch_size",
            ) from None
        raise


def give_back() -> None:
    """Hand freed memory to the system, before something large is made.

    glibc keeps what held blocks of up to 32 MB for the next ones, a fifth of a gigabyte after the
    depth maps of ten views; other allocators see to it themselves.
    """
    if sys.platform == "linux":
        trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # musl has none
        if trim is not None:
            trim(0)
