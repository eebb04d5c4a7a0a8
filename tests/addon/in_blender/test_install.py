# SPDX-License-Identifier: GPL-3.0-or-later
"""The zip installs, registers, and leaves nothing behind."""

import subprocess
import sys
from pathlib import Path

import pytest

MODULE = "bl_ext.user_default.syncsde"
TASKS = ("texture", "mask", "edit", "wide", "ambiguous", "motion")
OPERATORS = (*TASKS, "cancel", "apply_texture", "remove_texture", "like_file")


def registered(bpy):
    return {name for name in dir(bpy.types) if name.startswith("SYNCSDE_")}


def test_blender_validates_the_zip(installed, zip_path):
    scripts = Path(installed.utils.system_resource("SCRIPTS"))
    tool = scripts / "addons_core" / "bl_pkg" / "cli" / "blender_ext.py"
    done = subprocess.run(
        [sys.executable, tool, "validate", zip_path], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_panel_operators_and_properties_are_there(bpy):
    assert {"SYNCSDE_PT_texture", "SYNCSDE_PT_image"} <= registered(bpy)
    assert all(hasattr(bpy.ops.syncsde, name) for name in OPERATORS)
    assert {f"SYNCSDE_OT_{name}" for name in OPERATORS} <= registered(bpy)
    assert bpy.context.scene.syncsde.steps == 30
    assert bpy.context.scene.syncsde.model == "auto"
    image = bpy.context.scene.syncsde_image
    assert (image.wide.steps, image.ambiguous.steps) == (50, 30)
    assert bpy.context.preferences.addons[MODULE].preferences.engine == ""


def test_disable_leaves_nothing_and_enable_works_again(bpy, addon):
    before = registered(bpy)
    handlers = {
        name: list(getattr(bpy.app.handlers, name))
        for name in dir(bpy.app.handlers)
        if isinstance(getattr(bpy.app.handlers, name), list)
    }
    assert not any("syncsde" in repr(each) for each in handlers.values())
    for _ in range(2):
        bpy.ops.preferences.addon_disable(module=MODULE)
        assert registered(bpy) == set()
        assert not hasattr(bpy.types.Scene, "syncsde")
        assert not hasattr(bpy.types.Scene, "syncsde_image")
        for owner in (bpy.types.Object, bpy.types.Material):
            assert not hasattr(owner, "syncsde_prompt")
            assert not hasattr(owner, "syncsde_like")
        assert addon.catalog._previews is None
        assert not bpy.app.timers.is_registered(addon.session._tick)
        bpy.ops.preferences.addon_enable(module=MODULE)
        assert registered(bpy) == before


@pytest.mark.parametrize("task", TASKS)
def test_operator_takes_every_parameter_of_the_task(bpy, addon, task):
    """test_parameters.py says that these are the engine's fields; here they are Blender's."""
    module = {"texture": addon.texture, "motion": addon.motion}.get(task, addon.image)
    fields = set(addon.sampling.fields(getattr(module, f"{task.capitalize()}Parameters")))
    several = getattr(module, f"{task.capitalize()}Lines", None)
    operator = getattr(bpy.ops.syncsde, task).get_rna_type().properties
    scene = bpy.context.scene
    groups = {"texture": scene.syncsde, "motion": scene.syncsde_motion}
    group = groups.get(task) or getattr(scene.syncsde_image, task)
    assert len(fields) > 15
    assert fields <= set(group.bl_rna.properties.keys())
    every = fields | set(addon.sampling.fields(several) if several else ())
    assert every | {"directory"} <= set(operator.keys())
    assert all(operator[name].description for name in every)
    same = [name for name in fields if hasattr(operator[name], "default")]
    assert all(operator[n].default == group.bl_rna.properties[n].default for n in same)


def test_blender_exits_by_itself_after_use(zip_path, picture, tmp_path):
    """Without os._exit: a class, timer or process left over hangs or crashes Blender here."""
    script = Path(__file__).with_name("exit_cleanly.py")
    command = [sys.executable, script, zip_path, picture]
    done = subprocess.run(command, capture_output=True, text=True, timeout=90, cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "used" in done.stdout


def test_parameters_left_open_are_sent_as_null(bpy, addon):
    def to_job(group):
        return addon.sampling.to_job(group, addon.texture.TextureParameters)

    sent = to_job(bpy.context.scene.syncsde)
    assert sent["prompt"] == ""
    assert sent["steps"] == 30
    assert sent["view_prompts"] is True
    assert sent["synchronized_share"] == 0.8  # exactly, though Blender holds single precision
    assert sent["model"] == "auto"
    for name in ("material", "tile_size"):
        assert sent[name] is None
    for name in ("negative_prompt", "guidance_scale", "control_scale", "view_size", "batch_size"):
        assert sent[name] is None
    bpy.context.scene.syncsde.guidance_scale = 7.5
    assert to_job(bpy.context.scene.syncsde)["guidance_scale"] == pytest.approx(7.5)
