# SPDX-License-Identifier: GPL-3.0-or-later
"""Start the engine process and talk to it: short calls without threads, for a timer to make.

    engine = find_engine(state_dir())  # or None: start_engine(["syncsde", "serve"], state_dir())
    mesh = engine.put_blob(tensors_to_bytes(arrays))
    job = engine.submit(JobRequest("texture", {"prompt": "moss"}, {"mesh": mesh}))
    for event in engine.events(job.id, after=0): ...
    files = engine.files(engine.finish(job.id))

Standard library and numpy only, without Blender.
"""

from __future__ import annotations

import contextlib
import ctypes
import hashlib
import hmac
import http.client
import json
import os
import re
import secrets
import ssl
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from . import protocol
from .protocol import Connection, Event, Job, JobRequest

LOG_FILE = "engine.log"
MAX_LOG_BYTES = 4 << 20
MAX_GREETING = 1 << 12  # bytes
CLIENT = secrets.token_hex(8)  # this process, as the owner of its jobs


class EngineError(Exception):
    """What went wrong, as the engine said it; `str(error)` is one sentence for the user.

    Codes of this side: `unreachable` (no answer, or another program's), `bad_answer` (not the
    protocol we speak), `untrusted` (the connection file could be another user's).
    """

    def __init__(self, code: str, message: str, hint: str = "", field: str | None = None) -> None:
        super().__init__(f"{message} {hint}".strip())
        self.code = code
        self.message = message
        self.hint = hint
        self.field = field


class Client:
    """An engine, by its connection file. Every call raises EngineError and returns soon.

    Each connection begins with a challenge: the token, and all else, is told only to who has it.

    `timeout` is in seconds and counts for each single read and write, not for a whole upload.
    `name` (letters, digits, `_.-`) is the owner of the jobs; by default this process.
    """

    def __init__(self, connection: Connection, timeout: float = 10.0, name: str = CLIENT) -> None:
        self.connection = connection
        self.timeout = timeout
        self.name = name
        self._tls: ssl.SSLContext | None = None
        if connection.certificate is not None:  # only this one is trusted, whatever its name
            self._tls = ssl.create_default_context(cadata=connection.certificate)
            self._tls.check_hostname = False

    def is_alive(self) -> bool:
        """Whether the engine's process still runs, as far as this machine tells; asks nothing."""
        return alive(self.connection.pid)

    def healthz(self, timeout: float | None = None) -> dict[str, Any]:
        """Return instance, protocol and how many seconds ago each part gave a sign of life."""
        return self._json("GET", "/healthz", timeout=timeout)

    def status(self) -> dict[str, Any]:
        """Return the worker's state, the number of jobs in each state and the free disk space."""
        return self._json("GET", "/v1/status")

    def tasks(self) -> dict[str, Any]:
        """Return for each task its JSON schema, the inputs it needs and those it may be given."""
        return self._json("GET", "/v1/tasks")

    def put_blob(self, content: bytes) -> str:
        """Store `content` in the engine unless it is there already; return its SHA-256."""
        name = hashlib.sha256(content).hexdigest()
        if not self.has_blob(name):
            self._call("PUT", f"/v1/blobs/{name}", content, protocol.BLOB_TYPE)
        return name

    def has_blob(self, sha256: str) -> bool:
        try:
            self._call("HEAD", f"/v1/blobs/{sha256}")
        except EngineError as error:
            if error.code == "not_found":
                return False
            raise
        return True

    def get_blob(self, sha256: str) -> bytes:
        """Fetch a blob. Raises EngineError if what arrives is not what the hash names."""
        if not protocol.is_sha256(sha256):
            raise EngineError("bad_answer", f"The engine names a file by {sha256!r:.80}.")
        content = self._call("GET", f"/v1/blobs/{sha256}")
        if hashlib.sha256(content).hexdigest() != sha256:
            raise EngineError("bad_answer", f"The engine's file {sha256[:12]} arrived damaged.")
        return content

    def submit(self, request: JobRequest) -> Job:
        """Queue a job; with a `key` that was used before, return the job made then."""
        body = json.dumps(asdict(request)).encode()
        return self._job(self._json("POST", "/v1/jobs", body))

    def jobs(self, *, mine: bool = False) -> list[Job]:
        """Return the newest jobs, latest first; of all clients, or only `mine`."""
        answer = self._json("GET", f"/v1/jobs?mine={str(mine).lower()}")
        return [self._job(each) for each in answer["jobs"]]

    def job(self, job_id: str, wait: float = 0.0) -> Job:
        """Return a job as it is now, or as soon as it has ended within `wait` seconds (at most
        protocol.MAX_WAIT)."""
        path, timeout = f"{_path(job_id)}?wait={wait}", self.timeout + wait
        return self._job(self._json("GET", path, timeout=timeout))

    def finish(self, job_id: str) -> Job:
        """Wait until a job has ended, however long that takes."""
        while not (job := self.job(job_id, wait=30.0)).state.ended:
            pass
        return job

    def files(self, job: Job) -> dict[str, bytes]:
        """Fetch all files of a job. Raises EngineError with its reason if it is not done."""
        if job.result is None:
            error = job.error or {"code": job.state, "message": f"The job is {job.state}."}
            raise EngineError(error["code"], error["message"], error.get("hint") or "")
        return {name: self.get_blob(file["sha256"]) for name, file in job.result.items()}

    def events(self, job_id: str, after: int = 0, wait: float = 0.0) -> list[Event]:
        """Return the events numbered above `after`, at most protocol.MAX_EVENTS.

        Without any, waits for one up to `wait` seconds (at most protocol.MAX_WAIT).
        """
        path = f"{_path(job_id)}/events?after={after}&wait={wait}"
        answer = self._json("GET", path, timeout=self.timeout + wait)
        try:
            return [protocol.from_json(Event, each) for each in answer["events"]]
        except (KeyError, ValueError) as error:
            raise EngineError(
                "bad_answer", f"The engine's events make no sense: {error}."
            ) from None

    def cancel(self, job_id: str) -> Job:
        """Ask for a job to stop; it ends as `cancelled` after the step it is in."""
        return self._job(self._json("POST", f"{_path(job_id)}/cancel"))

    def cancel_mine(self) -> list[str]:
        """Cancel all jobs of this client; return their ids."""
        return self._json("POST", "/v1/cancel")["jobs"]

    def move(
        self,
        job_id: str,
        *,
        to: str | None = None,
        before: str | None = None,
        priority: int | None = None,
    ) -> Job:
        """Move a queued job: to "first" or "last", before another one, or to another priority."""
        wanted = {"to": to, "before": before, "priority": priority}
        body = json.dumps({name: value for name, value in wanted.items() if value is not None})
        return self._job(self._json("POST", f"{_path(job_id)}/move", body.encode()))

    def forget(self, job_id: str) -> None:
        """Let the engine forget a job that has ended, and delete its files."""
        self._json("POST", f"{_path(job_id)}/forget")

    def lease(self) -> float:
        """Tell the engine that this client is still there; return for how many seconds."""
        return self._json("POST", "/v1/lease")["seconds"]

    def _job(self, content: Any) -> Job:
        try:
            job = protocol.from_json(Job, content)
        except ValueError as error:
            raise EngineError("bad_answer", f"The engine's job makes no sense: {error}.") from None
        for name in job.result or {}:
            if not protocol.is_plain_path(name):
                raise EngineError("bad_answer", f"The engine's result has a file called {name!r}.")
        return job

    def _json(
        self, method: str, path: str, body: bytes | None = None, timeout: float | None = None
    ) -> Any:
        content = self._call(method, path, body, protocol.JSON_TYPE, timeout)
        try:
            return json.loads(content)
        except ValueError:
            raise EngineError("bad_answer", "The engine's answer is not JSON.") from None

    def _call(
        self,
        method: str,
        path: str,
        body: bytes | None = None,
        content_type: str = "",
        timeout: float | None = None,
    ) -> bytes:
        headers = {
            "Authorization": f"Bearer {self.connection.token}",
            protocol.PROTOCOL_HEADER: str(protocol.PROTOCOL),
            protocol.CLIENT_HEADER: self.name,
        }
        if body is not None:
            headers["Content-Type"] = content_type
        # One connection a call: it costs a fraction of a millisecond here and cannot go stale.
        # http.client never asks for a proxy.
        place = (self.connection.host, self.connection.port)
        timeout = timeout or self.timeout
        link = (
            http.client.HTTPConnection(*place, timeout=timeout)
            if self._tls is None
            else http.client.HTTPSConnection(*place, timeout=timeout, context=self._tls)
        )
        try:
            self._prove(link)
            # The engine may refuse before it has read everything; then its answer says why.
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                link.request(method, path, body, headers)
            answer = link.getresponse()
            content = answer.read()
        except (OSError, http.client.HTTPException) as error:
            raise EngineError(
                "unreachable", f"The engine does not answer ({type(error).__name__})."
            ) from error
        finally:
            link.close()
        if answer.status >= 400:
            raise _refusal(answer.status, content)
        return content

    def _prove(self, link: http.client.HTTPConnection) -> None:
        """Let the other side show that it has the token, before it is told anything.

        Raises EngineError: whoever has taken the port of an engine that is gone cannot.
        """
        link.connect()
        link.auto_open = 0  # what follows goes over this connection or not at all
        challenge = secrets.token_hex(16)
        link.request("GET", "/healthz", headers={protocol.CHALLENGE_HEADER: challenge})
        with link.getresponse() as answer:
            answer.read(MAX_GREETING)
            shown = answer.getheader(protocol.PROOF_HEADER, "")
        host = f"[{link.host}]" if ":" in link.host else link.host
        wanted = protocol.proof(self.connection.token, challenge, f"{host}:{link.port}")
        if not hmac.compare_digest(shown.encode(), wanted.encode()):
            raise EngineError(
                "unreachable",
                f"The engine is gone: another program answers at {host}:{link.port}.",
            )


def _path(job_id: str) -> str:
    if re.fullmatch(protocol.JOB_ID_PATTERN, job_id) is None:
        raise EngineError("not_found", f"There is no job {job_id!r:.80}.")
    return f"/v1/jobs/{job_id}"


def _refusal(status: int, content: bytes) -> EngineError:
    try:
        said = json.loads(content)
        return EngineError(said["code"], said["message"], said["hint"] or "", said["field"])
    except (ValueError, KeyError, TypeError):
        # The answer to HEAD has no body.
        code = "not_found" if status == 404 else "bad_answer"
        return EngineError(code, f"The engine refused with status {status}.")


def find_engine(state_dir: Path, name: str = CLIENT) -> Client | None:
    """Return the engine that runs on `state_dir`, or None while there is none that is ready.

    Raises EngineError if the folder or its connection file could be another user's.
    """
    try:
        connection = Connection.read(state_dir)
    except PermissionError as error:
        raise EngineError("untrusted", str(error)) from None
    if connection is None or connection.protocol != protocol.PROTOCOL or not alive(connection.pid):
        return None
    client = Client(connection, name=name)
    try:
        health = client.healthz(timeout=1.0)
    except EngineError:
        return None
    return client if health.get("instance") == connection.instance else None


def start_engine(command: Sequence[str], state_dir: Path) -> subprocess.Popen[bytes]:
    """Start `command` (such as ["syncsde", "serve"]) on `state_dir` and return at once.

    The engine lives as long as the pipe in `.stdin` is open, thus no longer than this process,
    unless another client is using it; close it to end the engine. It is ready when `find_engine`
    finds it. If it exits before that, `last_words` tells why. Raises OSError if the command does
    not exist.
    """
    state_dir = protocol.make_private(state_dir.absolute())
    log = state_dir / LOG_FILE
    if log.exists() and log.stat().st_size > MAX_LOG_BYTES:
        protocol.replace(log, log.with_suffix(".old.log"))
    with open(log, "ab") as output:
        process = subprocess.Popen(
            [*command, "--state-dir", str(state_dir)],
            stdin=subprocess.PIPE,
            stdout=output,
            stderr=output,
            cwd=state_dir,  # not on a drive that the user wants to eject
            env=clean_environment(),
            start_new_session=True,  # Ctrl-C in Blender's terminal is not meant for the engine
            creationflags=subprocess.CREATE_NO_WINDOW if sys.platform == "win32" else 0,
        )
    assert process.stdin is not None
    with contextlib.suppress(OSError):  # then it has ended already, and its log says why
        process.stdin.write(json.dumps({"client": CLIENT}).encode() + b"\n")
        process.stdin.flush()
    return process


def log_size(state_dir: Path) -> int:
    """Return the length of the log in bytes: where an engine that starts now will write."""
    try:
        return (state_dir / LOG_FILE).stat().st_size
    except OSError:
        return 0


def last_words(state_dir: Path, begin: int = 0) -> EngineError:
    """Return why an engine exited before it was ready, from the log after its first `begin` bytes.

    Its error need not be the last line: another engine that started with it writes there, too.
    """
    try:
        content = (state_dir / LOG_FILE).read_bytes()
    except OSError:
        content = b""
    if begin > len(content):  # the log was begun anew
        begin = 0
    lines = content[begin:].decode("utf-8", "replace").strip().splitlines()
    for line in reversed(lines):
        if line.startswith('{"error"'):
            with contextlib.suppress(ValueError, KeyError):
                return _refusal(0, json.dumps(json.loads(line)["error"]).encode())
    return EngineError(
        "engine_failed",
        f"The engine did not start: {lines[-1] if lines else 'it said nothing'}",
        f"The whole log is {state_dir / LOG_FILE}.",
    )


def clean_environment() -> dict[str, str]:
    """This process's environment without what Blender's own Python needs and another's must not."""
    foreign = ("PYTHONPATH", "PYTHONHOME", "PYTHONEXECUTABLE", "__PYVENV_LAUNCHER__")
    return {
        name: value
        for name, value in os.environ.items()
        if name not in foreign and not name.startswith("BLENDER_")
    }


def alive(pid: int) -> bool:
    if sys.platform == "win32":  # os.kill would end the process there
        synchronize, timed_out = 0x00100000, 0x102
        kernel = ctypes.windll.kernel32
        kernel.OpenProcess.restype = ctypes.c_void_p
        handle = kernel.OpenProcess(synchronize, False, pid)
        if not handle:
            return False
        waited = kernel.WaitForSingleObject(ctypes.c_void_p(handle), 0)
        kernel.CloseHandle(ctypes.c_void_p(handle))
        return waited == timed_out
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
