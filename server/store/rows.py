# SPDX-License-Identifier: GPL-3.0-or-later
"""Jobs as rows of the database, and rows as jobs of the wire."""

from __future__ import annotations

import hashlib
import json
import sqlite3
from collections.abc import Mapping
from typing import Any

from syncsde_client.protocol import Job, JobRequest, JobState

from .queue import Place


def canonical(request: JobRequest) -> tuple[str, str]:
    """A request as text that is the same for the same work, and its SHA-256."""
    text = json.dumps(
        {
            "task": request.task,
            "parameters": dict(request.parameters),
            "inputs": dict(request.inputs),
        },
        sort_keys=True,
    )
    return text, hashlib.sha256(text.encode()).hexdigest()


def dump(content: Mapping[str, Any] | None) -> str | None:
    return None if content is None else json.dumps(content)


def job(row: sqlite3.Row, places: Mapping[str, Place]) -> Job:
    """A job as clients see it; `places` are those of the queue."""
    place = places.get(row["id"])
    return Job(
        id=row["id"],
        task=row["task"],
        state=JobState(row["state"]),
        attempts=row["attempts"],
        last_event=row["last_event"],
        created=row["created"],
        started=row["started"],
        finished=row["finished"],
        result=None if row["result"] is None else json.loads(row["result"]),
        error=None if row["error"] is None else json.loads(row["error"]),
        owner=row["owner"],
        priority=row["priority"],
        place=None if place is None else place.place,
        wait=None if place is None else place.wait,
    )
