# SPDX-License-Identifier: GPL-3.0-or-later
"""Blender's cameras arrive at the engine as they see the object."""

import json
import os

import numpy as np
import pytest


@pytest.fixture
def camera(bpy, suzanne):
    """Beside an object that is not at the origin, and turned in every way."""
    suzanne.location = (3, -1, 2)
    suzanne.rotation_euler = (0.3, 0, 1)
    bpy.ops.object.camera_add(location=(5, -4, 3), rotation=(1.2, 0.2, 0.5))
    camera = bpy.context.object
    bpy.context.view_layer.objects.active = suzanne
    return camera


def seen(bpy, camera, points):
    """Where Blender shows world points: x, y in [0, 1] of the frame from its lower left."""
    from bpy_extras.object_utils import world_to_camera_view
    from mathutils import Vector

    scene = bpy.context.scene
    return np.array([world_to_camera_view(scene, camera, Vector(point))[:2] for point in points])


def described(viewpoint, points, aspect):
    """The same of points in the engine's space, from what is sent."""
    position, target, up = (np.array(viewpoint[name]) for name in ("position", "look_at", "up"))
    forward = (target - position) / np.linalg.norm(target - position)
    right = np.cross(forward, up) / np.linalg.norm(np.cross(forward, up))
    offset = points - position
    place = np.stack([offset @ right, offset @ np.cross(right, forward)], axis=1)
    if "ortho_scale" in viewpoint:
        half = viewpoint["ortho_scale"] / 2
    else:
        half = np.tan(np.radians(viewpoint["fov"]) / 2)
        place /= (offset @ forward)[:, None]
    return place / half / [max(aspect, 1), max(1 / aspect, 1)] / 2 + 0.5


@pytest.mark.parametrize("size", [(1920, 1080), (600, 900)])
@pytest.mark.parametrize("kind", ["PERSP", "ORTHO"])
@pytest.mark.parametrize("fit", ["AUTO", "VERTICAL"])
def test_a_camera_sees_in_the_engine_what_it_sees_in_blender(bpy, addon, camera, size, kind, fit):
    obj, render = bpy.context.object, bpy.context.scene.render
    render.resolution_x, render.resolution_y = size
    camera.data.type, camera.data.sensor_fit = kind, fit
    bpy.context.view_layer.update()
    (viewpoint,) = addon.viewpoints.read(bpy.context, obj, f"{camera.name}\n")
    exported = addon.export_mesh.export(bpy.context, obj).tensors["positions"].astype(float)
    world = [obj.matrix_world @ vertex.co for vertex in obj.data.vertices]
    np.testing.assert_allclose(
        described(viewpoint, exported, size[0] / size[1]), seen(bpy, camera, world), atol=1e-4
    )


def test_a_name_that_is_no_camera_is_told(bpy, addon, camera):
    obj = bpy.context.object
    assert addon.viewpoints.read(bpy.context, obj, "") == []
    with pytest.raises(addon.viewpoints.CameraError, match="'Suzanne'"):
        addon.viewpoints.read(bpy.context, obj, "Suzanne")
    camera.data.type = "PANO"
    with pytest.raises(addon.viewpoints.CameraError, match="panoramic"):
        addon.viewpoints.read(bpy.context, obj, camera.name)


def test_a_camera_paints_its_view(bpy, camera, real_engine, tmp_path):
    result = bpy.ops.syncsde.texture(
        prompt="moss",
        model=os.path.basename(os.environ.get("SYNCSDE_TEST_MODEL", "mini")),
        steps=1,
        view_size=64,
        texture_size=64,
        viewpoints=camera.name,
        directory=str(tmp_path),
    )
    assert result == {"FINISHED"}
    report = json.loads((tmp_path / "report.json").read_text())
    (seen,) = report["cameras"]
    x, y, z = camera.location - bpy.context.object.location
    assert seen["position"] == pytest.approx([x, z, -y], abs=1e-4)
    assert 0.05 < report["coverage"]["seen"] < 0.6


def test_the_panel_takes_the_selected_cameras(bpy, addon, camera):
    camera.select_set(True)
    assert "viewpoints" not in addon.operators.of_panel(bpy.context)
    bpy.context.scene.syncsde.selected_cameras = True
    assert addon.operators.of_panel(bpy.context)["viewpoints"] == camera.name
    camera.select_set(False)
    assert addon.operators.of_panel(bpy.context)["viewpoints"] == ""
