# SPDX-License-Identifier: GPL-3.0-or-later
"""Views as images: one is painted on, and the others follow it, through a real engine."""

import json
import os
from pathlib import Path

import numpy as np
import pytest

SMALL = {
    "prompt": "stone",
    "model": os.path.basename(os.environ.get("SYNCSDE_TEST_MODEL", "mini")),
    "steps": 2,
    "seed": 4,
    "cameras": 4,
    "view_size": 64,
    "texture_size": 64,
}


@pytest.fixture
def run(bpy, addon, suzanne):
    """A texture that was made for Suzanne."""
    bpy.ops.syncsde.texture(**SMALL)
    return addon.session.outcome.run


@pytest.fixture
def opened(bpy, addon, run):
    bpy.ops.syncsde.open_views(folder=run.folder)
    return addon.views.opened(run)


def paint(image):
    """Make the left half green, as a brush does, without saving."""
    pixels = np.array(image.pixels[:], np.float32).reshape(image.size[1], image.size[0], 4)
    pixels[:, : image.size[0] // 2] = 0, 1, 0, 1
    image.pixels.foreach_set(pixels.ravel())
    image.update()


def test_views_are_images_of_their_numbers(bpy, run, opened):
    assert list(opened) == [0, 1, 2, 3]
    assert opened[2].name == "View 02: stone"
    assert tuple(opened[2].size) == (64, 64)
    count = len(bpy.data.images)
    bpy.ops.syncsde.open_views(folder=run.folder)
    assert len(bpy.data.images) == count


def test_the_panel_offers_them(bpy, addon, run, draw):
    assert draw()[-1] == "syncsde.open_views"
    bpy.ops.syncsde.open_views(folder=run.folder)
    assert draw()[-1] == "syncsde.resynchronize"


def test_the_others_follow_a_painted_view(bpy, addon, suzanne, run, opened):
    paint(opened[1])
    suzanne.select_set(False)
    bpy.ops.mesh.primitive_cube_add()
    assert bpy.ops.syncsde.resynchronize(folder=run.folder) == {"FINISHED"}
    again = addon.session.outcome.run
    report = json.loads((Path(again.directory) / "report.json").read_text())
    assert report["given_views"] == [1]
    assert list(report["textures"]) == ["Suzanne"]
    for name in ("seed", "steps", "cameras", "prompt", "view_size"):
        assert report["parameters"][name] == SMALL[name]
    bpy.ops.syncsde.open_views(folder=again.folder)
    shown = addon.images.read(addon.views.opened(again)[1])
    assert (shown[:, :32, :3] == (0, 255, 0)).all()


def test_what_cannot_follow_is_said(bpy, addon, suzanne, run):
    with pytest.raises(RuntimeError, match="Open the views"):
        bpy.ops.syncsde.resynchronize(folder=run.folder)
    bpy.ops.syncsde.open_views(folder=run.folder)
    with pytest.raises(RuntimeError, match="No view is changed"):
        bpy.ops.syncsde.resynchronize(folder=run.folder)
    paint(addon.views.opened(run)[0])
    bpy.data.objects.remove(suzanne)
    with pytest.raises(RuntimeError, match="not in this file"):
        bpy.ops.syncsde.resynchronize(folder=run.folder)


def test_lines_of_views_are_read(addon, suzanne, bpy):
    assert addon.parts.views("0: View 00\n\n3: Sky: blue") == [(0, "View 00"), (3, "Sky: blue")]
    with pytest.raises(RuntimeError, match="number of a view"):
        bpy.ops.syncsde.texture(**SMALL, view_for="front: Photo")
