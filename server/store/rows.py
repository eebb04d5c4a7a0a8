# SPDX-License-Identifier: GPL-3.0-or-later
"""Jobs as rows of the database, and rows as jobs of the wire."""

from __future__ import annotations

import hashlib
import json
import sqlite3
from collections.abc import Mapping
from typing import Any

from syncsde_client.protocol import Job, JobRequest, JobState
from syncsde_engine.errors import SyncSDEError

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


def load(text: str | None) -> dict[str, Any] | None:
    """JSON of the database; None where there is none, or none that can be read."""
    try:
        content = None if text is None else json.loads(text)
    except (ValueError, RecursionError):
        return None
    return content if isinstance(content, dict) else None


def request(row: sqlite3.Row) -> JobRequest | None:
    """What a job asks for; None if its row is damaged."""
    content = load(row["request"])
    try:
        return None if content is None else JobRequest(**content)
    except TypeError:
        return None


def damaged() -> dict[str, Any]:
    """The error of a job whose row is damaged."""
    return SyncSDEError(
        "The record of this job is damaged.", hint="Submit the job again."
    ).as_dict()


def job(row: sqlite3.Row, places: Mapping[str, Place]) -> Job:
    """A job as clients see it; `places` are those of the queue."""
    place = places.get(row["id"])
    result, error = load(row["result"]), load(row["error"])
    try:
        state = JobState(row["state"])
    except ValueError:
        state, error = JobState.FAILED, damaged()
    if state == JobState.DONE and result is None:
        state, error = JobState.FAILED, damaged()
    return Job(
        id=row["id"],
        task=row["task"],
        state=state,
        attempts=row["attempts"],
        last_event=row["last_event"],
        created=row["created"],
        started=row["started"],
        finished=row["finished"],
        result=result,
        error=error,
        owner=row["owner"],
        priority=row["priority"],
        place=None if place is None else place.place,
        wait=None if place is None else place.wait,
    )
