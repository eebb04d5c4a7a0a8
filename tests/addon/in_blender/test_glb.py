# SPDX-License-Identifier: GPL-3.0-or-later
"""textured.glb from the command line, opened in Blender: right side up, texels in place."""

import json
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


def test_objects_and_materials_keep_their_names_and_textures(bpy, real_engine, tmp_path):
    """A cube of two materials and a ball of one: three textures, on the faces they are of."""
    bpy.ops.mesh.primitive_uv_sphere_add(segments=8, ring_count=6, location=(3, 0, 0))
    bpy.context.object.name = "Ball"
    bpy.ops.mesh.primitive_cube_add()
    cube = bpy.context.object
    for name in ("Iron", "Wood"):
        cube.data.materials.append(bpy.data.materials.new(name))
    for face in list(cube.data.polygons)[:2]:
        face.material_index = 1
    bpy.ops.wm.obj_export(filepath=str(tmp_path / "two.obj"))
    small = ["--steps", "1", "--view-size", "64", "--texture-size", "64", "--prompt", "gold"]
    command = [real_engine, "texture", tmp_path / "two.obj", *small, "--prompt-for", "Ball", "lava"]
    subprocess.run([*command, "--model", MODEL, "--output", tmp_path / "out"], check=True)

    bpy.ops.wm.read_homefile(use_empty=True, use_factory_startup=True)
    bpy.ops.import_scene.gltf(filepath=str(tmp_path / "out" / "textured.glb"))
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    files = report["textures"]
    assert {t["material"] for t in report["mesh"]["textures"]} == {"material", "Iron", "Wood"}
    found = {}
    for obj in (obj for obj in bpy.data.objects if obj.type == "MESH"):
        faces = [face.material_index for face in obj.data.polygons]
        found[obj.name] = {
            slot.name: faces.count(index) for index, slot in enumerate(obj.material_slots)
        }
        for slot in obj.material_slots:
            nodes = slot.material.node_tree.nodes
            (node,) = (node for node in nodes if node.bl_idname == "ShaderNodeTexImage")
            png = bpy.data.images.load(str(tmp_path / "out" / files[slot.name]))
            assert np.array_equal(pixels(node.image), pixels(png))
    assert found["Cube"] == {"Iron": 8, "Wood": 4}
    assert list(found["Ball"].values()) == [80]
