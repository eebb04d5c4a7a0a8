# SPDX-License-Identifier: GPL-3.0-or-later
"""The engine process: how it starts, what it shows, and that it leaves nothing behind."""

from __future__ import annotations

import asyncio
import json
import signal
import socket
import sqlite3
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest

from syncsde_client import protocol
from syncsde_client.client import CLIENT, find_engine, last_words
from syncsde_client.protocol import JobState
from syncsde_server.launch.address import bind
from tests.server.running import COMMAND, is_gone, wait_until


def test_health(engine):
    health = engine.client.healthz()
    assert health["instance"] == engine.client.connection.instance
    assert health["protocol"] == protocol.PROTOCOL
    wait_until(lambda: engine.client.status()["worker"] == "ready")
    status = engine.client.status()
    assert status["devices"] == ["cpu"]
    assert status["models"] == ["mime", "mini"]
    assert wait_until(lambda: engine.client.status()["worker_memory"]) > 1_000_000
    health = engine.client.healthz()
    assert health["supervisor_age"] < 5
    assert health["worker_age"] < 5


def test_only_this_user_can_read_the_state(engine):
    assert stat.S_IMODE(engine.folder.stat().st_mode) == 0o700
    assert stat.S_IMODE((engine.folder / protocol.CONNECTION_FILE).stat().st_mode) == 0o600


def test_token_is_nowhere_but_in_the_connection_file(engine):
    token = engine.client.connection.token.encode()
    engine.finish(engine.count())
    for path in engine.folder.rglob("*"):
        if path.is_file() and path.name != protocol.CONNECTION_FILE:
            assert token not in path.read_bytes(), path
    for pid in (engine.process.pid, engine.worker):
        for name in ("cmdline", "environ"):
            assert token not in Path(f"/proc/{pid}/{name}").read_bytes()


def test_one_line_on_stdout_when_ready(tmp_path):
    with subprocess.Popen(
        [*COMMAND, "--state-dir", str(tmp_path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    ) as process:
        assert process.stdout is not None
        ready = json.loads(process.stdout.readline())
        found = find_engine(tmp_path)
        assert found is not None
        # The parent may say which client it is: then nobody is left when it goes.
        rest, _ = process.communicate(json.dumps({"client": CLIENT}).encode() + b"\n")
    assert rest == b""
    assert process.returncode == 0
    assert ready == {
        "ready": True,
        "protocol": protocol.PROTOCOL,
        "port": found.connection.port,
        "pid": process.pid,
        "instance": found.connection.instance,
    }


def test_interface_imports_no_torch():
    code = (
        "import sys, syncsde_server.__main__, syncsde_server.http.serving\n"
        "print([name for name in ('torch', 'numpy', 'diffusers') if name in sys.modules])"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"


def test_answers_are_sent_at_once():
    """asyncio sets TCP_NODELAY on what a listener accepts only if that names its protocol."""
    accepted: list[int] = []

    async def answer(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        link = writer.get_extra_info("socket")
        accepted.append(link.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY))
        writer.close()

    async def serve_one() -> None:
        server = await asyncio.start_server(answer, sock=bind("127.0.0.1", 0))
        async with server:
            reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
            await reader.read()
            writer.close()

    asyncio.run(serve_one())
    assert len(accepted) == 1
    assert accepted[0]


def test_second_engine_is_refused(engine):
    second = subprocess.run(
        [*COMMAND, "--state-dir", str(engine.folder)],
        stdin=subprocess.PIPE,
        capture_output=True,
        text=True,
    )
    assert second.returncode == 3
    assert json.loads(second.stdout)["error"]["code"] == "already_running"
    assert find_engine(engine.folder) is not None


def test_leaves_with_its_parent(starting, tmp_path):
    blobs = protocol.make_private(protocol.make_private(tmp_path / "state") / "blobs")
    part = blobs / "0123.1.89ab.part"
    part.write_bytes(b"half of an upload that was cut off")
    engine = starting()
    assert not part.exists()
    job = engine.count(steps=1000, sleep=0.05)
    engine.step(job, 1)
    worker = engine.worker
    engine.process.stdin.close()
    engine.process.wait(20)  # the job itself would go on for 50 seconds
    wait_until(lambda: is_gone(worker))
    assert engine.process.returncode == 0
    assert not (engine.folder / protocol.CONNECTION_FILE).exists()


def test_parent_killed(tmp_path):
    """Blender's stand-in dies hard; its engine and the worker go too."""
    code = (
        "import time; from pathlib import Path; \n"
        "from syncsde_client.client import CLIENT, start_engine; print(CLIENT, flush=True)\n"
        f"start_engine({COMMAND!r}, Path({str(tmp_path)!r})); time.sleep(60)"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, text=True
    ) as parent:
        assert parent.stdout is not None
        name = parent.stdout.readline().strip()
        client = wait_until(lambda: find_engine(tmp_path, name))
        worker = wait_until(lambda: client.status()["worker_pid"])
        parent.kill()
    wait_until(lambda: is_gone(client.connection.pid) and is_gone(worker))


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_stay(starting, number):
    """Until a signal; then all is closed in good order, down to the database's log."""
    engine = starting("--stay")
    assert engine.finish(engine.count()).state == JobState.DONE
    going_on = engine.count(steps=1000, sleep=0.05)
    engine.step(going_on, 1)
    engine.process.stdin.close()
    time.sleep(0.5)
    assert engine.client.healthz()
    worker = engine.worker
    engine.process.send_signal(number)
    assert engine.process.wait(20) == 0
    wait_until(lambda: is_gone(worker))
    left = {path.name for path in engine.folder.iterdir()}
    assert not left & {protocol.CONNECTION_FILE, "jobs.sqlite-wal", "jobs.sqlite-shm"}
    engine = starting()
    assert engine.client.job(going_on.id).attempts <= 1  # the one before does not count


def test_jobs_of_a_newer_engine_are_refused(tmp_path):
    path = protocol.make_private(tmp_path) / "jobs.sqlite"
    db = sqlite3.connect(path)
    db.execute("PRAGMA user_version = 1000")
    db.close()
    before = path.read_bytes()
    refused = subprocess.run(
        [*COMMAND, "--state-dir", str(tmp_path)], stdin=subprocess.PIPE, capture_output=True
    )
    assert refused.returncode == 3
    assert json.loads(refused.stdout)["error"]["code"] == "unusable_state"
    assert path.read_bytes() == before


def test_folder_of_everybody_is_refused(tmp_path):
    """It may be the user's home or a project: its mode is not ours to change."""
    folder = tmp_path / "project"
    folder.mkdir(mode=0o755)
    refused = subprocess.run(
        [*COMMAND, "--state-dir", str(folder)],
        stdin=subprocess.PIPE,
        capture_output=True,
        text=True,
    )
    assert refused.returncode == 3
    error = json.loads(refused.stdout)["error"]
    assert error["code"] == "unusable_state"
    assert error["message"].startswith(f"Other users can enter {folder}:")
    assert "Traceback" not in refused.stderr
    assert not list(folder.iterdir())
    assert stat.S_IMODE(folder.stat().st_mode) == 0o755


@pytest.mark.parametrize(
    ("flags", "field"),
    [
        (["--port", "in use"], "port"),
        (["--port", "99999"], "port"),
        (["--host", "nowhere"], "host"),
        (["--host", "0.0.0.0"], "host"),
        (["--certificate", "missing.pem", "--key", "missing.key"], "certificate"),
    ],
)
def test_bad_address_leaves_nothing_behind(engine, tmp_path, flags, field):
    flags = [str(engine.port) if flag == "in use" else flag for flag in flags]
    state = tmp_path / "state"
    refused = subprocess.run(
        [*COMMAND, "--state-dir", str(state), *flags],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    (tmp_path / "engine.log").write_bytes(refused.stdout)
    assert refused.returncode == 2
    assert last_words(tmp_path).field == field
    assert not last_words(tmp_path).message.endswith("..")
    assert not state.exists()
