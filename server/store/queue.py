# SPDX-License-Identifier: GPL-3.0-or-later
"""The order of the queue, and how long each job in it will probably wait.

Higher priorities first, then by turn. Functions run in the transaction of their caller.
"""

from __future__ import annotations

import json
import sqlite3
import time
from contextlib import suppress
from statistics import median
from typing import NamedTuple

HEAD = 10  # jobs that are told how far they have come
SAMPLE = 5  # done jobs of a task whose duration says how long the next takes


class Place(NamedTuple):
    place: int  # 1 is next
    wait: float | None  # seconds


def places(db: sqlite3.Connection) -> dict[str, Place]:
    """The place of every queued job, in order."""
    waiting = _queue(db)
    if not waiting:
        return {}
    tasks = {row["task"] for row in waiting}
    seconds = {task: _duration(db, task) for task in tasks}
    ahead, found = _left_of_running(db), {}
    for number, row in enumerate(waiting, start=1):
        found[row["id"]] = Place(number, None if ahead is None else round(ahead, 1))
        each = seconds[row["task"]]
        ahead = None if ahead is None or each is None else ahead + each
    return found


def news(db: sqlite3.Connection) -> list[tuple[str, Place]]:
    """Those at the head of the queue whose place is not what they were told last."""
    told = []
    for job_id, place in list(places(db).items())[:HEAD]:
        row = db.execute(
            "SELECT data FROM events JOIN jobs ON job = position WHERE id = ?"
            " AND type IN ('state', 'queue') ORDER BY number DESC LIMIT 1",
            (job_id,),
        ).fetchone()
        if row is None or _told(row["data"]) != place.place:
            told.append((job_id, place))
    return told


def _told(data: str) -> int | None:
    with suppress(ValueError, AttributeError):  # a damaged row is told again
        return json.loads(data).get("place")
    return None


def move(
    db: sqlite3.Connection, job_id: str, to: str | None, before: str | None, priority: int | None
) -> None:
    """Write new turns for all that wait; `job_id` and `before` are among them."""
    rows = {row["id"]: row["priority"] for row in _queue(db)}
    if before is not None and before != job_id:
        rows[job_id] = rows[before]
    elif priority is not None:
        rows[job_id] = priority
    order = [each for each in rows if each != job_id]
    same = [number for number, each in enumerate(order) if rows[each] == rows[job_id]]
    if before is not None and before != job_id:
        place = order.index(before)
    elif to == "first":
        place = same[0] if same else len(order)
    elif to == "last" or priority is not None:
        place = same[-1] + 1 if same else len(order)
    else:
        place = list(rows).index(job_id)
    order.insert(place, job_id)
    first = db.execute("SELECT ifnull(min(turn), 0) FROM jobs WHERE state = 'queued'").fetchone()[0]
    db.executemany(
        "UPDATE jobs SET turn = ?, priority = ? WHERE id = ?",
        [(first + number, rows[each], each) for number, each in enumerate(order)],
    )


def _queue(db: sqlite3.Connection) -> list[sqlite3.Row]:
    return db.execute(
        "SELECT id, task, priority FROM jobs WHERE state = 'queued' ORDER BY priority DESC, turn"
    ).fetchall()


def _duration(db: sqlite3.Connection, task: str) -> float | None:
    """Seconds that one of the last jobs of a task took; None if there were none.

    The median, since a clock that was set meanwhile makes one of them take years.
    """
    found = db.execute(
        "SELECT finished - started FROM jobs WHERE task = ?"
        " AND state = 'done' AND started IS NOT NULL ORDER BY position DESC LIMIT ?",
        (task, SAMPLE),
    ).fetchall()
    return max(0.0, median(row[0] for row in found)) if found else None


def _left_of_running(db: sqlite3.Connection) -> float | None:
    """Seconds until the running job has ended; 0 if there is none."""
    row = db.execute("SELECT task, started FROM jobs WHERE state = 'running'").fetchone()
    if row is None:
        return 0.0
    seconds = _duration(db, row["task"])
    if seconds is None:
        return None
    return min(seconds, max(0.0, row["started"] + seconds - time.time()))
