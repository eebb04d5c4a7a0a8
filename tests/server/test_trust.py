# SPDX-License-Identifier: GPL-3.0-or-later
"""Clients trust neither names in answers, nor the file with the address, nor who has the port."""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import socket
import sys
import threading
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from syncsde_client import protocol
from syncsde_client.client import Client, EngineError, find_engine
from syncsde_client.protocol import Connection, Job, JobState
from syncsde_engine import cli
from tests.server.running import exchange
from tests.server.test_guard import DEFAULT, knock

JOB_ID = "a" * 32
OUTSIDE = [
    "../.bash_profile",
    "/tmp/absolute",
    "views/../../x",
    "..",
    ".",
    "",
    ".bashrc",
    ".ssh/authorized_keys",
    "a//b",
    "a/",
    "..\\x",
    "C:x",
    "a\nb",
    "a\0b",
    "x" * 2000,
]


class Impostor:
    """A program that speaks HTTP on a port; with the `token` it proves itself as an engine does."""

    def __init__(self, token: str | None, answers: dict[str, object]) -> None:
        self.heard = b""
        self.token = token
        self.answers = answers
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        self.thread = threading.Thread(target=self._serve, daemon=True)
        self.thread.start()

    def connection(self, token: str) -> Connection:
        return Connection(
            protocol.PROTOCOL, "127.0.0.1", self.port, token, os.getpid(), "mine", "0.1.0"
        )

    def end(self) -> None:
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        self.thread.join()

    def _serve(self) -> None:
        while True:
            try:
                link, _ = self.listener.accept()
            except OSError:
                return
            with link, contextlib.suppress(OSError):
                while head := self._read(link):
                    self.heard += head
                    self._answer(link, head.decode("latin-1").split("\r\n"))

    def _read(self, link: socket.socket) -> bytes:
        head = b""
        while b"\r\n\r\n" not in head and (chunk := link.recv(1 << 12)):
            head += chunk
        return head

    def _answer(self, link: socket.socket, lines: list[str]) -> None:
        headers = dict(line.split(": ", 1) for line in lines[1:] if line)
        path = lines[0].split()[1].partition("?")[0]
        body = json.dumps(self.answers.get(path, {})).encode()
        told = f"HTTP/1.1 200 OK\r\nContent-Length: {len(body)}\r\n"
        challenge = headers.get(protocol.CHALLENGE_HEADER)
        if challenge is not None:
            token = self.token or secrets.token_urlsafe(32)
            shown = protocol.proof(token, challenge, f"127.0.0.1:{self.port}")
            told += f"{protocol.PROOF_HEADER}: {shown}\r\n"
        link.sendall(f"{told}\r\n".encode() + body)


@pytest.fixture
def impostor() -> Iterator[Impostor]:
    pretending = Impostor(None, {"/healthz": {"instance": "mine"}})
    yield pretending
    pretending.end()


def test_whoever_takes_over_the_port_learns_nothing(tmp_path: Path, impostor: Impostor) -> None:
    token = secrets.token_urlsafe(32)
    connection = impostor.connection(token)
    connection.write(tmp_path)
    assert find_engine(tmp_path) is None
    client = Client(connection)
    calls = [
        client.status,
        client.jobs,
        lambda: client.put_blob(b"a picture of mine"),
        lambda: client.submit(protocol.JobRequest("texture", {"prompt": "my secret"})),
        lambda: client.job(JOB_ID),
    ]
    for call in calls:
        with pytest.raises(EngineError, match="another program answers") as raised:
            call()
        assert raised.value.code == "unreachable"  # as an engine that is gone
    assert impostor.heard.count(protocol.CHALLENGE_HEADER.encode()) == 6
    for secret in (token, "Authorization", "Bearer", "picture", "secret", "/v1/"):
        assert secret.encode() not in impostor.heard


def test_an_answer_relayed_from_the_engine_is_no_proof(engine) -> None:
    """The proof is for the address that the engine has: no program between passes for it."""
    challenge = secrets.token_hex(16)
    asked = ["Host: {host}", f"{protocol.CHALLENGE_HEADER}: {challenge}"]
    shown = knock(engine, "GET /healthz", asked).headers[protocol.PROOF_HEADER.lower()]
    token = engine.client.connection.token
    assert shown == protocol.proof(token, challenge, f"127.0.0.1:{engine.port}")
    assert shown != protocol.proof(token, challenge, f"127.0.0.1:{engine.port + 1}")


def test_strangers_are_told_nothing(engine) -> None:
    answer = knock(engine, "GET /healthz", ["Host: {host}"])
    assert answer.status == 200
    assert json.loads(answer.body) == {"alive": True}
    text = repr(answer.headers) + answer.body.decode()
    for told in (engine.client.connection.instance, engine.client.connection.version):
        assert told not in text
    known = json.loads(knock(engine, "GET /healthz", DEFAULT).body)
    assert known["instance"] == engine.client.connection.instance


@pytest.mark.parametrize("challenge", ["", "x" * 32, "a" * 31, "a" * 33, "A" * 32, "a" * 2000])
def test_what_is_no_challenge_gets_no_proof(engine, challenge: str) -> None:
    asked = ["Host: {host}", f"{protocol.CHALLENGE_HEADER}: {challenge}"]
    answer = knock(engine, "GET /healthz", asked)
    assert answer.status == 200
    assert protocol.PROOF_HEADER.lower() not in answer.headers


@pytest.mark.parametrize("name", OUTSIDE, ids=lambda name: repr(name[:20]))
def test_names_in_results_are_plain(tmp_path: Path, name: str, capsys) -> None:
    """A hostile engine, with the right token, may not write where the user did not say."""
    token = secrets.token_urlsafe(32)
    job = Job(
        JOB_ID, "wide", JobState.DONE, 1, 3, 1.0, 2.0, 3.0, {name: {"sha256": "0" * 64}}, None
    )
    event = protocol.Event(3, "state", 3.0, {"state": "done"})
    answers = {
        "/healthz": {"instance": "mine"},
        f"/v1/jobs/{JOB_ID}": asdict(job),
        "/v1/jobs": {"jobs": [asdict(job)]},
        f"/v1/jobs/{JOB_ID}/events": {"events": [asdict(event)]},
    }
    hostile = Impostor(token, answers)
    try:
        state = protocol.make_private(tmp_path / "state")
        hostile.connection(token).write(state)
        client = find_engine(state)
        assert client is not None
        for ask in (lambda: client.job(JOB_ID), client.jobs, lambda: client.finish(JOB_ID)):
            with pytest.raises(EngineError, match="has a file called"):
                ask()
        arguments = [
            "result",
            JOB_ID,
            "--output",
            str(tmp_path / "home"),
            "--state-dir",
            str(state),
        ]
        assert cli.main(arguments) == 1
        assert "has a file called" in capsys.readouterr().err
    finally:
        hostile.end()
    assert not (tmp_path / "home").exists()


@pytest.mark.parametrize("name", ["image.png", "views/00.png", "textures/Stein grün.png", "a..b"])
def test_names_that_are_plain(name: str) -> None:
    assert protocol.is_plain_path(name)


@pytest.mark.skipif(sys.platform == "win32", reason="files have no POSIX mode there")
@pytest.mark.parametrize(
    ("mode", "of_folder", "words"),
    [(0o644, 0o700, "can read"), (0o620, 0o700, "can read"), (0o600, 0o755, "can enter")],
)
def test_connection_file_that_others_can_reach(
    tmp_path: Path, engine, mode, of_folder, words, capsys
):
    folder = protocol.make_private(tmp_path / "state")
    engine.client.connection.write(folder)
    assert find_engine(folder) is not None
    (folder / protocol.CONNECTION_FILE).chmod(mode)
    folder.chmod(of_folder)
    with pytest.raises(EngineError, match=f"Other users {words}") as raised:
        find_engine(folder)
    assert raised.value.code == "untrusted"
    assert cli.main(["jobs", "--state-dir", str(folder)]) == 3
    said = capsys.readouterr().err
    assert "Other users" in said
    assert said.count("\n") == 1


@pytest.mark.skipif(not hasattr(os, "getuid") or os.getuid() != 0, reason="only root gives away")
@pytest.mark.parametrize("whose", ["file", "folder"])
def test_connection_file_of_another_user(tmp_path: Path, engine, whose: str) -> None:
    folder = protocol.make_private(tmp_path / "state")
    engine.client.connection.write(folder)
    os.chown(folder if whose == "folder" else folder / protocol.CONNECTION_FILE, 12345, 12345)
    with pytest.raises(EngineError, match="belongs to another user"):
        find_engine(folder)


def test_connection_file_that_is_a_link(tmp_path: Path, engine) -> None:
    folder = protocol.make_private(tmp_path / "state")
    (folder / protocol.CONNECTION_FILE).symlink_to(engine.folder / protocol.CONNECTION_FILE)
    assert find_engine(folder) is None


@pytest.mark.parametrize(
    "job", ["a b", "a\nb", "é" + "0" * 31, " " * 32, "../../healthz", "0" * 33]
)
def test_ids_that_are_none(engine, job: str, capsys) -> None:
    """They never become a path; at once, not after two minutes."""
    for ask in (engine.client.job, engine.client.cancel, engine.client.events):
        with pytest.raises(EngineError) as raised:
            ask(job)
        assert raised.value.code == "not_found"
    place = ["--state-dir", str(engine.folder)]
    assert cli.main(["result", job, "--output", "nowhere", *place]) == 2
    assert cli.main(["cancel", job, *place]) == 2
    assert capsys.readouterr().err.count("\n") == 2


def test_a_long_proof_does_not_hurt(engine) -> None:
    wrong = replace(engine.client.connection, token="é" * 40)
    with pytest.raises(EngineError, match="another program answers"):
        Client(wrong).status()
    asked = f"GET /healthz HTTP/1.1\r\nHost: localhost:{engine.port}\r\n\r\n"
    assert exchange(engine.port, asked.encode()).status == 200
