# SPDX-License-Identifier: GPL-3.0-or-later
"""Nobody shuts the door, takes another's address away, or fills the store for good."""

from __future__ import annotations

import json
import os
import resource
import socket
import subprocess
import time

import pytest

from syncsde_client import protocol
from syncsde_client.client import EngineError, find_engine
from syncsde_client.protocol import JobRequest, JobState
from syncsde_engine import cli
from syncsde_server.http import serving
from tests.server.running import COMMAND, packed, wait_until

HALF_OPEN = 2000


@pytest.fixture
def many_files():
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (2 * HALF_OPEN, before[1]))
    except ValueError:
        pytest.skip("so many connections may not be opened here")
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, before)


@pytest.mark.parametrize("said", [b"", b"GET /healthz HT", b"GET /healthz HTTP/1.1\r\nHost: x\r\n"])
def test_half_open_connections_keep_nobody_out(starting, many_files, said):
    """The engine may have 256 files open: it must not be the number that saves it."""
    engine = starting(command=["sh", "-c", 'ulimit -n 256; exec "$@"', "sh", *COMMAND])
    job = engine.count(steps=1000, sleep=0.05)
    links = []
    try:
        for _ in range(HALF_OPEN):
            links.append(socket.create_connection(("127.0.0.1", engine.port), timeout=20))
            if said:
                try:
                    links[-1].sendall(said)
                except ConnectionError:
                    continue
        assert find_engine(engine.folder) is not None
        assert engine.client.status()["jobs"]["running"] == 1
        assert engine.client.cancel(job.id).state == JobState.RUNNING
        assert engine.finish(job).state == JobState.CANCELLED
    finally:
        for link in links:
            link.close()


def test_strangers_have_to_leave_and_clients_may_stay(starting, tmp_path):
    code = (
        "from syncsde_server.http import serving; serving.STRANGERS_STAY = 0.5\n"
        f"import runpy, sys; sys.argv[0] = {COMMAND[1]!r}; sys.path.insert(0, '')\n"
        "runpy.run_path(sys.argv[0], run_name='__main__')"
    )
    engine = starting(command=[COMMAND[0], "-c", code])
    job = engine.count(steps=40, sleep=0.1)
    begin = time.monotonic()
    with socket.create_connection(("127.0.0.1", engine.port), timeout=10) as stranger:
        assert stranger.recv(1) == b""
    assert time.monotonic() - begin < 5
    assert engine.client.job(job.id, wait=30).state == JobState.DONE  # four seconds in one answer
    assert serving.STRANGERS_STAY == 10.0


def test_an_engine_that_leaves_does_not_take_another_s_address_away(starting, engine):
    leaving = starting()
    path = leaving.folder / protocol.CONNECTION_FILE
    engine.client.connection.write(leaving.folder)  # of the engine that has the folder by now
    leaving.end()
    assert protocol.Connection.read(leaving.folder) == engine.client.connection
    path.unlink()


@pytest.mark.parametrize("line", [b"[" * 4000, b'{"client": ' * 400, b"\xff\xfe", b"1" * 4000])
def test_first_line_of_a_parent_that_makes_no_sense(tmp_path, line):
    state = protocol.make_private(tmp_path / "state")
    with subprocess.Popen(
        [*COMMAND, "--state-dir", str(state)],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    ) as process:
        wait_until(lambda: find_engine(state, "a"))
        client = find_engine(state, "a")
        assert client is not None
        process.communicate(line + b"\n", timeout=60)
    assert process.returncode == 0


def test_serve_without_stdin(tmp_path):
    state = tmp_path / "state"
    command = [*COMMAND, "--state-dir", str(state)]
    ended = subprocess.run(
        ["sh", "-c", '"$@" <&-', "sh", *command], stdout=subprocess.PIPE, timeout=60, check=False
    )
    assert ended.returncode == 2
    assert "--stay" in json.loads(ended.stdout)["error"]["hint"]


def test_results_are_listed_and_deleted(starting, capsys):
    engine = starting("--quota", "0.004")
    place = ["--state-dir", str(engine.folder)]
    data = engine.client.put_blob(packed(os.urandom(1_000_000)))
    done = engine.finish(engine.client.submit(JobRequest("copy", {}, {"data": data})))
    running = engine.count(steps=1000, sleep=0.05)
    with pytest.raises(EngineError) as raised:  # young, and needed
        engine.client.put_blob(packed(os.urandom(3_500_000)))
    assert "syncsde results --delete" in raised.value.hint
    assert cli.main(["results", *place]) == 0
    assert f"1.0 MB  {done.id[:12]}" in capsys.readouterr().out
    assert cli.main(["results", "--delete", running.id, *place]) == 2
    assert "has not ended" in capsys.readouterr().err
    engine.client.cancel(running.id)
    assert cli.main(["results", "--delete", done.id[:9], *place]) == 0
    with pytest.raises(EngineError):
        engine.client.job(done.id)
    assert not engine.client.has_blob(data)
    engine.client.put_blob(packed(os.urandom(3_500_000)))


def test_a_file_that_another_result_needs_stays(starting):
    engine = starting()
    data = engine.client.put_blob(packed(b"1"))
    one, other = (
        engine.finish(engine.client.submit(JobRequest("copy", {"nonce": each}, {"data": data})))
        for each in "ab"
    )
    engine.client.forget(one.id)
    assert engine.client.files(other) == {"data.bin": packed(b"1")}
