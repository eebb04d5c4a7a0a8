# SPDX-License-Identifier: GPL-3.0-or-later
"""Maps in Blender: which are sent with a picture, a material as the picture, and the result."""

import json
import subprocess
from pathlib import Path

import numpy as np
import pytest

SIDE = 16
RANDOM = np.random.default_rng(2)


def png(addon, path, pixels):
    path.write_bytes(addon.images.png(np.asarray(pixels, np.uint8)))
    return path


@pytest.fixture
def gray(an_image):
    """Make an image of one gray, which is no color."""

    def made(name, value):
        pixels = np.ones((SIDE, SIDE, 4))
        pixels[..., :3] = value
        return an_image(name, pixels, is_data=True)

    return made


@pytest.fixture
def bricks(bpy, an_image, gray):
    """A material of images, as artists connect them."""
    material = bpy.data.materials.new("Bricks")
    if material.node_tree is None:
        material.use_nodes = True
    nodes, links = material.node_tree.nodes, material.node_tree.links
    principled = nodes["Principled BSDF"]

    def shows(image):
        node = nodes.new("ShaderNodeTexImage")
        node.image = image
        return node.outputs["Color"]

    links.new(shows(an_image("Color", RANDOM.random((SIDE, SIDE, 4)))), principled.inputs[0])
    reroute = nodes.new("NodeReroute")
    links.new(shows(gray("Gloss", 0.25)), reroute.inputs[0])
    invert = nodes.new("ShaderNodeInvert")
    links.new(reroute.outputs[0], invert.inputs["Color"])
    links.new(invert.outputs["Color"], principled.inputs["Roughness"])
    normal = nodes.new("ShaderNodeNormalMap")
    normal.inputs["Strength"].default_value = 2.0
    slanted = gray("Slanted", 0.6)
    links.new(shows(slanted), normal.inputs["Color"])
    bump = nodes.new("ShaderNodeBump")
    links.new(normal.outputs["Normal"], bump.inputs["Normal"])
    links.new(shows(gray("Height", 0.4)), bump.inputs["Height"])
    links.new(bump.outputs["Normal"], principled.inputs["Normal"])
    principled.inputs["Metallic"].default_value = 1.0
    return material


def test_images_of_a_material_are_sent(bpy, addon, suzanne, sent, bricks):
    assert bpy.ops.syncsde.texture(like_material="Bricks") == {"FINISHED"}
    (request,) = sent
    kinds = ("like", "like_roughness", "like_metallic", "like_normal_gl", "like_height")
    assert set(request.inputs) == {"mesh", *kinds}
    pixels = addon.like_material.read(bricks)
    assert [request.inputs[kind]() for kind in kinds] == [
        addon.images.png(pixels[kind]) for kind in kinds
    ]
    color = addon.images.read(bpy.data.images["Color"])
    np.testing.assert_array_equal(pixels["like"], color)
    assert pixels["like_roughness"].flat[0] == 255 - 64, "gloss, turned over"
    assert (pixels["like_metallic"] == 255).all(), "a value stands for all of the picture"
    assert pixels["like_height"].flat[0] == 102
    assert pixels["like_normal_gl"][0, 0].tolist()[:3] == [178, 178, 153], "twice as steep"
    assert request.images["like"] == "Bricks"
    assert request.parameters["prompt"] == ""


def test_one_channel_of_a_packed_image(bpy, addon, bricks, an_image):
    packed = an_image("Packed", np.tile([0.2, 0.4, 0.6, 1], (SIDE, SIDE, 1)), is_data=True)
    nodes, links = bricks.node_tree.nodes, bricks.node_tree.links
    image = nodes.new("ShaderNodeTexImage")
    image.image = packed
    separate = nodes.new("ShaderNodeSeparateColor")
    links.new(image.outputs["Color"], separate.inputs[0])
    for name, output in (("Roughness", "Green"), ("Metallic", "Blue")):
        links.new(separate.outputs[output], nodes["Principled BSDF"].inputs[name])
    pixels = addon.like_material.read(bricks)
    assert np.unique(pixels["like_roughness"]).tolist() == [102]
    assert np.unique(pixels["like_metallic"]).tolist() == [153]


def test_what_is_no_image_is_one_sentence(bpy, suzanne, sent, bricks):
    with pytest.raises(RuntimeError, match="There is no material 'Stone'"):
        bpy.ops.syncsde.texture(like_material="Stone")
    plain = bpy.data.materials.new("Plain")
    if plain.node_tree is None:
        plain.use_nodes = True
    with pytest.raises(RuntimeError, match="The base color of 'Plain' is no image: connect"):
        bpy.ops.syncsde.texture(like_material="Plain")
    nodes, links = bricks.node_tree.nodes, bricks.node_tree.links
    noise = nodes.new("ShaderNodeTexNoise")
    links.new(noise.outputs[0], nodes["Principled BSDF"].inputs["Roughness"])
    with pytest.raises(RuntimeError, match="Roughness of 'Bricks' comes from the node 'Noise Tex"):
        bpy.ops.syncsde.texture(like_material="Bricks")
    nodes.remove(nodes["Principled BSDF"])
    with pytest.raises(RuntimeError, match="'Bricks' has no Principled BSDF"):
        bpy.ops.syncsde.texture(like_material="Bricks")
    assert not sent


def test_panel_sends_its_material_and_callers_go_first(bpy, addon, suzanne, bricks):
    settings = bpy.context.scene.syncsde
    settings.library = "rust"
    settings.like_material = bricks
    values = addon.operators.of_panel(bpy.context)
    assert (values["like"], values["material"], values["like_material"]) == ("", "", "Bricks")
    settings.like_material = None
    values = addon.operators.of_panel(bpy.context)
    assert (values["material"], values["like_material"]) == ("rust", "")


def test_maps_beside_an_image_are_sent(bpy, addon, suzanne, sent, tmp_path):
    photo = png(addon, tmp_path / "wall_color.png", RANDOM.integers(0, 255, (8, 8, 3)))
    normal = png(addon, tmp_path / "wall_nor_gl.png", np.full((8, 8, 3), (128, 128, 255)))
    rough = png(addon, tmp_path / "wall_rough.png", np.full((8, 8, 1), 90))
    bpy.data.images.load(str(photo))
    assert bpy.ops.syncsde.texture(like="wall_color.png") == {"FINISHED"}
    inputs = sent[0].inputs
    assert set(inputs) == {"mesh", "like", "like_normal_gl", "like_roughness"}
    assert inputs["like_normal_gl"]() == normal.read_bytes()
    assert inputs["like_roughness"]() == rough.read_bytes()
    assert sent[0].images["like_roughness"] == "wall_rough.png"
    lines = f"{suzanne.name}: wall_color.png"
    assert bpy.ops.syncsde.texture(prompt="rust", like_for=lines) == {"FINISHED"}
    assert {"like_1", "like_1_normal_gl", "like_1_roughness"} <= set(sent[1].inputs)
    assert bpy.ops.syncsde.texture(like="wall_color.png", maps=False) == {"FINISHED"}
    assert set(sent[2].inputs) == {"mesh", "like"}


def run_folder(addon, folder, obj, kinds):
    """What the engine leaves of a run over one object."""
    folder.mkdir()
    png(addon, folder / "texture.png", np.full((8, 8, 3), (200, 10, 10)))
    for kind in kinds:
        shape = (8, 8, 3) if kind == "normal" else (8, 8, 1)
        png(addon, folder / f"texture_{kind}.png", np.full(shape, 100))
    texture = {
        "name": "material",
        "material": "material",
        "objects": [obj.name],
        "uv": "own",
        "tile": None,
    }
    report = {
        "mesh": {"textures": [texture]},
        "textures": {"material": "texture.png"},
        "map_files": {kind: {"material": f"texture_{kind}.png"} for kind in kinds},
        "relief": 0.07,
    }
    (folder / "report.json").write_text(json.dumps(report))
    return folder


def applied(bpy, addon, folder, obj):
    _, targets = addon.operators.read_objects(bpy.context, folder, False)
    assert [target.name for target in targets] == [obj.name]
    addon.textures.apply(folder, targets, "moss")
    return obj.active_material


def test_result_material_has_its_maps(bpy, addon, suzanne, tmp_path):
    before = set(bpy.data.images)
    kinds = ("normal", "roughness", "metallic", "height")
    folder = run_folder(addon, tmp_path / "run", suzanne, kinds)
    material = applied(bpy, addon, folder, suzanne)
    nodes = material.node_tree.nodes
    principled = next(n for n in nodes if n.bl_idname == "ShaderNodeBsdfPrincipled")
    for name, kind in (("Roughness", "roughness"), ("Metallic", "metallic")):
        image = principled.inputs[name].links[0].from_node.image
        assert image.name == f"{kind} of moss"
        assert image.colorspace_settings.name == "Non-Color"
        assert image.packed_file
    normal = principled.inputs["Normal"].links[0].from_node
    assert (normal.bl_idname, normal.space) == ("ShaderNodeNormalMap", "TANGENT")
    assert normal.uv_map == suzanne.data.uv_layers.active.name
    assert normal.inputs["Color"].links[0].from_node.image.name == "normal of moss"
    displaced = next(n for n in nodes if n.bl_idname == "ShaderNodeDisplacement")
    assert displaced.inputs["Height"].links[0].from_node.image.name == "height of moss"
    assert displaced.inputs["Scale"].default_value == pytest.approx(0.07)
    assert not displaced.outputs[0].is_linked, "normals and bumps would count twice"
    for node in nodes:
        if node.bl_idname == "ShaderNodeTexImage":
            assert node.inputs["Vector"].links[0].from_node.type == "UVMAP"
    assert principled.inputs["Base Color"].links[0].from_node == nodes.active
    bpy.ops.syncsde.remove_texture()
    assert set(bpy.data.images) == before


def test_a_height_alone_is_a_bump(bpy, addon, suzanne, tmp_path):
    folder = run_folder(addon, tmp_path / "run", suzanne, ["height"])
    nodes = applied(bpy, addon, folder, suzanne).node_tree.nodes
    bump = nodes["Principled BSDF"].inputs["Normal"].links[0].from_node
    assert bump.bl_idname == "ShaderNodeBump"
    assert bump.inputs["Distance"].default_value == pytest.approx(0.07)
    assert bump.inputs["Height"].links[0].from_node.image.name == "height of moss"


def test_a_refused_map_is_named(addon, tmp_path):
    request = addon.job.Request(
        "x", "texture", {}, {}, tmp_path, "f", False, tmp_path, images={"like_normal": "wall_n.png"}
    )
    refused = addon.client.EngineError(
        "invalid_request", "No map.", "Leave it out.", "inputs.like_normal"
    )
    said = addon.job.Job(request)._naming(refused, "like_normal")
    assert str(said) == "'wall_n.png': No map. Leave it out."


TANGENTS = """
import sys
import numpy as np
from syncsde_engine.mesh.mesh import Mesh
from syncsde_engine.mesh.bake.tangent_space import corner_tangents

given = np.load(sys.argv[1])
corners = np.arange(given["triangles"].size, dtype=np.int32).reshape(-1, 3)
mesh = Mesh(given["positions"], given["triangles"], given["uvs"], corners)
tangent, sign = corner_tangents(mesh, given["normals"].reshape(-1, 3, 3))
np.savez(sys.argv[2], tangent=tangent.reshape(-1, 3), sign=sign.repeat(3))
"""


def test_tangents_are_blenders(bpy, suzanne, real_engine, tmp_path):
    """MikkTSpace by Blender, on a head whose halves have mirrored and touching charts."""
    suzanne.modifiers.new("Finer", "SUBSURF").levels = 1
    suzanne.modifiers.new("Triangles", "TRIANGULATE")
    evaluated = suzanne.evaluated_get(bpy.context.evaluated_depsgraph_get())
    mesh = bpy.data.meshes.new_from_object(evaluated)
    mesh.polygons.foreach_set("use_smooth", np.ones(len(mesh.polygons), bool))
    uvs = mesh.uv_layers.active.uv
    for face in mesh.polygons:  # one half is mirrored
        if face.center.x < 0:
            for corner in face.loop_indices:
                uvs[corner].vector.x = 1 - uvs[corner].vector.x
    mesh.calc_tangents(uvmap=mesh.uv_layers.active.name)

    def read(rows, name, width, kind=np.float32):
        values = np.empty(len(rows) * width, kind)
        rows.foreach_get(name, values)
        return values.reshape(-1, width)

    np.savez(
        tmp_path / "mesh.npz",
        positions=read(mesh.vertices, "co", 3),
        triangles=read(mesh.loops, "vertex_index", 1, np.int32).reshape(-1, 3),
        uvs=read(mesh.uv_layers.active.uv, "vector", 2),
        normals=read(mesh.loops, "normal", 3),
    )
    python = Path(real_engine).with_name("python")
    files = [str(tmp_path / name) for name in ("mesh.npz", "tangents.npz")]
    subprocess.run([python, "-c", TANGENTS, *files], check=True)
    found = np.load(files[1])
    np.testing.assert_array_equal(found["sign"], read(mesh.loops, "bitangent_sign", 1)[:, 0])
    assert {-1, 1} == set(found["sign"])
    cosine = (found["tangent"] * read(mesh.loops, "tangent", 3)).sum(1)
    assert cosine.min() > 0.99999
