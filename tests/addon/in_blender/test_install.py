# SPDX-License-Identifier: GPL-3.0-or-later
"""The zip installs, registers, and leaves nothing behind."""

import subprocess
import sys
from pathlib import Path

import pytest

MODULE = "bl_ext.user_default.syncsde"
OPERATORS = ("texture", "cancel", "apply_texture", "remove_texture")


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
    assert "SYNCSDE_PT_texture" in registered(bpy)
    assert all(hasattr(bpy.ops.syncsde, name) for name in OPERATORS)
    assert {f"SYNCSDE_OT_{name}" for name in OPERATORS} <= registered(bpy)
    assert bpy.context.scene.syncsde.steps == 30
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
        assert not bpy.app.timers.is_registered(addon.session._tick)
        bpy.ops.preferences.addon_enable(module=MODULE)
        assert registered(bpy) == before


def test_operator_takes_every_parameter_of_the_task(bpy, addon):
    fields = set(addon.properties.FIELDS)
    operator = bpy.ops.syncsde.texture.get_rna_type().properties
    scene = bpy.context.scene.syncsde.bl_rna.properties
    assert len(fields) == 18
    assert fields <= set(operator.keys())
    assert fields <= set(scene.keys())
    assert all(operator[name].description for name in fields)


def test_blender_exits_by_itself_after_use(zip_path, picture, tmp_path):
    """Without os._exit: a class, timer or process left over hangs or crashes Blender here."""
    script = Path(__file__).with_name("exit_cleanly.py")
    command = [sys.executable, script, zip_path, picture]
    done = subprocess.run(command, capture_output=True, text=True, timeout=90, cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "used" in done.stdout


def test_parameters_left_open_are_sent_as_null(bpy, addon):
    sent = addon.properties.to_job(bpy.context.scene.syncsde)
    assert sent["prompt"] == ""
    assert sent["steps"] == 30
    assert sent["view_prompts"] is True
    assert sent["synchronized_share"] == 0.8  # exactly, though Blender holds single precision
    for name in ("negative_prompt", "guidance_scale", "control_scale", "view_size", "batch_size"):
        assert sent[name] is None
    bpy.context.scene.syncsde.guidance_scale = 7.5
    assert addon.properties.to_job(bpy.context.scene.syncsde)["guidance_scale"] == pytest.approx(
        7.5
    )
