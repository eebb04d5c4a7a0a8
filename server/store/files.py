# SPDX-License-Identifier: GPL-3.0-or-later
"""Files that are either complete and on the disk, or not there."""

from __future__ import annotations

import os
import secrets
import sys
from pathlib import Path

from syncsde_client.protocol import replace

PART = ".part"
CHECKPOINT = ".safetensors"
NEW = os.O_RDWR | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0)


def part_of(target: Path) -> Path:
    """Where a file is written before it gets its name: its name tells which process wrote it."""
    return target.with_name(f"{target.stem[:32]}.{os.getpid()}.{secrets.token_hex(8)}{PART}")


def remove_parts(folder: Path, process: int | str = "*") -> None:
    """Remove what a process left that was killed, or all; only for who holds the folder's lock."""
    for part in folder.glob(f"*.{process}.*{PART}"):
        part.unlink(missing_ok=True)


def publish(part: Path, target: Path) -> None:
    """Give a part that is on the disk its name, for good."""
    replace(part, target)
    if sys.platform != "win32":  # which does so by itself and cannot open folders
        handle = os.open(target.parent, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def keep_checkpoints(folder: Path, jobs: set[str]) -> None:
    """Remove all but the checkpoints of these jobs."""
    for path in folder.iterdir():
        if path.name.removesuffix(CHECKPOINT) not in jobs:
            path.unlink(missing_ok=True)
