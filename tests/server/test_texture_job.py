# SPDX-License-Identifier: GPL-3.0-or-later
"""A real texture job through a real engine process: the same bytes as without it."""

from __future__ import annotations

import io
import json
import sys
from pathlib import Path

import pytest
from PIL import Image

from syncsde_client.client import EngineError
from syncsde_client.protocol import JobRequest, JobState
from syncsde_engine.mesh.files.io import load, to_safetensors
from syncsde_engine.request import build
from syncsde_engine.tasks import follow, run
from tests import meshes
from tests.server.running import Engine, start, wait_until

SMALL = {
    "prompt": "moss",
    "steps": 3,
    "view_size": 64,
    "texture_size": 64,
    "cameras": 2,
    "viewpoints": [{"position": [2.0, 1, 3], "look_at": [0, 0.2, 0], "ortho_scale": 2.5}],
}


def begin(folder: Path, models: Path) -> Engine:
    command = [sys.executable, "-m", "syncsde_engine", "serve"]
    return start(folder, "--models-dir", str(models), command=command)


def test_the_engine_process_gives_the_same_bytes(tmp_path: Path, tiny_model: Path) -> None:
    mesh = to_safetensors(load(meshes.save_obj_with_uvs(tmp_path / "ball.obj")))
    given = {**SMALL, "model": str(tiny_model), "prompt_for": [["ball", "gold"]]}
    direct = follow(run("texture", build("texture", given), {"mesh": mesh}))

    engine = begin(tmp_path / "state", tiny_model.parent)
    try:
        client = engine.client
        inputs = {"mesh": client.put_blob(mesh)}
        parameters = {**given, "model": tiny_model.name}
        job = client.submit(JobRequest("texture", parameters, inputs))
        done = wait_until(lambda: (now := client.job(job.id)).state.ended and now, 120)
        assert done.state == JobState.DONE, done.error
        result = done.result or {}
        assert set(result) == set(direct)
        for name in direct:
            if name != "report.json":  # it tells the time
                assert client.get_blob(result[name]["sha256"]) == direct[name], name
        report = json.loads(client.get_blob(result["report.json"]["sha256"]))
        expected = json.loads(direct["report.json"])["parameters"]
        assert report["parameters"] == {**expected, "model": tiny_model.name}
        stages = [e.data["stage"] for e in client.events(job.id) if e.type == "progress"]
        assert list(dict.fromkeys(stages)) == ["load", "geometry", "views", "bake", "write"]

        # The next job keeps a half of that texture.
        mask = io.BytesIO()
        Image.new("L", (64, 64), 255).crop((0, -32, 64, 32)).save(mask, "PNG")
        keep = {
            "keep": result["texture.png"]["sha256"],
            "keep_mask": client.put_blob(mask.getvalue()),
        }
        job = client.submit(JobRequest("texture", {**parameters, "seed": 1}, {**inputs, **keep}))
        done = wait_until(lambda: (now := client.job(job.id)).state.ended and now, 120)
        assert done.state == JobState.DONE, done.error
        report = json.loads(client.get_blob((done.result or {})["report.json"]["sha256"]))
        assert report["kept"] == {"compared": 64 * 32, "changed": 0}

        # A job that cannot work fails with the engine's own sentence, and the engine goes on.
        alone = {**inputs, "keep_mask": keep["keep_mask"]}
        wrong = client.submit(JobRequest("texture", parameters, alone))
        failed = wait_until(lambda: (now := client.job(wrong.id)).state.ended and now, 60)
        assert failed.state == JobState.FAILED
        assert failed.error is not None
        assert failed.error["code"] == "invalid_request"
        assert failed.error["field"] == "inputs.keep_mask"

        # A model that is not there is refused; a path is no name.
        for model in ("nowhere", str(tiny_model), f"../{tiny_model.name}", "a/b"):
            with pytest.raises(EngineError) as refused:
                client.submit(JobRequest("texture", {**parameters, "model": model}, inputs))
            assert (refused.value.code, refused.value.field) == ("missing_weights", "model")

        # Cancelling stops between steps.
        long = client.submit(JobRequest("texture", {**parameters, "steps": 900}, inputs))
        engine.step(long, 3)
        client.cancel(long.id)
        engine.reach(long, JobState.CANCELLED)
    finally:
        engine.end()
