# SPDX-License-Identifier: GPL-3.0-or-later
"""The user's own folders of pictures: chosen in the preferences, shown, found, and sent."""

import json
import os
import shutil
import types

import numpy as np
import pytest

MODULE = "bl_ext.user_default.syncsde"
RED, DARK = (200, 40, 30), (90, 20, 10)


def checks(*colors, side=32):
    row, column = np.indices((side, side)) // 8
    return np.uint8(colors)[(row + column) % 2]


@pytest.fixture
def folder(bpy, addon, tmp_path):
    """A folder of two pictures, one of them in a list, that the preferences name."""
    folder = tmp_path / "mine"
    folder.mkdir()
    (folder / "Dragon_hide.png").write_bytes(addon.images.png(checks(RED, DARK)))
    (folder / "b.png").write_bytes(addon.images.png(checks((20, 40, 200), (10, 20, 90))))
    listing = [{"name": "Sea Glass", "file": "b.png", "words": ["brick"], "tile": 0.5}]
    (folder / "library.json").write_text(json.dumps(listing))
    assert bpy.ops.syncsde.add_folder(directory=str(folder)) == {"FINISHED"}
    return folder


def names(addon):
    return [each.name for each in addon.catalog.materials()]


def test_folders_are_added_once_and_removed(bpy, addon, folder):
    libraries = bpy.context.preferences.addons[MODULE].preferences.libraries
    bpy.ops.syncsde.add_folder(directory=str(folder))
    assert [each.path for each in libraries] == [str(folder)]
    assert names(addon)[:2] == ["Sea Glass", "dragon hide"]
    assert bpy.ops.syncsde.remove_folder(index=0) == {"FINISHED"}
    assert not libraries
    assert names(addon)[0] == "brick"


def test_folder_of_the_variable_is_shown_too(addon, folder, tmp_path, monkeypatch):
    other = tmp_path / "other"
    other.mkdir()
    shutil.copy(folder / "b.png", other / "brick.png")
    monkeypatch.setenv("SYNCSDE_LIBRARY", os.pathsep.join([str(folder), str(other)]))
    found = names(addon)
    assert found[:3] == ["Sea Glass", "dragon hide", "brick"]
    assert found.count("brick") == 1, "the user's own hides the library's"
    assert addon.catalog.named("Brick").path == other / "brick.png"


def test_pictures_are_in_the_menu_with_previews(bpy, addon, folder):
    settings = bpy.context.scene.syncsde
    items = addon.catalog.items(settings, bpy.context)
    assert [item[1] for item in items[:3]] == ["By Prompt", "Sea Glass", "Dragon Hide"]
    each = addon.catalog.named("dragon hide")
    assert items[2][3] == addon.catalog.icon(each), "0 without a window"
    preview = addon.catalog._previews[f"{each.path}?{each.stamp}"]
    pixels = np.array(preview.image_pixels_float).reshape(-1, 4)
    assert pixels[:, 0].mean() > pixels[:, 2].mean() + 0.2, "it is red"
    settings.library = "dragon hide"
    assert (settings.material, settings.library) == ("dragon hide", "dragon hide")


def test_what_changes_in_a_folder_is_seen(addon, folder):
    before = names(addon)
    shutil.copy(folder / "b.png", folder / "new one.png")
    os.utime(folder, ns=(0, (folder.stat().st_mtime_ns) + 10**9))
    assert names(addon) == [*before[:2], "new one", *before[2:]]


def test_chosen_picture_is_sent_as_its_file(bpy, addon, folder, suzanne, sent):
    assert bpy.ops.syncsde.texture(material="dragon hide") == {"FINISHED"}
    (request,) = sent
    assert request.inputs["like"]() == (folder / "Dragon_hide.png").read_bytes()
    assert request.parameters["material"] is None
    assert request.parameters["tile_size"] is None
    assert request.images == {"like": "dragon hide"}
    assert bpy.ops.syncsde.wide(material="sea glass", wrap=True) == {"FINISHED"}
    assert sent[1].inputs["like"]() == (folder / "b.png").read_bytes()
    assert sent[1].parameters["material"] is None


def test_prompt_finds_it_and_dyes_it(bpy, addon, folder, suzanne, sent):
    bpy.ops.syncsde.texture(prompt="a dragon hide lamp")
    assert sent[0].inputs["like"]() == (folder / "Dragon_hide.png").read_bytes()
    bpy.ops.syncsde.texture(prompt="a green dragon hide lamp")
    assert sent[1].images == {"like": "green dragon hide"}
    path = folder.parent / "green.png"
    path.write_bytes(sent[1].inputs["like"]())
    green = addon.images.read(bpy.data.images.load(str(path)))
    assert green.shape == (32, 32, 3)
    assert (green.argmax(2) == 1).all()
    assert [image.name for image in bpy.data.images] == ["green.png"], "nothing is left over"
    bpy.ops.syncsde.texture(prompt="a green lamp", material="dragon hide")
    assert sent[2].images == {"like": "green dragon hide"}
    bpy.ops.syncsde.texture(prompt="a sea glass", uv="auto")
    assert sent[3].parameters["tile_size"] == 0.5, "as the list says"
    bpy.ops.syncsde.wide(prompt="a harbor of dragon hide")
    assert "like" not in sent[4].inputs, "a scene, for mini"
    bpy.ops.syncsde.wide(prompt="red dragon hide", prompt_at="64 sand")
    assert "like" not in sent[5].inputs, "words that change, for mini"


def test_words_for_a_network_stay_words(bpy, folder, suzanne, sent):
    asked = {"prompt": "a dragon hide lamp"}
    bpy.ops.syncsde.texture(**asked, model="mini")
    bpy.ops.syncsde.texture(**asked, guidance_scale=7)
    bpy.ops.syncsde.texture(**asked, prompt_for="Suzanne: a lava lamp")
    assert [set(request.inputs) for request in sent] == [{"mesh"}] * 3


def test_parts_whose_prompts_name_one_are_sent_it(bpy, folder, suzanne, sent, an_image):
    an_image("Photo.png", np.ones((8, 8, 4)))
    asked = {"prompt": "rust", "like_for": "Ball: Photo.png"}
    bpy.ops.syncsde.texture(**asked, prompt_for="Suzanne: a dragon hide\nBall: sea glass")
    (request,) = sent
    assert request.parameters["like_for"] == ["Ball", "Suzanne"]
    assert request.inputs["like_2"]() == (folder / "Dragon_hide.png").read_bytes()
    assert request.images == {"like_1": "Photo.png", "like_2": "dragon hide"}
    assert "like" not in request.inputs, "the engine has rust"


MASKS = {
    "prompt": "two things",
    "background": "rust",
    "foreground": "a dragon hide\nsea glass",
    "mask": "Mask\nMask",
}


def test_regions_whose_words_name_one_are_sent_it(bpy, folder, sent, an_image):
    an_image("Mask", np.ones((8, 8, 4)))
    hide, glass = ((folder / name).read_bytes() for name in ("Dragon_hide.png", "b.png"))
    bpy.ops.syncsde.mask(**MASKS)
    assert sent[0].parameters["like_for"] == [1, 2]
    assert sent[0].images == {
        **{"mask": "Mask", "mask_2": "Mask"},
        **{"like_1": "dragon hide", "like_2": "Sea Glass"},
    }
    assert [sent[0].inputs[name]() for name in ("like_1", "like_2")] == [hide, glass]
    bpy.ops.syncsde.mask(**(MASKS | {"background": "dragon hide"}), like_for="2: Mask")
    assert sent[1].parameters["like_for"] == [2, 1]
    assert sent[1].images["like_1"] == "Mask"
    assert [sent[1].inputs[name]() for name in ("like", "like_2")] == [hide, hide]
    bpy.ops.syncsde.mask(**MASKS, like="Mask", like_for="1: Mask")
    assert sent[2].parameters["like_for"] == [1, 2]
    assert sent[2].images["like"] == "Mask"
    assert sent[2].inputs["like_2"]() == glass


@pytest.mark.parametrize(
    "change",
    [{"background": "a harbor"}, {"foreground": "a dragon hide\na cat"}, {"model": "mini"}],
)
def test_regions_for_a_network_stay_words(bpy, folder, sent, an_image, change):
    an_image("Mask", np.ones((8, 8, 4)))
    bpy.ops.syncsde.mask(**(MASKS | change))
    assert set(sent[0].inputs) == {"mask", "mask_2"}
    assert sent[0].parameters["like_for"] == []


def test_picture_that_is_gone_is_one_sentence(bpy, addon, folder, suzanne, sent):
    stamp = folder.stat().st_mtime_ns
    assert "dragon hide" in names(addon)
    (folder / "Dragon_hide.png").unlink()
    os.utime(folder, ns=(0, stamp))  # as if it had vanished just now
    with pytest.raises(RuntimeError, match=r"Cannot read '.*Dragon_hide.png': .*; choose another"):
        bpy.ops.syncsde.texture(material="dragon hide")
    assert not sent


class Layout:
    """Writes down the labels of a panel."""

    def __init__(self):
        self.labels = []

    def __getattr__(self, name):
        return lambda *args, **options: self

    def label(self, text="", icon=""):
        self.labels.append(text)


def labels(bpy, panel, **own):
    layout = Layout()
    panel.draw(types.SimpleNamespace(layout=layout, **own), bpy.context)
    return " ".join(layout.labels)


@pytest.mark.parametrize(
    ("broken", "sentence"),
    [
        (lambda f: shutil.rmtree(f), "There is no folder '{}': set that right, or take the folder"),
        (
            lambda f: (f / "library.json").write_text("{"),
            "The list '{}/library.json' cannot be read: ",
        ),
    ],
)
def test_what_is_wrong_with_a_folder_is_one_sentence_in_the_panel(
    bpy, addon, folder, suzanne, an_engine, broken, sentence
):
    panel = bpy.types.SYNCSDE_PT_texture
    assert "folder" not in labels(bpy, panel)
    broken(folder)
    bpy.context.scene.syncsde.material = "dragon hide"
    said = labels(bpy, panel)
    told = addon.own_pictures.troubles()
    assert len(told) == 1
    assert told[0].startswith(sentence.format(folder))
    assert told[0].endswith("the add-on's preferences.")
    # Lines are broken between words, which a long path has none of.
    assert "take the folder out of the add-on's preferences." in said
    assert "There is no picture 'dragon hide'" in said
    bpy.context.scene.syncsde_image.task = "wide"
    assert "take the folder" in labels(bpy, bpy.types.SYNCSDE_PT_image)
    preferences = bpy.context.preferences.addons[MODULE].preferences
    own = {name: getattr(preferences, name) for name in ("engine", "models", "libraries")}
    assert told[0] in labels(bpy, addon.preferences.SYNCSDE_AP_preferences, **own)
