# SPDX-License-Identifier: GPL-3.0-or-later
"""Find the engine's program and keep at most one engine process of our own."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import time
from collections.abc import Generator
from pathlib import Path

from . import protocol
from .client import Client, EngineError, find_engine, last_words, log_size, start_engine

PROGRAM = "syncsde"
WHERE = "Scripts\\syncsde.exe" if os.name == "nt" else "bin/syncsde"  # in an environment
PROGRAM_VARIABLE = "SYNCSDE_ENGINE"
START_SECONDS = 120.0

models_dir = ""  # where the engine that is started next finds models by their names
_process: subprocess.Popen[bytes] | None = None
_reached: Client | None = None  # the engine that the last job went to


def environment_dir() -> Path:
    """The folder of the environment that the add-on installs the engine into."""
    return protocol.state_dir() / "environment"


def in_environment(name: str) -> Path:
    """A program of that environment."""
    folder, ending = ("Scripts", ".exe") if os.name == "nt" else ("bin", "")
    return environment_dir() / folder / (name + ending)


def complete_mark() -> Path:
    """The file that is there once everything is installed."""
    return environment_dir() / ".complete"


def is_installed() -> bool:
    """Whether the add-on has installed an engine."""
    return complete_mark().exists()


class NotInstalled(Exception):
    """There is no engine on this computer; the text says what to do."""


def find_program(chosen: str) -> str:
    """Return the engine's program.

    It is the chosen one, $SYNCSDE_ENGINE, what the add-on installed, or `syncsde` on the PATH.
    """
    wanted = chosen or os.environ.get(PROGRAM_VARIABLE, "")
    if not wanted and is_installed():
        wanted = str(in_environment(PROGRAM))
    program = shutil.which(wanted or PROGRAM)
    if chosen and program is not None and not Path(program).name.lower().startswith(PROGRAM):
        raise NotInstalled(
            f"{chosen} is not the engine, whose program is called {PROGRAM}: "
            f"it is in the environment you installed it in, {WHERE}."
        )
    if program is not None:
        return program
    if wanted:
        raise NotInstalled(
            f"There is no engine at {wanted}: choose its program in the add-on's preferences."
        )
    raise NotInstalled(
        "The SyncSDE engine is not installed: click Install Engine in the add-on's preferences, or "
        f"install it with pip and choose its program ({WHERE}) there."
    )


def reach(program: str) -> Generator[None, None, Client]:
    """Return a client of the running engine, starting one first if there is none.

    Yields while the engine starts. Raises EngineError if it does not.
    """
    global _process, _reached
    folder = protocol.state_dir()
    deadline = time.monotonic() + START_SECONDS
    started, log_begin = False, 0
    while (client := find_engine(folder)) is None:
        if _process is None or _process.poll() is not None:
            if not started:
                stop()  # lets go of one that died
                log_begin = log_size(folder)
                _process = _start(program, folder)
                started = True
            elif (words := last_words(folder, log_begin)).code != "already_running":
                raise words  # else another Blender was faster: its engine will be there soon
        if time.monotonic() > deadline:
            raise EngineError("engine_failed", f"The engine is not ready after {START_SECONDS} s.")
        yield
    _reached = client
    return client


def _start(program: str, folder: Path) -> subprocess.Popen[bytes]:
    models = ["--models-dir", models_dir] if models_dir else []
    try:
        return start_engine([program, "serve", *models], folder)
    except OSError as error:
        reason = str(error).rstrip(".")
        raise EngineError("engine_failed", f"The engine did not start: {reason}.") from None


def is_ours() -> bool:
    """Whether an engine process that we started runs."""
    return _process is not None and _process.poll() is None


def is_there() -> bool:
    """Whether an engine process runs that we started, or have reached."""
    return is_ours() or (_reached is not None and _reached.is_alive())


def stop() -> None:
    """End the engine process we started, if any; it also ends by itself when Blender does."""
    global _process
    if _process is None:
        return
    if _process.stdin is not None:
        with contextlib.suppress(OSError):  # it ended before it took what it was sent
            _process.stdin.close()
    try:
        _process.wait(timeout=5.0)
    except subprocess.TimeoutExpired:
        _process.terminate()
    _process = None
