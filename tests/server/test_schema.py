# SPDX-License-Identifier: GPL-3.0-or-later
"""Job databases of every released version become new ones, and nothing of them is lost."""

from __future__ import annotations

import json
import sqlite3
import stat
from contextlib import closing
from pathlib import Path

import pytest

from syncsde_client.protocol import JobState, make_private
from syncsde_server.errors import UnusableState
from syncsde_server.store import schema
from syncsde_server.store.jobs import Jobs

STATES = Path(__file__).with_name("states")  # databases as they were written: never to be changed

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


@pytest.mark.parametrize("dump", sorted(STATES.glob("*.sql")), ids=lambda path: path.stem)
def test_the_state_folder_of_every_engine_before_opens_in_this_one(starting, tmp_path, dump):
    """Kept as it was written then: what waits is done, what was done is still there."""
    folder = make_private(tmp_path / "state")
    with closing(sqlite3.connect(folder / "jobs.sqlite")) as db:
        db.executescript(dump.read_text(encoding="utf-8"))
    engine = starting()
    assert engine.client.status()["trouble"] is None
    job = {number: engine.client.job(number * 32) for number in "1234"}
    assert (job["1"].state, job["1"].owner) == (JobState.DONE, "blender")
    assert job["1"].result == {"walk.bin": {"sha256": "a" * 64, "size": 288}}
    assert job["4"].state == JobState.CANCELLED
    for number in "23":
        assert engine.finish(job[number]).state == JobState.DONE
    assert engine.client.events("1" * 32)[-1].data["state"] == "done"


def test_the_newest_version_has_its_dump_for_engines_to_come():
    assert STATES / f"version-{schema.VERSION}.sql" in STATES.iterdir()
