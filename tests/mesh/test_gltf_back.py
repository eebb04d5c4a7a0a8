# SPDX-License-Identifier: GPL-3.0-or-later
"""textured.glb of a glTF file is that file: all but materials and new coordinates is as it was.

Compared with what the file itself says, taken apart by hand.
"""

import copy
import io
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from syncsde_engine.errors import InvalidMesh
from syncsde_engine.mesh.files.gltf_back import gltf_back
from syncsde_engine.mesh.files.io import from_safetensors, give_back, load, to_safetensors
from syncsde_engine.mesh.intake.take_in import take_in
from syncsde_engine.mesh.mesh import Mesh, Origin
from syncsde_engine.pictures import png
from tests.mesh.gltf_files import BOX, INDEX, UVS, Gltf, boxed, instanced, same_named, strip
from tests.mesh.rich_gltf import RED, character, chunks, corners, image, material, rich_box, values

SHADES = [png(np.full((4, 4, 3), shade, np.uint8)) for shade in range(10, 250, 20)]


def painted(path: Path, uv: str = "auto", uv_set: int = 0) -> tuple[bytes, Mesh]:
    """What a run makes of a file, through the wire, whose textures are plain."""
    given = from_safetensors(to_safetensors(load(path, uv_set=uv_set)))
    mesh = take_in(given, uv, 64).whole
    return gltf_back(mesh, SHADES[: len(mesh.textures)])[0], mesh


def without(document: dict, *kinds: str) -> dict:
    """A document but for these of its lists, and for where things lie in its buffer."""
    rest = {key: value for key, value in document.items() if key not in kinds}
    return {key: value for key, value in rest.items() if key not in ("bufferViews", "buffers")}


def plain(**options) -> Gltf:
    """A character without colors, which are a matter of their own."""
    file = character(**options)
    for primitive in file.document["meshes"][0]["primitives"]:
        primitive["attributes"]["_TINT"] = primitive["attributes"].pop("COLOR_0")
    return file


PAINT = ("materials", "textures", "images", "samplers")


@pytest.mark.parametrize("primitives", [1, 3])
@pytest.mark.parametrize("suffix", [".glb", ".gltf"])
def test_a_character_with_its_own_coordinates_has_new_materials_and_no_more(
    primitives: int, suffix: str, tmp_path: Path
):
    path = plain(primitives=primitives).write(tmp_path / f"a{suffix}")
    before, old = chunks(plain(primitives=primitives).write(tmp_path / "b.glb").read_bytes())
    content, mesh = painted(path)
    after, new = chunks(content)
    assert without(after, *PAINT) == without(before, *PAINT)
    for index in range(len(before["accessors"])):
        old_rows, new_rows = values(before, old, index), values(after, new, index)
        np.testing.assert_array_equal(new_rows, old_rows)
        assert new_rows.dtype == old_rows.dtype
    assert [each["name"] for each in after["materials"]] == list(mesh.textures)
    for k, entry in enumerate(after["materials"]):
        texture = after["textures"][entry["pbrMetallicRoughness"]["baseColorTexture"]["index"]]
        view = after["bufferViews"][after["images"][texture["source"]]["bufferView"]]
        assert new[view["byteOffset"] :][: view["byteLength"]] == SHADES[k]
    assert RED + bytes(500) not in new  # the old pictures, which nothing shows any more


def test_new_coordinates_take_all_that_vertices_have_along(tmp_path: Path):
    path = character(primitives=3).write(tmp_path / "a.glb")
    before, old = chunks(path.read_bytes())
    content, mesh = painted(path, "unwrap")
    after, new = chunks(content)
    kinds = (*PAINT, "accessors", "meshes")
    assert without(after, *kinds) == without(before, *kinds)
    first = 0
    for was, now in zip(
        before["meshes"][0]["primitives"], after["meshes"][0]["primitives"], strict=True
    ):
        assert now["extras"] == was["extras"]
        there, here = corners(before, old, was), corners(after, new, now)
        faces = len(there["POSITION"])
        wanted = mesh.uvs[mesh.uv_triangles[first : first + faces]] * [1, -1] + [0, 1]
        first += faces
        np.testing.assert_allclose(here.pop("TEXCOORD_0"), wanted, atol=1e-6)
        # The old set becomes the last; tangents of the old coordinates would be wrong.
        there["TEXCOORD_2"] = there.pop("TEXCOORD_0")
        del there["TANGENT"]
        there["COLOR_1"] = there.pop("COLOR_0")
        assert (here.pop("COLOR_0") == 255).all()
        assert here.keys() == there.keys()
        for name, rows in there.items():
            np.testing.assert_array_equal(here[name], rows, err_msg=name)
            assert here[name].dtype == rows.dtype
        for name, accessor in now["attributes"].items():
            entry = after["accessors"][accessor]
            assert entry.get("normalized") == (
                True if name[:5] in ("COLOR", "WEIGH") else None
            ) or (name == "TEXCOORD_1")
            if "min" in entry:
                rows = values(after, new, accessor)
                assert entry["min"] == rows.min(axis=0).tolist()
                assert entry["max"] == rows.max(axis=0).tolist()
    assert load_back(tmp_path, content).uvs is not None


def test_vertex_colors_do_not_tint_what_was_painted(tmp_path: Path):
    """Viewers multiply COLOR_0 with textures: it is white, and the file's own come after it."""
    file = boxed()
    shape = file.document["meshes"][0]["primitives"][0]
    tint = file.array(np.random.default_rng(0).random((24, 3)).astype("<f4"))
    file.document["accessors"][tint].pop("min")
    shape["attributes"] |= {"COLOR_0": tint, "COLOR_1": file.array(np.zeros((24, 4), "<f4"))}
    mesh = take_in(load(file.write(tmp_path / "a.glb")), "auto", 64).whole
    content, notes = gltf_back(mesh, SHADES[:1])
    assert "Vertex colors tint textures" in notes[0]
    after, new = chunks(content)
    attributes = after["meshes"][0]["primitives"][0]["attributes"]
    assert attributes["COLOR_1"] == tint
    assert attributes["COLOR_2"] == shape["attributes"]["COLOR_1"]
    assert (values(after, new, attributes["COLOR_0"]) == 255).all()
    (tmp_path / "b.glb").write_bytes(content)
    mesh = take_in(load(tmp_path / "b.glb"), "auto", 64).whole
    content, notes = gltf_back(mesh, SHADES[:1])  # white ones stay
    assert notes == []
    assert chunks(content)[0]["meshes"] == after["meshes"]


def load_back(folder: Path, content: bytes) -> Mesh:
    (folder / "back.glb").write_bytes(content)
    return load(folder / "back.glb")


@pytest.mark.parametrize("uv", ["auto", "unwrap"])
def test_what_was_given_back_is_read_as_it_was_painted(uv: str, tmp_path: Path):
    content, mesh = painted(character(primitives=2).write(tmp_path / "a.glb"), uv)
    back = load_back(tmp_path, content)
    assert back.objects == mesh.objects
    assert back.materials == mesh.textures
    np.testing.assert_array_equal(back.positions[back.triangles], mesh.positions[mesh.triangles])
    here, there = back.uvs[back.uv_triangles], mesh.uvs[mesh.uv_triangles]
    np.testing.assert_allclose(here, there, atol=1e-6)


def test_vertices_without_seams_stay_where_they_are(tmp_path: Path):
    """A flat strip needs no seam: coordinates are added, and nothing else moves."""
    file = Gltf()
    points = np.array([[0, 0, 0], [1, 0, 0], [0, 1, 0], [1, 1, 0]], "<f4")
    index = np.array([0, 1, 2, 2, 1, 3], "<u2")
    file.node(
        file.mesh({"attributes": {"POSITION": file.array(points)}, "indices": file.array(index)})
    )
    path = file.write(tmp_path / "a.glb")
    before, _ = chunks(path.read_bytes())
    after, _ = chunks(painted(path)[0])
    (was,), (now,) = (each["meshes"][0]["primitives"] for each in (before, after))
    assert now == {
        **was,
        "attributes": {**was["attributes"], "TEXCOORD_0": len(before["accessors"])},
        "material": 0,
    }


@pytest.mark.parametrize("mode", [5, 6])
def test_strips_and_fans_stay_ones_unless_they_are_cut(mode: int, tmp_path: Path):
    path = strip(mode).write(tmp_path / "a.glb")
    before, _ = chunks(path.read_bytes())
    after, _ = chunks(painted(path)[0])
    (was,), (now,) = (each["meshes"][0]["primitives"] for each in (before, after))
    assert now == {**was, "material": 0}


def test_nodes_of_one_mesh_are_painted_each_in_its_own_way(tmp_path: Path):
    """Both lie on the same place in the texture, so that each has a texture of its own."""
    path = same_named().write(tmp_path / "a.glb")
    content, mesh = painted(path)
    assert len(mesh.textures) == 2
    after, _ = chunks(content)
    shown = [after["meshes"][node["mesh"]]["primitives"][0] for node in after["nodes"]]
    assert [each["material"] for each in shown] == [0, 1]
    assert shown[0]["attributes"] == shown[1]["attributes"]
    assert shown[0]["indices"] == shown[1]["indices"]


def test_instances_of_one_node_become_nodes_below_it(tmp_path: Path):
    path = instanced().write(tmp_path / "a.glb")
    content, mesh = painted(path)
    back = load_back(tmp_path, content)
    assert len(back.objects) == 3
    assert len(set(back.owners("material").tolist())) == 3
    np.testing.assert_array_equal(back.positions[back.triangles], mesh.positions[mesh.triangles])
    after, _ = chunks(content)
    assert "mesh" not in after["nodes"][0]
    assert [node["name"] for node in after["nodes"]] == ["Box", "Box.001", "Box.002", "Box.003"]


def test_instances_that_are_painted_alike_stay_instances(tmp_path: Path):
    path = instanced().write(tmp_path / "a.glb")
    given = load(path)
    mesh = take_in(given, "auto", 64).whole
    mesh = replace(mesh, face_texture=np.zeros(len(mesh.triangles), np.int32), textures=("One",))
    before, _ = chunks(path.read_bytes())
    after, _ = chunks(gltf_back(mesh, SHADES[:1])[0])
    assert after["nodes"] == before["nodes"]


def test_tiles_of_a_material_become_primitives_and_keep_their_places(tmp_path: Path):
    file = Gltf()
    uvs = UVS + np.where(np.arange(24)[:, None] < 12, [[0, 0]], [[1, 0]]).astype("f4")
    box = rich_box(file, material=material(file, "Skin"))
    box["attributes"]["TEXCOORD_0"] = file.array((uvs * [1, -1] + [0, 1]).astype("<f4"))
    file.node(file.mesh(box))
    path = file.write(tmp_path / "a.glb")
    before, old = chunks(path.read_bytes())
    content, mesh = painted(path)
    assert mesh.textures == ("Skin.1001", "Skin.1002")
    after, new = chunks(content)
    parts = [corners(after, new, each) for each in after["meshes"][0]["primitives"]]
    (whole,) = (corners(before, old, each) for each in before["meshes"][0]["primitives"])
    whole["COLOR_1"] = whole.pop("COLOR_0")
    for name, rows in whole.items():
        np.testing.assert_array_equal(np.concatenate([part[name] for part in parts]), rows)
    assert [p["material"] for p in after["meshes"][0]["primitives"]] == [0, 1]
    wraps = [after["samplers"][t["sampler"]]["wrapS"] for t in after["textures"]]
    assert wraps == [33071, 10497]  # what lies on another tile repeats


def test_a_texture_transform_stays_with_the_coordinates(tmp_path: Path):
    file = boxed(material=0)
    file.document["accessors"][1] |= {"bufferView": file.view((UVS * 4095).astype("<f4"))}
    transform = {"scale": [1 / 4095, 1 / 4095], "texCoord": 0}
    texture = {"index": 0, "extensions": {"KHR_texture_transform": transform}}
    file.add("materials", {"pbrMetallicRoughness": {"baseColorTexture": texture}})
    file.add("textures", {"source": image(file, RED)})
    file.document["extensionsUsed"] = ["KHR_texture_transform"]
    content, mesh = painted(file.write(tmp_path / "a.glb"))
    after, _ = chunks(content)
    (entry,) = after["materials"]
    base = entry["pbrMetallicRoughness"]["baseColorTexture"]
    assert base["extensions"] == {"KHR_texture_transform": {"scale": [1 / 4095, 1 / 4095]}}
    assert after["extensionsUsed"] == ["KHR_texture_transform"]
    back = load_back(tmp_path, content)
    np.testing.assert_allclose(back.uvs[back.uv_triangles], mesh.uvs[mesh.uv_triangles], atol=1e-5)


def test_the_set_of_coordinates_that_was_asked_for_is_that_of_the_material(tmp_path: Path):
    path = plain().write(tmp_path / "a.glb")
    before, _ = chunks(path.read_bytes())
    after, _ = chunks(painted(path, uv_set=1)[0])
    assert without(after, *PAINT) == without(before, *PAINT)
    assert after["materials"][0]["pbrMetallicRoughness"]["baseColorTexture"]["texCoord"] == 1
    after, _ = chunks(painted(path, "unwrap", uv_set=1)[0])
    assert after["materials"][0]["pbrMetallicRoughness"]["baseColorTexture"]["texCoord"] == 1
    attributes = after["meshes"][0]["primitives"][0]["attributes"]
    assert {"TEXCOORD_0", "TEXCOORD_1", "TEXCOORD_2"} <= attributes.keys()


def test_maps_are_where_gltf_has_them(tmp_path: Path):
    path = character().write(tmp_path / "a.glb")
    mesh = take_in(load(path), "auto", 64).whole
    maps = {"normal": SHADES[1:2], "surface": SHADES[2:3]}
    after, _ = chunks(gltf_back(mesh, SHADES[:1], maps)[0])
    (entry,) = after["materials"]
    assert entry["occlusionTexture"] == entry["pbrMetallicRoughness"]["metallicRoughnessTexture"]
    assert {"normalTexture", "occlusionTexture"} <= entry.keys()
    assert len(after["images"]) == 3


def test_what_is_not_painted_keeps_its_material_and_pictures(tmp_path: Path):
    """Another scene, lines, and a variant."""
    file = Gltf()
    keep = [material(file, name, RED + bytes(100 * k)) for k, name in enumerate(("Line", "Other"))]
    paint = material(file, "Paint", RED + bytes(777))
    variant = material(file, "Variant", RED + bytes(888))
    lines = {"attributes": {"POSITION": file.array(BOX)}, "mode": 1, "material": keep[0]}
    mapping = {"mappings": [{"material": variant, "variants": [0]}]}
    box = file.box(material=paint, extensions={"KHR_materials_variants": mapping})
    file.node(file.mesh(box, lines), "Box")
    shared = file.mesh(file.box(material=keep[1]))
    file.node(shared, "Box 2", translation=[4, 0, 0])
    file.node(shared, "Elsewhere")
    file.document["scenes"] = [{"nodes": [0, 1]}, {"nodes": [2]}]
    variants = {"KHR_materials_variants": {"variants": [{"name": "Night"}]}}
    file.document |= {"extensions": variants, "extensionsUsed": ["KHR_materials_variants"]}
    path = file.write(tmp_path / "a.glb")
    before, _ = chunks(path.read_bytes())
    after, new = chunks(painted(path)[0])
    for kept in (*keep, variant):
        assert after["materials"][kept] == before["materials"][kept]
    assert after["meshes"][0]["primitives"][1] == lines
    assert after["meshes"][1] == before["meshes"][1]
    assert after["nodes"][2] == before["nodes"][2]
    assert after["nodes"][1]["mesh"] == 2  # its own, because elsewhere the old one is shown
    assert after["materials"][paint]["name"] != "Paint" or len(after["materials"]) == 5
    assert RED + bytes(100) in new
    assert RED + bytes(888) in new


def test_extensions_that_are_not_known_keep_all_old_materials(tmp_path: Path):
    file = boxed(material=0)
    material(file, "Paint", RED + bytes(500))
    file.document["extensionsUsed"] = ["EXT_lights_image_based"]
    after, new = chunks(painted(file.write(tmp_path / "a.glb"))[0])
    assert [each["name"] for each in after["materials"]] == ["Paint", "Paint"]
    assert after["meshes"][0]["primitives"][0]["material"] == 1
    assert RED + bytes(500) in new


def test_painting_again_and_again_does_not_make_files_grow(tmp_path: Path):
    content, _ = painted(character(primitives=2).write(tmp_path / "a.glb"))
    sizes = []
    for _ in range(4):
        (tmp_path / "b.glb").write_bytes(content)
        content, _ = painted(tmp_path / "b.glb")
        document, _ = chunks(content)
        sizes.append((len(content) // 400, len(document["images"]), len(document["bufferViews"])))
    assert len(set(sizes)) == 1
    after, new = chunks(content)
    for entry in after["images"]:
        view = after["bufferViews"][entry["bufferView"]]
        Image.open(io.BytesIO(new[view["byteOffset"] :][: view["byteLength"]])).load()


def test_pictures_beside_a_gltf_come_along_if_they_are_still_shown(tmp_path: Path):
    file = boxed(material=0)
    for name in ("Paint", "Line"):
        texture = file.add("textures", {"source": file.add("images", {"uri": f"{name}.png"})})
        surface = {"baseColorTexture": {"index": texture}}
        file.add("materials", {"name": name, "pbrMetallicRoughness": surface})
        (tmp_path / f"{name}.png").write_bytes(RED + name.encode())
    dots = {"attributes": {"POSITION": 0}, "mode": 0, "material": 1}
    file.document["meshes"][0]["primitives"].append(dots)
    after, new = chunks(painted(file.write(tmp_path / "a.gltf"))[0])
    assert all("uri" not in entry for entry in after["images"])
    assert RED + b"Line" in new
    assert RED + b"Paint" not in new


def test_sparse_and_shared_accessors_are_split_apart(tmp_path: Path):
    """Two primitives on the same eight corners, of which the upper ones are sparse."""
    file = Gltf()
    points, index = np.unique(BOX, axis=0, return_inverse=True)
    top = np.flatnonzero(points[:, 1] > 0)
    position = file.array(points.astype("<f4"), max=[1, 2, 1])
    file.document["accessors"][position]["sparse"] = {
        "count": len(top),
        "indices": {"bufferView": file.view(top.astype("<u2")), "componentType": 5123},
        "values": {"bufferView": file.view((points[top] + [0, 1, 0]).astype("<f4"))},
    }
    faces = index.reshape(-1)[INDEX].astype("<u2")
    halves = [
        {"attributes": {"POSITION": position}, "indices": file.array(faces[k : k + 18])}
        for k in (0, 18)
    ]
    file.node(file.mesh(*halves))
    content, mesh = painted(file.write(tmp_path / "a.glb"), "unwrap")
    back = load_back(tmp_path, content)
    np.testing.assert_array_equal(back.positions[back.triangles], mesh.positions[mesh.triangles])
    assert back.positions.max() == 2
    here, there = back.uvs[back.uv_triangles], mesh.uvs[mesh.uv_triangles]
    np.testing.assert_allclose(here, there, atol=1e-6)
    after, new = chunks(content)
    for each in after["meshes"][0]["primitives"]:
        rows = values(after, new, each["attributes"]["POSITION"])
        assert 7 <= len(rows) <= 18


def test_a_file_from_the_wire_reads_nothing_of_the_disk(tmp_path: Path):
    secret = tmp_path / "a.bin"
    boxed().write(tmp_path / "a.gltf")
    mesh = load(tmp_path / "a.gltf")
    document = json.loads((tmp_path / "a.gltf").read_text())
    document["buffers"][0]["uri"] = str(secret)
    hostile = json.dumps(document).encode()
    whole = take_in(mesh, "auto", 64).whole
    with pytest.raises(InvalidMesh, match="which is not there"):
        gltf_back(replace(whole, origin=Origin("glb", hostile)), SHADES[:1])


def test_a_file_of_another_mesh_is_not_given_back(tmp_path: Path):
    other = load(strip(5).write(tmp_path / "b.glb"))
    whole = take_in(load(boxed().write(tmp_path / "a.glb")), "auto", 64).whole
    mixed = replace(whole, origin=other.origin)
    with pytest.raises(InvalidMesh, match="other faces than the mesh"):
        gltf_back(mixed, SHADES[:1])
    back = give_back(mixed, SHADES[:1], {}, ["texture.png"], {})
    assert "is written anew" in back.notes[0]
    assert len(load_back(tmp_path, back.files["textured.glb"]).triangles) == 12


def test_a_file_that_cannot_be_kept_is_told(tmp_path: Path):
    file = boxed()
    file.document["bufferViews"].append({"buffer": 1, "byteLength": 8})
    path = file.write(tmp_path / "a.glb")
    document = json.loads(chunks_text(path))
    document["buffers"].append({"byteLength": 8, "uri": "gone.bin"})
    whole = copy.deepcopy(document)
    path.write_bytes(rewritten(path.read_bytes(), whole))
    mesh = load(path)
    assert mesh.origin is None
    assert "needs the buffer 'gone.bin'" in mesh.notes[0]
    assert "textured.glb is written anew" in mesh.notes[0]


def chunks_text(path: Path) -> str:
    return json.dumps(chunks(path.read_bytes())[0])


def rewritten(content: bytes, document: dict) -> bytes:
    body = chunks(content)[1]
    text = json.dumps(document).encode()
    text += b" " * (-len(text) % 4)
    parts = len(text).to_bytes(4, "little") + b"JSON" + text
    parts += len(body).to_bytes(4, "little") + b"BIN\0" + body
    return b"glTF" + (2).to_bytes(4, "little") + (12 + len(parts)).to_bytes(4, "little") + parts


@pytest.mark.parametrize(
    "names",
    [
        {"objects": ["a"], "materials": ["b"], "file": {"kind": "exe", "uv_set": 0}},
        {"objects": ["a"], "materials": ["b"], "file": {"kind": "glb", "uv_set": -1}},
        {"objects": ["a"], "materials": ["b"], "file": {"kind": "glb"}},
        {"objects": ["a"], "materials": ["b"], "file": [1]},
        {"objects": ["a"], "materials": ["b"]},
    ],
)
def test_the_wire_says_what_a_file_is(names: dict):
    import safetensors.numpy

    blob = safetensors.numpy.save(
        {
            "positions": BOX.astype(np.float32),
            "triangles": INDEX.reshape(-1, 3).astype(np.int32),
            "names": np.frombuffer(json.dumps(names).encode(), np.uint8),
            "file": np.frombuffer(b"glTF", np.uint8),
        }
    )
    with pytest.raises(InvalidMesh, match="does not tell what its file is"):
        from_safetensors(blob)
