# SPDX-License-Identifier: GPL-3.0-or-later
"""A task from elsewhere: on the command line, in Python, in a comparison and as a job."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from syncsde_engine import plugins
from syncsde_engine.errors import InvalidRequest

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "seamless.py"
ASKED = {"prompt": "moss", "size": 128, "patch_size": 64, "steps": 3, "seed": 2}
SMALL = [part for name, value in ASKED.items() for part in (f"--{name.replace('_', '-')}", value)]
PYTHON = """
from syncsde_engine import run
run("seamless", model=MODEL, **ASKED).save("python")
"""


@pytest.fixture
def syncsde(tmp_path, tiny_model):
    """Run the command line in a folder, with the example's task."""

    def run(*arguments, code=None, example=str(EXAMPLE)):
        command = [sys.executable, "-m", "syncsde_engine", *map(str, arguments)]
        if code:
            code = code.replace("MODEL", repr(str(tiny_model))).replace("ASKED", repr(ASKED))
            command = [sys.executable, "-c", code]
        state = {"SYNCSDE_TASKS": example, "SYNCSDE_STATE_DIR": str(tmp_path / "state")}
        return subprocess.run(
            command,
            cwd=tmp_path,
            env=os.environ | state,
            capture_output=True,
            text=True,
            timeout=300,
        )

    return run


def pixels(path):
    return np.asarray(Image.open(path)).astype(int)


def test_it_comes_through_every_door_with_the_same_bytes(syncsde, tmp_path, tiny_model):
    model = ["--model", tiny_model]
    done = syncsde("seamless", *SMALL, *model, "--output", "cli")
    assert done.returncode == 0, done.stderr
    image = pixels(tmp_path / "cli" / "image.png")
    assert image.shape == (128, 128, 3)

    done = syncsde(code=PYTHON)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "python/image.png").read_bytes() == (tmp_path / "cli/image.png").read_bytes()

    done = syncsde("compare", "seamless", *SMALL, *model, "--output", "compared")
    assert done.returncode == 0, done.stderr
    table = json.loads((tmp_path / "compared" / "compare.json").read_text())
    assert "syncsde" in json.dumps(table)

    command = [sys.executable, "-m", "syncsde_engine", "serve", "--stay"]
    command += ["--models-dir", str(tiny_model.parent)]
    environment = {"SYNCSDE_TASKS": str(EXAMPLE), "SYNCSDE_STATE_DIR": str(tmp_path / "state")}
    with subprocess.Popen(
        command, env=os.environ | environment, stdout=subprocess.PIPE, text=True
    ) as engine:
        try:
            assert engine.stdout.readline()
            model = ["--model", tiny_model.name]
            done = syncsde("submit", "seamless", *SMALL, *model, "--output", "job")
        finally:
            engine.terminate()
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "job/image.png").read_bytes() == (tmp_path / "cli/image.png").read_bytes()


def test_help_and_errors_are_those_of_any_task(syncsde):
    done = syncsde("seamless", "--help")
    assert "side of the image in pixels" in done.stdout
    done = syncsde("seamless", "--prompt", "moss", "--size", "1000000", "--output", "out")
    assert done.returncode == 2
    assert "size" in done.stderr


@pytest.mark.parametrize(
    ("source", "told"),
    [
        ("raise RuntimeError('boom')", "cannot be loaded: RuntimeError: boom"),
        ("import nothing_like_that", "cannot be loaded: ModuleNotFoundError"),
        ("Config = int\ndef run(): pass", "it needs a Config"),
        ("from syncsde_engine.config import WideConfig as Config", "and a run"),
    ],
)
def test_what_is_no_task_is_one_sentence(syncsde, tmp_path, source, told):
    (tmp_path / "mine.py").write_text(source)
    done = syncsde("library", example=str(tmp_path / "mine.py"))
    assert done.returncode == 2
    assert told in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("name", ["wide", "My Task", "-x"])
def test_names_that_are_taken_or_none_are_refused(name):
    import syncsde_engine.tasks.wide as module

    module.Config = plugins.Sampling
    try:
        with pytest.raises(InvalidRequest, match="cannot be called"):
            plugins.add(name, module)
    finally:
        del module.Config
