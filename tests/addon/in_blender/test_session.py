# SPDX-License-Identifier: GPL-3.0-or-later
"""The session without an engine: the end of a job, whatever goes wrong and wherever the artist is.

`_tick` is what Blender's timer calls in the window; background Blender has no timers.
"""

import json
import shutil

import pytest


class Scripted:
    """Takes the place of the steps of a job, which need an engine: yields, then does one thing."""

    def __init__(self, last=lambda: None):
        self.last = last

    def __call__(self):
        yield
        self.last()


def a_request(addon, task, file):
    folder = addon.session.temporary_folder()
    return addon.job.Request("syncsde", task, {}, {}, folder, file, False, folder)


@pytest.fixture
def begin(bpy, addon, no_engine, monkeypatch):
    """Start a job of the active object as the window does, with a script for its steps."""

    def begun(last=lambda: None):
        obj = bpy.context.object
        exported = addon.export_mesh.export(bpy.context, obj)
        target = addon.textures.target(obj, exported)
        onto = addon.results.OntoObjects([target], "moss")
        addon.session.start(a_request(addon, "texture", "report.json"), onto)
        job = addon.session.current
        job._steps = Scripted(last)()
        return job

    return begun


@pytest.fixture
def begin_and_get_texture(bpy, begin, picture):
    def begun():
        name = bpy.context.object.name
        texture = {
            "name": "a",
            "material": "material",
            "objects": [name],
            "tile": None,
            "uv": "own",
        }
        report = {"mesh": {"textures": [texture]}, "textures": {"a": "texture.png"}}

        def finish():
            shutil.copy(picture, job.request.directory / "texture.png")
            (job.request.directory / "report.json").write_text(json.dumps(report))

        job = begin(finish)
        return job

    return begun


def a_defect():
    raise KeyError("stage")


SENTENCE = "Internal error of the add-on (KeyError): Blender's console has the details."


@pytest.mark.parametrize("how", ["wait", "tick"])
def test_defect_ends_the_job_with_one_sentence(bpy, addon, suzanne, begin, how, caplog):
    begin(a_defect)
    if how == "wait":
        assert addon.session.wait() == SENTENCE
    else:
        while addon.session._tick() is not None:
            pass
        assert addon.session.last_error == SENTENCE
    assert not addon.session.is_running()
    assert any(record.exc_info for record in caplog.records)


@pytest.mark.parametrize("how", ["wait", "tick"])
@pytest.mark.parametrize("where", ["pump", "apply"])
def test_nothing_leaves_the_panel_stuck(
    bpy, addon, suzanne, begin_and_get_texture, monkeypatch, how, where
):
    """Even what the job's own net lets through ends the job."""
    job = begin_and_get_texture()
    if where == "pump":
        monkeypatch.setattr(job, "pump", a_defect)
    else:
        monkeypatch.setattr(addon.session, "_apply", lambda _: a_defect())
    advance = addon.session.wait if how == "wait" else addon.session._tick
    with pytest.raises(KeyError):
        list(iter(advance, None))
    assert not addon.session.is_running()
    assert not bpy.ops.syncsde.cancel.poll()
    assert bpy.ops.syncsde.texture.poll()


MODES = ["EDIT", "SCULPT"]
OPEN = ["TEXTURE_PAINT", "VERTEX_PAINT", "WEIGHT_PAINT"]


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("of", ["the object", "another"])
def test_artist_is_not_thrown_out_of_a_mode(
    bpy, addon, suzanne, begin_and_get_texture, contents_of, mode, of
):
    begin_and_get_texture()
    if of == "another":
        bpy.ops.mesh.primitive_cube_add()
    busy = bpy.context.object
    before = contents_of(suzanne)
    bpy.ops.object.mode_set(mode=mode)
    for _ in range(4):
        assert addon.session._tick() == addon.session.TICK_SECONDS
    assert busy.mode == mode
    assert addon.session.is_running()
    assert addon.session.current.stage == "Waiting for Object Mode"
    bpy.ops.object.mode_set(mode="OBJECT")
    assert contents_of(suzanne) == before
    bpy.ops.ed.undo_push(message="Before")
    assert addon.session._tick() is None
    assert addon.session.last_error == ""
    assert suzanne.active_material.name == "moss"
    assert not addon.session.is_running()
    bpy.ops.ed.undo()
    assert contents_of(bpy.data.objects["Suzanne"]) == before


@pytest.mark.parametrize("mode", OPEN)
def test_texture_comes_while_the_artist_paints(bpy, addon, suzanne, begin_and_get_texture, mode):
    begin_and_get_texture()
    bpy.ops.object.mode_set(mode=mode)
    bpy.ops.ed.undo_push(message="Before")
    list(iter(addon.session._tick, None))
    assert addon.session.last_error == ""
    assert suzanne.mode == mode
    assert suzanne.active_material.name == "moss"
    bpy.ops.ed.undo()
    suzanne = bpy.data.objects["Suzanne"]
    assert (suzanne.mode, suzanne.active_material) == (mode, None)


def test_result_that_waits_can_be_had_at_once(bpy, addon, suzanne, begin_and_get_texture):
    begin_and_get_texture()
    assert not bpy.ops.syncsde.apply_now.poll()
    bpy.ops.object.mode_set(mode="EDIT")
    for _ in range(3):
        addon.session._tick()
    assert bpy.ops.syncsde.apply_now() == {"FINISHED"}
    assert suzanne.mode == "OBJECT"
    assert suzanne.active_material.name == "moss"
    assert not addon.session.is_running()


def test_job_that_waits_for_object_mode_can_be_cancelled(
    bpy, addon, suzanne, begin_and_get_texture
):
    begin_and_get_texture()
    bpy.ops.object.mode_set(mode="EDIT")
    addon.session._tick()
    addon.session._tick()
    assert bpy.ops.syncsde.cancel() == {"FINISHED"}
    assert addon.session._tick() is None
    assert suzanne.mode == "EDIT"
    bpy.ops.object.mode_set(mode="OBJECT")
    assert suzanne.active_material is None


def test_failed_job_does_not_wait_for_object_mode(bpy, addon, suzanne, begin):
    begin(a_defect)
    bpy.ops.object.mode_set(mode="EDIT")
    addon.session._tick()
    assert addon.session._tick() is None
    assert addon.session.last_error == SENTENCE
    assert suzanne.mode == "EDIT"


def test_background_applies_at_once(bpy, addon, suzanne, begin_and_get_texture):
    begin_and_get_texture()
    bpy.ops.object.mode_set(mode="EDIT")
    assert addon.session.wait() == ""
    assert suzanne.mode == "OBJECT"
    assert suzanne.active_material.name == "moss"


@pytest.fixture
def begin_image(bpy, addon, no_engine, picture):
    """Start a job for a new image that fetches `picture`."""

    def begun(editor=0):
        addon.session.start(
            a_request(addon, "wide", "image.png"), addon.results.NewImage("Wide: hills", editor)
        )
        job = addon.session.current
        job._steps = Scripted(lambda: shutil.copy(picture, job.request.directory / "image.png"))()

    return begun


@pytest.mark.parametrize("mode", ["OBJECT", *MODES, *OPEN])
def test_new_image_comes_in_every_mode(bpy, addon, suzanne, begin_image, mode):
    begin_image()
    bpy.ops.object.mode_set(mode=mode)
    assert addon.session._tick() == addon.session.TICK_SECONDS
    assert addon.session._tick() is None
    assert addon.session.last_error == ""
    assert suzanne.mode == mode
    assert tuple(bpy.data.images["Wide: hills"].size) == (16, 16)


def test_new_image_is_one_undo_step(bpy, addon, suzanne, begin_image):
    bpy.ops.ed.undo_push(message="Before")
    before = set(bpy.data.images.keys())
    begin_image()
    list(iter(addon.session._tick, None))
    assert set(bpy.data.images.keys()) == before | {"Wide: hills"}
    bpy.ops.ed.undo()
    assert set(bpy.data.images.keys()) == before
    bpy.ops.ed.redo()
    assert set(bpy.data.images.keys()) == before | {"Wide: hills"}


def test_new_image_is_shown_in_the_editor_it_was_asked_for_in(bpy, addon, begin_image):
    area, other = bpy.context.window.screen.areas[:2]
    kinds = area.type, other.type
    area.type = other.type = "IMAGE_EDITOR"
    begin_image(area.as_pointer())
    list(iter(addon.session._tick, None))
    assert area.spaces.active.image == bpy.data.images["Wide: hills"]
    assert other.spaces.active.image is None
    begin_image(area.as_pointer() + 1)  # one that was closed meanwhile
    list(iter(addon.session._tick, None))
    assert addon.session.last_error == ""
    assert "Wide: hills.001" in bpy.data.images
    area.type, other.type = kinds
