# SPDX-License-Identifier: GPL-3.0-or-later
"""Whatever goes wrong on the command line is one sentence, and loads torch only where needed."""

from __future__ import annotations

import os
import platform
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from syncsde_engine import output
from syncsde_engine.cli import main

PROGRAM = [sys.executable, "-P", "-m", "syncsde_engine"]
WIDE = ["wide", "--prompt", "hills", "--width", "64", "--patch-size", "64", "--steps", "1"]


def syncsde(*arguments: str, **options) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*PROGRAM, *arguments],
        text=True,
        stderr=subprocess.PIPE,
        timeout=120,
        check=False,
        **options,
    )


def test_output_folder_with_a_name_that_is_too_long(capsys):
    assert main([*WIDE, "--output", "x" * 300]) == 2
    said = capsys.readouterr().err
    assert "too long" in said
    assert said.count("\n") == 1


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--device", "cuda:99999999999999999999"], "is not available"),
        (["--model", "~nosuchuser/x"], "There is no model"),
        (["--model", "x" * 5000], "There is no model"),
        (["--controlnet", "~nosuchuser/x"], "There is no"),
    ],
)
def test_values_that_no_library_takes(tmp_path, capsys, flags, words):
    task = ["texture", "cube.obj", *WIDE[1:3]] if "--controlnet" in flags else WIDE
    if task is not WIDE:
        (tmp_path / "cube.obj").write_text("v 0 0 0\nv 1 0 0\nv 0 1 0\nf 1 2 3\n")
        task[1] = str(tmp_path / "cube.obj")
    assert main([*task, *flags, "--output", str(tmp_path / "out")]) == 3
    said = capsys.readouterr().err
    assert words in said
    assert said.count("\n") == 1
    assert len(said) < 600
    assert not (tmp_path / "out").exists()


def test_findings_that_cannot_be_written(tmp_path, capsys, monkeypatch):
    from syncsde_server.commands import doctor

    monkeypatch.setattr(doctor, "examine", lambda folder: [])
    target = tmp_path / "absent" / "x.zip"
    assert main(["doctor", "--zip", str(target), "--state-dir", str(tmp_path)]) == 2
    assert "No such file or directory" in capsys.readouterr().err


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full")
@pytest.mark.parametrize("arguments", [["models", "list"], ["library", "--json"]])
def test_nobody_can_take_what_is_printed(arguments):
    with open("/dev/full", "w") as full:
        ended = syncsde(*arguments, stdout=full)
    assert ended.returncode == 1
    assert ended.stderr == "syncsde: Cannot write what there is to say: No space left on device.\n"


def test_interrupted_while_it_is_still_being_imported():
    code = (
        "import os, runpy, signal, sys\n"
        "class Interrupt:\n"
        "    def find_spec(self, name, path, target=None):\n"
        "        if name == 'pydantic': os.kill(os.getpid(), signal.SIGINT)\n"
        "sys.meta_path.insert(0, Interrupt())\n"
        "sys.argv = ['syncsde', '--help']\n"
        "runpy.run_module('syncsde_engine', run_name='__main__')"
    )
    ended = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False
    )
    assert ended.returncode == 5
    assert ended.stderr == "syncsde: cancelled, nothing written\n"


def test_a_mistake_of_ours_is_told_with_its_place():
    code = (
        "import sys, syncsde_engine.cli as cli\n"
        "cli.main = lambda: 1 / 0\n"
        "from syncsde_engine.__main__ import main; sys.exit(main())"
    )
    ended = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False
    )
    assert ended.returncode == 1
    assert "a mistake of this program: ZeroDivisionError: division by zero" in ended.stderr
    assert ended.stderr.count("\n") == 1


@pytest.mark.parametrize("closed", ["2>&-", ">&-", "<&- >&- 2>&-"])
def test_started_without_a_console(tmp_path, tiny_model, closed):
    """A closed number would be given to the next file that is opened, and libraries print there."""
    out = tmp_path / "out"
    command = [*PROGRAM, *WIDE, "--model", str(tiny_model), "--output", str(out)]
    ended = subprocess.run(["sh", "-c", f'"$@" {closed}', "sh", *command], timeout=120, check=False)
    assert ended.returncode == 0
    assert (out / "image.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.skipif(sys.platform == "win32", reason="there is no SIGHUP")
@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGTERM, signal.SIGKILL])
def test_nothing_is_left_of_a_run_that_is_ended(tmp_path, tiny_model, number):
    out = tmp_path / "out"
    long = [*WIDE, "--steps", "900", "--model", str(tiny_model), "--output", str(out)]
    with subprocess.Popen([*PROGRAM, *long], stderr=subprocess.PIPE, text=True) as run:
        deadline = time.monotonic() + 60
        while not list(out.glob(".syncsde-*")):
            assert time.monotonic() < deadline
            time.sleep(0.05)
        run.send_signal(number)
        _, said = run.communicate(timeout=60)
    assert "Traceback" not in said
    if number == signal.SIGKILL:  # the next run there cleans up
        assert run.returncode == -number
        with output.staging(out):
            assert len(list(out.glob(".syncsde-*"))) == 1
        assert not list(out.iterdir())
    else:
        assert run.returncode == 5
        assert not out.exists()


def test_stages_of_the_living_and_of_other_machines_stay(tmp_path):
    here = platform.node()
    stay = [
        tmp_path / f".syncsde-{here}-{os.getpid()}-a",
        tmp_path / f".syncsde-{here}-{os.getppid()}-b",
        tmp_path / ".syncsde-other-machine-999999-c",
        tmp_path / f".syncsde-{here}-999999-older",
    ]
    for path in stay:
        path.mkdir()
    (stay[-1] / "old").mkdir()  # files of the user, from when it was killed while it published
    with output.staging(tmp_path):
        pass
    assert all(path.exists() for path in stay)


def test_signals_are_the_callers_again():
    """A library user's process is as it was."""
    before = [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGHUP)]
    assert main(["wide", "--nonsense"]) == 2
    assert [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGHUP)] == before
    codes = []
    thread = threading.Thread(target=lambda: codes.append(main(["wide", "--nonsense"])))
    thread.start()
    thread.join()
    assert codes == [2]


@pytest.mark.parametrize(
    "arguments",
    [
        ["--help"],
        ["texture", "--help"],
        ["submit", "texture", "--help"],
        ["wide", "--nonsense"],
        ["texture", "/nope.obj", "--prompt", "a", "--output", "out"],
        ["wide", "--prompt", "a", "--steps", "9999", "--output", "out"],
        ["jobs", "--state-dir", "/nope"],
        ["result", "x y", "--output", "out", "--state-dir", "/nope"],
    ],
    ids=" ".join,
)
def test_what_needs_no_model_loads_none(arguments):
    """0.3 s of processor time: torch alone takes two seconds, and numpy and Pillow a third."""
    code = (
        "import sys; from syncsde_engine.__main__ import main\n"
        f"sys.argv = ['syncsde', *{arguments!r}]\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        "heavy = {'torch', 'numpy', 'PIL', 'numba', 'trimesh', 'fastapi', 'tqdm'}\n"
        "print('loaded', sorted(heavy & set(sys.modules)))"
    )
    ended = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False
    )
    assert ended.stdout.splitlines()[-1] == "loaded []"
