# SPDX-License-Identifier: GPL-3.0-or-later
"""The scripts for farms say what `syncsde batch` takes; OpenJD's own program runs its template."""

import importlib.util
import json
import os
import shutil
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from syncsde_engine.cli import main

FARM = Path(__file__).resolve().parents[2] / "examples" / "farm"
posix = pytest.mark.skipif(os.name != "posix", reason="it is a shell script")


@pytest.fixture
def manifest(tmp_path, tiny_model):
    shared = {"task": "wide", "prompt": "a", "model": str(tiny_model), "steps": 1}
    shared |= {"patch_size": 64, "width": 64}
    rows = [{"defaults": shared}, *({"id": f"sky {n}", "seed": n} for n in range(5))]
    path = tmp_path / "sky.jsonl"
    path.write_text("\n".join(json.dumps(row) for row in rows))
    return path


@pytest.fixture
def program(tmp_path):
    """`syncsde` as a program in a folder of its own."""
    path = tmp_path / "bin" / "syncsde"
    path.parent.mkdir()
    path.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m syncsde_engine "$@"\n')
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return path


@posix
@pytest.mark.skipif(importlib.util.find_spec("openjd") is None, reason="openjd-cli is not there")
def test_openjd_runs_the_template(manifest, program, tmp_path):
    template = str(FARM / "template.yaml")
    openjd = [sys.executable, "-m", "openjd"]
    subprocess.run([*openjd, "check", template], check=True, timeout=60, capture_output=True)
    given = {"Manifest": manifest, "Output": tmp_path / "out", "Assets": 5, "ChunkSize": 2}
    parameters = [f"-p{name}={value}" for name, value in (given | {"Program": program}).items()]
    command = [*openjd, "run", template, "--run-dependencies", "--step", "Report", *parameters]
    done = subprocess.run(command, timeout=300, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-2000:]
    assert "Chunks run: 4" in done.stdout  # 1-2, 3-4, 5, and the page
    made = {path.parent.name for path in (tmp_path / "out").rglob("image.png")}
    assert made == {f"sky {n}" for n in range(5)}
    assert "5 done" in (tmp_path / "out" / "report.html").read_text()
    assert main(["verify", str(tmp_path / "out")]) == 0


@posix
def test_a_slurm_array_makes_all_parts(manifest, program, tmp_path):
    for part in ("1", "2"):
        array = {"SLURM_ARRAY_TASK_ID": part, "SLURM_ARRAY_TASK_COUNT": "2"}
        path = {"PATH": f"{program.parent}{os.pathsep}{os.environ['PATH']}"}
        command = ["sh", str(FARM / "slurm.sh"), str(manifest), str(tmp_path / "out")]
        subprocess.run(
            command, check=True, env=os.environ | array | path, timeout=300, capture_output=True
        )
    assert len(list((tmp_path / "out").rglob("image.png"))) == 5
    assert not (tmp_path / "out" / "report.html").exists()
    assert main(["batch", str(manifest), "--output", str(tmp_path / "out"), "--report"]) == 0
    assert "5 done" in (tmp_path / "out" / "report.html").read_text()


@pytest.mark.skipif(shutil.which("node") is None, reason="there is no Node here")
def test_flamencos_job_type_makes_commands_that_we_take(manifest, tmp_path):
    """Its manager is not here: `author` and `job` are what its scripts get."""
    harness = """
    const made = [];
    const author = {
      Task: (name, type) => ({ name, type, commands: [], needs: [],
        addCommand(command) { this.commands.push(command); },
        addDependency(task) { this.needs.push(task.name); } }),
      Command: (name, parameters) => ({ name, parameters }),
    };
    compileJob({ settings: SETTINGS, addTask: task => made.push(task) });
    console.log(JSON.stringify(made));
    """
    settings = {"manifest": str(manifest), "output": str(tmp_path / "out"), "parts": 3}
    settings |= {"program": "syncsde"}
    script = (FARM / "syncsde_batch.js").read_text() + harness.replace(
        "SETTINGS", json.dumps(settings)
    )
    done = subprocess.run(["node", "-e", script], check=True, capture_output=True, timeout=60)
    *parts, report = json.loads(done.stdout)
    assert report["needs"] == [part["name"] for part in parts] == ["part-1", "part-2", "part-3"]
    commands = [task["commands"][0] for task in (*parts, report)]
    assert {command["name"] for command in commands} == {"exec"}
    for command in commands:
        assert command["parameters"]["exe"] == "syncsde"
        assert main([*command["parameters"]["args"], "--dry-run"]) == 0
    assert main(commands[0]["parameters"]["args"]) == 0
    made = {path.parent.name for path in (tmp_path / "out").rglob("image.png")}
    assert made == {"sky 0", "sky 3"}
