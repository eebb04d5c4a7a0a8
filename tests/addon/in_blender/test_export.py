# SPDX-License-Identifier: GPL-3.0-or-later
"""Meshes arrive at the engine as the artist sees them, and stay untouched."""

from math import radians

import numpy as np
import pytest


def evaluated_arrays(bpy, obj):
    """Positions, triangles and corner UVs of the evaluated mesh, the slow and plain way."""
    mesh = obj.evaluated_get(bpy.context.evaluated_depsgraph_get()).to_mesh()
    mesh.calc_loop_triangles()
    positions = np.array([tuple(vertex.co) for vertex in mesh.vertices])
    triangles = np.array([tuple(t.vertices) for t in mesh.loop_triangles])
    layer = mesh.uv_layers.active
    corners = np.array(
        [[tuple(layer.data[i].uv) for i in t.loops] for t in mesh.loop_triangles] if layer else []
    )
    return positions, triangles, corners


def volume(tensors):
    a, b, c = (tensors["positions"][tensors["triangles"][:, i]].astype(float) for i in range(3))
    return np.einsum("ij,ij->", a, np.cross(b, c)) / 6


def test_arrays_are_the_evaluated_mesh_with_y_up(bpy, addon, suzanne):
    suzanne.modifiers.new("Subdivision", "SUBSURF").levels = 1
    exported = addon.export_mesh.export(bpy.context, suzanne)
    positions, triangles, corners = evaluated_arrays(bpy, suzanne)
    tensors = exported.tensors
    assert {name: array.dtype.name for name, array in tensors.items()} == {
        "positions": "float32",
        "triangles": "int32",
        "uvs": "float32",
        "uv_triangles": "int32",
        "face_material": "int32",
    }
    assert all(array.flags.c_contiguous for array in tensors.values())
    assert len(positions) > len(suzanne.data.vertices)
    x, y, z = positions.T
    np.testing.assert_allclose(tensors["positions"], np.column_stack((x, z, -y)), atol=1e-6)
    np.testing.assert_array_equal(tensors["triangles"], triangles)
    np.testing.assert_array_equal(tensors["uvs"][tensors["uv_triangles"]], corners)
    assert exported.uv_layer == suzanne.data.uv_layers.active.name
    assert exported.new_uvs is None


def test_corners_with_the_same_vertex_and_uv_are_one(bpy, addon):
    bpy.ops.mesh.primitive_grid_add(x_subdivisions=4, y_subdivisions=4)
    tensors = addon.export_mesh.export(bpy.context, bpy.context.object).tensors
    assert len(tensors["uvs"]) == len(tensors["positions"]) == 25
    pairs = {
        (vertex, corner)
        for face in zip(tensors["triangles"], tensors["uv_triangles"], strict=True)
        for vertex, corner in zip(*face, strict=True)
    }
    assert len(pairs) == 25


def test_active_uv_layer_is_taken(bpy, addon, suzanne):
    second = suzanne.data.uv_layers.new(name="Second")
    for corner in second.uv:
        corner.vector = corner.vector / 2
    suzanne.data.uv_layers.active = second
    exported = addon.export_mesh.export(bpy.context, suzanne)
    assert exported.uv_layer == "Second"
    assert exported.tensors["uvs"].max() <= 0.5


def test_world_rotation_and_scale_count_but_place_does_not(bpy, addon, suzanne):
    at_rest = addon.export_mesh.export(bpy.context, suzanne).tensors["positions"]
    suzanne.location = (5, -3, 2)
    suzanne.rotation_euler = (0, 0, radians(90))
    suzanne.scale = (1, 1, 2)
    bpy.context.view_layer.update()
    x, y, z = at_rest.T  # a quarter turn about Blender's z is one about the engine's y
    turned = addon.export_mesh.export(bpy.context, suzanne).tensors["positions"]
    np.testing.assert_allclose(turned, np.column_stack((z, 2 * y, -x)), atol=1e-5)


def test_mirrored_objects_keep_their_outside(bpy, addon, suzanne):
    plain = volume(addon.export_mesh.export(bpy.context, suzanne).tensors)
    suzanne.scale.x = -1
    bpy.context.view_layer.update()
    exported = addon.export_mesh.export(bpy.context, suzanne).tensors
    assert plain > 0
    assert volume(exported) == pytest.approx(plain, rel=1e-4)


def test_mesh_without_uvs_is_unwrapped_on_a_copy(bpy, addon, suzanne, contents_of):
    while suzanne.data.uv_layers:
        suzanne.data.uv_layers.remove(suzanne.data.uv_layers[0])
    suzanne.shape_key_add(name="Basis")
    suzanne.modifiers.new("Subdivision", "SUBSURF")
    bpy.ops.mesh.primitive_cube_add()
    cube = bpy.context.object
    suzanne.select_set(True)
    bpy.context.view_layer.objects.active = suzanne
    before = contents_of(suzanne)
    blocks = [len(bpy.data.objects), len(bpy.data.meshes), len(bpy.data.shape_keys)]

    exported = addon.export_mesh.export(bpy.context, suzanne)

    assert contents_of(suzanne) == before
    assert blocks == [len(bpy.data.objects), len(bpy.data.meshes), len(bpy.data.shape_keys)]
    assert bpy.context.object == suzanne
    assert cube.select_get()
    assert suzanne.select_get()
    assert exported.uv_layer == "SyncSDE"
    assert exported.new_uvs.shape == (len(suzanne.data.loops), 2)
    uvs = exported.tensors["uvs"]
    assert len(exported.tensors["triangles"]) > 3000  # with the modifier
    assert 0 <= uvs.min() < uvs.max() <= 1
    a, b, c = (uvs[exported.tensors["uv_triangles"][:, i]] for i in range(3))
    (ux, uy), (vx, vy) = (b - a).T, (c - a).T
    area = np.abs(ux * vy - uy * vx).sum() / 2
    assert 0.1 < area <= 1.0


def test_unfinished_edits_count_and_edit_mode_stays(bpy, addon, suzanne):
    bpy.ops.object.mode_set(mode="EDIT")
    bpy.ops.mesh.select_all(action="SELECT")
    bpy.ops.transform.resize(value=(2, 2, 2))
    exported = addon.export_mesh.export(bpy.context, suzanne)
    assert suzanne.mode == "EDIT"
    assert np.ptp(exported.tensors["positions"][:, 1]) > 3
    bpy.ops.object.mode_set(mode="OBJECT")


def test_mesh_without_faces_is_refused_in_one_sentence(bpy, addon):
    bpy.ops.mesh.primitive_circle_add()
    with pytest.raises(addon.export_mesh.MeshError, match="'Circle' has no faces to texture"):
        addon.export_mesh.export(bpy.context, bpy.context.object)
