# SPDX-License-Identifier: GPL-3.0-or-later
"""Installing the engine for an artist: an environment of its own, made by a process beside Blender.

The environment lies in the engine's state folder. It counts as installed once its last step has
gone well; one that was interrupted is gone on with, and pip has kept what it downloaded.
"""

from __future__ import annotations

import logging
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Generator, Sequence
from dataclasses import dataclass
from pathlib import Path

from ..client import engine, protocol
from ..client.client import clean_environment

log = logging.getLogger(__name__)

LOG = "install.log"
FREE_BYTES = {"cpu": 3 * 2**30, "cuda": 9 * 2**30}  # on disk, with what pip unpacks meanwhile
# Where pytorch.org keeps the builds that the package index does not have for a system.
CPU_INDEX = "https://download.pytorch.org/whl/cpu"
CUDA_INDEX = "https://download.pytorch.org/whl/cu130"
NO_INDEX = "PIP_NO_INDEX"  # pip's own way to say that packages are on this computer
INSTALL = ("install", "--progress-bar", "off")
FETCHED = re.compile(r"^(Collecting|Downloading|Using cached|Building wheel for) +(\S+)", re.M)
FAILURE = re.compile(r"^ERROR: *(.+)", re.M)


class CannotInstall(Exception):
    """The engine cannot be installed so; the text says why and what to do."""


@dataclass(frozen=True)
class Plan:
    """What is to be installed, and how."""

    wheel: Path  # of the engine
    constraints: Path | None  # versions of what it needs, as pip has them
    build: str  # of torch: "cpu" or "cuda"
    python: str = sys.executable  # Blender's own

    @property
    def index(self) -> str:
        """A further package index that this build of torch comes from, or nothing."""
        if os.environ.get(NO_INDEX) or sys.platform == "darwin":
            return ""
        if self.build == "cpu":
            return CPU_INDEX if sys.platform.startswith("linux") else ""
        return CUDA_INDEX if sys.platform == "win32" else ""


class Installation:
    """Makes the environment step by step; `pump` looks how far it is."""

    def __init__(self, plan: Plan) -> None:
        """Raises CannotInstall."""
        if not plan.wheel.is_file():
            raise CannotInstall(f"There is no wheel of the engine at {plan.wheel}: choose it.")
        self.plan = plan
        self.text = "Creating the Environment"
        self.error = ""
        self._process: subprocess.Popen[bytes] | None = None
        folder = engine.environment_dir()
        protocol.make_private(protocol.state_dir().absolute())
        free, needed = shutil.disk_usage(folder.parent).free, FREE_BYTES[plan.build]
        if free < needed and not os.environ.get(NO_INDEX):
            raise CannotInstall(
                f"The engine needs {needed >> 30} GB in {folder.parent}, and {free / 2**30:.1f} GB "
                "are free there: make room, or set SYNCSDE_STATE_DIR to a folder on another disk."
            )
        self._steps = self._run()

    def pump(self) -> bool:
        """Look how far it is; return whether there is more to do. `error` is set on failure."""
        try:
            next(self._steps)
            return True
        except StopIteration:
            return False
        except (CannotInstall, OSError) as error:
            self.error = str(error)
            return False

    def cancel(self) -> None:
        """Stop; what is there already is not fetched again the next time."""
        self.error = "Cancelled."
        self._steps.close()

    def _run(self) -> Generator[None, None, None]:
        done = engine.complete_mark()
        done.unlink(missing_ok=True)
        log_path().unlink(missing_ok=True)
        python = engine.in_environment("python")
        if not engine.in_environment("pip").exists():  # which comes last
            yield from self._call([self.plan.python, "-m", "venv", str(engine.environment_dir())])
        self.text = "Fetching the Engine"
        pip = [str(python), "-m", "pip", "--disable-pip-version-check", "--no-input"]
        yield from self._call([*pip, "config", "list"])
        if (
            self.plan.index and "index-url" not in _said()
        ):  # else the user has an index of their own
            yield from self._torch([*pip, *INSTALL])
        known = self.plan.constraints
        versions = [] if known is None else ["--constraint", str(known)]
        wheel = str(self.plan.wheel)
        yield from self._call([*pip, *INSTALL, *versions, wheel])
        # Whatever was there, the engine is this one.
        yield from self._call([*pip, *INSTALL, "--force-reinstall", "--no-deps", wheel])
        self.text = "Trying the Engine"
        yield from self._call([str(engine.in_environment(engine.PROGRAM)), "--version"])
        done.write_text(self.plan.wheel.name, encoding="utf-8")

    def _torch(self, install: Sequence[str]) -> Generator[None, None, None]:
        """Fetch the build of torch that is wanted; where it cannot be had, any will do."""
        text = "" if self.plan.constraints is None else self.plan.constraints.read_text("utf-8")
        torch = next((line for line in text.splitlines() if line.startswith("torch==")), "torch")
        try:
            yield from self._call(
                [*install, "--no-deps", "--retries", "1", "--index-url", self.plan.index, torch]
            )
        except CannotInstall as error:
            log.warning("%s", error)

    def _call(self, command: Sequence[str]) -> Generator[None, None, None]:
        """Run a program to its end. Raises CannotInstall with its own reason."""
        begin = log_path().stat().st_size if log_path().exists() else 0
        with open(log_path(), "ab") as output:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                cwd=protocol.state_dir(),
                env=clean_environment(),
                start_new_session=True,
                creationflags=subprocess.CREATE_NO_WINDOW if sys.platform == "win32" else 0,
            )
        try:
            while self._process.poll() is None:
                self._note(_said(begin))
                yield
        finally:
            if self._process.poll() is None:
                self._process.terminate()
                self._process.wait(timeout=10.0)
        if self._process.returncode:
            found = FAILURE.findall(_said(begin)) or _said(begin).strip().splitlines()
            reason = found[-1].rstrip(".") if found else "it said nothing"
            raise CannotInstall(f"{self.text} failed: {reason}. All of it is in {log_path()}.")

    def _note(self, said: str) -> None:
        """Show the package that pip is at."""
        found = FETCHED.findall(said)
        if found:
            number = sum(what == "Collecting" for what, _ in found)
            self.text = f"Fetching the Engine: {number} packages, {found[-1][1]}"
        if "Installing collected packages" in said:
            self.text = "Installing the Packages"


def log_path() -> Path:
    """What the installation said."""
    return protocol.state_dir() / LOG


def best_build() -> str:
    """Which build of torch this computer has use for."""
    return "cuda" if shutil.which("nvidia-smi") and sys.platform != "darwin" else "cpu"


def remove() -> None:
    """Delete the environment. Raises OSError while a program in it runs, on Windows."""
    engine.complete_mark().unlink(missing_ok=True)
    if engine.environment_dir().exists():
        shutil.rmtree(engine.environment_dir())


def _said(begin: int = 0) -> str:
    with open(log_path(), "rb") as log:
        log.seek(begin)
        return log.read().decode("utf-8", "replace")
