# SPDX-License-Identifier: GPL-3.0-or-later
import io
import json
import struct
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy
import trimesh
from PIL import Image

from syncsde_engine.errors import InvalidMesh, InvalidRequest
from syncsde_engine.mesh.files.io import from_safetensors, load, textured_glb, to_safetensors
from syncsde_engine.mesh.mesh import areas, normals
from syncsde_engine.pictures import png
from tests.mesh.shapes import icosphere, quad, touching


def test_safetensors_round_trip():
    mesh = quad(0.5)
    back = from_safetensors(to_safetensors(mesh), "thing")
    for name in ("positions", "triangles", "uvs", "uv_triangles"):
        np.testing.assert_array_equal(getattr(back, name), getattr(mesh, name))
        assert getattr(back, name).dtype == getattr(mesh, name).dtype
    assert back.name == "thing"
    assert back.objects == mesh.objects
    several = replace(
        mesh,
        face_object=np.array([1, 0], np.int32),
        face_material=np.array([2, 1], np.int32),
        objects=("Würfel", "ball"),
        materials=("a", "b", 'c "quoted"'),
        notes=("2 lines are left out.",),
    )
    back = from_safetensors(to_safetensors(several))
    assert (back.objects, back.materials) == (several.objects, several.materials)
    assert back.notes == several.notes
    np.testing.assert_array_equal(back.face_object, several.face_object)
    np.testing.assert_array_equal(back.face_material, several.face_material)
    bare = from_safetensors(to_safetensors(replace(mesh, uvs=None, uv_triangles=None)))
    assert bare.uvs is None
    assert bare.uv_triangles is None


def blob(**changes: np.ndarray | None) -> bytes:
    mesh = quad(0.5)
    arrays = {"positions": mesh.positions, "triangles": mesh.triangles} | changes
    return safetensors.numpy.save({k: v for k, v in arrays.items() if v is not None})


def named(names: bytes) -> bytes:
    return blob(names=np.frombuffer(names, np.uint8))


def header(text: str, body: bytes = b"") -> bytes:
    return struct.pack("<Q", len(text)) + text.encode() + body


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "not a safetensors blob"),
        (b"{}", "not a safetensors blob"),
        (b"\xff" * 64, "not a safetensors blob"),
        (blob()[:-1], "not a safetensors blob"),
        (blob() + b"x", "not a safetensors blob"),
        (struct.pack("<Q", 2**63) + b"{}", "not a safetensors blob"),
        (header("[1, 2]"), "not a safetensors blob"),
        (
            header('{"positions":{"dtype":"F32","shape":[99999999999,3],"data_offsets":[0,0]}}'),
            "not a safetensors blob",
        ),
        (header("{}"), "no tensor 'positions'"),
        (blob(positions=None), "no tensor 'positions'"),
        (blob(triangles=None), "no tensor 'triangles'"),
        (blob(weights=np.zeros(3, np.float32)), "unknown tensor 'weights'"),
        (blob(positions=np.zeros((4, 3))), "'positions' is F64"),
        (blob(positions=np.zeros((4, 3), np.float16)), "'positions' is F16"),
        (blob(positions=np.zeros((12,), np.float32)), r"shape \(12,\)"),
        (blob(positions=np.zeros((4, 1, 3), np.float32)), "shape"),
        (blob(triangles=np.zeros((2, 3), np.int64)), "'triangles' is I64"),
        (blob(triangles=np.zeros((2, 4), np.int32)), r"shape \(2, 4\)"),
        (blob(triangles=np.zeros((0, 3), np.int32)), "empty"),
        (blob(uvs=np.zeros((4, 2), np.float32)), "must come together"),
        (blob(face_object=np.zeros(3, np.int32)), r"object ids have shape \(3,\)"),
        (blob(face_object=np.zeros((2, 1), np.int32)), "'face_object' is I32 of shape"),
        (blob(face_object=np.zeros(2, np.int64)), "'face_object' is I64"),
        (blob(face_object=np.array([0, 1], np.int32)), "1 faces belong to object 1, but .* are 1"),
        (blob(face_material=np.array([0, -1], np.int32)), "1 faces belong to material -1"),
        (blob(names=np.zeros(2, np.int32)), "'names' is I32"),
        (named(b"\xff"), "no JSON object of objects and materials"),
        (named(b"[" * 100_000), "no JSON object of objects and materials"),
        (named(b'{"objects": ["a"]}'), "no JSON object of objects and materials"),
        (named(b'{"objects": ["a"], "materials": ["b"], "notes": [7]}'), "no JSON object of"),
        (named(b'{"objects": ["a"], "materials": ["b"], "notes": 7}'), "no JSON object of"),
        (named(b'{"objects": ["a"], "materials": []}'), "names of the materials"),
        (named(b'{"objects": ["a"], "materials": "b"}'), "names of the materials"),
        (named(b'{"objects": [7], "materials": ["b"]}'), "names of the objects"),
        (named(b'{"objects": ["a", "a"], "materials": ["b"]}'), "Two objects are called 'a'"),
    ],
)
def test_a_hostile_blob_is_one_sentence(content: bytes, message: str):
    with pytest.raises(InvalidMesh, match=message) as caught:
        from_safetensors(content)
    assert "\n" not in str(caught.value)


def test_a_pickle_is_not_read():
    class Bomb:
        def __reduce__(self):
            return (pytest.fail, ("was unpickled",))

    import pickle

    with pytest.raises(InvalidMesh, match="not a safetensors blob"):
        from_safetensors(pickle.dumps(Bomb()))


@pytest.mark.parametrize("suffix", [".obj", ".ply", ".stl", ".glb", ".gltf", ".OBJ"])
def test_every_format_gives_the_same_surface(suffix: str, tmp_path: Path):
    mesh = icosphere(1)
    path = tmp_path / f"ball{suffix}"
    other = trimesh.Trimesh(mesh.positions, mesh.triangles, process=False)
    if suffix == ".gltf":
        files = trimesh.exchange.gltf.export_gltf(trimesh.Scene(other))
        for name, content in files.items():
            (tmp_path / name.replace("model.gltf", "ball.gltf")).write_bytes(content)
    else:
        other.export(path, file_type=suffix[1:].lower())
    back = load(path)
    assert len(back.triangles) == len(mesh.triangles)
    assert areas(back).sum() == pytest.approx(areas(mesh).sum(), rel=1e-5)
    centers = back.positions[back.triangles].mean(axis=1)
    assert (np.einsum("fc,fc->f", centers, normals(back)) > 0.5).all()
    assert back.name == "ball"
    assert back.uvs is None


def test_a_scene_is_one_mesh_under_its_transforms(tmp_path: Path):
    box = trimesh.creation.box((1, 1, 1))
    mirrored = np.diag([-1.0, 1, 1, 1])
    mirrored[0, 3] = 5
    scene = trimesh.Scene()
    scene.add_geometry(box, geom_name="box", node_name="one")
    scene.add_geometry(box, geom_name="box", node_name="two", transform=mirrored)
    scene.export(tmp_path / "two.glb")
    mesh = load(tmp_path / "two.glb")
    assert len(mesh.triangles) == 24
    np.testing.assert_allclose(mesh.positions.min(axis=0), [-0.5, -0.5, -0.5])
    np.testing.assert_allclose(mesh.positions.max(axis=0), [5.5, 0.5, 0.5])
    centers = mesh.positions[mesh.triangles].mean(axis=1)
    outward = centers - np.where(centers[:, :1] > 2, 5, 0) * [[1, 0, 0]]
    assert (np.einsum("fc,fc->f", outward, normals(mesh)) > 0).all()


@pytest.mark.parametrize("suffix", [".glb", ".gltf", ".ply", ".stl", ".obj"])
@pytest.mark.parametrize(
    "content", [b"", b"\0" * 500, b"glTF\x02\0\0\0\xff\xff\xff\xff", b"ply\nformat ascii 1.0\n"]
)
def test_a_damaged_file_is_one_sentence(suffix: str, content: bytes, tmp_path: Path):
    path = tmp_path / f"bad{suffix}"
    path.write_bytes(content)
    with pytest.raises(InvalidMesh) as caught:
        load(path)
    assert "\n" not in str(caught.value)


def test_truncated_files_are_one_sentence(tmp_path: Path):
    for suffix in (".glb", ".ply", ".stl"):
        mesh = icosphere(1)
        path = tmp_path / f"cut{suffix}"
        trimesh.Trimesh(mesh.positions, mesh.triangles).export(path)
        content = path.read_bytes()
        for share in (0.1, 0.5, 0.9):
            path.write_bytes(content[: int(share * len(content))])
            with pytest.raises(InvalidMesh):
                load(path)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("missing.obj", "cannot be read"),
        ("missing.glb", "cannot be read"),
        ("mesh.fbx", "not a mesh file .* Open it in Blender"),
        ("mesh", "not a mesh file"),
        ("folder.obj", "cannot be read"),
        ("nul\0.obj", "cannot be read"),
    ],
)
def test_a_path_that_cannot_be_read_is_named(name: str, message: str, tmp_path: Path):
    (tmp_path / "folder.obj").mkdir()
    with pytest.raises(InvalidRequest, match=message) as caught:
        load(tmp_path / name)
    assert caught.value.field == "mesh"


def chunks(content: bytes) -> tuple[dict, bytes]:
    magic, version, length = struct.unpack_from("<4sII", content)
    assert (magic, version, length) == (b"glTF", 2, len(content))
    size, kind = struct.unpack_from("<I4s", content, 12)
    assert kind == b"JSON"
    body = 20 + size
    rest, kind = struct.unpack_from("<I4s", content, body)
    assert kind == b"BIN\0"
    assert size % 4 == rest % 4 == 0
    assert body + 8 + rest == len(content)
    return json.loads(content[20:body]), content[body + 8 :]


def test_a_textured_glb_holds_the_picture_and_gltf_coordinates():
    texture = np.random.default_rng(0).integers(0, 256, (8, 16, 3), np.uint8)
    document, body = chunks(textured_glb(quad(3.0), [png(texture)]))
    image = document["bufferViews"][document["images"][0]["bufferView"]]
    stored = body[image["byteOffset"] : image["byteOffset"] + image["byteLength"]]
    np.testing.assert_array_equal(np.asarray(Image.open(io.BytesIO(stored))), texture)
    material = document["materials"][0]["pbrMetallicRoughness"]
    assert material["metallicFactor"] == 0
    assert material["roughnessFactor"] == 1
    arrays = []
    for accessor, width in zip(document["accessors"], (3, 3, 2, 1), strict=True):
        view = document["bufferViews"][accessor["bufferView"]]
        dtype = {5125: "<u4", 5126: "<f4"}[accessor["componentType"]]
        part = body[view["byteOffset"] : view["byteOffset"] + view["byteLength"]]
        arrays.append(np.frombuffer(part, dtype).reshape(-1, width))
        assert len(arrays[-1]) == accessor["count"]
        assert view["byteOffset"] % 4 == 0
    positions, normals, uvs, index = arrays
    assert (normals == [0, 0, 1]).all()
    # glTF: (0, 0) is the upper left corner of the image, so the upper left vertex must have it.
    corner = {tuple(p): tuple(uv) for p, uv in zip(positions.tolist(), uvs.tolist(), strict=True)}
    assert corner == {
        (-3, 3, 0): (0, 0),
        (3, 3, 0): (1, 0),
        (3, -3, 0): (1, 1),
        (-3, -3, 0): (0, 1),
    }
    np.testing.assert_array_equal(positions[index[:, 0]], quad(3.0).positions[[0, 1, 2, 0, 2, 3]])


def test_a_textured_glb_has_maps_where_gltf_has_them():
    shade = {k: png(np.full((4, 4, 3), k, np.uint8)) for k in range(4)}
    mesh = touching()
    maps = {"normal": [shade[2], shade[3]], "surface": [shade[3], shade[2]]}
    document, body = chunks(textured_glb(mesh, [shade[0], shade[1]], maps))

    def pixel(texture):
        view = document["bufferViews"][
            document["images"][document["textures"][texture["index"]]["source"]]["bufferView"]
        ]
        start = view["byteOffset"]
        return Image.open(io.BytesIO(body[start : start + view["byteLength"]])).getpixel((0, 0))[0]

    for number, material in enumerate(document["materials"]):
        surface = material["pbrMetallicRoughness"]
        assert pixel(surface["baseColorTexture"]) == number
        assert pixel(material["normalTexture"]) == 2 + number
        assert pixel(surface["metallicRoughnessTexture"]) == 3 - number
        assert material["occlusionTexture"] == surface["metallicRoughnessTexture"]
        assert (surface["metallicFactor"], surface["roughnessFactor"]) == (1, 1)
    plain, _ = chunks(textured_glb(mesh, [shade[0], shade[1]]))
    assert "normalTexture" not in plain["materials"][0]
    assert plain["materials"][0]["pbrMetallicRoughness"]["metallicFactor"] == 0


def test_a_textured_glb_reads_back_with_its_seams(tmp_path: Path):
    """Vertex 0 and 2 have two texture coordinates each: split in the file only."""
    mesh = quad(2.0)
    uvs = np.array([[0, 0], [0.4, 0], [0.4, 1], [0.6, 0], [1, 1], [0.6, 1]], np.float32)
    mesh = replace(mesh, uvs=uvs, uv_triangles=np.array([[0, 1, 2], [3, 4, 5]], np.int32))
    (tmp_path / "a.glb").write_bytes(textured_glb(mesh, [png(np.zeros((4, 4, 3), np.uint8))]))
    back = load(tmp_path / "a.glb")
    assert len(back.positions) == 6
    assert back.uvs is not None
    assert back.uv_triangles is not None
    np.testing.assert_array_equal(back.positions[back.triangles], mesh.positions[mesh.triangles])
    np.testing.assert_allclose(back.uvs[back.uv_triangles], uvs[mesh.uv_triangles], atol=1e-6)


def test_a_mesh_without_texture_coordinates_has_no_textured_file():
    with pytest.raises(InvalidMesh, match="no texture coordinates"):
        textured_glb(icosphere(0), [png(np.zeros((4, 4, 3), np.uint8))])


def test_objects_of_a_scene_without_texture_coordinates_say_so(tmp_path: Path):
    plain = trimesh.creation.box((1, 1, 1))
    textured = trimesh.load_scene(
        io.BytesIO(textured_glb(quad(1.0), [png(np.zeros((4, 4, 3), np.uint8))])), file_type="glb"
    )
    textured.export(tmp_path / "with.glb")
    assert isinstance(load(tmp_path / "with.glb").uvs, np.ndarray)
    textured.add_geometry(plain)
    textured.export(tmp_path / "part.glb")
    part = load(tmp_path / "part.glb")
    assert part.uv_triangles is not None
    without = (part.uv_triangles == -1).all(axis=1)
    assert without.tolist() == [False] * 2 + [True] * 12
    assert part.owners("object").tolist() == [0] * 2 + [1] * 12


def test_objects_and_materials_of_a_file_keep_names_and_order(tmp_path: Path):
    """A node of two primitives is one object; nodes are in the file's order."""
    places, count = quad(1.0).positions, 4
    accessors, views, body = [], [], b""
    for array, kind in ((places, "VEC3"), *((np.arange(3, dtype="<u4"), "SCALAR"),) * 1):
        views.append({"buffer": 0, "byteOffset": len(body), "byteLength": array.nbytes})
        component = 5126 if kind == "VEC3" else 5125
        accessors.append(
            {"bufferView": len(views) - 1, "componentType": component, "type": kind}
            | {"count": count if kind == "VEC3" else 3, "min": [-1] * 3, "max": [1] * 3}
        )
        body += array.tobytes()
    one = {"attributes": {"POSITION": 0}, "indices": 1}
    document = {
        "asset": {"version": "2.0"},
        "scene": 0,
        "scenes": [{"nodes": [0, 3]}],
        "nodes": [
            {"name": "Group", "children": [1, 2]},
            {"name": "Car", "mesh": 0},
            {"name": "Wheel", "mesh": 1, "translation": [3, 0, 0]},
            {"name": "Car.001", "mesh": 0, "translation": [9, 0, 0]},
        ],
        "meshes": [
            {"name": "CarMesh", "primitives": [one | {"material": 0}, one | {"material": 1}]},
            {"name": "Round", "primitives": [one]},
        ],
        "materials": [{"name": "paint"}, {"name": "glass"}],
        "accessors": accessors,
        "bufferViews": views,
        "buffers": [{"byteLength": len(body)}],
    }
    (tmp_path / "car.bin").write_bytes(body)
    document["buffers"][0]["uri"] = "car.bin"
    (tmp_path / "car.gltf").write_text(json.dumps(document))
    mesh = load(tmp_path / "car.gltf")
    parts = [
        (mesh.objects[o], mesh.materials[m], round(float(mesh.positions[t[0], 0])))
        for o, m, t in zip(
            mesh.owners("object"), mesh.owners("material"), mesh.triangles, strict=True
        )
    ]
    assert parts == [
        *[("Car", "paint", -1), ("Car", "glass", -1)],
        ("Wheel", "material", 2),
        *[("Car.001", "paint", 8), ("Car.001", "glass", 8)],
    ]
