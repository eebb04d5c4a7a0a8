# SPDX-License-Identifier: GPL-3.0-or-later
"""What the panel offers in each situation, drawn into a layout that writes down what it is told."""

import types

import pytest

GENERATE = ["syncsde.texture", "syncsde.copy_command"]
ENGINE = ["Engine Off", "syncsde.start_engine"]
FIELDS = [*ENGINE, "prompt", "like", "library", "quality", "seed", "syncsde.new_seed", "steps"]


@pytest.fixture(autouse=True)
def no_engine_runs(addon, monkeypatch):
    """Whatever other tests have started."""
    monkeypatch.setattr(addon.engine, "is_ours", lambda: False)


def test_says_what_to_do_without_an_engine(draw, suzanne, no_engine):
    drawn = draw()
    assert drawn[: len(FIELDS)] == FIELDS
    assert "engine is not installed" in " ".join(drawn)
    assert drawn[-1] == "preferences.addon_show"
    assert "syncsde.texture" not in drawn


def test_offers_generate_with_an_engine(draw, suzanne, an_engine):
    assert draw() == [*FIELDS, *GENERATE]


def test_offers_remove_once_textured(bpy, draw, suzanne, an_engine, picture):
    bpy.ops.syncsde.apply_texture(filepath=picture)
    assert draw()[-1] == "syncsde.remove_texture"


def test_numbers_that_are_left_to_the_model_say_so(bpy, draw, suzanne, an_engine):
    settings = bpy.context.scene.syncsde
    drawn = draw("views")
    assert drawn[:2] == ["Views", "syncsde.own_setting"]
    assert {"cameras", "view_size"}.isdisjoint(drawn)
    for button in draw.buttons:
        assert bpy.ops.syncsde.own_setting(**vars(button)) == {"FINISHED"}
    assert (settings.cameras, settings.view_size) == (10, 512)
    assert {"cameras", "view_size"} <= set(draw("views"))
    for button in draw.buttons:
        bpy.ops.syncsde.own_setting(**vars(button))
    assert (settings.cameras, settings.view_size) == (0, 0)


def test_engine_is_started_and_stopped(bpy, addon, draw, suzanne, an_engine, monkeypatch):
    def reach(program):
        yield

    engine = addon.engine
    monkeypatch.setattr(engine, "reach", reach)
    assert not bpy.ops.syncsde.stop_engine.poll()
    assert bpy.ops.syncsde.start_engine() == {"FINISHED"}
    assert draw()[0] == "Engine Starting"
    assert not bpy.ops.syncsde.start_engine.poll()
    while addon.session._tick_engine() is not None:
        pass
    monkeypatch.setattr(engine, "is_ours", lambda: True)
    assert draw()[:2] == ["Engine Ready", "syncsde.stop_engine"]
    assert bpy.ops.syncsde.stop_engine() == {"FINISHED"}
    monkeypatch.setattr(engine, "is_ours", lambda: False)
    monkeypatch.setattr(engine, "_reached", types.SimpleNamespace(is_alive=lambda: True))
    assert draw()[0] == "Engine Ready"
    assert "syncsde.start_engine" not in draw(), "another program has started it"
    assert "syncsde.stop_engine" not in draw(), "and may need it"
    monkeypatch.setattr(engine, "_reached", None)

    def fails(program):
        yield
        raise addon.client.EngineError("engine_failed", "The engine did not start: no room.")

    monkeypatch.setattr(engine, "is_ours", lambda: False)
    monkeypatch.setattr(engine, "reach", fails)
    addon.session.start_engine("syncsde")
    while addon.session._tick_engine() is not None:
        pass
    assert "The engine did not start" in " ".join(draw())
    addon.session.engine_error = ""


def test_dice_give_another_seed(bpy, draw, suzanne, an_engine):
    settings = bpy.context.scene.syncsde_image
    settings.task = "wide"
    for name, group in (("texture", bpy.context.scene.syncsde), ("image", settings.wide)):
        draw(name)
        (dice,) = [each for each in draw.buttons if vars(each).keys() == {"group"}]
        seeds = set()
        for _ in range(5):
            bpy.ops.syncsde.new_seed(group=dice.group)
            seeds.add(group.seed)
        assert len(seeds) > 1


def test_every_number_of_the_panels_can_be_chosen_and_given_back(bpy, draw, addon, an_engine):
    image = bpy.context.scene.syncsde_image
    for name in ("views", "surface", "sampling"):
        draw(name)
        for button in draw.buttons:
            bpy.ops.syncsde.own_setting(**vars(button))
    assert bpy.context.scene.syncsde.tile_size == 1.0
    assert bpy.context.scene.syncsde.guidance_scale == 7.5
    for task in IMAGE:
        image.task = task
        for name in ("image", "image_sampling"):
            draw(name)
            for button in [each for each in draw.buttons if hasattr(each, "name")]:
                bpy.ops.syncsde.own_setting(**vars(button))
    assert image.mask.tile_size == 256
    assert image.wide.patch_size == 512


def test_further_settings_are_in_panels_of_their_own(bpy, draw, suzanne, an_engine):
    settings = bpy.context.scene.syncsde
    assert {"extra_cameras", "selected_cameras"} <= set(draw("views"))
    settings.selected_cameras = True
    said = "Selected Cameras is on: select cameras beside the objects, or turn it off."
    assert " ".join(draw("views")).endswith(said)
    assert " ".join(draw()).endswith(said)
    bpy.ops.object.camera_add()
    suzanne.select_set(True)
    assert draw("views")[-1] == "1 selected"
    assert draw("surface")[-1] == "fill"
    assert not bpy.types.SYNCSDE_PT_repaint.poll(bpy.context)
    settings.keep = bpy.data.images.new("Old", 4, 4)
    assert bpy.types.SYNCSDE_PT_repaint.poll(bpy.context)
    assert draw("repaint") == ["syncsde.new_mask", "repaint_mask", "keep"]
    assert {"strategy", "inverse_lambda", "model"} <= set(draw("sampling"))


def test_says_why_nothing_can_be_textured(draw, bpy, an_engine):
    assert draw()[-1] == "Select a mesh object"
    bpy.ops.object.camera_add()
    assert draw()[-1] == "Select a mesh object"
    assert not bpy.ops.syncsde.texture.poll()
    bpy.ops.mesh.primitive_cube_add()
    cube = bpy.context.object
    bpy.ops.object.light_add()
    cube.select_set(True)
    assert bpy.context.object.type == "LIGHT"
    assert draw()[-2:] == GENERATE
    assert bpy.ops.syncsde.texture.poll()


def test_shows_the_last_error(draw, addon, suzanne, an_engine):
    addon.session.fail("texture", "It broke.")
    assert draw()[-2:] == ["It broke.", "syncsde.copy_text"]
    assert "It broke." not in draw("image")
    addon.session.fail("edit", "This one, too.")
    assert "This one, too." in draw("image")
    assert draw()[-2:] == GENERATE


OWN = "syncsde.own_setting"
IMAGE = {
    "mask": ["prompt", "background", "like", "syncsde.add_part", "Tile Size", OWN, "Size", OWN],
    "edit": ["image", "source_prompt", "prompt", "mask", "mask_threshold"],
    "wide": [
        *["prompt", "like", "library", "Tile Size", OWN, "Width", OWN, "Height", OWN],
        *["wrap", "extend"],
        "syncsde.add_part",
    ],
    "ambiguous": [
        *["prompt", "prompt", "syncsde.remove_part", "transform", "syncsde.add_part", "Size", OWN]
    ],
}


@pytest.mark.parametrize("task", IMAGE)
def test_image_panel_shows_the_tasks_own_fields(bpy, draw, an_engine, task):
    bpy.context.scene.syncsde_image.task = task
    drawn = draw("image")
    end = 1 + len(IMAGE[task])
    assert drawn[:end] == ["task", *IMAGE[task]]
    assert drawn[end : end + 3] == ["seed", "syncsde.new_seed", f"syncsde.{task}"]
    assert drawn[-1].endswith("first.")  # what is still missing
    assert draw("image_sampling")[:3] == ["steps", "strategy", "inverse_lambda"]
    assert ("Patch Size" in draw("image_sampling")) == (task == "wide")


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
    chosen.engine = "/bin/ls"
    bpy.context.preferences.addons[addon.preferences.NAME].preferences.engine = "/bin/ls"
    layout.drawn.clear()
    addon.preferences.SYNCSDE_AP_preferences.draw(chosen, bpy.context)
    assert "/bin/ls is not the engine" in " ".join(layout.drawn)
    bpy.context.preferences.addons[addon.preferences.NAME].preferences.engine = ""
    monkeypatch.setenv("SYNCSDE_ENGINE", "/nowhere")
    addon.preferences.SYNCSDE_AP_preferences.draw(chosen, bpy.context)
    assert "no engine at /nowhere: choose its program above" in " ".join(layout.drawn)


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
    assert draw()[2:6] == ["prompt", "like", "library", "Like stone brick, but blue"]
    settings.prompt = "a gray stone brick statue"
    assert draw()[5] == "Like stone brick"
    settings.prompt = "a dragon"
    told = "Names no picture: painted by mini, which does not know: dragon"
    assert told in " ".join(draw())
    settings.prompt = "a gold statue of a red cat"
    assert "does not know" not in " ".join(draw())
    settings.library = "rust"
    assert settings.material == "rust"
    assert draw()[5] == "Like rust"
    settings.material = "one of my own"
    assert settings.library == "NONE"
    assert "There is no picture 'one of my own'" in " ".join(draw())
    settings.library = "NONE"
    assert settings.material == ""
    settings.material, settings.prompt = "brick", "blue"
    assert draw()[5] == "Like brick, but blue"
    settings.model = "mini"
    assert draw()[2:5] == ["prompt", "Pictures need the model auto", "like"]
    settings.material = ""
    assert draw()[3:6] == FIELDS[3:6]
    settings.model = "auto"
    settings.like = an_image("Photo", [[[1, 1, 1, 1]]])
    assert draw()[2:6] == ["prompt", "like", "preview", "quality"]
    bpy.context.scene.syncsde_image.task = "wide"
    wide = bpy.context.scene.syncsde_image.wide
    wide.material = "rust"
    assert draw("image")[:5] == ["task", "prompt", "like", "library", "Like rust"]
    assert draw("image")[-1] == "syncsde.wide"


def test_the_image_that_is_shown_is_edited(bpy, draw, an_engine, an_image):
    bpy.context.scene.syncsde_image.task = "edit"
    shown = an_image("Shown", [[[1, 1, 1, 1]]])
    area = bpy.context.window.screen.areas[0]
    kind, area.type = area.type, "IMAGE_EDITOR"
    area.spaces.active.image = shown
    with bpy.context.temp_override(area=area):
        assert "Edits 'Shown', which is shown" in " ".join(draw("image"))
        settings = bpy.context.scene.syncsde_image.edit
        settings.source_prompt, settings.prompt = "a cat", "a dog"
        assert draw("image")[-1] == "syncsde.edit"
    area.type = kind


def test_several_objects_and_materials_have_rows_of_their_own(bpy, draw, suzanne, an_engine):
    of_one = ["syncsde_prompt", "syncsde_like"]
    panel = bpy.types.SYNCSDE_PT_parts
    suzanne.data.materials.append(bpy.data.materials.new("Iron"))
    assert not panel.poll(bpy.context)
    suzanne.data.materials.append(bpy.data.materials.new("Wood"))
    assert panel.poll(bpy.context)
    assert draw("parts") == ["Iron", *of_one, "Wood", *of_one]
    bpy.ops.mesh.primitive_cube_add()
    bpy.context.object.data.materials.append(bpy.data.materials["Wood"])
    suzanne.select_set(True)
    drawn = draw("parts")
    assert [name for name in drawn if name in of_one] == of_one * 4
    assert drawn.count("Wood") == 1
    for _ in range(40):
        bpy.ops.mesh.primitive_plane_add()
    bpy.ops.object.select_all(action="SELECT")
    assert "10 more objects" in " ".join(draw("parts"))


def test_says_which_model_painted(bpy, draw, addon, suzanne, an_engine):
    addon.session.last_task, addon.session.last_error = "texture", ""
    told = ("Done in 38 s, 82 % seen, 1 warning", "Painted by exemplar: stone brick")
    addon.session.outcome = addon.session.Outcome(*told, ["No camera sees the sole."])
    assert " ".join(draw()).endswith(" ".join([*told, "No camera sees the sole."]))
    assert told[1] not in " ".join(draw("image"))
    addon.session.fail("texture", "It broke.")
    assert "It broke." in draw()
    assert "Painted by" not in " ".join(draw())
