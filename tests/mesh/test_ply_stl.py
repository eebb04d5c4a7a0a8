# SPDX-License-Identifier: GPL-3.0-or-later
import os
import struct
from pathlib import Path

import numpy as np
import pytest
import trimesh

from syncsde_engine.errors import InvalidMesh, InvalidRequest
from syncsde_engine.mesh.files.io import load
from syncsde_engine.mesh.intake.uvs import corners_of
from syncsde_engine.mesh.mesh import areas

COUNT = {"ascii": "ascii", "little": "binary_little_endian", "big": "binary_big_endian"}
POINTS = np.array([[0, 0, 0], [2, 0, 0], [2, 2, 0], [1, 0.5, 0], [0, 2, 0]])
XYZ = "property float x\nproperty float y\nproperty float z\n"


def ply(
    path: Path, kind: str, points: np.ndarray, faces: list, *, element: str = "face", more: str = ""
) -> Path:
    """Write points and lists of indices; `more` are properties that the points have beside."""
    header = f"ply\nformat {COUNT[kind]} 1.0\nelement vertex {len(points)}\n{XYZ}{more}"
    header += (
        f"element {element} {len(faces)}\nproperty list uchar int vertex_indices\nend_header\n"
    )
    if kind == "ascii":
        rows = [*points.tolist(), *([len(face), *face] for face in faces)]
        body = "".join(" ".join(f"{v:g}" for v in row) + "\n" for row in rows).encode()
    else:
        order = "<" if kind == "little" else ">"
        body = points.astype(f"{order}f4").tobytes()
        body += b"".join(struct.pack(f"{order}B{len(f)}i", len(f), *f) for f in faces)
    path.write_bytes(header.encode() + body)
    return path


@pytest.mark.parametrize("kind", COUNT)
def test_faces_of_any_number_of_corners_are_read(kind: str, tmp_path: Path):
    """Blender's own export has triangles and quads; a polygon that is not convex has area 2.5."""
    faces = [[0, 1, 3], [0, 1, 2, 3], [2, 3, 4, 0, 1]]
    mesh = load(ply(tmp_path / "a.ply", kind, POINTS, faces))
    assert len(mesh.triangles) == 1 + 2 + 3
    assert areas(mesh).sum() == pytest.approx(0.5 + 1.5 + 2.5)
    assert mesh.objects == ("a",)


@pytest.mark.parametrize("kind", COUNT)
def test_triangles_are_read_as_trimesh_reads_them(kind: str, tmp_path: Path):
    ball = trimesh.creation.icosphere(subdivisions=1)
    path = ply(tmp_path / "a.ply", kind, ball.vertices, ball.faces.tolist())
    mesh, other = load(path, up="y"), trimesh.load(path, process=False)
    np.testing.assert_allclose(mesh.positions, other.vertices, atol=1e-5)
    np.testing.assert_array_equal(mesh.triangles, other.faces)


@pytest.mark.parametrize("kind", COUNT)
def test_strips_become_triangles_of_one_winding(kind: str, tmp_path: Path):
    grid = np.array([[x, y, 0] for x in range(4) for y in range(2)])
    strips = [[0, 2, 1, 3, -1, 4, 6, 5, 7], [2, 4, 3]]
    mesh = load(ply(tmp_path / "a.ply", kind, grid, strips, element="tristrips"), up="y")
    a, b, c = mesh.positions[mesh.triangles].swapaxes(0, 1)
    assert np.cross(b - a, c - a)[:, 2].tolist() == [1] * (2 + 2 + 1)


@pytest.mark.parametrize("names", ["st", "uv", ("texture_u", "texture_v")])
def test_coordinates_of_vertices_are_read(names: str | tuple, tmp_path: Path):
    more = "".join(f"property float {name}\n" for name in names)
    points = np.hstack([POINTS, POINTS[:, :2] / 4])
    mesh = load(ply(tmp_path / "a.ply", "little", points, [[0, 1, 3], [1, 2, 3, 0]], more=more))
    assert mesh.uvs is not None
    np.testing.assert_allclose(mesh.uvs[mesh.uv_triangles], POINTS[mesh.triangles][..., :2] / 4)


def test_coordinates_of_corners_are_read(tmp_path: Path):
    path = tmp_path / "a.ply"
    path.write_text(
        f"ply\nformat ascii 1.0\nelement vertex 5\n{XYZ}element face 3\n"
        "property list uchar int vertex_indices\nproperty list uchar float texcoord\nend_header\n"
        + "".join(f"{x} {y} {z}\n" for x, y, z in POINTS)
        + "2 0 1 4 9 9 9 9\n3 0 1 3 6 0 0 1 0 .5 .5\n4 1 2 3 0 8 .1 .1 .2 .2 .3 .3 .4 .4\n"
    )
    mesh = load(path)
    uvs = corners_of(mesh).uvs
    np.testing.assert_allclose(uvs[0], [[0, 0], [1, 0], [0.5, 0.5]])
    corners = dict(zip(mesh.triangles[1:].ravel().tolist(), uvs[1:].reshape(-1, 2), strict=False))
    assert {k: round(float(v[0]), 4) for k, v in corners.items()} == {
        1: 0.1,
        2: 0.2,
        3: 0.3,
        0: 0.4,
    }


HEADER = f"ply\nformat ascii 1.0\nelement vertex 3\n{XYZ}"
BODY = "0 0 0\n1 0 0\n0 1 0\n"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (HEADER + "end_header\n" + BODY, "has no faces"),
        (HEADER + "element face 1\nproperty list uchar int vertex_indices\n", "cut off"),
        (HEADER.replace("3", "999999999999") + "end_header\n" + BODY, "promises more"),
        (HEADER.replace("float x", "float a") + "end_header\n" + BODY, "no vertices x, y, z"),
        (HEADER.replace("float", "list int float") + "end_header\n" + BODY, "not a readable"),
        (HEADER + "end_header\n" + BODY.replace("1", "one"), "not a readable"),
        ("ply\nelement face 1\nend_header\n", "not a readable"),
    ],
)
def test_what_is_wrong_with_a_ply_file_is_said_in_words(content: str, message: str, tmp_path: Path):
    (tmp_path / "a.ply").write_text(content)
    with pytest.raises(InvalidMesh, match=message) as caught:
        load(tmp_path / "a.ply")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("kind", ["stl", "stl_ascii"])
def test_stl_is_read_and_its_corners_are_joined(kind: str, tmp_path: Path):
    """The comment of a binary file may begin like one of text."""
    ball = trimesh.creation.icosphere(subdivisions=2)
    content = ball.export(file_type=kind)
    if isinstance(content, bytes):
        content = b"solid ball".ljust(80) + content[80:]
    else:
        content = content.encode()
    (tmp_path / "a.stl").write_bytes(content)
    mesh = load(tmp_path / "a.stl", up="y")
    assert len(mesh.positions) == len(ball.vertices)
    np.testing.assert_allclose(mesh.positions[mesh.triangles], ball.triangles, atol=1e-6)


def test_stl_text_that_is_cut_off_is_refused(tmp_path: Path):
    facet = "facet normal 0 0 1\nouter loop\nvertex 0 0 0\nvertex 1 0 0\nvertex 0 1 0\nendloop\n"
    for text, message in (
        (f"solid a\n{facet}endfacet\n{facet}", "cut off"),
        (f"solid a\n{facet.replace('1 0 0', '1 0 x')}endfacet\n", "not three numbers"),
    ):
        (tmp_path / "a.stl").write_text(text)
        with pytest.raises(InvalidMesh, match=message):
            load(tmp_path / "a.stl")


def test_what_is_up_is_as_in_blender_and_can_be_said(tmp_path: Path):
    """A spike of length 3 to the file's z, one of 2 to its -y: up and to the front in Blender."""
    spikes = np.array([[0, 0, 0], [1, 0, 0], [0, -2, 0], [0, 0, 3]])
    faces = [[0, 1, 2], [0, 1, 3], [0, 2, 3]]
    path = ply(tmp_path / "a.ply", "little", spikes, faces)
    mesh = load(path)
    assert mesh.positions.tolist() == [[0, 0, 0], [1, 0, 0], [0, 0, 2], [0, 3, 0]]
    assert mesh.notes == (
        "A .ply file does not say what is up: z is taken, as in Blender (--up y turns).",
    )
    as_it_is = load(path, up="y")
    assert as_it_is.positions.tolist() == spikes.tolist()
    assert as_it_is.notes == ()
    assert load(path, up="z", front="x").positions[1].tolist() == [0, 0, 1]
    assert load(path, up="-z").positions[3].tolist() == [0, -3, 0]
    with pytest.raises(InvalidRequest, match="The front cannot be -z where z is up"):
        load(path, up="z", front="-z")
    trimesh.Trimesh(spikes, faces, process=False).export(tmp_path / "a.obj")
    assert load(tmp_path / "a.obj").positions.max() == 3
    assert load(tmp_path / "a.obj").positions[:, 2].max() == 3  # an OBJ file has y up


def test_turning_keeps_the_winding(tmp_path: Path):
    ball = trimesh.creation.icosphere(subdivisions=1)
    path = ply(tmp_path / "a.ply", "little", ball.vertices, ball.faces.tolist())
    for up in ("x", "y", "z", "-x", "-y", "-z"):
        for front in ("x", "-y", "z"):
            if up.strip("-") == front.strip("-"):
                continue
            mesh = load(path, up=up, front=front)
            assert trimesh.Trimesh(mesh.positions, mesh.triangles).volume > 3


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="the system has no pipes with names")
def test_a_pipe_is_no_mesh_file(tmp_path: Path):
    os.mkfifo(tmp_path / "a.ply")
    with pytest.raises(InvalidRequest, match="it is a pipe or device"):
        load(tmp_path / "a.ply")
