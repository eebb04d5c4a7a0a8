# SPDX-License-Identifier: GPL-3.0-or-later
"""Running out of memory, by whatever name. Loads no torch."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from .errors import OutOfMemory

PHRASES = ("out of memory", "can't allocate memory")  # of torch and the drivers, in any case


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
