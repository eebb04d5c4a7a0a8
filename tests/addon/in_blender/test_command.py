# SPDX-License-Identifier: GPL-3.0-or-later
"""`blender --command syncsde`, as Blender calls it, against a real engine."""

import json
import os

import numpy as np
import pytest

MODEL = os.path.basename(os.environ.get("SYNCSDE_TEST_MODEL", "mini"))
SMALL = ["--model", MODEL, "--steps", "2", "--seed", "3"]
TEXTURE = [*SMALL, "--texture-size", "64", "--view-size", "64"]


@pytest.fixture
def run(addon, caplog):
    """The exit code of a command, and what it said."""

    def command(*arguments):
        caplog.clear()
        code = addon.command.main(list(arguments))
        return code, "\n".join(caplog.messages)

    return command


def test_it_is_registered_with_blender(addon):
    assert addon.command._handle is not None


def test_texture_of_a_named_object_is_written_and_saved(bpy, run, suzanne, tmp_path):
    suzanne.select_set(False)
    bpy.ops.mesh.primitive_cube_add()
    saved, out = tmp_path / "scene.blend", tmp_path / "out"
    asked = ["texture", "--object", "Suzanne", "--prompt", "gold", *TEXTURE]
    code, said = run(*asked, "--output", str(out), "--save", str(saved))
    assert code == 0, said
    report = json.loads((out / "report.json").read_text())
    assert report["parameters"]["prompt"] == "gold"
    assert report["parameters"]["steps"] == 2
    assert list(report["textures"]) == ["Suzanne"]
    bpy.ops.wm.open_mainfile(filepath=str(saved))
    shown = bpy.data.objects["Suzanne"].material_slots[0].material
    assert "syncsde" in shown
    assert not bpy.data.objects["Cube"].material_slots


def test_lines_are_flags_that_are_repeated(run, suzanne, tmp_path):
    suzanne.name = "Monkey"
    asked = ["texture", "--prompt", "gold", "--prompt-for", "Monkey: lava", *TEXTURE]
    code, said = run(*asked, "--output", str(tmp_path))
    assert code == 0, said
    parameters = json.loads((tmp_path / "report.json").read_text())["parameters"]
    assert parameters["prompt_for"] == [["Monkey", "lava"]]


def test_picture_files_are_images(bpy, run, an_image, tmp_path):
    pixels = np.zeros((64, 64, 4))
    pixels[16:48, 16:48] = 1
    drawn = an_image("drawn", pixels)
    drawn.save(filepath=str(tmp_path / "disc.png"))
    bpy.data.images.remove(drawn)
    asked = ["mask", "--prompt", "a cat on grass", "--background", "grass", "--foreground", "a cat"]
    code, said = run(*asked, "--mask", str(tmp_path / "disc.png"), "--size", "64", *SMALL)
    assert code == 0, said
    assert "disc.png" in bpy.data.images
    assert tuple(bpy.data.images["Masks: a cat on grass"].size) == (64, 64)


def test_each_foreground_has_its_mask(bpy, run, an_image):
    for name, columns in (("Left", slice(8, 24)), ("Right", slice(40, 56))):
        pixels = np.zeros((64, 64, 4))
        pixels[16:48, columns] = 1
        an_image(name, pixels)
    asked = ["mask", "--prompt", "a cat and a dog", "--background", "grass", "--size", "64", *SMALL]
    asked += ["--foreground", "a cat", "--mask", "Left", "--foreground", "a dog", "--mask", "Right"]
    code, said = run(*asked)
    assert code == 0, said
    assert tuple(bpy.data.images["Masks: a cat and a dog"].size) == (64, 64)


@pytest.mark.parametrize(
    ("arguments", "code", "told"),
    [
        (["paint"], 2, "paint"),
        (["texture", "--colour", "red"], 2, "--colour"),
        (["texture", "--steps", "few", "--prompt", "gold"], 2, "few"),
        (["texture", "--object", "Cube", "--prompt", "gold"], 2, "no object 'Cube'"),
        (["texture"], 2, "Describe the surface"),
        (["texture", "--prompt", "gold", "--save"], 2, "no file to save to"),
        (["texture", "--prompt", "gold", "--keep", "none.png"], 2, "'none.png'"),
        (["texture", "--prompt", "gold", "--model", "no-such", "--steps", "2"], 3, "no-such"),
    ],
)
def test_what_is_wrong_is_one_sentence_and_a_code(run, suzanne, arguments, code, told):
    found, said = run(*arguments)
    assert found == code, said
    assert told in said


def test_without_an_engine_the_code_says_so(run, suzanne, no_engine):
    code, said = run("texture", "--prompt", "gold", "--steps", "2")
    assert code == 3
    assert "not installed" in said


def test_help_names_every_property(addon, capsys):
    assert addon.command.main(["texture", "--help"]) == 0
    told = capsys.readouterr().out
    assert {"--tile-size", "--output", "--no-maps"} <= set(told.replace(",", " ").split())
