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


@pytest.fixture
def with_nodes(bpy):
    """Give an object geometry nodes: a cube in place of its mesh, or its mesh, and then others."""

    def given(obj, *, cube=False, uv_layer="", set_material=None):
        tree = bpy.data.node_groups.new("Nodes", "GeometryNodeTree")
        for way in ("INPUT", "OUTPUT"):
            tree.interface.new_socket("Geometry", in_out=way, socket_type="NodeSocketGeometry")
        nodes, links = tree.nodes, tree.links
        end = nodes.new("NodeGroupInput").outputs[0]
        if cube:
            made = nodes.new("GeometryNodeMeshCube")
            end = made.outputs["Mesh"]
        if uv_layer:
            store = nodes.new("GeometryNodeStoreNamedAttribute")
            store.data_type, store.domain = "FLOAT2", "CORNER"
            store.inputs["Name"].default_value = uv_layer
            links.new(made.outputs["UV Map"], store.inputs["Value"])
            links.new(end, store.inputs["Geometry"])
            end = store.outputs["Geometry"]
        if set_material:
            node = nodes.new("GeometryNodeSetMaterial")
            node.inputs["Material"].default_value = set_material
            links.new(end, node.inputs["Geometry"])
            end = node.outputs["Geometry"]
        links.new(end, nodes.new("NodeGroupOutput").inputs[0])
        obj.modifiers.new("Nodes", "NODES").node_group = tree

    return given


@pytest.fixture
def empty(bpy):
    obj = bpy.data.objects.new("Empty Mesh", bpy.data.meshes.new("Empty Mesh"))
    bpy.context.collection.objects.link(obj)
    bpy.context.view_layer.objects.active = obj
    obj.select_set(True)
    return obj


def test_nodes_that_make_mesh_and_uvs_are_taken_with_their_layer(bpy, addon, empty, with_nodes):
    with_nodes(empty, cube=True, uv_layer="UVMap")
    exported = addon.export_mesh.export(bpy.context, empty)
    assert exported.uv_layer == "UVMap"
    assert len(exported.tensors["triangles"]) == 12
    target = addon.textures.target(empty, exported)
    assert target.contract.corners == 24
    assert addon.textures.changes(addon.textures.found([target])) == ""


def test_nodes_that_make_a_mesh_without_uvs_are_refused(bpy, addon, empty, with_nodes):
    with_nodes(empty, cube=True)
    with pytest.raises(addon.export_mesh.MeshError, match="make all of its faces and no UV layer"):
        addon.export_mesh.export(bpy.context, empty)


def test_nodes_that_replace_mesh_and_uvs_are_refused(bpy, addon, suzanne, with_nodes):
    with_nodes(suzanne, cube=True)
    with pytest.raises(addon.export_mesh.MeshError, match="remove its UV layer 'UVMap': apply"):
        addon.export_mesh.export(bpy.context, suzanne)
    suzanne.modifiers.clear()
    suzanne.modifiers.new("Remesh", "REMESH")
    with pytest.raises(addon.export_mesh.MeshError, match="remove its UV layer 'UVMap': apply"):
        addon.export_mesh.export(bpy.context, suzanne)
    suzanne.data.uv_layers.remove(suzanne.data.uv_layers[0])
    with pytest.raises(addon.export_mesh.MeshError, match="remove its UV layer 'SyncSDE': apply"):
        addon.export_mesh.export(bpy.context, suzanne)


@pytest.mark.parametrize("slots", [0, 1])
def test_nodes_that_hide_the_texture_are_refused(bpy, addon, suzanne, with_nodes, slots):
    for _ in range(slots):
        suzanne.data.materials.append(bpy.data.materials.new("Own"))
    with_nodes(suzanne, set_material=bpy.data.materials.new("Gold"))
    with pytest.raises(addon.export_mesh.MeshError, match="set the material 'Gold'"):
        addon.export_mesh.export(bpy.context, suzanne)


def test_nodes_that_set_the_objects_own_material_are_taken(bpy, addon, suzanne, with_nodes):
    own = bpy.data.materials.new("Own")
    suzanne.data.materials.append(own)
    with_nodes(suzanne, set_material=own)
    assert addon.export_mesh.export(bpy.context, suzanne).slots[0].name == "Own"


@pytest.mark.parametrize("what", ["object", "collection"])
def test_what_is_disabled_in_viewports_is_refused(bpy, addon, suzanne, what):
    suzanne.modifiers.new("Subdivision", "SUBSURF")
    if what == "object":
        suzanne.hide_viewport = True
    else:
        collection = bpy.data.collections.new("Hidden")
        bpy.context.scene.collection.children.link(collection)
        collection.objects.link(suzanne)
        bpy.context.scene.collection.objects.unlink(suzanne)
        collection.hide_viewport = True
    with pytest.raises(addon.export_mesh.MeshError, match="'Suzanne' is disabled in viewports"):
        addon.export_mesh.export(bpy.context, suzanne)


def test_what_the_eye_hides_is_taken_with_its_modifiers(bpy, addon, suzanne):
    suzanne.modifiers.new("Subdivision", "SUBSURF")
    suzanne.hide_set(True)
    assert len(addon.export_mesh.export(bpy.context, suzanne).tensors["triangles"]) == 3936


def test_materials_of_one_name_are_told_apart(bpy, addon, suzanne, tmp_path):
    iron = bpy.data.materials.new("Iron")
    bpy.data.libraries.write(str(tmp_path / "library.blend"), {iron})
    with bpy.data.libraries.load(str(tmp_path / "library.blend"), link=True) as (_, linked):
        linked.materials = ["Iron"]
    (linked,) = (each for each in bpy.data.materials if each.library)
    for own in (iron, linked, None):
        suzanne.data.materials.append(own)
    names = [slot.name for slot in addon.export_mesh.export(bpy.context, suzanne).slots]
    assert names == ["Iron", "Iron (2)", "material"]


@pytest.mark.parametrize("own", ["nodes", "mesh"])
def test_textures_are_seen_on_meshes_of_nodes(
    bpy, addon, empty, suzanne, with_nodes, picture, tmp_path, own
):
    """Rendered by Cycles: slots of the object lie over the empty ones of what nodes make."""
    obj = empty if own == "nodes" else suzanne
    bpy.data.objects.remove(suzanne if own == "nodes" else empty)
    if own == "nodes":
        with_nodes(obj, cube=True, uv_layer="UVMap")
    image = bpy.data.images.load(picture)
    material = addon.material.new(image, "UVMap")
    nodes, links = material.node_tree.nodes, material.node_tree.links
    emission = nodes.new("ShaderNodeEmission")  # no lights are needed
    links.new(nodes.active.outputs["Color"], emission.inputs["Color"])
    output = next(node for node in nodes if node.bl_idname == "ShaderNodeOutputMaterial")
    links.new(emission.outputs[0], output.inputs["Surface"])
    addon.material.prepare(obj, "UVMap", None)
    addon.material.show(obj, {0: material})
    bpy.ops.object.camera_add(location=(0, -4, 0), rotation=(radians(90), 0, 0))
    scene = bpy.context.scene
    scene.camera = bpy.context.object
    scene.render.engine, scene.cycles.samples, scene.cycles.device = "CYCLES", 1, "CPU"
    scene.render.resolution_x = scene.render.resolution_y = 16
    scene.view_settings.view_transform = "Standard"
    scene.render.filepath = str(tmp_path / "render.png")
    bpy.ops.render.render(write_still=True)
    rendered = bpy.data.images.load(str(tmp_path / "render.png"))
    red, green, blue, _ = np.array(rendered.pixels).reshape(-1, 4).max(axis=0)
    assert max(red, green) > 0.9
    assert blue < 0.3
