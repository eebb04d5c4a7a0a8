# SPDX-License-Identifier: GPL-3.0-or-later
"""The job database as it was, or made anew from the ledger where it is broken or lost."""

from __future__ import annotations

import json
import logging
import sqlite3
import time
from pathlib import Path
from typing import Any, NamedTuple

from syncsde_client.protocol import JobState

from ..errors import is_damaged
from . import rows
from .ledger import ACCEPTED, ENDED, Ledger
from .schema import has_broken_log, open_database, set_aside

log = logging.getLogger(__name__)

# Events of a restored job have larger numbers than whoever follows it has.
RESTORED_FROM = 1_000_000


class Opened(NamedTuple):
    db: sqlite3.Connection
    trouble: str | None = None  # what happened to the database, in one sentence


def opened(path: Path, ledger: Ledger) -> Opened:
    """The database `path`, whose jobs the ledger then has; anew if it is broken or lost."""
    is_new = not path.exists() or not path.stat().st_size
    if has_broken_log(path) or (is_new and ledger.exists()):
        return start_anew(path, ledger)
    try:
        db = open_database(path)
    except sqlite3.DatabaseError as error:
        if not is_damaged(error):
            raise
        log.exception("the job database is damaged")
        return start_anew(path, ledger)
    told = ", ".join(ACCEPTED)
    kept = db.execute(f"SELECT {told} FROM jobs ORDER BY position").fetchall()
    over = db.execute(f"SELECT {', '.join(ENDED)} FROM jobs WHERE finished IS NOT NULL")
    ledger.rewrite([dict(row) for row in [*kept, *over.fetchall()]])
    return Opened(db)


def start_anew(path: Path, ledger: Ledger) -> Opened:
    """Set the database aside, and put the jobs of the ledger into a new one."""
    aside = set_aside(path)
    known = ledger.read()
    db = open_database(path)
    waiting = 0
    for line in known.values():
        try:
            with db:
                waiting += put_back(db, line)
        except (sqlite3.Error, KeyError, TypeError, ValueError):  # this one alone is lost
            log.exception("job %s could not be restored", line["id"])
    what = f"damaged and is now {aside.name}" if aside.exists() else "lost"
    trouble = (
        f"The job database was {what}; {len(known)} jobs were found again, of which {waiting} wait."
    )
    log.error("%s", trouble)
    return Opened(db, trouble)


def put_back(db: sqlite3.Connection, line: dict[str, Any]) -> bool:
    """Put a job back as the ledger has it; return whether it waits. Its events are lost."""
    request, state = json.loads(line["request"]), JobState(line.get("state", JobState.QUEUED))
    known = {name: line[name] for name in ACCEPTED}
    known |= {name: line.get(name) for name in ENDED if name != "id"}
    known |= {"state": state, "last_event": RESTORED_FROM + 2}
    names = ", ".join(known)
    position = db.execute(
        f"INSERT INTO jobs ({names}, turn) VALUES ({', '.join('?' * len(known))},"
        " (SELECT ifnull(max(turn), 0) + 1 FROM jobs))",
        list(known.values()),
    ).lastrowid
    kind, files = ("result", rows.load(line.get("result")) or {})
    blobs = [file["sha256"] for file in files.values()]
    if not state.ended:
        kind, blobs = "input", list(request["inputs"].values())
    db.executemany(
        "INSERT OR IGNORE INTO uses VALUES (?, ?, ?)", [(blob, position, kind) for blob in blobs]
    )
    notice = {"code": "restored", "message": "The job database was damaged; this job was not lost."}
    told = {"state": state, "attempt": 0}
    if (error := rows.load(line.get("error"))) is not None:
        told["error"] = error
    for number, (kind, data) in enumerate((("notice", notice), ("state", told)), start=1):
        db.execute(
            "INSERT INTO events VALUES (?, ?, ?, ?, ?)",
            (position, RESTORED_FROM + number, kind, time.time(), json.dumps(data)),
        )
    return not state.ended
