# SPDX-License-Identifier: GPL-3.0-or-later
"""Meshes and images really painted like pictures, by a real engine process: whose colors are seen.

Drafts of few pixels: the detail is tested in the engine, here that the right picture arrives.
"""

import json
import os

import numpy as np
import pytest

MODULE = "bl_ext.user_default.syncsde"
SMALL = {"quality": "draft", "steps": 3, "view_size": 128, "texture_size": 64, "cameras": 4}
RED, DARK = (200, 40, 30), (90, 20, 10)


def checks(*colors, side=32):
    """Squares of two colors, (side, side, 3) uint8."""
    row, column = np.indices((side, side)) // 8
    return np.uint8(colors)[(row + column) % 2]


@pytest.fixture
def photo(an_image):
    """An image data-block of red squares, which no library has."""
    opaque = np.concatenate([checks(RED, DARK) / 255, np.ones((32, 32, 1))], axis=2)
    return an_image("Photo.png", opaque)


@pytest.fixture
def cube(bpy, real_engine):
    bpy.ops.mesh.primitive_cube_add()
    return bpy.context.object


def painted(addon, obj):
    """The pixels of the texture on an object, (H, W, 3) in 0...255."""
    nodes = obj.active_material.node_tree.nodes
    image = next(node.image for node in nodes if node.bl_idname == "ShaderNodeTexImage")
    return addon.images.read(image)[..., :3].astype(int)


def made_of(pixels, *colors):
    """How far the median pixel is from the nearest of some colors, and the share of each."""
    far = np.stack([np.abs(pixels - np.array(color)).max(-1) for color in colors])
    return np.median(far.min(0)), [(far.argmin(0) == n).mean() for n in range(len(colors))]


def test_mesh_is_painted_like_an_image(bpy, addon, cube, photo, tmp_path):
    kept = str(tmp_path / "kept")
    assert bpy.ops.syncsde.texture(like="Photo.png", directory=kept, **SMALL) == {"FINISHED"}
    texture = painted(addon, cube)
    assert texture.shape == (64, 64, 3)
    distance, shares = made_of(texture, RED, DARK)
    assert distance < 25
    assert min(shares) > 0.2, "both are there"
    report = json.loads((tmp_path / "kept" / "report.json").read_text())
    assert report["parameters"]["model"] == "exemplar"
    assert addon.session.outcome.note == "Painted by exemplar: Photo.png"
    assert cube.active_material.name == "Like Photo"


def test_mesh_is_painted_like_a_thumbnail(bpy, addon, cube):
    settings = bpy.context.scene.syncsde
    settings.library = "grass"  # what a click on its thumbnail does
    settings.seed = 3
    bpy.ops.syncsde.texture(**addon.operators.of_panel(bpy.context) | SMALL)
    texture = painted(addon, cube)
    assert addon.session.outcome.note == "Painted by exemplar: grass"
    assert (texture.argmax(-1) == 1).mean() > 0.9, "grass is green"
    assert texture.std() > 5


def test_own_thumbnail_takes_the_color_of_the_prompt(bpy, addon, cube, tmp_path):
    (tmp_path / "hide.png").write_bytes(addon.images.png(checks(RED, DARK)))
    bpy.ops.syncsde.add_folder(directory=str(tmp_path))
    bpy.ops.syncsde.texture(material="hide", prompt="a blue statue", **SMALL)
    assert (painted(addon, cube).argmax(-1) == 2).mean() > 0.99
    assert addon.session.outcome.note == "Painted by exemplar: blue hide"


def test_parts_are_painted_like_their_own_pictures(bpy, addon, cube, photo):
    cube.name = "Cube"
    bpy.ops.mesh.primitive_cube_add(location=(3, 0, 0))
    other = bpy.context.object
    cube.select_set(True)
    bpy.ops.syncsde.texture(material="grass", like_for="Cube: Photo.png", **SMALL)
    assert made_of(painted(addon, cube), RED, DARK)[0] < 25
    assert (painted(addon, other).argmax(-1) == 1).mean() > 0.9


def test_photo_becomes_a_seamless_image(bpy, addon, real_engine, photo):
    asked = {"wrap": True, "width": 160, "height": 64, "patch_size": 64, "stride": 0.5}
    bpy.ops.syncsde.wide(like="Photo.png", tile_size=64, steps=6, **asked)
    image = addon.images.read(bpy.data.images["Wide: Like Photo"])[..., :3].astype(int)
    assert image.shape == (64, 160, 3)
    distance, shares = made_of(image, RED, DARK)
    assert distance < 25
    assert min(shares) > 0.2
    ring = np.concatenate([image, image[:, :1]], axis=1)
    steps = np.abs(np.diff(ring, axis=1)).mean((0, 2))
    assert steps[-1] <= max(steps[:-1]), "the edges meet as other columns do"


def test_unusable_images_are_one_sentence(bpy, addon, cube, an_image, tmp_path):
    noise = np.random.default_rng(1).random((16, 16, 4))
    an_image("Flat.png", np.full((16, 16, 4), [0.3, 0.3, 0.3, 1]))
    an_image("Tiny.png", np.concatenate([noise[:4, :4, :3], np.ones((4, 4, 1))], axis=2))
    an_image("Ghost.png", noise * [1, 1, 1, 0])
    whole = addon.images.png(np.uint8(noise * 255))
    (tmp_path / "cut.png").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "moving.png").write_bytes(b"GIF89a" + bytes(40))
    bpy.ops.syncsde.add_folder(directory=str(tmp_path))
    for asked, sentence in (
        ({"like": "Flat.png"}, r"'Flat.png': The picture has one color only\. Give one"),
        ({"like": "Tiny.png"}, r"'Tiny.png': The picture has 4 x 4 pixels\. Give one of at least"),
        ({"like": "Ghost.png"}, r"'Ghost.png': The picture is transparent everywhere\. Give one"),
        ({"like_for": "Cube: Flat.png", "material": "rust"}, "'Flat.png': The picture has one"),
        ({"material": "cut"}, r"'cut': The picture cannot be read.*save it anew"),
        ({"material": "moving"}, r"moving.png' is not a PNG, JPEG, WebP or TIFF file: save"),
    ):
        with pytest.raises(RuntimeError, match=sentence) as failure:
            bpy.ops.syncsde.texture(**asked, **SMALL)
        assert "Traceback" not in str(failure.value)
        assert addon.session.last_error in str(failure.value)
    assert cube.active_material is None


@pytest.mark.skipif(os.name == "nt", reason="the program is a shell script")
def test_engine_without_numba_says_what_to_do(
    bpy, addon, real_engine, photo, tmp_path, monkeypatch
):
    (tmp_path / "numba.py").write_text("raise ImportError('not there')\n")
    program = tmp_path / "syncsde"
    preferences = bpy.context.preferences.addons[MODULE].preferences
    program.write_text(f'#!/bin/sh\nPYTHONPATH={tmp_path} exec "{preferences.engine}" "$@"\n')
    program.chmod(0o755)
    preferences.engine = str(program)
    addon.engine.stop()
    monkeypatch.setenv("SYNCSDE_STATE_DIR", str(tmp_path / "state"))
    try:
        with pytest.raises(
            RuntimeError, match=r"needs numba, which is not installed\. Install numba"
        ):
            bpy.ops.syncsde.wide(like="Photo.png", width=64, height=64, patch_size=64)
    finally:
        addon.engine.stop()
    assert addon.session.last_error.startswith("Painting like a picture needs numba")
    assert addon.session.last_task == "wide", "the panel shows it"
