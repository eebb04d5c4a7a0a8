# SPDX-License-Identifier: GPL-3.0-or-later
"""What the panel offers in each situation, drawn into a layout that writes down what it is told."""

import types

import pytest


class Layout:
    """Stands for bpy.types.UILayout, which exists only while Blender draws a window."""

    def __init__(self):
        self.drawn = []

    def prop(self, data, name, **_):
        assert hasattr(data, name)
        self.drawn.append(name)

    def operator(self, name, **_):
        self.drawn.append(name)
        return types.SimpleNamespace()

    def label(self, text, **_):
        self.drawn.append(text)

    def progress(self, factor, text):
        assert 0 <= factor <= 1
        self.drawn.append(f"progress: {text}")

    def column(self, **_):
        return self


@pytest.fixture
def draw(bpy, addon):
    def drawn():
        layout = Layout()
        panel = types.SimpleNamespace(layout=layout)
        bpy.types.SYNCSDE_PT_texture.draw(panel, bpy.context)
        return layout.drawn

    return drawn


@pytest.fixture
def an_engine(monkeypatch, tmp_path):
    program = tmp_path / "syncsde"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    monkeypatch.setenv("SYNCSDE_ENGINE", str(program))


def test_says_what_to_do_without_an_engine(draw, suzanne, no_engine):
    drawn = draw()
    assert drawn[:3] == ["prompt", "seed", "steps"]
    assert "engine is not installed" in " ".join(drawn)
    assert drawn[-1] == "preferences.addon_show"
    assert "syncsde.texture" not in drawn


def test_offers_generate_with_an_engine(draw, suzanne, an_engine):
    assert draw() == ["prompt", "seed", "steps", "syncsde.texture"]


def test_offers_remove_once_textured(bpy, draw, suzanne, an_engine, picture):
    bpy.ops.syncsde.apply_texture(filepath=picture)
    assert draw()[-1] == "syncsde.remove_texture"


def test_says_why_nothing_can_be_textured(draw, bpy, an_engine):
    assert draw()[-1] == "Select a mesh object"
    bpy.ops.object.camera_add()
    assert draw()[-1] == "Select a mesh object"
    assert not bpy.ops.syncsde.texture.poll()


def test_shows_the_last_error(draw, addon, suzanne, an_engine):
    addon.session.last_error = "It broke."
    assert draw()[-1] == "It broke."


def test_preferences_say_which_engine_is_used(bpy, addon, an_engine, monkeypatch):
    layout = Layout()
    chosen = types.SimpleNamespace(layout=layout, engine="")
    addon.preferences.SYNCSDE_AP_preferences.draw(chosen, bpy.context)
    assert layout.drawn[0] == "engine"
    assert layout.drawn[1].startswith("Found: ")
    monkeypatch.setenv("SYNCSDE_ENGINE", "/nowhere")
    addon.preferences.SYNCSDE_AP_preferences.draw(chosen, bpy.context)
    assert "no engine at /nowhere" in layout.drawn[-1]
