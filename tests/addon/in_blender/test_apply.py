# SPDX-License-Identifier: GPL-3.0-or-later
"""The result is one material; the artist's mesh and materials stay; undo and Remove restore all."""

import numpy as np
import pytest


def apply(bpy, **keywords):
    """Call the operator the way the timer does, with its own undo step."""
    return bpy.ops.syncsde.apply_texture("EXEC_DEFAULT", True, **keywords)


def test_one_material_with_the_packed_image_on_the_uv_layer(bpy, suzanne, picture):
    materials, images = set(bpy.data.materials), set(bpy.data.images)
    assert apply(bpy, filepath=picture, material_name="moss") == {"FINISHED"}
    (material,) = set(bpy.data.materials) - materials
    (image,) = set(bpy.data.images) - images
    assert suzanne.active_material == material
    assert material.name == image.name == "moss"
    assert image.packed_file
    assert image.colorspace_settings.name == "sRGB"
    nodes = {node.bl_idname: node for node in material.node_tree.nodes}
    assert nodes["ShaderNodeTexImage"].image == image
    assert nodes["ShaderNodeUVMap"].uv_map == suzanne.data.uv_layers.active.name
    (link,) = nodes["ShaderNodeBsdfPrincipled"].inputs["Base Color"].links
    assert link.from_node == nodes["ShaderNodeTexImage"]
    assert nodes["ShaderNodeTexImage"].inputs["Vector"].links[0].from_node.type == "UVMAP"


def test_image_survives_save_and_load(bpy, suzanne, picture, tmp_path):
    apply(bpy, filepath=picture, material_name="moss")
    bpy.ops.wm.save_as_mainfile(filepath=str(tmp_path / "saved.blend"))
    bpy.ops.wm.open_mainfile(filepath=str(tmp_path / "saved.blend"))
    image = bpy.data.images["moss"]
    assert image.pixels[0] == pytest.approx(1.0)
    assert image.packed_file
    assert str(tmp_path) not in image.filepath


def test_undo_takes_one_step_and_redo_brings_it_back(bpy, suzanne, picture, contents_of):
    bpy.ops.ed.undo_push(message="Before")
    before = contents_of(suzanne)
    name = suzanne.name
    apply(bpy, filepath=picture, material_name="moss")
    bpy.ops.ed.undo()
    assert contents_of(bpy.data.objects[name]) == before
    assert "moss" not in bpy.data.materials
    assert "moss" not in bpy.data.images
    bpy.ops.ed.redo()
    assert bpy.data.objects[name].active_material.name == "moss"


def test_new_uv_layer_comes_and_goes_with_the_texture(bpy, addon, suzanne, picture, tmp_path):
    while suzanne.data.uv_layers:
        suzanne.data.uv_layers.remove(suzanne.data.uv_layers[0])
    exported = addon.export_mesh.export(bpy.context, suzanne)
    np.save(tmp_path / "uv.npy", exported.new_uvs)
    given = {
        "filepath": picture,
        "uv_layer": exported.uv_layer,
        "uv_filepath": str(tmp_path / "uv.npy"),
    }
    bpy.ops.ed.undo_push(message="Before")
    apply(bpy, **given)
    again = addon.export_mesh.export(bpy.context, suzanne)
    assert again.new_uvs is None
    np.testing.assert_array_equal(again.tensors["uvs"], exported.tensors["uvs"])
    bpy.ops.ed.undo()
    suzanne = bpy.context.object
    assert not suzanne.data.uv_layers
    apply(bpy, **given)
    bpy.ops.syncsde.remove_texture()
    assert not suzanne.data.uv_layers


def test_edited_mesh_does_not_get_uvs_of_its_past(bpy, suzanne, picture, tmp_path):
    np.save(tmp_path / "uv.npy", np.zeros((7, 2), np.float32))
    with pytest.raises(RuntimeError, match="was edited while it was being textured"):
        apply(bpy, filepath=picture, uv_layer="SyncSDE", uv_filepath=str(tmp_path / "uv.npy"))
    assert not list(suzanne.keys())
    assert not suzanne.material_slots


def several_materials(bpy, obj):
    """Two slots with faces in both, one of them linked to the object, as in real files."""
    for name in ("Skin", "Eyes"):
        obj.data.materials.append(bpy.data.materials.new(name))
    for face in list(obj.data.polygons)[::2]:
        face.material_index = 1
    obj.material_slots[1].link = "OBJECT"
    obj.material_slots[1].material = bpy.data.materials.new("Glass Eyes")
    obj.vertex_groups.new(name="Head")
    obj.shape_key_add(name="Basis")
    obj.shape_key_add(name="Smile")


@pytest.mark.parametrize("times", [1, 2])
@pytest.mark.parametrize("own_materials", [False, True])
def test_remove_restores_what_was_there(bpy, suzanne, picture, contents_of, times, own_materials):
    if own_materials:
        several_materials(bpy, suzanne)
    before = contents_of(suzanne)
    blocks = set(bpy.data.materials), set(bpy.data.images)
    for _ in range(times):
        apply(bpy, filepath=picture, material_name="moss")
    shown = {slot.material for slot in suzanne.material_slots}
    assert len(shown) == 1
    during = contents_of(suzanne)
    for untouched in ("vertices", "edges", "faces", "uvs", "groups", "keys", "modifiers"):
        assert during[untouched] == before[untouched]
    if own_materials:
        assert during["materials"] == before["materials"]
    assert bpy.ops.syncsde.remove_texture() == {"FINISHED"}
    assert contents_of(suzanne) == before
    assert shown.isdisjoint(bpy.data.materials)
    assert blocks == (set(bpy.data.materials), set(bpy.data.images))


def test_remove_leaves_what_the_artist_put_there_since(bpy, suzanne, picture):
    several_materials(bpy, suzanne)
    apply(bpy, filepath=picture)
    gold = bpy.data.materials.new("Gold")
    suzanne.material_slots[0].material = gold
    bpy.ops.syncsde.remove_texture()
    assert suzanne.material_slots[0].material == gold
    assert suzanne.material_slots[1].material.name == "Glass Eyes"


def test_other_objects_of_the_same_mesh_keep_their_look(bpy, suzanne, picture):
    several_materials(bpy, suzanne)
    bpy.ops.object.duplicate(linked=True)
    twin = bpy.context.object
    assert twin.data == suzanne.data
    apply(bpy, filepath=picture, object_name=suzanne.name)
    assert twin.material_slots[0].material.name == "Skin"


def test_apply_leaves_edit_mode(bpy, suzanne, picture):
    bpy.ops.object.mode_set(mode="EDIT")
    assert apply(bpy, filepath=picture) == {"FINISHED"}
    assert suzanne.mode == "OBJECT"
    assert suzanne.active_material is not None


def test_missing_object_and_file_are_one_sentence(bpy, suzanne, picture, contents_of):
    before = contents_of(suzanne)
    with pytest.raises(RuntimeError, match="There is no mesh object 'Nobody'"):
        apply(bpy, filepath=picture, object_name="Nobody")
    with pytest.raises(RuntimeError, match="absent"):
        apply(bpy, filepath="/nowhere/absent.png")
    assert contents_of(suzanne) == before
