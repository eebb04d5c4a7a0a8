# SPDX-License-Identifier: GPL-3.0-or-later
"""textured.obj is the OBJ file that came in, with new materials and, if need be, coordinates."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import trimesh

from syncsde_engine.errors import InvalidMesh
from syncsde_engine.mesh.files.io import from_safetensors, give_back, load, to_safetensors
from syncsde_engine.mesh.files.obj_back import obj_back
from syncsde_engine.mesh.intake.take_in import take_in
from syncsde_engine.mesh.mesh import Mesh, Origin
from syncsde_engine.pictures import png

SHADE = png(np.full((4, 4, 3), 99, np.uint8))
HOUSE = """# A house
mtllib old.mtl
o Walls
v 0 0 0
v 2 0 0
v 2 0 2
v 0 0 2
v 0 2 0 0.5 0.5 0.5
v 2 2 0
v 2 2 2
v 0 2 2
vn 0 0 1
vt 0.1 0.1
vt 0.4 0.1
vt 0.4 0.4
vt 0.1 0.4
g left wing
s 1
usemtl Brick
f 1/1/1 2/2/1 6/3/1 5/4/1
f -6/-4/1 -5/-3/1 -1/-2/1 \\
 -2/-1/1 # the other side
l 1 2
o Roof
usemtl Tile
f 5/1 6/2 7/3 8/4
f 1 2
"""


def written(folder: Path, text: str, uv: str = "auto") -> tuple[Mesh, str]:
    (folder / "a.obj").write_text(text)
    given = from_safetensors(to_safetensors(load(folder / "a.obj")))
    mesh = take_in(given, uv, 64).whole
    return mesh, obj_back(mesh)


def test_with_its_own_coordinates_only_materials_change(tmp_path: Path):
    mesh, text = written(tmp_path, HOUSE)
    expected = HOUSE.replace("\\\n", "  ").replace("mtllib old.mtl\n", "")
    walls, roof = mesh.textures[:1] * 2 if len(mesh.textures) == 1 else mesh.textures
    expected = expected.replace("usemtl Brick\n", f"usemtl {walls}\n")
    expected = expected.replace("usemtl Tile\n", f"usemtl {roof}\n")
    assert text == "mtllib textured.mtl\n" + expected


def test_new_coordinates_are_those_of_the_corners(tmp_path: Path):
    mesh, text = written(tmp_path, HOUSE, "unwrap")
    old, new = (rows.splitlines() for rows in (HOUSE.replace("\\\n", "  "), text))
    for kind in ("v ", "vn ", "o ", "g ", "s ", "l ", "#"):
        kept = [row for row in old if row.startswith(kind)]
        assert [row for row in new if row.startswith(kind)] == kept
    words = [row.split("#")[0].split()[1:] for row in new if row.startswith("f ")]
    assert [[w.split("/")[0] for w in row] for row in words] == [
        ["1", "2", "6", "5"],
        ["-6", "-5", "-1", "-2"],
        ["5", "6", "7", "8"],
    ]
    assert all(word.endswith("/1") and word.count("/") == 2 for word in words[0] + words[1])
    assert all(word.count("/") == 1 for word in words[2])
    (tmp_path / "textured.obj").write_text(text)
    back = load(tmp_path / "textured.obj")
    np.testing.assert_array_equal(back.positions[back.triangles], mesh.positions[mesh.triangles])
    here, there = back.uvs[back.uv_triangles], mesh.uvs[mesh.uv_triangles]
    np.testing.assert_allclose(here, there, atol=1e-6)
    assert back.objects == mesh.objects
    assert back.materials == mesh.textures


def test_a_polygon_that_is_cut_in_the_texture_is_written_as_triangles(tmp_path: Path):
    """Its two triangles stand at a right angle, and lie apart."""
    text = "v 0 0 0\nv 1 0 0\nv 1 0 1\nv 0 1 0\nf 1 2 3 4\n"
    (tmp_path / "a.obj").write_text(text)
    mesh = load(tmp_path / "a.obj")
    apart = np.arange(12, dtype=np.float32).reshape(6, 2) / 12 + np.float32(0.01)
    mesh = replace(
        mesh,
        uvs=apart,
        uv_triangles=np.arange(6, dtype=np.int32).reshape(2, 3),
        face_texture=np.zeros(2, np.int32),
    )
    (tmp_path / "b.obj").write_text(obj_back(mesh))
    back = load(tmp_path / "b.obj")
    np.testing.assert_array_equal(back.triangles, mesh.triangles)
    np.testing.assert_allclose(back.uvs[back.uv_triangles], apart.reshape(2, 3, 2), atol=1e-6)


def test_another_reader_finds_picture_and_coordinates(tmp_path: Path):
    sphere = trimesh.creation.icosphere(subdivisions=1)
    rows = [f"v {x} {y} {z}" for x, y, z in sphere.vertices]
    rows += ["f " + " ".join(str(k + 1) for k in face) for face in sphere.faces]
    (tmp_path / "a.obj").write_text("\n".join(rows))
    mesh = take_in(load(tmp_path / "a.obj"), "auto", 64).whole
    back = give_back(mesh, [SHADE], {}, ["texture.png"], {"normal": ["texture_normal.png"]})
    (tmp_path / "texture.png").write_bytes(SHADE)
    for name, content in back.files.items():
        (tmp_path / name).write_bytes(content)
    assert "norm texture_normal.png" in back.files["textured.mtl"].decode()
    loaded = trimesh.load(tmp_path / "textured.obj", process=False)
    assert loaded.visual.material.image.size == (4, 4)
    here = loaded.visual.uv[loaded.faces]
    np.testing.assert_allclose(here, mesh.uvs[mesh.uv_triangles], atol=1e-6)


def test_a_file_of_another_mesh_is_not_given_back(tmp_path: Path):
    mesh, _ = written(tmp_path, HOUSE)
    other = replace(mesh, origin=Origin("obj", b"v 0 0 0\nv 1 0 0\nv 0 1 0\nf 1 2 3\n"))
    with pytest.raises(InvalidMesh, match="other faces"):
        obj_back(other)
    back = give_back(other, [SHADE] * 4, {}, [f"{k}.png" for k in range(len(mesh.textures))], {})
    assert "textured.glb" in back.files
    assert "There is no textured.obj" in back.notes[0]
