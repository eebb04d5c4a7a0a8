# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import json
import stat
import subprocess
import sys
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from syncsde_client import protocol
from syncsde_client.protocol import Connection, Event, Job, JobState, from_json
from syncsde_server.http.bodies import Submission

CONNECTION = Connection(1, "127.0.0.1", 1234, "secret-token", 42, "instance", "0.1.0")
JOB = Job("a" * 32, "texture", JobState.DONE, 1, 7, 1.0, 2.0, 3.0, {"a.png": {}}, None)
EVENT = Event(3, "progress", 1.5, {"stage": "views", "step": 1, "total": 2, "preview": None})


@pytest.mark.parametrize("value", [CONNECTION, JOB, EVENT], ids=lambda value: type(value).__name__)
def test_round_trip(value):
    content = json.loads(json.dumps(asdict(value)))
    assert from_json(type(value), content) == value
    assert from_json(type(value), {**content, "newer": 1}) == value


def test_ended_states():
    ended = {state for state in JobState if state.ended}
    assert ended == {JobState.DONE, JobState.FAILED, JobState.CANCELLED}


def test_server_accepts_exactly_the_fields_of_a_request():
    fields = protocol.JobRequest.__dataclass_fields__
    assert set(Submission.model_fields) == set(fields)


def test_connection_file(tmp_path):
    folder = protocol.make_private(tmp_path / "state")
    CONNECTION.write(folder)
    replace(CONNECTION, port=99).write(folder)
    assert Connection.read(folder) == replace(CONNECTION, port=99)
    assert [path.name for path in folder.iterdir()] == [protocol.CONNECTION_FILE]
    if sys.platform != "win32":
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
        assert stat.S_IMODE((folder / protocol.CONNECTION_FILE).stat().st_mode) == 0o600


@pytest.mark.skipif(sys.platform == "win32", reason="folders have no POSIX mode there")
@pytest.mark.parametrize("mode", [0o755, 0o750, 0o711, 0o777])
def test_folder_that_others_can_enter_is_refused_and_left_alone(tmp_path, mode):
    folder = tmp_path / "project"
    folder.mkdir()
    folder.chmod(mode)
    with pytest.raises(PermissionError, match=r"Other users can enter .*project"):
        protocol.make_private(folder)
    assert stat.S_IMODE(folder.stat().st_mode) == mode
    assert not list(folder.iterdir())
    assert protocol.make_private(folder / "state") == folder / "state"
    folder.chmod(0o700)
    assert protocol.make_private(folder) == folder


def test_token_is_not_shown():
    assert "secret" not in repr(CONNECTION)


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"port": 1}', "\x00"])
def test_unusable_connection_file_is_none(tmp_path, content):
    path = tmp_path / protocol.CONNECTION_FILE
    path.touch(mode=0o600)
    path.write_text(content)
    assert Connection.read(tmp_path) is None


def test_state_dir(monkeypatch):
    monkeypatch.setenv(protocol.STATE_DIR_VARIABLE, "/somewhere/else")
    assert protocol.state_dir() == Path("/somewhere/else")
    monkeypatch.delenv(protocol.STATE_DIR_VARIABLE)
    assert protocol.state_dir().name.lower() == "syncsde"


def test_imports_the_standard_library_only():
    code = (
        "import sys, syncsde_client.protocol\n"
        "names = {name.partition('.')[0] for name in sys.modules}\n"
        "print(sorted(names & {'bpy', 'numpy', 'pydantic', 'torch', 'syncsde_engine'}))"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"
