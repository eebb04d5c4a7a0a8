# SPDX-License-Identifier: GPL-3.0-or-later
"""What changed between click and result: the result fits, finds its place, or waits and says why.

The engine's result is written by hand, so that no engine is needed.
"""

import json
import shutil

import numpy as np
import pytest


@pytest.fixture
def a_run(bpy, addon, picture, tmp_path):
    """Export what is chosen, and write a result with one texture for each material."""

    def made(prompt_for=(), unwrap=False):
        folder = addon.session.temporary_folder()
        tensors, targets = addon.operators.read_objects(bpy.context, folder, unwrap)
        names = json.loads(tensors["names"].tobytes())
        owner, material = tensors["face_object"], tensors["face_material"]
        textures, files = [], {}
        for number, name in enumerate(names["materials"]):
            objects = sorted({names["objects"][i] for i in owner[material == number]})
            if objects:
                told = {"name": f"t{number}", "material": name, "objects": objects}
                textures.append({**told, "tile": None, "uv": "own"})
                files[f"t{number}"] = f"texture_{number}.png"
                shutil.copy(picture, folder / f"texture_{number}.png")
        report = {"mesh": {"textures": textures}, "textures": files}
        report["parameters"] = {"prompt_for": list(prompt_for)}
        (folder / "report.json").write_text(json.dumps(report))
        return folder, targets

    return made


@pytest.fixture
def apply(bpy, addon):
    def applied(run, **options):
        folder, targets = run
        told = {"directory": str(folder), "targets": addon.textures.to_json(targets)}
        return bpy.ops.syncsde.apply_run("EXEC_DEFAULT", True, **told, name="moss", **options)

    return applied


def texture_of(slot):
    nodes = slot.material.node_tree.nodes
    return next(node.image for node in nodes if node.bl_idname == "ShaderNodeTexImage")


def uv_map_of(slot):
    nodes = slot.material.node_tree.nodes
    return next(node.uv_map for node in nodes if node.bl_idname == "ShaderNodeUVMap")


def unwrap_anew(bpy, obj):
    layer = obj.data.uv_layers.active
    values = np.zeros(len(layer.uv) * 2, np.float32)
    layer.uv.foreach_get("vector", values)
    layer.uv.foreach_set("vector", values / 2)


def subdivide(bpy, obj):
    bpy.ops.object.mode_set(mode="EDIT")
    bpy.ops.mesh.select_all(action="SELECT")
    bpy.ops.mesh.subdivide()
    bpy.ops.object.mode_set(mode="OBJECT")


def give_faces_away(bpy, obj):
    obj.data.polygons[0].material_index = 1


def replace_material(bpy, obj):
    obj.material_slots[0].material = bpy.data.materials.new("Gold")


def add_slot(bpy, obj):
    obj.data.materials.append(None)


def remove_layer(bpy, obj):
    obj.data.uv_layers.remove(obj.data.uv_layers.active)
    obj.data.uv_layers.new(name="Other")


CHANGES = [
    (unwrap_anew, "its UV layer 'UVMap' changed"),
    (remove_layer, "its UV layer 'UVMap' changed"),
    (subdivide, "its faces changed"),
    (give_faces_away, "the materials of its faces changed"),
    (replace_material, "the material in its slot 1 changed"),
    (add_slot, "the number of its material slots changed"),
]


@pytest.fixture
def painted(bpy, suzanne):
    for name in ("Skin", "Eyes"):
        suzanne.data.materials.append(bpy.data.materials.new(name))
    return suzanne


@pytest.mark.parametrize(("change", "said"), CHANGES)
def test_what_changed_is_said_and_nothing_happens(
    bpy, addon, painted, a_run, apply, contents_of, change, said
):
    run = a_run()
    change(bpy, painted)
    before = contents_of(painted)
    with pytest.raises(RuntimeError, match="'Suzanne' is not as it was.*" + said):
        apply(run)
    assert contents_of(painted) == before
    assert apply(run, anyway=True) == {"FINISHED"}
    assert texture_of(painted.material_slots[0])
    assert uv_map_of(painted.material_slots[0]) in painted.data.uv_layers


def move(bpy, obj):
    obj.location.x = 3
    obj.data.vertices[0].co.x += 1
    obj.shape_key_add(name="Basis")
    obj.modifiers.new("Bevel", "BEVEL")


def rename_all(bpy, obj):
    obj.name = "Monkey"
    obj.data.uv_layers.active.name = "Renamed"
    for slot in obj.material_slots:
        slot.material.name += " Renamed"


@pytest.mark.parametrize("change", [move, rename_all])
def test_what_does_not_matter_stops_nothing(bpy, painted, a_run, apply, change):
    for face in list(painted.data.polygons)[::2]:
        face.material_index = 1
    run = a_run()
    change(bpy, painted)
    assert apply(run) == {"FINISHED"}
    first, second = painted.material_slots
    assert texture_of(first) != texture_of(second)
    assert uv_map_of(first) == uv_map_of(second) == painted.data.uv_layers.active.name


def test_new_uvs_are_not_put_on_another_mesh_anyway(bpy, a_run, apply):
    bpy.ops.mesh.primitive_cube_add(calc_uvs=False)
    run = a_run()
    subdivide(bpy, bpy.context.object)
    for options in ({}, {"anyway": True}):
        with pytest.raises(RuntimeError, match=r"'Cube' (is not as it was|was edited)"):
            apply(run, **options)
    assert not bpy.context.object.data.uv_layers


@pytest.mark.parametrize("renamed", [False, True])
def test_objects_are_found_again_in_a_file_that_was_opened_again(
    bpy, painted, a_run, apply, tmp_path, renamed
):
    painted.data.polygons[0].material_index = 1
    bpy.ops.mesh.primitive_cube_add()
    painted.select_set(True)
    bpy.context.view_layer.objects.active = painted
    bpy.data.objects["Cube"].select_set(False)
    run = a_run()
    if renamed:
        painted.name, bpy.data.objects["Cube"].name = "Monkey", "Suzanne"
    bpy.ops.wm.save_as_mainfile(filepath=str(tmp_path / "saved.blend"))
    bpy.ops.wm.open_mainfile(filepath=str(tmp_path / "saved.blend"))
    assert apply(run) == {"FINISHED"}
    found = bpy.data.objects["Monkey" if renamed else "Suzanne"]
    assert all(texture_of(slot) for slot in found.material_slots)


def test_others_that_share_the_mesh_keep_their_look(bpy, a_run, apply, contents_of):
    bpy.ops.mesh.primitive_cube_add(calc_uvs=False)
    first = bpy.context.object
    bpy.ops.object.duplicate(linked=True)
    second = bpy.context.object
    before = contents_of(first)
    run = a_run()
    for _ in range(2):
        apply(run)
    assert texture_of(second.material_slots[0])
    assert [slot.material for slot in first.material_slots] == [None]
    assert [layer.name for layer in first.data.uv_layers] == ["SyncSDE"]
    bpy.ops.syncsde.remove_texture()
    assert contents_of(first) == before
    assert not list(first.data.keys())


def test_the_last_of_a_shared_mesh_takes_all_off(bpy, a_run, apply, contents_of):
    bpy.ops.mesh.primitive_cube_add(calc_uvs=False)
    first = bpy.context.object
    bpy.ops.object.duplicate(linked=True)
    second = bpy.context.object
    before = contents_of(first)
    first.select_set(True)
    run = a_run()
    for _ in range(2):
        apply(run)
        assert [layer.name for layer in first.data.uv_layers] == ["SyncSDE"]
    second.select_set(False)
    bpy.context.view_layer.objects.active = first
    bpy.ops.syncsde.remove_texture()
    assert texture_of(second.material_slots[0])
    assert uv_map_of(second.material_slots[0]) in first.data.uv_layers
    bpy.context.view_layer.objects.active = second
    bpy.ops.syncsde.remove_texture()
    assert contents_of(first) == before


def test_an_empty_slot_is_not_the_material_called_material(bpy, suzanne, a_run, apply):
    suzanne.data.materials.append(bpy.data.materials.new("material"))
    suzanne.data.materials.append(None)
    suzanne.data.polygons[0].material_index = 1
    apply(a_run())
    first, second = suzanne.material_slots
    assert texture_of(first) != texture_of(second)


def test_materials_are_called_after_their_own_prompts(bpy, painted, a_run, apply):
    painted.data.polygons[0].material_index = 1
    apply(a_run([["Eyes", "red wool"]]))
    names = [slot.material.name for slot in painted.material_slots]
    assert names == ["t0, moss", "t1, red wool"]


def test_runs_leave_nothing_behind(bpy, suzanne, a_run, apply):
    blocks = len(bpy.data.materials), len(bpy.data.images)
    for _ in range(3):
        apply(a_run())
        assert (len(bpy.data.materials), len(bpy.data.images)) == (blocks[0] + 1, blocks[1] + 1)
        assert suzanne.data.materials[0] is None
        shown = suzanne.material_slots[0]
        assert shown.material.name == texture_of(shown).name == "moss"
    image = texture_of(suzanne.material_slots[0])
    image.pixels[0] = 0.5  # painted on by the artist
    assert image.is_dirty
    apply(a_run())
    assert image.name in bpy.data.images
