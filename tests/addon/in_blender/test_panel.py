# SPDX-License-Identifier: GPL-3.0-or-later
"""What the panel offers in each situation, drawn into a layout that writes down what it is told."""

import types

import pytest

FIELDS = ["prompt", "like", "library", "quality", "seed", "steps"]


def test_says_what_to_do_without_an_engine(draw, suzanne, no_engine):
    drawn = draw()
    assert drawn[:6] == FIELDS
    assert "engine is not installed" in " ".join(drawn)
    assert drawn[-1] == "preferences.addon_show"
    assert "syncsde.texture" not in drawn


def test_offers_generate_with_an_engine(draw, suzanne, an_engine):
    assert draw() == [*FIELDS, "syncsde.texture"]


def test_offers_remove_once_textured(bpy, draw, suzanne, an_engine, picture):
    bpy.ops.syncsde.apply_texture(filepath=picture)
    assert draw()[-1] == "syncsde.remove_texture"


def test_what_is_left_to_the_model_is_dimmed(bpy, draw, suzanne, an_engine):
    draw("views")
    assert draw.dimmed == ["cameras", "view_size"]
    bpy.context.scene.syncsde.cameras = 6
    draw("views")
    assert draw.dimmed == ["view_size"]
    bpy.context.scene.syncsde_image.task = "wide"
    draw("image")
    assert draw.dimmed == ["tile_size", "width", "height"]


def test_further_settings_are_in_panels_of_their_own(bpy, draw, suzanne, an_engine):
    settings = bpy.context.scene.syncsde
    assert draw("views")[:3] == ["cameras", "extra_cameras", "selected_cameras"]
    settings.selected_cameras = True
    assert " ".join(draw("views")).endswith("Select cameras beside the objects")
    bpy.ops.object.camera_add()
    suzanne.select_set(True)
    assert draw("views")[-1] == "1 selected"
    assert draw("surface")[-2:] == ["fill", "keep"]
    settings.keep = bpy.data.images.new("Old", 4, 4)
    assert draw("surface")[-1] == "keep_mask"
    assert {"strategy", "inverse_lambda", "model"} <= set(draw("sampling"))


def test_says_why_nothing_can_be_textured(draw, bpy, an_engine):
    assert draw()[-1] == "Select a mesh object"
    bpy.ops.object.camera_add()
    assert draw()[-1] == "Select a mesh object"
    assert not bpy.ops.syncsde.texture.poll()


def test_shows_the_last_error(draw, addon, suzanne, an_engine):
    addon.session.fail("texture", "It broke.")
    assert draw()[-2:] == ["It broke.", "syncsde.copy_text"]
    assert "It broke." not in draw("image")
    addon.session.fail("edit", "This one, too.")
    assert "This one, too." in draw("image")
    assert draw()[-1] == "syncsde.texture"


IMAGE = {
    "mask": ["prompt", "background", "like", "syncsde.add_part", "tile_size", "size"],
    "edit": ["image", "source_prompt", "prompt", "mask", "mask_threshold"],
    "wide": [
        *["prompt", "like", "library", "tile_size", "width", "height", "wrap", "extend"],
        "syncsde.add_part",
    ],
    "ambiguous": ["prompt", "syncsde.add_part", "size"],
}


@pytest.mark.parametrize("task", IMAGE)
def test_image_panel_shows_the_tasks_own_fields(bpy, draw, an_engine, task):
    bpy.context.scene.syncsde_image.task = task
    drawn = draw("image")
    end = 1 + len(IMAGE[task])
    assert drawn[:end] == ["task", *IMAGE[task]]
    assert drawn[end] == f"syncsde.{task}"
    assert drawn[-1].endswith("first.")  # what is still missing
    assert draw("image_sampling") == ["seed", "steps", "strategy", "inverse_lambda", "model"]


def test_image_panel_lists_parts(bpy, draw, an_engine, an_image):
    settings = bpy.context.scene.syncsde_image
    settings.task = "mask"
    settings.mask.prompt, settings.mask.background = "all", "behind"
    for _ in range(8):
        bpy.ops.syncsde.add_part()
    drawn = draw("image")
    assert drawn.count("mask") == drawn.count("syncsde.remove_part") == 8
    assert drawn.count("like") == 9  # the background's, too
    assert "syncsde.add_part" not in drawn  # the engine takes no more
    while len(settings.mask.parts) > 1:
        bpy.ops.syncsde.remove_part(index=1)
    assert " ".join(draw("image")).endswith("Add a foreground and describe it first.")
    settings.mask.parts[0].prompt = "a cat"
    assert " ".join(draw("image")).endswith("Choose a mask for each foreground first.")
    settings.mask.parts[0].mask = an_image("Mask", [[[1, 1, 1, 1]]])
    assert draw("image")[-1] == "syncsde.mask"


def test_preferences_say_which_engine_is_used(bpy, addon, a_layout, an_engine, monkeypatch):
    layout = a_layout()
    chosen = types.SimpleNamespace(layout=layout, engine="", models="", libraries=[])
    addon.preferences.SYNCSDE_AP_preferences.draw(chosen, bpy.context)
    assert layout.drawn[0] == "engine"
    assert layout.drawn[1].startswith("Found: ")
    monkeypatch.setenv("SYNCSDE_ENGINE", "/nowhere")
    addon.preferences.SYNCSDE_AP_preferences.draw(chosen, bpy.context)
    assert "no engine at /nowhere" in layout.drawn[-3]


def test_prompts_are_completed_with_words_that_mini_knows(addon, bpy):
    offer = addon.suggestions.for_prompt
    settings = bpy.context.scene.syncsde
    assert "a mossy stone statue" in offer(settings, bpy.context, "")
    assert "a red brick" in offer(settings, bpy.context, "a red bri")
    assert offer(settings, bpy.context, "a red xyz") == []
    settings.model = "/models/other"
    assert offer(settings, bpy.context, "a red bri") == []


def test_prompts_of_surfaces_are_completed_with_pictures_first(addon, bpy):
    offer = addon.suggestions.for_surface
    settings = bpy.context.scene.syncsde
    names = [each.name for each in addon.catalog.materials()]
    offered = offer(settings, bpy.context, "")
    assert offered[: len(names)] == names
    assert "a mossy stone statue" in offered[len(names) :]
    assert offer(settings, bpy.context, "a blue Stone br")[:2] == [
        "a blue stone brick",
        "a blue stone bricks",
    ]
    assert "a red brick" in offer(settings, bpy.context, "a red bri")
    assert offer(settings, bpy.context, "a red xyz") == []
    settings.model = "mini"
    assert offer(settings, bpy.context, "") == addon.suggestions.for_prompt(settings, None, "")
    settings.model = "exemplar"
    assert offer(settings, bpy.context, "") == names
    settings.model = "/models/other"
    assert offer(settings, bpy.context, "") == []


def test_models_are_offered_with_those_of_the_preferences(addon, bpy, monkeypatch, tmp_path):
    offer = addon.suggestions.for_model
    monkeypatch.setattr(addon.engine, "models_dir", "")
    assert offer(None, None, "") == ["auto", "exemplar", "mini"]
    (tmp_path / "sd-mini").mkdir()
    monkeypatch.setattr(addon.engine, "models_dir", str(tmp_path))
    assert offer(None, None, "MI") == ["mini", "sd-mini"]
    monkeypatch.setattr(addon.engine, "models_dir", str(tmp_path / "gone"))
    assert offer(None, None, "auto") == ["auto"]


def test_says_which_picture_is_painted(bpy, draw, suzanne, an_engine, an_image):
    settings = bpy.context.scene.syncsde
    settings.prompt = "a blue stone brick statue"
    assert draw()[:4] == ["prompt", "like", "library", "Like stone brick, but blue"]
    settings.prompt = "a gray stone brick statue"
    assert draw()[3] == "Like stone brick"
    settings.prompt = "a dragon"
    assert draw()[3] == "Names no picture: painted by mini"
    settings.library = "rust"
    assert settings.material == "rust"
    assert draw()[3] == "Like rust"
    settings.material = "one of my own"
    assert settings.library == "NONE"
    assert draw()[3] == "There is no picture 'one of my own'"
    settings.library = "NONE"
    assert settings.material == ""
    settings.material, settings.prompt = "brick", "blue"
    assert draw()[3] == "Like brick, but blue"
    settings.model = "mini"
    assert draw()[:3] == ["prompt", "Pictures need the model auto", "like"]
    settings.material = ""
    assert draw()[:4] == FIELDS[:4]
    settings.model = "auto"
    settings.like = an_image("Photo", [[[1, 1, 1, 1]]])
    assert draw()[:4] == ["prompt", "like", "preview", "quality"]
    bpy.context.scene.syncsde_image.task = "wide"
    wide = bpy.context.scene.syncsde_image.wide
    wide.material = "rust"
    assert draw("image")[:5] == ["task", "prompt", "like", "library", "Like rust"]
    assert draw("image")[-1] == "syncsde.wide"


def test_several_objects_and_materials_have_rows_of_their_own(bpy, draw, suzanne, an_engine):
    of_one = ["syncsde_prompt", "syncsde_like"]
    suzanne.data.materials.append(bpy.data.materials.new("Iron"))
    assert "syncsde_prompt" not in draw()
    suzanne.data.materials.append(bpy.data.materials.new("Wood"))
    assert [name for name in draw() if name in of_one] == of_one * 2
    bpy.ops.mesh.primitive_cube_add()
    suzanne.select_set(True)
    assert [name for name in draw() if name in of_one] == of_one * 4


def test_says_which_model_painted(bpy, draw, addon, suzanne, an_engine):
    addon.session.last_task, addon.session.last_error = "texture", ""
    told = ("Done in 38 s, 82 % seen, 1 warning", "Painted by exemplar: stone brick")
    addon.session.outcome = addon.session.Outcome(*told, ["No camera sees the sole."])
    assert " ".join(draw()).endswith(" ".join([*told, "No camera sees the sole."]))
    assert told[1] not in " ".join(draw("image"))
    addon.session.fail("texture", "It broke.")
    assert "It broke." in draw()
    assert "Painted by" not in " ".join(draw())
