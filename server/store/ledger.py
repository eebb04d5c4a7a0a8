# SPDX-License-Identifier: GPL-3.0-or-later
"""A second record of the jobs, line by line, from which they come back if the database breaks.

Each line is a JSON object: a job as it was accepted, or {"id", "state", ...} as it ended. What is
lost of it, or cannot be read, costs that line alone.
"""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from syncsde_client.protocol import replace

log = logging.getLogger(__name__)

Line = dict[str, Any]

ENDED = ("id", "state", "result", "error", "started", "finished")
ACCEPTED = (
    "id",
    "key",
    "request",
    "request_sha256",
    "task",
    "created",
    "owner",
    "priority",
    "recipe",
)


class Ledger:
    """The file `path`. Writing never fails: the database is what counts while it is well."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def exists(self) -> bool:
        return self._path.exists()

    def append(self, lines: Iterable[Line]) -> None:
        try:
            with open(os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600), "a") as f:
                f.writelines(json.dumps(line) + "\n" for line in lines)
        except OSError as error:  # a full disk, mostly
            log.warning("the second record of the jobs is not written: %s", error)

    def rewrite(self, lines: Iterable[Line]) -> None:
        """Begin anew with what is still needed."""
        new = self._path.with_suffix(".new")
        new.unlink(missing_ok=True)
        fresh = Ledger(new)
        fresh.append(lines)
        if fresh.exists():
            replace(new, self._path)

    def read(self) -> dict[str, Line]:
        """What is known of each job, in the order that they were accepted."""
        found: dict[str, Line] = {}
        try:
            lines = self._path.read_bytes().splitlines()
        except FileNotFoundError:
            return {}
        for text in lines:
            try:
                line = json.loads(text)
                job = found.get(line["id"])
                if job is not None:
                    job |= line
                elif "request" in line:
                    found[line["id"]] = line
            except (ValueError, TypeError, KeyError):  # damaged
                continue
        return found
