# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs the tests in in_blender/ with each Blender of $SYNCSDE_BPY, the zip installed in it.

SYNCSDE_BPY holds the Python programs of environments with bpy and pytest, separated like PATH.
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
TESTS = ROOT / "tests" / "addon" / "in_blender"
BLENDERS = [path for path in os.environ.get("SYNCSDE_BPY", "").split(os.pathsep) if path]
SECONDS = 900.0


@pytest.mark.parametrize("python", BLENDERS or [None])
def test_in_blender(python, tmp_path, request):
    if python is None:
        pytest.skip("SYNCSDE_BPY names no environment with bpy")
    environment = dict(os.environ)
    engine = Path(sys.executable).with_name("syncsde.exe" if os.name == "nt" else "syncsde")
    if not environment.get("SYNCSDE_ENGINE") and engine.exists():
        environment["SYNCSDE_ENGINE"] = str(engine)
    if "SYNCSDE_TEST_MODEL" not in environment:
        environment["SYNCSDE_TEST_MODEL"] = str(request.getfixturevalue("tiny_model"))
    command = [python, "-m", "pytest", "-q", "-rs", "-p", "no:cacheprovider"]
    command += ["--basetemp", tmp_path / "blender", "--confcutdir", TESTS, TESTS]
    done = subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=SECONDS
    )
    print(done.stdout[-12000:], done.stderr[-4000:])
    assert done.returncode == 0, "see the output of Blender's own tests above"
    if environment.get("SYNCSDE_ENGINE"):
        assert "SKIPPED" not in done.stdout, "with an engine, every test has all it needs"
