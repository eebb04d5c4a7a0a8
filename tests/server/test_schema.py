# SPDX-License-Identifier: GPL-3.0-or-later
"""Job databases of every released version become new ones, and nothing of them is lost."""

from __future__ import annotations

import json
import sqlite3
import stat
from contextlib import closing

import pytest

from syncsde_client.protocol import JobState
from syncsde_server.errors import UnusableState
from syncsde_server.store import schema
from syncsde_server.store.jobs import Jobs

# What version 1 wrote, as it stands in files of users: never to be changed.
VERSION_1 = """
CREATE TABLE jobs (
    position INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL UNIQUE, key TEXT UNIQUE,
    request TEXT NOT NULL, request_sha256 TEXT NOT NULL, task TEXT NOT NULL, state TEXT NOT NULL,
    attempts INTEGER NOT NULL DEFAULT 0, cancel_asked INTEGER NOT NULL DEFAULT 0,
    last_event INTEGER NOT NULL DEFAULT 0, created REAL NOT NULL, started REAL, finished REAL,
    result TEXT, error TEXT
) STRICT;
CREATE INDEX jobs_by_state ON jobs (state, position);
CREATE TABLE events (
    job INTEGER NOT NULL REFERENCES jobs (position) ON DELETE CASCADE, number INTEGER NOT NULL,
    type TEXT NOT NULL, time REAL NOT NULL, data TEXT NOT NULL, PRIMARY KEY (job, number)
) STRICT, WITHOUT ROWID;
PRAGMA user_version = 1;
"""
REQUEST = {"task": "copy", "parameters": {}, "inputs": {"data": "1" * 64}}
RESULT = {"a.png": {"sha256": "2" * 64, "size": 3}}


@pytest.fixture
def old(tmp_path):
    """A database of version 1: one job is done, one ran when the power went, two wait."""
    path = tmp_path / "jobs.sqlite"
    with closing(sqlite3.connect(path)) as db:
        db.executescript(VERSION_1)
        for number, state in enumerate(["done", "running", "queued", "queued"], start=1):
            db.execute(
                "INSERT INTO jobs (id, key, request, request_sha256, task, state, attempts,"
                " last_event, created, result) VALUES (?, ?, ?, 'hash', 'copy', ?, 1, 1, 5.0, ?)",
                (
                    str(number) * 32,
                    f"key-{number}",
                    json.dumps(REQUEST),
                    state,
                    json.dumps(RESULT) if state == "done" else None,
                ),
            )
            db.execute("INSERT INTO events VALUES (?, 1, 'state', 5.0, '{}')", (number,))
        db.commit()
    return path


def test_old_database(old):
    with closing(Jobs(old)) as jobs:
        assert jobs._db.execute("PRAGMA user_version").fetchone()[0] == schema.VERSION
        done = jobs.get("1" * 32)
        assert (done.state, done.result, done.owner, done.priority) == ("done", RESULT, None, 0)
        assert jobs.used_blobs() == {"1" * 64, "2" * 64}
        jobs.recover({"code": "worker_crashed"})
        claims = [jobs.claim() for _ in range(3)]
        assert [claim.id[0] for claim in claims if claim] == ["2", "3", "4"]
        assert jobs.events("4" * 32)[0].number == 1


def test_old_database_is_copied_before(old):
    with closing(Jobs(old)):
        pass
    copy = old.with_name("jobs.version-1.sqlite")
    assert stat.S_IMODE(copy.stat().st_mode) == 0o600
    with closing(sqlite3.connect(copy)) as db:
        assert db.execute("PRAGMA user_version").fetchone()[0] == 1
        assert db.execute("SELECT count(*) FROM jobs").fetchone()[0] == 4


def test_same_tables_whether_new_or_migrated(old, tmp_path):
    def tables(path):
        with closing(Jobs(path)) as jobs:
            rows = jobs._db.execute("SELECT name, sql FROM sqlite_master WHERE sql IS NOT NULL")
            return {row["name"]: "".join(row["sql"].split()) for row in rows}

    assert tables(old) == tables(tmp_path / "new.sqlite")
    with closing(Jobs(tmp_path / "new.sqlite")) as jobs:
        lists = jobs._db.execute("PRAGMA table_list").fetchall()
        assert all(row["strict"] for row in lists if not row["name"].startswith("sqlite_"))
        assert jobs._db.execute("PRAGMA journal_mode").fetchone()[0] == "wal"
        assert jobs._db.execute("PRAGMA integrity_check").fetchone()[0] == "ok"


def test_interrupted_migration_leaves_the_old_one(old, monkeypatch):
    monkeypatch.setitem(schema.MIGRATIONS, 2, schema.MIGRATIONS[2] + "SELECT nothing FROM nowhere;")
    with pytest.raises(sqlite3.OperationalError):
        Jobs(old)
    monkeypatch.undo()
    with closing(Jobs(old)) as jobs:
        assert jobs.get("3" * 32).state == JobState.QUEUED


def test_newer_database_is_refused(tmp_path):
    path = tmp_path / "jobs.sqlite"
    with closing(sqlite3.connect(path)) as db:
        db.execute(f"PRAGMA user_version = {schema.VERSION + 1}")
    with pytest.raises(UnusableState, match="newer version"):
        Jobs(path)


@pytest.mark.parametrize(("kind", "refused"), [("nfs4", True), ("cifs", True), ("ext4", False)])
def test_network_share_is_refused(tmp_path, kind, refused):
    mounts = tmp_path / "mounts"
    mounts.write_text(f"/dev/sda / ext4 rw 0 0\nserver:/x {tmp_path.resolve()} {kind} rw 0 0\n")
    if refused:
        with pytest.raises(UnusableState, match="network share"):
            schema.refuse_network_share(tmp_path / "state", mounts)
    else:
        schema.refuse_network_share(tmp_path / "state", mounts)
