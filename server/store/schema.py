# SPDX-License-Identifier: GPL-3.0-or-later
"""The tables of the job database, and how an older database becomes a new one."""

from __future__ import annotations

import os
import sqlite3
import sys
import time
from contextlib import closing
from pathlib import Path

from syncsde_client.protocol import replace

from ..errors import UnusableState

VERSION = 2
WAL_HEADS = (b"\x37\x7f\x06\x82", b"\x37\x7f\x06\x83")
NETWORK_SHARES = ("nfs", "nfs4", "cifs", "smb3", "smbfs", "afs", "ceph", "fuse.sshfs")

_TABLES = """
CREATE TABLE jobs (
    position INTEGER PRIMARY KEY AUTOINCREMENT,
    id TEXT NOT NULL UNIQUE,
    key TEXT UNIQUE,
    request TEXT NOT NULL,
    request_sha256 TEXT NOT NULL,
    task TEXT NOT NULL,
    state TEXT NOT NULL,
    attempts INTEGER NOT NULL DEFAULT 0,
    cancel_asked INTEGER NOT NULL DEFAULT 0,
    last_event INTEGER NOT NULL DEFAULT 0,
    created REAL NOT NULL,
    started REAL,
    finished REAL,
    result TEXT,
    error TEXT
) STRICT;
CREATE INDEX jobs_by_state ON jobs (state, position);
CREATE TABLE events (
    job INTEGER NOT NULL REFERENCES jobs (position) ON DELETE CASCADE,
    number INTEGER NOT NULL,
    type TEXT NOT NULL,
    time REAL NOT NULL,
    data TEXT NOT NULL,
    PRIMARY KEY (job, number)
) STRICT, WITHOUT ROWID;
"""

# Owners, priorities and order; results that are given again; which blobs are needed by whom.
_OWNERS_ORDER_AND_USES = """
ALTER TABLE jobs ADD COLUMN owner TEXT;
ALTER TABLE jobs ADD COLUMN priority INTEGER NOT NULL DEFAULT 0;
ALTER TABLE jobs ADD COLUMN turn INTEGER NOT NULL DEFAULT 0;
ALTER TABLE jobs ADD COLUMN recipe TEXT;
UPDATE jobs SET turn = position;
DROP INDEX jobs_by_state;
CREATE INDEX jobs_by_turn ON jobs (state, priority DESC, turn);
CREATE INDEX jobs_by_recipe ON jobs (recipe, state);
CREATE TABLE uses (
    sha256 TEXT NOT NULL,
    job INTEGER NOT NULL REFERENCES jobs (position) ON DELETE CASCADE,
    kind TEXT NOT NULL,
    PRIMARY KEY (job, kind, sha256)
) STRICT, WITHOUT ROWID;
INSERT OR IGNORE INTO uses
    SELECT input.value, position, 'input' FROM jobs, json_each(request, '$.inputs') AS input
    WHERE state NOT IN ('done', 'failed', 'cancelled');
INSERT OR IGNORE INTO uses
    SELECT json_extract(file.value, '$.sha256'), position, 'result'
    FROM jobs, json_each(result) AS file WHERE result IS NOT NULL;
"""

MIGRATIONS = {1: _TABLES, 2: _OWNERS_ORDER_AND_USES}  # version -> how the one before becomes it


def set_aside(path: Path) -> Path:
    """Give a broken database, which nobody may have open, another name, for whoever can mend it."""
    told = time.strftime("%Y-%m-%d-%H%M%S")
    free = (path.with_name(f"{path.stem}.damaged-{told}{more}") for more in ("", *range(2, 1000)))
    aside = next(each for each in free if not each.with_name(f"{each.name}.sqlite").exists())
    aside = aside.with_name(f"{aside.name}.sqlite")
    for end in ("", "-wal", "-shm"):
        found = path.with_name(path.name + end)
        if found.exists():
            replace(found, aside.with_name(aside.name + end))
    return aside


def has_broken_log(path: Path) -> bool:
    """Say whether changes that are not in the database's file yet have been lost: SQLite itself
    takes a log whose head is damaged for an empty one."""
    try:
        with path.with_name(f"{path.name}-wal").open("rb") as file:
            head = file.read(4)
    except FileNotFoundError:
        return False
    return bool(head) and head not in WAL_HEADS


def open_database(path: Path) -> sqlite3.Connection:
    """Open or create the job database in the newest version; an older one is copied before.

    Raises UnusableState for one of a newer engine or on a network share, sqlite3.DatabaseError.
    """
    refuse_network_share(path.parent)
    db = sqlite3.connect(path, check_same_thread=False, isolation_level=None, timeout=5)
    try:
        db.row_factory = sqlite3.Row
        version = db.execute("PRAGMA user_version").fetchone()[0]
        if version > VERSION:
            raise UnusableState(
                f"{path} was written by a newer version of the engine.",
                hint="Update this engine, or use another --state-dir.",
            )
        # Not quick_check: that of SQLite 3.40 finds NULL in healthy tables without rowid.
        (state,) = db.execute("PRAGMA integrity_check(1)").fetchone()
        if state != "ok":
            damaged = sqlite3.DatabaseError(state)
            damaged.sqlite_errorcode = sqlite3.SQLITE_CORRUPT
            raise damaged
        db.execute("PRAGMA journal_mode = WAL")
        db.execute("PRAGMA synchronous = FULL")
        db.execute("PRAGMA foreign_keys = ON")
        if 0 < version < VERSION:
            _copy(db, path.with_name(f"{path.stem}.version-{version}{path.suffix}"))
        for number in range(version + 1, VERSION + 1):
            db.executescript(f"BEGIN; {MIGRATIONS[number]} PRAGMA user_version = {number}; COMMIT;")
    except BaseException:
        db.close()
        raise
    return db


def _copy(db: sqlite3.Connection, target: Path) -> None:
    with closing(sqlite3.connect(target)) as copy:
        db.backup(copy)
    os.chmod(target, 0o600)


def refuse_network_share(folder: Path, mounts: Path = Path("/proc/self/mounts")) -> None:
    """Raise UnusableState where SQLite's shared memory does not work: on another machine's disk."""
    if sys.platform != "linux":
        return
    best, kind = "", ""
    try:
        lines = mounts.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return
    place = str(folder.resolve())
    for line in lines:
        _, point, found, *_ = line.split(" ")
        point = point.replace("\\040", " ")
        inside = place == point or place.startswith(point.rstrip("/") + "/")
        if inside and len(point) >= len(best):
            best, kind = point, found
    if kind in NETWORK_SHARES:
        raise UnusableState(
            f"{folder} is on a network share ({kind}), where the job database is not safe.",
            hint="Name a folder of this machine with --state-dir.",
        )
