# SPDX-License-Identifier: GPL-3.0-or-later
"""Painting like a picture: what is sent, which picture is chosen, and what the artist is told."""

import json
import struct
import types
import zlib

import numpy as np
import pytest


@pytest.fixture
def photo(an_image):
    return an_image("Photo.png", np.random.default_rng(1).random((16, 24, 4)))


@pytest.fixture
def scene(bpy):
    """A cube of two materials and a ball, both selected."""
    bpy.ops.mesh.primitive_uv_sphere_add(segments=8, ring_count=6, location=(3, 0, 0))
    ball = bpy.context.object
    ball.name = "Ball"
    bpy.ops.mesh.primitive_cube_add()
    cube = bpy.context.object
    cube.name = "Cube"
    for name in ("Iron", "Wood"):
        cube.data.materials.append(bpy.data.materials.new(name))
    ball.select_set(True)
    return cube, ball


class Invoked:
    """Stands for an operator that the panel's button calls; background Blender invokes none."""

    def __init__(self, **given):
        self.__dict__.update(given)
        self.properties = types.SimpleNamespace(is_property_set=lambda name: name in given)

    def execute(self, context):
        return {"FINISHED"}


def invoke(bpy, task, **given):
    invoked = Invoked(**given)
    getattr(bpy.types, f"SYNCSDE_OT_{task}").invoke(invoked, bpy.context, None)
    return invoked


def test_picture_material_and_size_are_sent(bpy, addon, suzanne, sent, photo):
    assert bpy.ops.syncsde.texture(like="Photo.png", tile_size=0.8) == {"FINISHED"}
    (request,) = sent
    assert set(request.inputs) == {"mesh", "like"}
    assert request.images == {"like": "Photo.png"}
    assert request.inputs["like"]() == addon.images.png(addon.images.read(photo))
    said = request.parameters
    assert (said["prompt"], said["material"], said["tile_size"]) == ("", None, 0.8)
    assert (said["model"], said["like_for"]) == ("auto", [])
    assert bpy.ops.syncsde.texture(material="stone brick") == {"FINISHED"}
    assert sent[1].parameters["material"] == "stone brick"
    assert sent[1].parameters["tile_size"] is None
    assert set(sent[1].inputs) == {"mesh"}


def test_wide_image_like_a_picture(bpy, addon, sent, photo):
    asked = {"wrap": True, "width": 256, "height": 256, "tile_size": 128}
    assert bpy.ops.syncsde.wide(like="Photo.png", **asked) == {"FINISHED"}
    (request,) = sent
    assert set(request.inputs) == {"like"}
    assert request.inputs["like"]().startswith(b"\x89PNG")
    assert {name: request.parameters[name] for name in asked} == asked
    assert request.parameters["prompt"] == ""
    assert request.also == ("report.json",)
    assert bpy.ops.syncsde.wide(material="moss") == {"FINISHED"}
    assert sent[1].parameters["material"] == "moss"
    assert sent[1].parameters["tile_size"] is None


def test_parts_have_pictures_of_their_own(bpy, addon, scene, sent, photo, an_image):
    grid = an_image("Grid: fine", np.ones((8, 8, 4)))
    lines = "Ball: Photo.png\nWood: Grid: fine"
    assert bpy.ops.syncsde.texture(prompt="rust", like_for=lines) == {"FINISHED"}
    assert sent[0].parameters["like_for"] == ["Ball", "Wood"]
    blobs = {name: sent[0].inputs[name]() for name in ("like_1", "like_2")}
    pictures = [addon.images.png(addon.images.read(image)) for image in (photo, grid)]
    assert list(blobs.values()) == pictures

    cube, ball = scene
    ball.syncsde_like = photo
    cube.data.materials["Wood"].syncsde_like = grid
    assert addon.operators.of_panel(bpy.context)["like_for"] == lines


def test_more_pictures_than_the_engine_takes_are_one_sentence(bpy, scene, sent, photo):
    lines = "\n".join(f"Part {number}: Photo.png" for number in range(9))
    with pytest.raises(RuntimeError, match=r"9 objects and materials .* at most 8 can: take some"):
        bpy.ops.syncsde.texture(prompt="rust", like_for=lines)
    assert not sent


@pytest.mark.parametrize(
    ("asked", "sentence"),
    [
        ({"like": "Nothing"}, "no image 'Nothing': open it"),
        ({"prompt": "a", "like_for": "Ball"}, "'Ball' is not an object .* colon and its image"),
        ({"prompt": "a", "like_for": "Ball: Nothing"}, "no image 'Nothing': open it"),
        ({"prompt": " "}, "Describe the surface in the prompt, or choose a picture"),
        ({"prompt": "", "like_for": "Ball: Photo.png"}, "Describe the surface in the prompt, or"),
    ],
)
def test_what_is_missing_is_one_sentence(bpy, scene, sent, photo, asked, sentence):
    with pytest.raises(RuntimeError, match=sentence):
        bpy.ops.syncsde.texture(**asked)
    assert not sent


def test_panel_sends_one_picture_and_callers_go_first(bpy, scene, photo):
    image = bpy.context.scene.syncsde_image
    image.task = "wide"
    for task, settings in (("texture", bpy.context.scene.syncsde), ("wide", image.wide)):
        settings.library = "rust"
        invoked = invoke(bpy, task)
        assert (invoked.like, invoked.material) == ("", "rust")
        settings.like = photo
        invoked = invoke(bpy, task)
        assert (invoked.like, invoked.material) == ("Photo.png", "")
        invoked = invoke(bpy, task, material="moss")
        assert (invoked.like, invoked.material) == ("", "moss")


@pytest.mark.parametrize(
    ("prompt", "material", "like", "title"),
    [
        ("a wall", "rust", "", "a wall"),
        (" ", "rust", "", "rust"),
        ("", "", "Photo.png", "Like Photo"),
        ("", "", "Photo", "Like Photo"),
    ],
)
def test_result_is_called_by_its_words_or_picture(addon, prompt, material, like, title):
    assert addon.images.title(prompt, material, like) == title


def test_library_is_the_engines_with_thumbnails(bpy, addon):
    materials = addon.catalog.materials()
    assert len(materials) >= 40
    items = addon.catalog.items(bpy.context.scene.syncsde, bpy.context)
    assert [item[0] for item in items] == ["NONE", *(each.name for each in materials)]
    assert [item[4] for item in items] == list(range(len(materials) + 1))
    for each in materials:
        assert each.credit
        addon.catalog.icon(each)
        thumbnail = addon.catalog._previews[f"{each.path}?0"]
        assert min(thumbnail.image_size) >= 96
        assert len(set(thumbnail.image_pixels)) > 20


def test_prompts_find_pictures_as_in_the_engine(addon):
    assert addon.catalog.found_by("a blue stone brick statue").title == "blue stone brick"
    assert addon.catalog.found_by("bricks").title == "brick"
    assert addon.catalog.found_by("brick red") is None


def test_dropped_file_becomes_the_picture(bpy, addon, picture):
    settings = bpy.context.scene.syncsde
    bpy.ops.ed.undo_push(message="Before")
    assert bpy.ops.syncsde.like_file("EXEC_DEFAULT", True, filepath=picture) == {"FINISHED"}
    assert settings.like.name == "picture.png"
    assert tuple(settings.like.size) == (16, 16)
    bpy.ops.syncsde.like_file(filepath=picture)
    assert [image.name for image in bpy.data.images] == ["picture.png"]
    bpy.ops.ed.undo()
    assert bpy.context.scene.syncsde.like is None


def test_file_that_is_no_picture_is_one_sentence(bpy, tmp_path):
    text = tmp_path / "text.png"
    text.write_text("not a picture")
    for path, sentence in ((text, "'text.png' is not a picture"), (tmp_path / "gone.png", "gone")):
        with pytest.raises(RuntimeError, match=sentence) as refused:
            bpy.ops.syncsde.like_file(filepath=str(path))
        assert "Traceback" not in str(refused.value)
    assert not bpy.data.images
    assert bpy.context.scene.syncsde.like is None


def test_files_are_taken_where_the_tab_is_open(bpy, addon):
    def area(kind="VIEW_3D", tab="SyncSDE", shown=True):
        sidebar = types.SimpleNamespace(type="UI", active_panel_category=tab)
        view = types.SimpleNamespace(type="WINDOW")
        space = types.SimpleNamespace(show_region_ui=shown)
        spaces = types.SimpleNamespace(active=space)
        return types.SimpleNamespace(type=kind, regions=[view, sidebar], spaces=spaces)

    handler = bpy.types.SYNCSDE_FH_like
    assert handler.bl_import_operator == "syncsde.like_file"
    assert {".png", ".jpg", ".webp"} <= set(handler.bl_file_extensions.split(";"))
    for where, taken in (
        (area(), True),
        (area(tab="Tool"), False),
        (area(shown=False), False),
        (area(kind="IMAGE_EDITOR"), False),
        (None, False),
    ):
        assert handler.poll_drop(types.SimpleNamespace(area=where)) is taken
    real = next(a for a in bpy.context.window.screen.areas if a.type == "VIEW_3D")
    with bpy.context.temp_override(area=real):
        assert handler.poll_drop(bpy.context) in (True, False)  # reads what Blender has


@pytest.mark.parametrize(
    ("report", "line"),
    [
        ({"model": "mini"}, "Painted by mini"),
        (
            {"model": "exemplar", "materials": {"": "stone brick"}},
            "Painted by exemplar: stone brick",
        ),
        (
            {"model": "exemplar", "materials": {"a": "rust", "b": "rust", "c": {"name": "moss"}}},
            "Painted by exemplar: rust, moss",
        ),
        (
            {"model": {"name": "exemplar"}, "materials": dict.fromkeys("abcd", None)},
            "Painted by exemplar",
        ),
        (
            {"model": "exemplar", "materials": {n: n for n in "abcd"}},
            "Painted by exemplar: a, b, c, ...",
        ),
        (
            {"model": "exemplar", "materials": {"": "moss", "Helmet": "like_2"}},
            "Painted by exemplar: moss, Rust.png",
        ),
        ({"model": None, "materials": ["rust"]}, ""),
        (["mini"], ""),
        ("{", ""),
    ],
)
def test_report_says_which_model_painted(addon, tmp_path, report, line):
    text = report if isinstance(report, str) else json.dumps(report)
    (tmp_path / "report.json").write_text(text)
    assert addon.report.painted_by(tmp_path, {"like_2": "Rust.png"}) == line


def test_no_report_says_nothing(addon, tmp_path):
    assert addon.report.painted_by(tmp_path, {}) == ""


def png_of(rows, depth, kind, *chunks):
    """A PNG of rows of bytes: bits of a channel, color type, and further chunks."""
    height, width = len(rows), len(rows[0]) * 8 // depth
    data = zlib.compress(b"".join(b"\0" + row for row in rows))
    header = struct.pack(">IIBBBBB", width, height, depth, kind, 0, 0, 0)
    whole = (b"IHDR" + header, *chunks, b"IDAT" + data, b"IEND")
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(chunk) - 4) + chunk + struct.pack(">I", zlib.crc32(chunk))
        for chunk in whole
    )


@pytest.mark.parametrize(
    ("content", "colors"),
    [
        (png_of([bytes([0, 1]) * 8] * 16, 8, 3, b"PLTE\xc8\x28\x1e\x5a\x14\x0a"), None),
        (png_of([bytes([0x28, 0x28, 0xC8, 0xC8]) * 8] * 16, 16, 0), [[40] * 3, [200] * 3]),
        (png_of([bytes([0x55] * 2)] * 16, 1, 0), [[0] * 3, [255] * 3]),
    ],
    ids=["palette", "sixteen bits", "one bit"],
)
def test_pictures_of_other_kinds_are_sent_as_they_look(
    bpy, addon, suzanne, sent, tmp_path, content, colors
):
    (tmp_path / "given.png").write_bytes(content)
    bpy.ops.syncsde.like_file(filepath=str(tmp_path / "given.png"))
    bpy.ops.syncsde.texture(like="given.png")
    (tmp_path / "sent.png").write_bytes(sent[0].inputs["like"]())
    pixels = addon.images.read(bpy.data.images.load(str(tmp_path / "sent.png")))
    assert pixels.shape == (16, 16, 3)
    found = np.unique(pixels.reshape(-1, 3), axis=0).tolist()
    assert found == (colors or [[90, 20, 10], [200, 40, 30]])


FRAME = b"\x2c" + struct.pack("<HHHHB", 0, 0, 8, 8, 0) + b"\x02\x03\x84\x1d\x05\x00"
MOVING = b"GIF89a" + struct.pack("<HHBBB", 8, 8, 0x80, 0, 0) + bytes(6) + FRAME * 2 + b"\x3b"


def test_pictures_that_blender_cannot_give_are_one_sentence(
    bpy, addon, suzanne, sent, tmp_path, photo, monkeypatch
):
    for name, content in {"moving.gif": MOVING, "cut.png": png_of([b"a"] * 8, 8, 0)[:40]}.items():
        (tmp_path / name).write_bytes(content)
        bpy.data.images.load(str(tmp_path / name))
    monkeypatch.setattr(addon.images, "MOST_PIXELS", 100)  # huge ones take seconds to make
    for name, sentence in (
        ("moving.gif", "'moving.gif' (is not a single still image: save|has no pixels: find)"),
        ("cut.png", "'cut.png' has no pixels: find its file again, or choose another"),
        ("Photo.png", "'Photo.png' has 24 x 16 pixels, and no more than .* taken: scale it down"),
    ):
        with pytest.raises(RuntimeError, match=sentence):
            bpy.ops.syncsde.texture(like=name)
    assert not sent


def test_what_the_engine_says_of_pictures_is_one_sentence(bpy, suzanne, real_engine, photo):
    with pytest.raises(RuntimeError, match="Both a picture and the material 'rust' are given"):
        bpy.ops.syncsde.texture(like="Photo.png", material="rust")
