# SPDX-License-Identifier: GPL-3.0-or-later
"""What becomes of results: told, shown, taken back, kept for an object that changed or is away."""

import json
import os
import shutil
import subprocess
import sys
import time
import types
from pathlib import Path

import pytest

SMALL = {
    "prompt": "stone",
    "model": os.path.basename(os.environ.get("SYNCSDE_TEST_MODEL", "mini")),
    "steps": 1,
    "view_size": 64,
    "texture_size": 64,
}
REPORT = {"coverage": {"seen": 0.82, "grazing": 0.1, "filled": 0.08}, "model": "exemplar"}


@pytest.fixture
def begin(bpy, addon, picture, an_engine):
    """Start a job for the active object as the window does, whose result is written by hand."""

    def begun(**told):
        folder = addon.session.temporary_folder()
        _, targets = addon.operators.read_objects(bpy.context, folder, False)
        texture = {"name": "a", "material": "material", "objects": [bpy.context.object.name]}
        texture |= {"tile": None, "uv": "own"}
        report = {**REPORT, "mesh": {"textures": [texture], "warnings": ["The UVs overlap."]}}
        report |= {"textures": {"a": "texture.png"}, **told}

        def steps():
            yield
            shutil.copy(picture, folder / "texture.png")
            (folder / "report.json").write_text(json.dumps(report))

        request = addon.job.Request(
            "syncsde", "texture", {}, {}, folder, "report.json", False, folder
        )
        addon.session.start(request, addon.results.OntoObjects(targets, "moss"))
        addon.session.current._steps = steps()
        return folder

    return begun


def finish(addon):
    list(iter(addon.session._tick, None))


def test_says_how_it_went_and_shows_and_reverts_it(bpy, addon, suzanne, begin, draw, contents_of):
    before = contents_of(suzanne)
    begin()
    finish(addon)
    outcome = addon.session.outcome
    assert outcome.text == "Done in 0 s, 82 % seen, 1 warning"
    assert list(outcome.warnings) == ["The UVs overlap."]
    area = next(a for a in bpy.context.window.screen.areas if a.type == "VIEW_3D")
    shading = area.spaces.active.shading
    assert (shading.type, shading.color_type) == ("SOLID", "MATERIAL")
    drawn = draw()
    assert "Done in 0 s, 82 % seen, 1 warning" in " ".join(drawn)
    assert "The UVs overlap." in drawn
    assert drawn[-2:] == ["syncsde.show_texture", "syncsde.revert"]
    bpy.ops.syncsde.show_texture()
    assert shading.color_type == "TEXTURE"
    assert draw()[-1] == "syncsde.revert"
    assert "syncsde.show_texture" not in draw()
    bpy.ops.syncsde.revert()
    assert contents_of(suzanne) == before
    assert not bpy.ops.syncsde.revert.poll()


def test_result_of_a_changed_object_waits(bpy, addon, suzanne, begin, draw, contents_of):
    begin()
    suzanne.data.uv_layers.active.uv[0].vector = 0.5, 0.5
    before = contents_of(suzanne)
    finish(addon)
    assert contents_of(suzanne) == before
    assert "its UV layer 'UVMap' changed" in addon.session.last_error
    drawn = draw()
    assert drawn[-2:] == ["syncsde.use_run", "syncsde.forget_run"]
    assert " ".join(drawn).count("is not as it was") == 1
    (offer,) = addon.session.offers()
    with pytest.raises(RuntimeError, match="its UV layer 'UVMap' changed"):
        bpy.ops.syncsde.use_run(folder=offer.run.folder)
    assert bpy.ops.syncsde.use_run(folder=offer.run.folder, anyway=True) == {"FINISHED"}
    assert suzanne.active_material.name == "moss"
    assert addon.session.offers() == []


def test_result_that_waits_can_be_thrown_away(bpy, addon, suzanne, begin, draw):
    folder = begin()
    suzanne.data.uv_layers.active.uv[0].vector = 0.5, 0.5
    finish(addon)
    bpy.ops.syncsde.forget_run(folder=str(folder))
    assert addon.session.offers() == []
    assert not folder.exists()
    assert "syncsde.use_run" not in draw()


def test_another_file_meanwhile_loses_nothing(bpy, addon, suzanne, begin, tmp_path):
    saved = str(tmp_path / "saved.blend")
    bpy.ops.wm.save_as_mainfile(filepath=saved)
    folder = begin()
    bpy.ops.wm.read_homefile(use_empty=True)
    finish(addon)
    assert addon.session.last_error.startswith("'Suzanne' is gone; its texture is in")
    assert addon.session.offers() == []
    bpy.ops.wm.open_mainfile(filepath=saved)
    (offer,) = addon.session.offers()
    assert offer.amiss == ""
    assert bpy.ops.syncsde.use_run(folder=str(folder)) == {"FINISHED"}
    assert bpy.data.objects["Suzanne"].active_material.name == "moss"


def test_same_file_opened_again_meanwhile(bpy, addon, suzanne, begin, tmp_path):
    saved = str(tmp_path / "saved.blend")
    bpy.ops.wm.save_as_mainfile(filepath=saved)
    begin()
    bpy.ops.wm.open_mainfile(filepath=saved)
    finish(addon)
    assert addon.session.last_error == ""
    assert bpy.data.objects["Suzanne"].active_material.name == "moss"


def test_cancelled_and_failed_runs_leave_nothing(bpy, addon, suzanne, begin):
    folder = begin()
    bpy.ops.syncsde.cancel()
    assert not folder.exists()
    folder = begin(textures={})
    finish(addon)
    assert addon.session.last_error
    assert not folder.exists()
    assert addon.session.offers() == []


def ended_process():
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


def as_if_blender_had_died(addon):
    """Leave the running job as a Blender that was killed does."""
    run = addon.session._run
    run.pid = ended_process()
    run.save()
    addon.session.leave()
    addon.session._offers = None
    return run


def test_job_of_a_dead_blender_is_offered(bpy, addon, suzanne, begin, draw):
    begin()
    addon.session.current.job_id = "0" * 32
    addon.session._tick()
    as_if_blender_had_died(addon)
    assert "'moss' was not done when Blender ended" in " ".join(draw())
    bpy.ops.wm.read_homefile(use_empty=True)
    assert addon.session.offers() == []  # its object is not here


def test_left_over_job_that_the_engine_has_lost_is_one_sentence(
    bpy, addon, suzanne, begin, monkeypatch
):
    def reach(program):
        yield
        return client

    def job(job_id):
        raise addon.client.EngineError("not_found", "There is no such job.")

    client = types.SimpleNamespace(has_blob=lambda _: False, job=job)
    folder = begin()
    addon.session.current.job_id = "0" * 32
    addon.session.current.sent = {"mesh": "f" * 64}
    addon.session._tick()
    as_if_blender_had_died(addon)
    monkeypatch.setattr(addon.engine, "reach", reach)
    with pytest.raises(RuntimeError, match="has not kept what this run was asked with: generate"):
        bpy.ops.syncsde.use_run(folder=str(folder))
    assert addon.session.offers() == []


def test_job_of_another_blender_is_left_alone(bpy, addon, suzanne, begin):
    begin()
    addon.session.current.job_id = "0" * 32
    addon.session._tick()
    run = as_if_blender_had_died(addon)
    run.pid = os.getppid()
    run.save()
    assert addon.session.offers() == []


def test_left_over_job_never_goes_before_the_artists_own(bpy, addon, suzanne, real_engine):
    """Blender and engine are killed in the middle of a long job; the next one is done first."""
    settings, folder = bpy.context.scene.syncsde, addon.session.temporary_folder()
    tensors, targets = addon.operators.read_objects(bpy.context, folder, False)
    for name, value in {**SMALL, "steps": 25}.items():
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
    addon.session.start(request, addon.results.OntoObjects(targets, "the old one"))
    while addon.session._pump(addon.session.current) and addon.session.current.fraction < 0.12:
        time.sleep(0.05)
    addon.engine._process.kill()
    addon.engine._process.wait()
    as_if_blender_had_died(addon)
    bpy.ops.syncsde.texture(**{**SMALL, "prompt": "mine"})
    assert suzanne.active_material.name == "mine"
    (offer,) = addon.session.offers()
    assert offer.run.title == "the old one"
    assert bpy.ops.syncsde.use_run(folder=str(folder)) == {"FINISHED"}
    assert suzanne.active_material.name == "the old one"


def test_errors_go_with_the_settings_that_they_are_of(bpy, addon, suzanne, an_engine, draw):
    with pytest.raises(RuntimeError, match="Describe the surface"):
        bpy.ops.syncsde.texture()
    said = addon.operators.NOTHING
    assert said in " ".join(draw())
    bpy.context.scene.syncsde.prompt = "moss"
    assert said not in " ".join(draw())
    bpy.context.scene.syncsde.prompt = ""
    assert said in " ".join(draw())
    bpy.ops.object.mode_set(mode="EDIT")
    assert said not in " ".join(draw())
    bpy.ops.object.mode_set(mode="OBJECT")
    bpy.ops.mesh.primitive_cube_add()
    assert said not in " ".join(draw())


def test_folder_beside_a_file_that_was_never_saved_is_refused(bpy, addon, suzanne, an_engine):
    with pytest.raises(RuntimeError, match="'//out' is beside the blend file, and that has not"):
        bpy.ops.syncsde.texture(prompt="moss", directory="//out")
    with pytest.raises(RuntimeError, match="'//out' is beside the blend file, and that has not"):
        bpy.ops.syncsde.wide(prompt="moss", directory="//out")
    assert not Path("out").exists()


def test_progress_has_seconds_and_a_picture(bpy, addon, suzanne, begin, draw, picture):
    begin()
    job = addon.session.current
    told = {"stage": "views", "step": 12, "total": 30, "seconds_left": 24.2, "preview": "f" * 64}
    job._note(types.SimpleNamespace(type="progress", data=told))
    job._client = types.SimpleNamespace(get_blob=lambda _: Path(picture).read_bytes())
    list(job._fetch_preview())
    job._client = None
    assert "progress: Painting the Views 12/30, 24 s left" in draw()
    assert draw()[-2:] == ["syncsde.cancel", "preview"]
    job._note(types.SimpleNamespace(type="notice", data={"code": "x", "message": "Less memory."}))
    finish(addon)
    assert "Less memory." in addon.session.outcome.warnings


def test_only_our_tab_is_drawn_and_only_on_change(bpy, addon, suzanne, begin, monkeypatch):
    drawn = []

    def region(kind, category=""):
        made = types.SimpleNamespace(type=kind, active_panel_category=category)
        made.tag_redraw = lambda: drawn.append((kind, category))
        return made

    regions = [region("WINDOW"), region("UI", "Item"), region("UI", "SyncSDE")]
    area = types.SimpleNamespace(type="VIEW_3D", regions=regions)
    windows = [types.SimpleNamespace(screen=types.SimpleNamespace(areas=[area]))]
    context = types.SimpleNamespace(
        window_manager=types.SimpleNamespace(windows=windows), object=suzanne
    )
    stub = types.SimpleNamespace(context=context, app=bpy.app, data=bpy.data)
    begin()
    monkeypatch.setattr(addon.session, "bpy", stub)
    for _ in range(3):
        addon.session._redraw()
    assert drawn == [("UI", "SyncSDE")]
    addon.session.current.fraction = 0.5
    addon.session._redraw()
    assert drawn == [("UI", "SyncSDE")] * 2


def test_history_shows_older_textures_again(bpy, addon, suzanne, begin, draw, tmp_path):
    panel = bpy.types.SYNCSDE_PT_history
    assert not panel.poll(bpy.context)
    folders = []
    for _ in range(2):
        folders.append(begin())
        finish(addon)
    assert panel.poll(bpy.context)
    drawn = draw("history")
    assert drawn.count("syncsde.use_run") == 2
    assert drawn.count("moss, seed 0") == 2
    bpy.ops.syncsde.revert()
    assert bpy.ops.syncsde.use_run(folder=str(folders[0])) == {"FINISHED"}
    assert suzanne.active_material.name == "moss"
    bpy.ops.wm.save_as_mainfile(filepath=str(tmp_path / "saved.blend"))
    bpy.ops.wm.open_mainfile(filepath=str(tmp_path / "saved.blend"))
    assert draw("history").count("syncsde.use_run") == 2
    bpy.ops.syncsde.forget_run(folder=str(folders[0]))
    assert draw("history").count("syncsde.use_run") == 1
    bpy.ops.mesh.primitive_cube_add()
    assert not panel.poll(bpy.context)


def test_old_runs_are_forgotten(bpy, addon, suzanne, begin, monkeypatch):
    monkeypatch.setattr(addon.runs, "MOST", 2)
    folders = []
    for _ in range(3):
        folders.append(begin())
        finish(addon)
    assert [folder.exists() for folder in folders] == [False, True, True]


def test_quality_says_how_long_it_took(bpy, addon, suzanne, begin, draw):
    assert "took" not in " ".join(draw())
    for seconds in (10.0, 38.0, 41.0):
        begin()
        addon.session._run.parameters = {"quality": "draft"}
        addon.session.current.began -= seconds
        finish(addon)
    assert "took" not in " ".join(draw())
    bpy.context.scene.syncsde.quality = "draft"
    assert "The last ones took 38 s here" in draw()


def test_panels_are_drawn_while_meshes_are_edited(bpy, addon, suzanne, begin, draw):
    begin()
    finish(addon)
    begin()
    suzanne.data.uv_layers.active.uv[0].vector = 0.5, 0.5
    finish(addon)
    bpy.ops.object.mode_set(mode="EDIT")
    assert not bpy.types.SYNCSDE_PT_history.poll(bpy.context)
    assert "syncsde.use_run" not in draw()
    bpy.ops.object.mode_set(mode="OBJECT")
    assert bpy.types.SYNCSDE_PT_history.poll(bpy.context)
    (offer,) = addon.session.offers()
    bpy.ops.object.mode_set(mode="EDIT")
    assert "syncsde.use_run" in draw()
    assert bpy.ops.syncsde.use_run(folder=offer.run.folder, anyway=True) == {"FINISHED"}
    assert suzanne.active_material.name.startswith("moss")


def test_an_error_is_shown_beside_a_result_that_waits(bpy, addon, suzanne, begin, draw):
    begin()
    suzanne.data.uv_layers.active.uv[0].vector = 0.5, 0.5
    finish(addon)
    addon.session.fail("texture", "It broke.")
    for _ in range(2):
        drawn = draw()
        assert "syncsde.use_run" in drawn
        assert "It broke." in drawn
