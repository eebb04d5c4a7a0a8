# SPDX-License-Identifier: GPL-3.0-or-later
"""Tests inside real Blender, on the installed zip; test_blender.py runs them."""

import dataclasses
import importlib.util
import os
import subprocess
import sys
import tempfile
import types
from functools import partial
from pathlib import Path

import numpy as np
import pytest

IN_BLENDER = importlib.util.find_spec("bpy") is not None
if not IN_BLENDER:
    collect_ignore_glob = ["*"]
else:
    # Before bpy is imported: preferences, extensions and the engine's files of these tests alone.
    FOLDER = tempfile.TemporaryDirectory(prefix="syncsde-blender-")
    os.environ["BLENDER_USER_RESOURCES"] = FOLDER.name
    os.environ["SYNCSDE_STATE_DIR"] = str(Path(FOLDER.name) / "engine")

ROOT = Path(__file__).resolve().parents[3]
MODULE = "bl_ext.user_default.syncsde"


def pytest_sessionfinish(session, exitstatus):
    session.config.final_status = int(exitstatus)


@pytest.hookimpl(trylast=True)
def pytest_unconfigure(config):
    """Leave without Blender's static destructors, which hang or crash under a foreign main."""
    sys.stdout.flush()
    sys.stderr.flush()
    if "bpy" in sys.modules:
        FOLDER.cleanup()
        os._exit(getattr(config, "final_status", 3))


@pytest.fixture(scope="session")
def zip_path(tmp_path_factory):
    output = tmp_path_factory.mktemp("dist")
    command = [sys.executable, ROOT / "tools" / "build_extension.py", "--output", output]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return Path(done.stdout.strip())


@pytest.fixture(scope="session")
def installed(zip_path):
    import bpy

    bpy.ops.extensions.package_install_files(
        filepath=str(zip_path), repo="user_default", enable_on_install=True
    )
    return bpy


@pytest.fixture
def addon(installed):
    """The enabled add-on's modules as attributes, in an empty file, with no engine chosen."""
    bpy = installed
    bpy.ops.wm.read_homefile(use_empty=True, use_factory_startup=True)
    if MODULE not in bpy.context.preferences.addons:
        bpy.ops.preferences.addon_enable(module=MODULE)
    preferences = bpy.context.preferences.addons[MODULE].preferences
    preferences.engine = ""
    # The engine takes models by their names in a folder of models.
    preferences.models = os.path.dirname(os.environ.get("SYNCSDE_TEST_MODEL", ""))
    preferences.libraries.clear()
    rooms = ("client", "scene", "library", "properties", "jobs", "ui")
    starts = tuple(f"{MODULE}.{room}." for room in rooms)
    modules = {
        name.rsplit(".", 1)[1]: module
        for name, module in sys.modules.items()
        if name.startswith(starts)
    }
    modules["engine"]._reached = None  # what an earlier test has talked to
    session = modules["session"]
    session.last_error, session.last_about, session.outcome = "", "", None
    for run in modules["runs"].all_runs():
        session.forget(run)
    yield types.SimpleNamespace(**modules)
    session.cancel()


@pytest.fixture
def bpy(addon, installed):
    return installed


@pytest.fixture
def suzanne(bpy):
    bpy.ops.mesh.primitive_monkey_add()
    return bpy.context.object


@pytest.fixture
def an_image(bpy):
    """Make an image of (H, W, 4) values in [0, 1], row 0 at the top."""

    def made(name, pixels, **options):
        pixels = np.asarray(pixels, np.float32)
        image = bpy.data.images.new(name, pixels.shape[1], pixels.shape[0], alpha=True, **options)
        image.pixels.foreach_set(np.ascontiguousarray(pixels[::-1]).ravel())
        image.update()
        return image

    return made


@pytest.fixture
def no_engine(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("SYNCSDE_ENGINE", raising=False)


@pytest.fixture
def an_engine(monkeypatch, tmp_path):
    """A program that can be found, and no more."""
    program = tmp_path / "syncsde"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    monkeypatch.setenv("SYNCSDE_ENGINE", str(program))


@pytest.fixture
def sent(addon, an_engine, monkeypatch):
    """The requests of operators, written down instead of sent."""
    requests = []

    def whole(content):
        made = content()
        while hasattr(made, "send"):  # in slices
            try:
                next(made)
            except StopIteration as end:
                return end.value
        return made

    def start(request, *_):
        inputs = {name: partial(whole, content) for name, content in request.inputs.items()}
        requests.append(dataclasses.replace(request, inputs=inputs))

    monkeypatch.setattr(addon.session, "start", start)
    monkeypatch.setattr(addon.session, "wait", lambda: "")
    return requests


@pytest.fixture
def real_engine(bpy):
    """Choose the engine of $SYNCSDE_ENGINE in the preferences."""
    program = os.environ.get("SYNCSDE_ENGINE")
    if not program:
        pytest.skip("SYNCSDE_ENGINE names no engine")
    bpy.context.preferences.addons[MODULE].preferences.engine = program
    return program


@pytest.fixture
def picture(bpy, tmp_path):
    """A small PNG: left half red, right half green."""
    image = bpy.data.images.new("picture", 16, 16)
    pixels = np.zeros((16, 16, 4), np.float32)
    pixels[:, :8], pixels[:, 8:] = (1, 0, 0, 1), (0, 1, 0, 1)
    image.pixels.foreach_set(pixels.ravel())
    image.file_format = "PNG"
    image.filepath_raw = str(tmp_path / "picture.png")
    image.save()
    bpy.data.images.remove(image)
    return str(tmp_path / "picture.png")


def contents(obj):
    """Everything of an object that belongs to the artist, as comparable values."""
    mesh = obj.data
    vertices = np.empty(len(mesh.vertices) * 3, np.float32)
    mesh.vertices.foreach_get("co", vertices)
    return {
        "vertices": vertices.tobytes(),
        "edges": [tuple(edge.vertices) for edge in mesh.edges],
        "faces": [(*face.vertices, face.material_index, face.use_smooth) for face in mesh.polygons],
        "uvs": {
            layer.name: [tuple(corner.vector) for corner in layer.uv] for layer in mesh.uv_layers
        },
        "attributes": sorted(
            attribute.name for attribute in mesh.attributes if attribute.name != "material_index"
        ),
        "materials": [material and material.name for material in mesh.materials],
        "slots": [(slot.link, slot.material and slot.material.name) for slot in obj.material_slots],
        "groups": [group.name for group in obj.vertex_groups],
        "keys": [key.name for key in mesh.shape_keys.key_blocks] if mesh.shape_keys else [],
        "modifiers": [(modifier.name, modifier.type) for modifier in obj.modifiers],
        "transform": [tuple(row) for row in obj.matrix_world],
        # Blender 4.2 lists the group of our own fields from when it was first looked at.
        "properties": [key for key in sorted(obj.keys()) if not key.startswith("syncsde")],
        "mode": obj.mode,
    }


@pytest.fixture(scope="session")
def contents_of():
    return contents


class Layout:
    """Stands for bpy.types.UILayout, which exists only while Blender draws a window."""

    def __init__(self):
        self.drawn, self.buttons = [], []

    def prop(self, data, name, **_):
        assert hasattr(data, name)
        self.drawn.append(name)

    def operator(self, name, **_):
        self.drawn.append(name)
        self.buttons.append(types.SimpleNamespace())
        return self.buttons[-1]

    def label(self, text, **_):
        self.drawn.append(text)

    def progress(self, factor, text):
        assert 0 <= factor <= 1
        self.drawn.append(f"progress: {text}")

    def box(self):
        return self

    def row(self, **_):
        row = Layout()
        row.drawn, row.buttons = self.drawn, self.buttons
        return row

    column = split = row

    def template_ID(self, data, name, **_):
        self.prop(data, name)

    template_icon_view = template_ID

    def template_icon(self, icon_value, scale):
        self.drawn.append("preview")


@pytest.fixture
def a_layout():
    return Layout


@pytest.fixture
def draw(bpy, addon):
    def drawn(name="texture"):
        layout = Layout()
        kind = getattr(bpy.types, f"SYNCSDE_PT_{name}")
        panel = types.SimpleNamespace(layout=layout, names=getattr(kind, "names", ()))
        kind.draw(panel, bpy.context)
        drawn.buttons = layout.buttons
        return layout.drawn

    return drawn
