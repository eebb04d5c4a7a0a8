# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import os
import subprocess
import sys

import numpy as np
import pytest
import safetensors.numpy

from syncsde_client import client, protocol
from syncsde_client import engine as engine_of_blender
from syncsde_client.client import Client, EngineError, find_engine, start_engine
from syncsde_client.engine import reach
from syncsde_client.protocol import Connection
from syncsde_client.tensors import _DTYPES, tensors_to_bytes
from tests.server.running import start


@pytest.mark.parametrize("dtype", list(_DTYPES))
def test_tensors_are_read_by_the_library(dtype):
    array = (np.arange(24).reshape(4, 6) % 2).astype(dtype)
    tensors = {
        "small": np.ones(3, np.uint8),
        "every other": array[:, ::2],
        "transposed": array.T,
        "none": np.zeros((0, 3), dtype),
        "scalar": np.array(1, dtype),
        "ключ": array,
    }
    found = safetensors.numpy.load(tensors_to_bytes(tensors))
    assert set(found) == set(tensors)
    for name, tensor in tensors.items():
        assert found[name].dtype == tensor.dtype
        np.testing.assert_array_equal(found[name], tensor)


def test_big_endian_tensors_are_written_little_endian():
    found = safetensors.numpy.load(tensors_to_bytes({"a": np.arange(5, dtype=">f4")}))
    np.testing.assert_array_equal(found["a"], np.arange(5, dtype="<f4"))


def test_no_engine(tmp_path):
    assert find_engine(tmp_path) is None


def stale(pid: int, port: int = 1) -> Connection:
    return Connection(protocol.PROTOCOL, "127.0.0.1", port, "token", pid, "other", "0.1.0")


def test_engine_that_died(tmp_path):
    with subprocess.Popen([sys.executable, "-c", ""]) as ended:
        pass
    stale(ended.pid).write(tmp_path)
    assert find_engine(tmp_path) is None


def test_another_process_has_the_port(tmp_path, engine):
    stale(os.getpid()).write(tmp_path)
    assert find_engine(tmp_path) is None
    stale(os.getpid(), engine.port).write(tmp_path)
    assert find_engine(tmp_path) is None


def test_unreachable():
    with pytest.raises(EngineError) as raised:
        Client(stale(os.getpid())).status()
    assert raised.value.code == "unreachable"


def test_program_that_is_not_there(tmp_path):
    with pytest.raises(OSError, match="no-such-program"):
        start_engine(["no-such-program"], tmp_path)


def test_environment_of_the_engine(tmp_path, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", "/blender")
    monkeypatch.setenv("PYTHONHOME", "/blender")
    monkeypatch.setenv("BLENDER_USER_SCRIPTS", "/blender")
    monkeypatch.setenv("KEPT", "/blender")
    code = "import os; print(sorted(k for k, v in os.environ.items() if v == '/blender'))"
    process = start_engine([sys.executable, "-c", code], tmp_path)
    process.communicate()
    assert (tmp_path / client.LOG_FILE).read_text().strip() == "['KEPT']"


def test_last_words(tmp_path):
    process = start_engine([sys.executable, "-c", "print('first', flush=True); 1/0"], tmp_path)
    process.communicate()
    assert "ZeroDivisionError" in str(client.last_words(tmp_path))
    assert client.last_words(tmp_path / "nowhere").code == "engine_failed"


ALREADY = '{"error": {"code": "already_running", "message": "No.", "hint": "", "field": null}}'


def append(folder, *lines):
    with open(folder / client.LOG_FILE, "a", encoding="utf-8") as log:
        log.writelines(f"{line}\n" for line in lines)


def test_last_words_of_two_that_started_together(tmp_path):
    """All engines of a folder write one log: the winner may have written after the loser."""
    begin = client.log_size(tmp_path)
    append(tmp_path, "loser: INFO", ALREADY, '{"ready": true}', "winner: INFO worker is ready")
    assert client.last_words(tmp_path, begin).code == "already_running"


def test_last_words_of_another_day_are_not_repeated(tmp_path):
    append(tmp_path, ALREADY)
    begin = client.log_size(tmp_path)
    assert str(client.last_words(tmp_path, begin)).startswith(
        "The engine did not start: it said nothing"
    )
    append(tmp_path, "ModuleNotFoundError: No module named 'torch'")
    assert "No module named 'torch'" in str(client.last_words(tmp_path, begin))
    (tmp_path / client.LOG_FILE).write_text("of a new log\n")  # it was too long
    assert "of a new log" in str(client.last_words(tmp_path, begin))


def test_loser_of_a_start_waits_for_the_winner(tmp_path, monkeypatch):
    """Two Blenders at once: both get a client of the one engine, in whatever order they end."""
    program = tmp_path / "syncsde"
    words = "\n".join(["starting", ALREADY, "the other one is ready"])
    program.write_text(f"#!/bin/sh\ncat <<'END'\n{words}\nEND\nexit 3\n")
    program.chmod(0o755)
    monkeypatch.setenv(protocol.STATE_DIR_VARIABLE, str(tmp_path / "state"))
    reaching = reach(str(program))
    next(reaching)
    assert engine_of_blender._process is not None
    engine_of_blender._process.wait(10)
    for _ in range(3):
        next(reaching)
    winner = start(tmp_path / "state")
    with pytest.raises(StopIteration) as reached:
        next(reaching)
    assert reached.value.value.connection == winner.client.connection
    winner.end()
    engine_of_blender.stop()
