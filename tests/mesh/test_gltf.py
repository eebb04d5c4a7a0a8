# SPDX-License-Identifier: GPL-3.0-or-later
import base64
import contextlib
import json
import os
import time
from pathlib import Path

import numpy as np
import pytest

from syncsde_engine.errors import InvalidMesh, InvalidRequest
from syncsde_engine.mesh.files.io import load
from syncsde_engine.mesh.intake.uvs import corners_of
from syncsde_engine.mesh.mesh import areas, normals
from tests.mesh.gltf_files import BOX, FILES, INDEX, PLAIN, UVS, Gltf, boxed, mirrored, skinned


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("suffix", [".glb", ".gltf"])
def test_a_file_is_read_as_it_is_shown(name: str, suffix: str, tmp_path: Path):
    """Areas, extents and names that are known in closed form."""
    make, known = FILES[name]
    expected = PLAIN | known
    mesh = load(make().write(tmp_path / f"mein großes {name}{suffix}"))
    used = mesh.positions[mesh.triangles]
    assert len(mesh.triangles) == expected["faces"]
    assert mesh.objects == expected["objects"]
    assert mesh.materials == expected["materials"]
    if expected["area"] is not None:
        assert areas(mesh).sum() == pytest.approx(expected["area"], rel=1e-5)
    if expected["low"] is not None:
        np.testing.assert_allclose(used.min(axis=(0, 1)), expected["low"], atol=1e-4)
    if expected["high"] is not None:
        np.testing.assert_allclose(used.max(axis=(0, 1)), expected["high"], atol=1e-4)
    corners = corners_of(mesh)
    assert corners.usable.all()
    assert corners.uvs.min() >= 0
    assert corners.uvs.max() <= 1


@pytest.mark.parametrize("name", ["uvs without material", "shear and mirror", "skinned", "bent"])
def test_faces_look_outwards(name: str, tmp_path: Path):
    mesh = load(FILES[name][0]().write(tmp_path / "a.glb"))
    centers = mesh.positions[mesh.triangles].mean(axis=1)
    assert (np.einsum("fc,fc->f", centers - centers.mean(axis=0), normals(mesh)) > 0).all()


def test_coordinates_run_upwards(tmp_path: Path):
    mesh = load(boxed().write(tmp_path / "a.glb"))
    assert mesh.uvs is not None
    assert mesh.uv_triangles is not None
    expected = UVS[INDEX].reshape(-1, 3, 2) * [1, -1] + [0, 1]
    np.testing.assert_allclose(mesh.uvs[mesh.uv_triangles], expected, atol=1e-6)


def test_a_texture_transform_counts_where_it_makes_coordinates_usable(tmp_path: Path):
    """gltfpack keeps the scale of quantized coordinates there; one that tiles changes nothing."""
    for scale, offset, expected in (
        ([1 / 4095, 1 / 4095], [0, 0], UVS),
        ([0.5 / 4095, 1 / 4095], [0.5, 0], UVS * [0.5, 1] + [0.5, 0]),
        ([3 / 4095, 3 / 4095], [0, 0], UVS * 4095),
    ):
        file = boxed(material=0)
        file.document["accessors"][1] |= {"bufferView": file.view((UVS * 4095).astype("<f4"))}
        texture = {"index": 0, "extensions": {"KHR_texture_transform": {"scale": scale}}}
        texture["extensions"]["KHR_texture_transform"]["offset"] = offset
        file.add("materials", {"pbrMetallicRoughness": {"baseColorTexture": texture}})
        mesh = load(file.write(tmp_path / "a.glb"))
        assert mesh.uvs is not None
        assert mesh.uv_triangles is not None
        placed = expected[INDEX].reshape(-1, 3, 2) * [1, -1] + [0, 1]
        np.testing.assert_allclose(mesh.uvs[mesh.uv_triangles], placed, rtol=1e-5, atol=1e-5)
        assert len(mesh.notes) == (expected is not None and expected.max() <= 1)


def test_a_texture_transform_turns_as_viewers_turn_it(tmp_path: Path):
    """Turned by a right angle, u runs along v and v against u, in glTF's v downwards."""
    file = boxed(material=0)
    file.document["accessors"][1] |= {
        "bufferView": file.view((UVS + np.array([3, 0])).astype("<f4"))
    }
    transform = {"rotation": np.pi / 2, "offset": [0, 4]}
    texture = {"index": 0, "extensions": {"KHR_texture_transform": transform}}
    file.add("materials", {"pbrMetallicRoughness": {"baseColorTexture": texture}})
    mesh = load(file.write(tmp_path / "a.glb"))
    assert mesh.uvs is not None
    assert mesh.uv_triangles is not None
    turned = np.stack([UVS[:, 1], 1 - UVS[:, 0]], axis=1)
    expected = turned[INDEX].reshape(-1, 3, 2) * [1, -1] + [0, 1]
    np.testing.assert_allclose(mesh.uvs[mesh.uv_triangles], expected, atol=1e-5)


def test_every_set_of_coordinates_can_be_read(tmp_path: Path):
    file = boxed()
    file.document["accessors"][1] |= {"bufferView": file.view((4 * UVS).astype("<f4"))}
    primitive = file.document["meshes"][0]["primitives"][0]
    primitive["attributes"]["TEXCOORD_1"] = file.array(UVS)
    path = file.write(tmp_path / "a.glb")
    assert corners_of(load(path)).uvs.max() > 3
    assert corners_of(load(path, uv_set=1)).uvs.max() < 1
    with pytest.raises(InvalidMesh, match=r"no texture coordinates 2\. Leave uv-set out"):
        load(path, uv_set=2)
    (tmp_path / "a.obj").write_text("v 0 0 0\nv 1 0 0\nv 0 1 0\nf 1 2 3\n")
    with pytest.raises(InvalidRequest, match="one set of texture coordinates"):
        load(tmp_path / "a.obj", uv_set=1)


def test_nodes_outside_of_the_default_scene_are_told(tmp_path: Path):
    file = boxed()
    file.node(0, "Other")
    file.add("scenes", {"nodes": [1]})
    mesh = load(file.write(tmp_path / "a.glb"))
    assert mesh.objects == ("Box",)
    assert mesh.notes == ("Objects outside of the default scene of the file are left out.",)
    file.document["scene"] = 1
    assert load(file.write(tmp_path / "b.glb")).objects == ("Other",)


def test_a_hidden_node_is_left_out_and_told(tmp_path: Path):
    file = boxed()
    hidden = {"KHR_node_visibility": {"visible": False}}
    file.node(0, "Hidden", extensions=hidden)
    file.document["scenes"][0]["nodes"] = [0, 1]
    mesh = load(file.write(tmp_path / "a.glb"))
    assert mesh.objects == ("Box",)
    assert mesh.notes == ("Objects that the file hides are left out.",)


def test_a_face_of_missing_vertices_does_not_reach_into_other_parts(tmp_path: Path):
    file = boxed()
    other = file.box()
    index = INDEX.copy()
    index[0] = 30  # the first part has 24 vertices, the second would be meant
    file.document["meshes"][0]["primitives"][0]["indices"] = file.array(index)
    file.document["meshes"][0]["primitives"].append(other)
    mesh = load(file.write(tmp_path / "a.glb"))
    assert (mesh.triangles < 0).any(axis=1).sum() == 1


def compressed(name: str) -> Gltf:
    file = boxed()
    file.document["extensionsUsed"] = [name]  # and not required
    if name.endswith("draco_mesh_compression"):
        for accessor in file.document["accessors"]:
            del accessor["bufferView"]
        file.document["meshes"][0]["primitives"][0]["extensions"] = {name: {"bufferView": 0}}
    else:
        file.document["bufferViews"][0] |= {"buffer": 1, "extensions": {name: {"buffer": 0}}}
    return file


NAMES = ["KHR_draco_mesh_compression", "EXT_meshopt_compression", "KHR_meshopt_compression"]


@pytest.mark.parametrize("name", NAMES)
def test_compression_is_refused_by_name(name: str, tmp_path: Path):
    path = compressed(name).write(tmp_path / "a.glb")
    content = path.read_bytes()
    size = int.from_bytes(content[12:16], "little")
    document = json.loads(content[20 : 20 + size])
    document["buffers"].append({"byteLength": 288, "extensions": {name: {"fallback": True}}})
    text = json.dumps(document).encode()  # not padded, as some write it
    rest = content[20 + size :]
    path.write_bytes(content[:12] + len(text).to_bytes(4, "little") + b"JSON" + text + rest)
    with pytest.raises(InvalidMesh, match=rf"compressed \({name}\). Export it without"):
        load(path)


def test_draco_beside_plain_arrays_is_no_obstacle(tmp_path: Path):
    file = boxed(extensions={"KHR_draco_mesh_compression": {"bufferView": 0}})
    assert areas(load(file.write(tmp_path / "a.glb"))).sum() == pytest.approx(24)


def changed(change) -> Gltf:
    file = boxed(material=0)
    file.add("materials", {"name": "Paint"})
    change(file.document)
    return file


def chain(document: dict, count: int):
    document["nodes"] = [{"children": [k + 1], "name": "N"} for k in range(count)]
    document["nodes"].append({"mesh": 0, "name": "Box", "translation": [1, 0, 0]})


WRONG = {
    "a version that is gone": (lambda d: d["asset"].update(version="1.0"), "version 1.0"),
    "an extension": (lambda d: d.update(extensionsRequired=["X_odd"]), "requires 'X_odd'"),
    "a node that is not there": (lambda d: d["scenes"][0].update(nodes=[7]), "no nodes 7"),
    "a node that is below itself": (lambda d: d["nodes"][0].update(children=[0]), "two parents"),
    "a mesh of text": (lambda d: d["nodes"][0].update(mesh="Shape"), "no meshes Shape"),
    "nodes of text": (lambda d: d.update(nodes="Box"), "its nodes are no list"),
    "a node of text": (lambda d: d.update(nodes=["Box"]), "no nodes 0"),
    "primitives of text": (lambda d: d["meshes"][0].update(primitives=["a"]), "no JSON object"),
    "a material that is not there": (lambda d: d.update(materials=[]), "no materials 0"),
    "too many elements": (lambda d: d["accessors"][0].update(count=10**9), "the count of access"),
    "less than nothing": (lambda d: d["accessors"][0].update(count=-1), "the count of accessor"),
    "half an element": (lambda d: d["accessors"][0].update(count=1.5), "the count of accessor"),
    "more than there is": (lambda d: d["accessors"][0].update(count=2000), "is cut off"),
    "a view beyond the end": (lambda d: d["bufferViews"][0].update(byteOffset=10**6), "cut off"),
    "another type": (lambda d: d["accessors"][0].update(type="VEC2"), "is VEC2, not VEC3"),
    "fewer coordinates": (lambda d: d["accessors"][1].update(count=3), "3 elements for 24"),
    "a matrix of words": (lambda d: d["nodes"][0].update(matrix=["a"] * 16), "is not 16 numbers"),
    "a place of two": (lambda d: d["nodes"][0].update(translation=[1, 2]), "is not 3 numbers"),
    "a skin that is not there": (lambda d: d["nodes"][0].update(skin=0), "no skins 0"),
}


@pytest.mark.parametrize("name", WRONG)
@pytest.mark.parametrize("suffix", [".glb", ".gltf"])
def test_what_is_wrong_is_said_in_words(name: str, suffix: str, tmp_path: Path):
    change, message = WRONG[name]
    with pytest.raises(InvalidMesh, match=message) as caught:
        load(changed(change).write(tmp_path / f"a{suffix}"))
    assert "\n" not in str(caught.value)
    assert "Error" not in str(caught.value)
    assert caught.value.hint


def test_no_entry_of_a_file_makes_python_speak(tmp_path: Path):
    """Every value of the document in turn becomes one of another type."""
    whole = skinned()
    whole.node(0, "Other", extensions={"EXT_mesh_gpu_instancing": {"attributes": {}}})
    text = whole.write(tmp_path / "a.gltf").read_text()

    def places(value, path=()):
        yield path
        if isinstance(value, (dict, list)):
            for key in value if isinstance(value, dict) else range(len(value)):
                yield from places(value[key], (*path, key))

    for path in places(json.loads(text)):
        for odd in (None, "a", -1, 1e308, [], [None], {}, True):
            document = {"root": json.loads(text)}
            above = document
            for key in ("root", *path)[:-1]:
                above = above[key]
            above[("root", *path)[-1]] = odd
            (tmp_path / "a.gltf").write_text(json.dumps(document["root"]))
            with contextlib.suppress(InvalidMesh):  # and no other
                load(tmp_path / "a.gltf")


def test_a_long_chain_of_nodes_is_read_in_time(tmp_path: Path):
    start = time.process_time()
    mesh = load(changed(lambda document: chain(document, 20_000)).write(tmp_path / "a.glb"))
    assert mesh.objects == ("Box",)
    assert time.process_time() - start < 8


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="the system has no pipes with names")
def test_a_pipe_is_not_waited_for(tmp_path: Path):
    path = boxed().write(tmp_path / "a.gltf")
    (tmp_path / "a.bin").unlink()
    os.mkfifo(tmp_path / "a.bin")
    with pytest.raises(InvalidMesh, match=r"needs the buffer 'a.bin', which is not there"):
        load(path)


def test_a_buffer_may_be_in_the_text_or_far_away(tmp_path: Path):
    path = boxed().write(tmp_path / "a.gltf")
    document = json.loads(path.read_text())
    body = base64.b64encode((tmp_path / "a.bin").read_bytes()).decode()
    document["buffers"][0]["uri"] = f"data:application/octet-stream;base64,{body}"
    path.write_text(json.dumps(document))
    assert areas(load(path)).sum() == pytest.approx(24)
    document["buffers"][0]["uri"] = "https://example.org/a.bin"
    path.write_text(json.dumps(document))
    with pytest.raises(InvalidMesh, match="keeps its buffer elsewhere"):
        load(path)


def test_vertices_that_no_face_uses_are_not_taken_along(tmp_path: Path):
    file = mirrored()
    far = np.concatenate([BOX, np.full((1000, 3), 1e9, "<f4")])
    uvs = np.concatenate([UVS, np.zeros((1000, 2), "<f4")])
    attributes = {"POSITION": file.array(far), "TEXCOORD_0": file.array(uvs)}
    file.document["meshes"][0]["primitives"][0]["attributes"] = attributes
    assert len(load(file.write(tmp_path / "a.glb")).positions) == 24
