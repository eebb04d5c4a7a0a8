# SPDX-License-Identifier: GPL-3.0-or-later
"""The whole job against a real engine, and what the artist is told when it does not work."""

import json
import os
import re
import sys
import time

import numpy as np
import pytest

# Small enough for a test; $SYNCSDE_TEST_MODEL may stand for the embedded model.
SMALL = {
    "prompt": "a mossy stone statue",
    "model": os.path.basename(os.environ.get("SYNCSDE_TEST_MODEL", "mini")),
    "steps": 2,
    "view_size": 64,
    "texture_size": 128,
}


def stages(addon, enough):
    """Pump the session's job until `enough` says so; return the stages shown on the way."""
    seen = []
    deadline = time.monotonic() + 120
    while addon.session._pump(addon.session.current) and time.monotonic() < deadline:
        seen.append(addon.session.current.stage)
        if enough(addon.session.current):
            return seen
        time.sleep(0.02)
    raise AssertionError(f"ended with {addon.session.current.error!r} after {seen}")


def start(bpy, addon, **changes):
    """Begin a job as the window does, leaving the pumping to the test."""
    settings, folder = bpy.context.scene.syncsde, addon.session.temporary_folder()
    tensors, targets = addon.operators.read_objects(bpy.context, folder, False)
    for name, value in {**SMALL, **changes}.items():
        setattr(settings, name, value)
    request = addon.job.Request(
        program=addon.preferences.find_engine_program(),
        task="texture",
        parameters=addon.sampling.to_job(settings, addon.texture.TextureParameters),
        inputs={"mesh": lambda: addon.tensors.tensors_to_bytes(tensors)},
        directory=folder,
        file="report.json",
        keep_all=False,
        folder=folder,
        also=addon.textures.FILES,
    )
    addon.session.start(request, addon.results.OntoObjects(targets, settings.prompt))


def test_texture_comes_back_and_mesh_stays(bpy, addon, suzanne, real_engine, contents_of, tmp_path):
    suzanne.modifiers.new("Subdivision", "SUBSURF")
    before = contents_of(suzanne)
    materials = len(bpy.data.materials)
    result = bpy.ops.syncsde.texture(**SMALL, seed=3, directory=str(tmp_path))
    assert result == {"FINISHED"}
    assert len(bpy.data.materials) == materials + 1
    assert suzanne.active_material.name == SMALL["prompt"]
    image = bpy.data.images[SMALL["prompt"]]
    assert tuple(image.size) == (128, 128)
    pixels = set(image.pixels)
    assert len(pixels) > 20  # not one flat color
    during = contents_of(suzanne)
    changed = {name for name in before if before[name] != during[name]}
    assert changed == {"materials", "slots"}
    assert {"texture.png", "contact_sheet.png", "report.json"} <= {
        path.name for path in tmp_path.iterdir()
    }
    assert not list(tmp_path.rglob("*.part"))
    parameters = json.loads((tmp_path / "report.json").read_text())["parameters"]
    assert parameters["seed"] == 3
    assert parameters["synchronized_share"] == 0.8
    assert addon.session.last_error == ""
    assert addon.session.outcome.note == f"Painted by {SMALL['model']}"
    assert re.fullmatch(r"Done in \d+ s, \d+ % seen(, 1 warning)?", addon.session.outcome.text)
    assert not addon.session.is_running()


def test_a_part_of_a_texture_is_painted_anew(bpy, addon, suzanne, real_engine, an_image, tmp_path):
    assert bpy.ops.syncsde.texture(**SMALL) == {"FINISHED"}
    before = np.array(bpy.data.images[SMALL["prompt"]].pixels).reshape(128, 128, 4)
    mask = np.zeros((128, 128, 4))
    mask[..., 3], mask[:64] = 1, 1  # the upper half stays
    an_image("Upper Half", mask)
    anew = {**SMALL, "prompt": "lava", "texture_size": 64}  # the image has another size
    kept = {"keep": SMALL["prompt"], "keep_mask": "Upper Half"}
    assert bpy.ops.syncsde.texture(**anew, **kept, directory=str(tmp_path)) == {"FINISHED"}
    report = json.loads((tmp_path / "report.json").read_text())
    assert report["kept"] == {"compared": 64 * 128, "changed": 0}
    after = np.array(bpy.data.images["lava"].pixels).reshape(128, 128, 4)
    assert (after[64:] == before[64:]).all()
    assert (after[:64] != before[:64]).any()
    with pytest.raises(RuntimeError, match="no image 'Nowhere'"):
        bpy.ops.syncsde.texture(**anew, keep="Nowhere")


def test_mesh_without_uvs_gets_one_new_layer(bpy, addon, real_engine, contents_of):
    bpy.ops.mesh.primitive_cube_add(calc_uvs=False)
    cube = bpy.context.object
    assert not cube.data.uv_layers
    before = contents_of(cube)
    bpy.ops.syncsde.texture(**SMALL)
    assert [layer.name for layer in cube.data.uv_layers] == ["SyncSDE"]
    bpy.ops.syncsde.remove_texture()
    assert contents_of(cube) == before


def test_same_seed_gives_the_same_texture(bpy, suzanne, real_engine, tmp_path):
    for name in ("a", "b"):
        bpy.ops.syncsde.texture(**SMALL, directory=str(tmp_path / name))
    first, second = ((tmp_path / name / "texture.png").read_bytes() for name in ("a", "b"))
    assert first == second


def test_cancel_leaves_the_object_as_it_was(bpy, addon, suzanne, real_engine, contents_of):
    before = contents_of(suzanne)
    start(bpy, addon, steps=900)
    assert not bpy.ops.syncsde.texture.poll()
    stages(addon, lambda job: job.fraction > 0)
    job = addon.session.current
    assert bpy.ops.syncsde.cancel() == {"FINISHED"}
    assert not addon.session.is_running()
    assert not bpy.ops.syncsde.cancel.poll()
    assert contents_of(suzanne) == before
    deadline = time.monotonic() + 60
    while not job._client.job(job.job_id).state.ended and time.monotonic() < deadline:
        time.sleep(0.1)
    assert job._client.job(job.job_id).state == "cancelled"


def test_progress_only_grows_over_many_short_steps(bpy, addon, suzanne, real_engine):
    """No pump waits for the engine's work: each stage of it is shown while it lasts."""
    start(bpy, addon, steps=8)
    job = addon.session.current
    labels, fractions, more = [], [], True
    while more:
        more = job.pump()
        labels.append(job.stage)
        fractions.append(job.fraction)
        time.sleep(0.02)
    assert not job.error
    assert fractions == sorted(fractions)
    assert fractions[-1] == 1.0
    assert len([label for label in set(labels) if label.startswith("Painting the Views")]) > 1
    addon.session._finish()
    assert suzanne.active_material is not None


def test_engine_that_dies_is_started_again(bpy, addon, suzanne, real_engine):
    start(bpy, addon, steps=20)
    stages(addon, lambda job: job.fraction > 0.12)
    addon.engine._process.kill()
    assert addon.session.wait() == ""
    assert suzanne.active_material is not None


def test_object_deleted_meanwhile_is_one_sentence(bpy, addon, suzanne, real_engine):
    start(bpy, addon)
    bpy.data.objects.remove(suzanne)
    assert addon.session.wait().startswith("'Suzanne' is gone; its texture is ")


def test_what_the_engine_refuses_is_one_sentence(bpy, addon, suzanne, real_engine, contents_of):
    before = contents_of(suzanne)
    with pytest.raises(RuntimeError, match="There is no model 'absent'") as refused:
        bpy.ops.syncsde.texture(**{**SMALL, "model": "absent"})
    assert "Traceback" not in str(refused.value)
    assert "absent" in addon.session.last_error
    with pytest.raises(RuntimeError, match="view_size"):
        bpy.ops.syncsde.texture(**{**SMALL, "view_size": 100})
    assert contents_of(suzanne) == before
    assert not addon.session.is_running()
    assert bpy.ops.syncsde.texture.poll()


def test_disabling_ends_job_and_engine(bpy, addon, suzanne, real_engine):
    start(bpy, addon, steps=900)
    stages(addon, lambda job: job.fraction > 0)
    process = addon.engine._process
    bpy.ops.preferences.addon_disable(module="bl_ext.user_default.syncsde")
    assert process.poll() is not None
    assert addon.session.current is None


def test_no_engine_is_one_sentence(bpy, addon, suzanne, no_engine):
    with pytest.raises(RuntimeError, match="The SyncSDE engine is not installed: click"):
        bpy.ops.syncsde.texture(prompt="moss")
    assert not addon.session.is_running()


def test_engine_that_does_not_start_is_one_sentence(bpy, addon, suzanne, monkeypatch, tmp_path):
    addon.engine.stop()
    monkeypatch.setenv("SYNCSDE_STATE_DIR", str(tmp_path / "state"))
    monkeypatch.setenv("SYNCSDE_ENGINE", sys.executable)  # has no command "serve"
    with pytest.raises(RuntimeError, match="The engine did not start"):
        bpy.ops.syncsde.texture(prompt="moss")


def test_empty_prompt_is_one_sentence(bpy, suzanne, no_engine):
    with pytest.raises(RuntimeError, match="in the prompt, or choose a picture that it looks like"):
        bpy.ops.syncsde.texture(prompt="  ")
