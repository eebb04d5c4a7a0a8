# SPDX-License-Identifier: GPL-3.0-or-later
"""A real texture job through a real engine process: the same bytes as without it."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from blender_addon.protocol import JobRequest, JobState
from syncsde_engine.config import build
from syncsde_engine.mesh.io import load, to_safetensors
from syncsde_engine.tasks import run
from tests import meshes
from tests.server.running import Engine, start, wait_until

SMALL = {"prompt": "moss", "steps": 3, "view_size": 64, "texture_size": 64}


def begin(folder: Path) -> Engine:
    return start(folder, command=[sys.executable, "-m", "syncsde_engine", "serve"])


def test_the_engine_process_gives_the_same_bytes(tmp_path: Path, tiny_model: Path) -> None:
    mesh = to_safetensors(load(meshes.save_obj_with_uvs(tmp_path / "ball.obj")))
    parameters = {**SMALL, "model": str(tiny_model), "prompt_for": [["ball", "gold"]]}
    generator = run("texture", build("texture", parameters), {"mesh": mesh})
    try:
        while True:
            next(generator)
    except StopIteration as end:
        direct = end.value

    engine = begin(tmp_path / "state")
    try:
        client = engine.client
        inputs = {"mesh": client.put_blob(mesh)}
        job = client.submit(JobRequest("texture", parameters, inputs))
        done = wait_until(lambda: (now := client.job(job.id)).state.ended and now, 120)
        assert done.state == JobState.DONE, done.error
        result = done.result or {}
        assert set(result) == set(direct)
        for name in direct:
            if name != "report.json":  # it tells the time
                assert client.get_blob(result[name]["sha256"]) == direct[name], name
        report = json.loads(client.get_blob(result["report.json"]["sha256"]))
        assert report["parameters"] == json.loads(direct["report.json"])["parameters"]
        stages = [e.data["stage"] for e in client.events(job.id) if e.type == "progress"]
        assert list(dict.fromkeys(stages)) == ["load", "geometry", "views", "bake", "write"]

        # A job that cannot work fails with the engine's own sentence, and the engine goes on.
        wrong = client.submit(JobRequest("texture", {**parameters, "model": "nowhere"}, inputs))
        failed = wait_until(lambda: (now := client.job(wrong.id)).state.ended and now, 60)
        assert failed.state == JobState.FAILED
        assert failed.error is not None
        assert failed.error["code"] == "missing_weights"

        # Cancelling stops between steps.
        long = client.submit(JobRequest("texture", {**parameters, "steps": 900}, inputs))
        engine.step(long, 3)
        client.cancel(long.id)
        engine.reach(long, JobState.CANCELLED)
    finally:
        engine.end()
