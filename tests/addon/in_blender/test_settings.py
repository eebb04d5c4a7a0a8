# SPDX-License-Identifier: GPL-3.0-or-later
"""What is asked of the engine is what was said, and what the panel shows."""

import types

import numpy as np
import pytest

DRAFT = {"steps": 12, "cameras": 6, "texture_size": 512}


@pytest.fixture
def click(bpy, addon):
    """What an operator that is called from the panel sends: background Blender invokes none."""

    def clicked(**given):
        operator = types.SimpleNamespace(**given)
        said = set(given)
        operator.properties = types.SimpleNamespace(is_property_set=lambda name: name in said)
        addon.sampling.fill(operator, addon.operators.of_panel(bpy.context))
        said |= set(vars(operator))
        for name in addon.sampling.fields(addon.texture.TextureParameters):
            rna = addon.texture.SYNCSDE_PG_texture.bl_rna.properties[name]
            if not hasattr(operator, name):
                setattr(operator, name, rna.default)
        return operator, addon.sampling.to_job(operator, addon.texture.TextureParameters)

    return clicked


def test_what_a_script_says_goes_before_the_draft(bpy, suzanne, sent):
    bpy.ops.syncsde.texture(prompt="moss", quality="draft", steps=30, texture_size=1024)
    said = sent[0].parameters
    assert (said["steps"], said["texture_size"]) == (30, 1024)
    assert "cameras" not in said  # the engine's draft has its own


def test_the_panels_settings_are_what_is_shown(bpy, suzanne, click):
    settings = bpy.context.scene.syncsde
    settings.prompt = "moss"
    settings.quality = "draft"
    assert {name: getattr(settings, name) for name in DRAFT} == DRAFT
    settings.steps = 30
    _, said = click()
    assert {name: said[name] for name in DRAFT} == {**DRAFT, "steps": 30}
    settings.quality = "standard"
    assert (settings.steps, settings.cameras, settings.texture_size) == (30, 0, 1024)


def test_a_quality_that_is_said_means_its_own_steps(bpy, suzanne, click):
    settings = bpy.context.scene.syncsde
    settings.prompt, settings.steps = "moss", 77
    _, said = click(quality="draft")
    assert DRAFT.keys().isdisjoint(said)
    _, said = click(steps=5)
    assert said["steps"] == 5
    _, said = click()
    assert said["steps"] == 77


@pytest.mark.parametrize("name", ["Helmet: left", "Helmet", "a: b: c"])
def test_a_colon_in_a_name_is_no_separator(bpy, addon, suzanne, sent, name):
    suzanne.name = name
    suzanne.syncsde_prompt = "rust: old, red"
    bpy.ops.mesh.primitive_cube_add()
    bpy.context.object.name = "Helmet"
    suzanne.select_set(True)
    lines = "\n".join(addon.parts.own_prompts(addon.operators.chosen(bpy.context)))
    bpy.ops.syncsde.texture(prompt="moss", prompt_for=lines)
    assert sent[0].parameters["prompt_for"] == [[suzanne.name, "rust: old, red"]]


def test_a_prompt_that_is_too_long_is_not_cut(bpy, suzanne, sent):
    bpy.ops.syncsde.texture(prompt="m" * 2500)
    assert len(sent[0].parameters["prompt"]) > 2000  # which the engine refuses by its number


def test_objects_around_a_light_that_is_active(bpy, suzanne, sent):
    bpy.ops.object.light_add(location=(5, 5, 5))
    suzanne.select_set(True)
    assert bpy.ops.syncsde.texture(prompt="moss") == {"FINISHED"}


def test_suggestions_begin_with_what_mini_can_do(bpy, addon):
    offered = addon.suggestions.complete("")
    hard = [each for each in offered if any(word in each for word in addon.suggestions.HARD)]
    assert offered[0] == "a wood statue"
    assert hard
    assert not [each for each in offered[: offered.index(hard[0])] if each in hard]


def test_overrides_are_textured_and_links_are_refused(bpy, addon, suzanne, tmp_path, an_engine):
    suzanne.data.materials.append(bpy.data.materials.new("Own"))
    bpy.data.libraries.write(str(tmp_path / "library.blend"), {suzanne})
    bpy.ops.wm.read_homefile(use_empty=True)
    with bpy.data.libraries.load(str(tmp_path / "library.blend"), link=True) as (_, linked):
        linked.objects = ["Suzanne"]
    obj = bpy.data.objects["Suzanne"]
    bpy.context.collection.objects.link(obj)
    bpy.context.view_layer.objects.active = obj
    assert "linked from another file: make a library override" in addon.operators.why_not(
        bpy.context
    )
    own = obj.override_create(remap_local_usages=True)
    bpy.context.view_layer.objects.active = own
    own.select_set(True)
    assert addon.operators.why_not(bpy.context) == ""
    addon.operators.read_objects(bpy.context, tmp_path, False)
    material = bpy.data.materials.new("Painted")
    material["syncsde"] = True
    if material.node_tree is None:  # before Blender 5.0
        material.use_nodes = True
    addon.material.prepare(own, "UVMap", None)
    addon.material.show(own, {0: material})
    assert own.material_slots[0].material == material
    addon.material.remove(own)
    assert own.material_slots[0].material.name == "Own"


def test_what_is_painted_white_is_repainted(bpy, addon, suzanne, sent, picture, an_image):
    assert not bpy.ops.syncsde.new_mask.poll()
    with pytest.raises(RuntimeError, match="'Suzanne' shows no generated texture"):
        bpy.ops.syncsde.texture(prompt="moss", repaint_mask=an_image("M", [[[1] * 4]]).name)
    bpy.ops.syncsde.apply_texture(filepath=picture, material_name="moss")
    assert bpy.ops.syncsde.new_mask() == {"FINISHED"}
    settings, paint = bpy.context.scene.syncsde, bpy.context.scene.tool_settings.image_paint
    mask = settings.repaint_mask
    assert (suzanne.mode, paint.canvas) == ("TEXTURE_PAINT", mask)
    assert tuple(mask.size) == (16, 16)
    assert settings.keep.name == "moss"
    values = np.zeros((16, 16, 4), np.float32)
    values[..., 3], values[:8] = 1, 1  # the lower half is white
    mask.pixels.foreach_set(values.ravel())
    bpy.ops.syncsde.texture(prompt="lava", repaint_mask=mask.name)
    inputs = sent[0].inputs
    expected = np.zeros((16, 16, 1), np.uint8)
    expected[:8] = 255  # row 0 is at the top: what is not white is kept
    assert inputs["keep_mask"]() == addon.images.png(expected.repeat(3, axis=2))
    assert inputs["keep"]() == addon.images.png(addon.images.read(settings.keep))
    assert sent[0].parameters["texture_size"] == 16
    assert "repaint_mask" not in inputs
    assert addon.operators.of_panel(bpy.context)["repaint_mask"] == mask.name
    with pytest.raises(RuntimeError, match="Give Keep Mask or Repaint Mask, not both"):
        bpy.ops.syncsde.texture(prompt="a", repaint_mask=mask.name, keep_mask=mask.name)


def test_large_images_are_packed_in_slices(bpy, addon):
    pixels = np.random.default_rng(0).integers(0, 255, (200, 30, 3), np.uint8)
    slices = list(iter(addon.images.png_slices(pixels)))
    assert len(slices) == 3
    inputs = {"a": lambda: addon.images.png_slices(pixels)}
    job = addon.job.Job(addon.job.Request("x", "texture", {}, inputs, None, "a", False, None))
    sent = []
    job._client = types.SimpleNamespace(put_blob=lambda content: sent.append(content) or "f" * 64)
    assert len(list(job._send())) == 4
    assert sent == [addon.images.png(pixels)]
    assert not job.has_work


def test_the_copied_command_does_what_the_panel_does(bpy, addon, suzanne, sent, click):
    settings = bpy.context.scene.syncsde
    settings.prompt, settings.quality, settings.seed = "old 'red' rust", "draft", 7
    settings.fov = 33.3
    command = addon.operators.as_python("texture", addon.operators.of_panel(bpy.context))
    assert command.startswith("bpy.ops.syncsde.texture(")
    assert "strategy" not in command
    assert bpy.ops.syncsde.copy_command() == {"FINISHED"}
    eval(command, {"bpy": bpy})
    _, said = click()
    assert {name: sent[0].parameters[name] for name in said} == said
