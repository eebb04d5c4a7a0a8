# SPDX-License-Identifier: GPL-3.0-or-later
"""What the engine does on the network: nothing by itself, and TLS where others can reach it."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from syncsde_client.client import Client, EngineError
from syncsde_client.protocol import JobRequest, JobState
from syncsde_engine.errors import InvalidRequest
from syncsde_server.launch.address import Door
from tests.server.running import start, wait_until

GUARDED = Path(__file__).with_name("guarded_engine.py")


def test_no_outgoing_connection(tmp_path, tiny_model):
    """A whole job, with a model that must be found, and nobody is called."""
    seen = tmp_path / "seen"
    command = [sys.executable, str(GUARDED), str(seen)]
    engine = start(tmp_path / "state", "--models-dir", str(tiny_model.parent), command=command)
    try:
        asked: dict[str, object] = {"prompt": "hills", "steps": 2, "width": 64, "patch_size": 64}
        asked["model"] = tiny_model.name
        job = engine.client.submit(JobRequest("wide", asked))
        assert engine.client.finish(job.id).state == JobState.DONE
    finally:
        engine.end()
    called = seen.read_text().splitlines() if seen.exists() else []
    assert called == []


def test_the_watch_sees_connections(tmp_path):
    seen = tmp_path / "seen"
    code = (
        f"import sys; sys.argv = ['x', {str(seen)!r}]; import runpy\n"
        f"sys.addaudithook(runpy.run_path({str(GUARDED)!r})['watch'])\n"
        "import socket; socket.socket(socket.AF_INET, socket.SOCK_DGRAM).connect(('127.0.0.1', 9))"
    )
    subprocess.run([sys.executable, "-W", "ignore", "-c", code], check=True)
    assert "socket.connect ('127.0.0.1', 9)" in seen.read_text()


@pytest.fixture(scope="module")
def certificate(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tls")
    files = folder / "certificate.pem", folder / "key.pem"
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"]
    command += ["-nodes", "-days", "2", "-subj", "/CN=studio"]
    made = subprocess.run([*command, "-out", files[0], "-keyout", files[1]], capture_output=True)
    if made.returncode:
        pytest.skip("openssl is not here")
    return files


def own_address() -> str:
    """An address of this machine that others could reach."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))  # sends nothing
        except OSError:
            pytest.skip("this machine has no network")
        return probe.getsockname()[0]


def test_other_machines_speak_tls(starting, certificate):
    host = own_address()
    options = ["--host", host, "--certificate", str(certificate[0]), "--key", str(certificate[1])]
    engine = starting(*options)
    assert engine.client.connection.host == host
    assert engine.finish(engine.count()).state == JobState.DONE
    plain = replace(engine.client.connection, certificate=None)
    with pytest.raises(EngineError, match="does not answer"):
        Client(plain).status()
    with pytest.raises(EngineError, match="another program answers"):
        Client(replace(engine.client.connection, token="x" * 43)).status()


@pytest.mark.parametrize(
    ("door", "field"),
    [
        (Door("0.0.0.0"), "host"),
        (Door("192.0.2.1"), "host"),
        (Door("::"), "host"),
        (Door("studio"), "host"),
        (Door("127.0.0.1", key=Path("key")), "certificate"),
        (Door("127.0.0.1", certificate=Path("absent"), key=Path("absent")), "certificate"),
    ],
)
def test_doors_that_stay_shut(door, field):
    with pytest.raises(InvalidRequest) as raised:
        door.check()
    assert raised.value.field == field


def test_names_of_a_door():
    assert Door("127.0.0.1").hosts(80) == {"127.0.0.1:80", "localhost:80"}
    assert Door("::1").hosts(80) == {"[::1]:80", "localhost:80"}
    assert Door("192.0.2.1", ["studio.example"]).hosts(80) == {"192.0.2.1:80", "studio.example:80"}


def test_metrics_are_there_when_asked_for(starting):
    engine = starting("--metrics")
    engine.finish(engine.count())
    text = engine.client._call("GET", "/metrics").decode()
    assert 'syncsde_jobs{state="done"} 1.0' in text
    assert "syncsde_worker_ready 1.0" in text


def test_metrics_are_off(engine):
    with pytest.raises(EngineError) as raised:
        engine.client._call("GET", "/metrics")
    assert raised.value.code == "not_found"


def test_log_is_json_and_tells_no_secrets(starting):
    engine = starting()
    engine.finish(engine.count())
    engine.finish(engine.count(fault="raise"))
    wait_until(lambda: "a defect" in (engine.folder / "log.jsonl").read_text())
    lines = (engine.folder / "log.jsonl").read_text().splitlines()
    entries = [json.loads(line) for line in lines]
    assert all(set(entry) == {"time", "level", "logger", "message"} for entry in entries)
    assert any("Traceback" in entry["message"] for entry in entries)
    assert engine.client.connection.token not in "".join(lines)
    assert (engine.folder / "log.jsonl").stat().st_mode & 0o077 == 0
