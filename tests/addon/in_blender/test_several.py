# SPDX-License-Identifier: GPL-3.0-or-later
"""Several objects, materials and UDIM tiles: out to the engine and back onto the artist's slots."""

import json
import os

import numpy as np
import pytest

MODEL = os.path.basename(os.environ.get("SYNCSDE_TEST_MODEL", "mini"))
SMALL = {"prompt": "stone", "model": MODEL, "steps": 1, "view_size": 64, "texture_size": 64}


@pytest.fixture
def scene(bpy):
    """A cube of two materials, one of them on two slots, and a ball without any; both selected."""
    bpy.ops.mesh.primitive_uv_sphere_add(segments=8, ring_count=6, location=(3, 0, 0))
    ball = bpy.context.object
    ball.name = "Ball"
    bpy.ops.mesh.primitive_cube_add(location=(0, 1, 0))
    cube = bpy.context.object
    cube.name = "Cube"
    iron, wood = (bpy.data.materials.new(name) for name in ("Iron", "Wood"))
    for own in (iron, wood, iron):
        cube.data.materials.append(own)
    for face, slot in zip(cube.data.polygons, (0, 1, 1, 2, 0, 0), strict=True):
        face.material_index = slot
    ball.select_set(True)
    return cube, ball


def texture_of(slot):
    nodes = slot.material.node_tree.nodes
    return next(node.image for node in nodes if node.bl_idname == "ShaderNodeTexImage")


def test_objects_and_materials_are_exported_with_their_names(bpy, addon, scene, tmp_path):
    tensors, targets = addon.operators.read_objects(bpy.context, tmp_path, False)
    names = json.loads(tensors["names"].tobytes())
    assert [target.name for target in targets] == names["objects"]
    assert sorted(names["objects"]) == ["Ball", "Cube"]
    owner = np.array(names["objects"])[tensors["face_object"]]
    material = np.array(names["materials"])[tensors["face_material"]]
    assert set(material[owner == "Ball"]) == {"material"}
    assert material[owner == "Cube"].tolist() == ["Iron"] * 2 + ["Wood"] * 4 + ["Iron"] * 6
    # Around the active object, the cube; y is up.
    corner = tensors["positions"][tensors["triangles"]]
    assert np.abs(corner[owner == "Cube"]).max() == pytest.approx(1)
    middle = corner[owner == "Ball"].reshape(-1, 3)
    assert (middle.max(axis=0) + middle.min(axis=0)) / 2 == pytest.approx([3, 0, 1], abs=1e-5)
    assert tensors["uv_triangles"].max() == len(tensors["uvs"]) - 1


def test_every_material_is_covered_by_a_new_one(bpy, addon, scene, real_engine, contents_of):
    cube, ball = scene
    before = {obj.name: contents_of(obj) for obj in scene}
    blocks = set(bpy.data.materials), set(bpy.data.images)
    bpy.ops.syncsde.texture(**SMALL, prompt_for="Ball: lava\nWood: gold")
    iron, wood, also_iron = cube.material_slots
    assert iron.material == also_iron.material
    assert wood.material not in (iron.material, None)
    assert len(ball.material_slots) == 1
    pictures = {texture_of(s) for s in (iron, wood, ball.material_slots[0])}
    assert len(pictures) == 3
    assert all(picture.packed_file for picture in pictures)
    assert len(set(bpy.data.materials)) == len(blocks[0]) + 3
    assert [m.name for m in cube.data.materials] == ["Iron", "Wood", "Iron"]
    for obj in scene:
        during = contents_of(obj)
        for untouched in ("vertices", "faces", "uvs", "attributes", "modifiers", "transform"):
            assert during[untouched] == before[obj.name][untouched]

    # Again: the engine is told of the artist's materials, not of the generated ones.
    tensors, _ = addon.operators.read_objects(bpy.context, addon.session.temporary_folder(), False)
    assert set(json.loads(tensors["names"].tobytes())["materials"]) == {"Iron", "Wood", "material"}

    bpy.ops.syncsde.remove_texture()
    for obj in scene:
        after = contents_of(obj)
        changed = {key: after[key] for key in after if after[key] != before[obj.name][key]}
        assert not changed
    assert (set(bpy.data.materials), set(bpy.data.images)) == blocks


def test_one_undo_step_takes_all_of_it_back(bpy, addon, scene, real_engine, contents_of, tmp_path):
    names = [obj.name for obj in scene]
    before = {name: contents_of(bpy.data.objects[name]) for name in names}
    bpy.ops.syncsde.texture(**SMALL, directory=str(tmp_path))
    bpy.ops.syncsde.remove_texture()
    _, targets = addon.operators.read_objects(bpy.context, tmp_path, False)
    bpy.ops.ed.undo_push(message="Before")
    run = {"directory": str(tmp_path), "targets": addon.textures.to_json(targets), "name": "stone"}
    assert bpy.ops.syncsde.apply_run("EXEC_DEFAULT", True, **run) == {"FINISHED"}
    assert {name: contents_of(bpy.data.objects[name]) for name in names} != before
    bpy.ops.ed.undo()
    assert {name: contents_of(bpy.data.objects[name]) for name in names} == before


def test_udim_tiles_come_back_as_one_tiled_image(bpy, real_engine):
    bpy.ops.mesh.primitive_cube_add()
    cube = bpy.context.object
    layer = cube.data.uv_layers.active
    for corner in list(layer.uv)[:12]:
        corner.vector = corner.vector[0] + 1, corner.vector[1]
    # Islands that a tile's border cuts through would be a tiling texture: each half is its own.
    bpy.ops.object.mode_set(mode="EDIT")
    bpy.ops.mesh.select_all(action="SELECT")
    bpy.ops.mesh.edge_split(type="EDGE")
    bpy.ops.object.mode_set(mode="OBJECT")
    bpy.ops.syncsde.texture(**SMALL)
    image = texture_of(cube.material_slots[0])
    assert image.source == "TILED"
    assert [tile.number for tile in image.tiles] == [1001, 1002]
    assert len(image.packed_files) == 2
    assert image.name == "Cube, stone"


def test_unwrap_makes_a_layer_beside_the_artists(bpy, suzanne, real_engine, contents_of):
    before = contents_of(suzanne)
    for _ in range(2):
        bpy.ops.syncsde.texture(**SMALL, uv="unwrap")
        assert [layer.name for layer in suzanne.data.uv_layers] == ["UVMap", "SyncSDE"]
    nodes = suzanne.active_material.node_tree.nodes
    (node,) = (node for node in nodes if node.bl_idname == "ShaderNodeUVMap")
    assert node.uv_map == "SyncSDE"
    assert contents_of(suzanne)["uvs"]["UVMap"] == before["uvs"]["UVMap"]
    bpy.ops.syncsde.remove_texture()
    assert contents_of(suzanne) == before


def test_objects_that_share_a_mesh_get_their_layer_once(bpy, real_engine):
    bpy.ops.mesh.primitive_cube_add(calc_uvs=False)
    first = bpy.context.object
    bpy.ops.object.duplicate(linked=True)
    second = bpy.context.object
    second.location.x = 3
    first.select_set(True)
    bpy.ops.syncsde.texture(**SMALL)
    assert [layer.name for layer in first.data.uv_layers] == ["SyncSDE"]
    for obj in (first, second):
        assert obj.material_slots[0].material is not None


def test_flat_uvs_are_one_sentence_and_change_nothing(bpy, suzanne, real_engine, contents_of):
    for corner in suzanne.data.uv_layers.active.uv:
        corner.vector = 0.5, 0.5
    before = contents_of(suzanne)
    with pytest.raises(RuntimeError, match=r"'UVMap' of 'Suzanne' has no area .* Unwrap"):
        bpy.ops.syncsde.texture(**SMALL)
    assert contents_of(suzanne) == before


@pytest.mark.parametrize("line", ["lava", "Ball:lava", ": lava", "Ball: "])
def test_lines_that_are_no_prompts_are_one_sentence(bpy, scene, real_engine, line):
    with pytest.raises(RuntimeError, match="is not an object or material, a colon and its prompt"):
        bpy.ops.syncsde.texture(**SMALL, prompt_for=line)


def test_a_name_that_nothing_has_is_one_sentence(bpy, scene, real_engine):
    with pytest.raises(RuntimeError, match=r"'Bal' .* no object or material .* Do you mean 'Ball'"):
        bpy.ops.syncsde.texture(**SMALL, prompt_for="Bal: lava")


def test_own_prompts_become_lines(addon, scene):
    cube, ball = scene
    ball.syncsde_prompt = "lava"
    cube.data.materials["Wood"].syncsde_prompt = "gold"
    assert addon.parts.own_prompts([cube, ball]) == ["Ball: lava", "Wood: gold"]
