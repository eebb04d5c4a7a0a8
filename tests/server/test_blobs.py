# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import hashlib
import json
import os
import shutil

import pytest

from syncsde_client.client import EngineError
from syncsde_client.protocol import MAX_BLOB_BYTES, JobRequest, JobState
from syncsde_server.errors import Conflict
from syncsde_server.store.blobs import BlobStore
from tests.server.running import COMMAND, exchange, packed


def names(engine):
    return {path.name for path in (engine.folder / "blobs").iterdir()}


def put(engine, sha256: str, content: bytes, length: int | None = None):
    size = len(content) if length is None else length
    head = (
        f"PUT /v1/blobs/{sha256} HTTP/1.1\r\nHost: 127.0.0.1:{engine.port}\r\n"
        f"Authorization: Bearer {engine.client.connection.token}\r\n"
        f"Content-Type: application/octet-stream\r\nContent-Length: {size}\r\n\r\n"
    )
    return exchange(engine.port, head.encode() + content)


@pytest.mark.parametrize("size", [0, 1, 3_000_001])
def test_round_trip(engine, size):
    content = packed(os.urandom(size))
    sha256 = engine.client.put_blob(content)
    assert sha256 == hashlib.sha256(content).hexdigest()
    assert engine.client.has_blob(sha256)
    assert engine.client.get_blob(sha256) == content
    assert engine.client.put_blob(content) == sha256
    assert put(engine, sha256, content).status == 201  # a second upload does no harm


def test_wrong_hash_leaves_nothing(engine):
    before = names(engine)
    answer = put(engine, "1" * 64, b"something else")
    assert answer.status == 409
    assert json.loads(answer.body)["field"] == "sha256"
    assert names(engine) == before
    assert not engine.client.has_blob("1" * 64)


def test_unknown_blob(engine):
    with pytest.raises(EngineError) as raised:
        engine.client.get_blob("2" * 64)
    assert raised.value.code == "not_found"


def test_full_disk(starting):
    """The system lets no file of this engine grow above a megabyte or so."""
    engine = starting(command=["sh", "-c", 'ulimit -f 2000; exec "$@"', "sh", *COMMAND])
    before = names(engine)
    with pytest.raises(EngineError) as raised:
        engine.client.put_blob(packed(bytes(8_000_000)))
    assert raised.value.code == "disk_full"
    assert names(engine) == before
    small = packed(b"small")
    assert engine.client.get_blob(engine.client.put_blob(small)) == small
    assert engine.finish(engine.count()).state == JobState.DONE


def test_more_than_the_disk_holds_is_refused_at_once(engine):
    free = shutil.disk_usage(engine.folder).free
    answer = put(engine, "3" * 64, b"", length=min(free, MAX_BLOB_BYTES) + (1 << 20))
    assert answer.status == (507 if free < MAX_BLOB_BYTES else 413)


def test_download_cannot_run_in_a_browser(engine):
    sha256 = engine.client.put_blob(packed(b"<script>alert(1)</script>"))
    request = (
        f"GET /v1/blobs/{sha256} HTTP/1.1\r\nHost: 127.0.0.1:{engine.port}\r\n"
        f"Authorization: Bearer {engine.client.connection.token}\r\n\r\n"
    )
    headers = exchange(engine.port, request.encode()).headers
    assert headers["content-type"] == "application/octet-stream"
    assert headers["content-disposition"] == "attachment"
    assert "sandbox" in headers["content-security-policy"]


def test_store(tmp_path):
    store = BlobStore(tmp_path / "blobs")
    sha256 = store.put(b"content")
    assert store.put(b"content") == sha256
    assert store.read(sha256) == b"content"
    assert store.find("../blobs/" + sha256) is None
    with store.writing("4" * 64) as incoming:
        incoming.write(b"other")
        with pytest.raises(Conflict):
            incoming.commit()
    with store.writing("5" * 64) as incoming:
        incoming.write(b"never finished")
    assert [path.name for path in store.folder.iterdir()] == [sha256]


def damage(engine, sha256: str) -> None:
    """One bit of a file, without anybody noticing."""
    path = engine.folder / "blobs" / sha256
    content, stat = bytearray(path.read_bytes()), path.stat()
    content[-1] ^= 1
    path.write_bytes(content)
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))


def test_a_damaged_input_is_asked_for_again(engine):
    content = packed(os.urandom(100))
    sha256 = engine.client.put_blob(content)
    damage(engine, sha256)
    assert not engine.client.has_blob(sha256)
    assert engine.client.put_blob(content) == sha256
    assert engine.client.get_blob(sha256) == content
    damage(engine, sha256)
    assert put(engine, sha256, content).status == 201  # also where nobody asked before
    assert engine.client.get_blob(sha256) == content


@pytest.mark.parametrize("cut", [False, True])
def test_an_input_that_is_damaged_while_its_job_waits(engine, cut):
    content = packed(os.urandom(100))
    sha256 = engine.client.put_blob(content)
    before = engine.count(steps=20, sleep=0.05)
    job = engine.client.submit(JobRequest("copy", {}, {"data": sha256}))
    damage(engine, sha256)
    if cut:
        os.truncate(engine.folder / "blobs" / sha256, 10)
    engine.finish(before)
    job = engine.finish(job)
    assert job.state == JobState.FAILED
    assert (job.error["code"], job.error["field"]) == ("missing_blob", "inputs.data")
    engine.client.put_blob(content)
    again = engine.finish(engine.client.submit(JobRequest("copy", {}, {"data": sha256})))
    assert engine.client.files(again) == {"data.bin": content}


def test_a_damaged_result_is_not_given_but_made_again(engine):
    job = engine.finish(engine.walk(steps=2, seed=1234))
    files = engine.client.files(job)
    damage(engine, job.result["walk.bin"]["sha256"])
    with pytest.raises(EngineError) as raised:
        engine.client.files(job)
    assert raised.value.code == "not_found"
    again = engine.finish(engine.walk(steps=2, seed=1234))
    assert engine.client.files(again) == files
    assert engine.client.files(job) == files  # healed, too


def test_a_damaged_result_is_not_reused(starting):
    engine = starting()
    request = JobRequest("walk", {"steps": 2, "seed": 5})
    first = engine.finish(engine.client.submit(request))
    files = engine.client.files(first)
    assert engine.client.submit(request).state == JobState.DONE
    damage(engine, first.result["walk.bin"]["sha256"])
    again = engine.client.submit(request)
    assert again.state != JobState.DONE
    assert engine.client.files(engine.finish(again)) == files
