# SPDX-License-Identifier: GPL-3.0-or-later
"""textured.glb from the command line, opened in Blender: right side up, texels in place."""

import os
import subprocess

import numpy as np

MODEL = os.environ.get("SYNCSDE_TEST_MODEL", "mini")


def corners(obj):
    """World position and texture coordinate of every face corner, in an order of their own."""
    mesh = obj.data
    position = np.empty(len(mesh.vertices) * 3, np.float32)
    mesh.vertices.foreach_get("co", position)
    matrix = np.array(obj.matrix_world)
    world = position.reshape(-1, 3) @ matrix[:3, :3].T + matrix[:3, 3]
    vertex = np.empty(len(mesh.loops), np.int32)
    mesh.loops.foreach_get("vertex_index", vertex)
    uv = np.empty(len(mesh.loops) * 2, np.float32)
    mesh.uv_layers.active.data.foreach_get("uv", uv)
    rows = np.hstack([world[vertex], uv.reshape(-1, 2)])
    # Blender and the file round in the sixth digit: sort by coarser numbers.
    return rows[np.lexsort(np.round(rows, 3).T)]


def pixels(image):
    values = np.empty(image.size[0] * image.size[1] * 4, np.float32)
    image.pixels.foreach_get(values)
    return values.reshape(image.size[1], image.size[0], 4)


def test_textured_glb_opens_right_side_up(bpy, suzanne, real_engine, tmp_path):
    modifier = suzanne.modifiers.new("Triangulate", "TRIANGULATE")
    bpy.ops.object.modifier_apply(modifier=modifier.name)
    expected = corners(suzanne)
    path = tmp_path / "suzanne.obj"
    bpy.ops.wm.obj_export(filepath=str(path), export_materials=False)
    small = ["--steps", "1", "--view-size", "64", "--texture-size", "64", "--prompt", "gold"]
    command = [real_engine, "texture", path, *small, "--model", MODEL, "--output", tmp_path / "out"]
    subprocess.run(command, check=True, timeout=120)

    bpy.ops.object.delete()
    bpy.ops.import_scene.gltf(filepath=str(tmp_path / "out" / "textured.glb"))
    (imported,) = (obj for obj in bpy.data.objects if obj.type == "MESH")
    found = corners(imported)
    assert found.shape == expected.shape
    assert np.abs(found - expected).max() < 1e-3
    assert np.abs(found[:, 3:] - expected[:, 3:]).max() < 1e-4, "half a texel would be 8e-3"

    (material,) = imported.data.materials
    (node,) = (node for node in material.node_tree.nodes if node.bl_idname == "ShaderNodeTexImage")
    png = bpy.data.images.load(str(tmp_path / "out" / "texture.png"))
    assert np.array_equal(pixels(node.image), pixels(png))
    assert node.image.colorspace_settings.name == "sRGB"
