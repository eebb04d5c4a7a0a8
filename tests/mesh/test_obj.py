# SPDX-License-Identifier: GPL-3.0-or-later
import numpy as np
import pytest

from syncsde_engine.errors import InvalidMesh
from syncsde_engine.mesh.files.obj import read_obj
from syncsde_engine.mesh.intake.sanitize import sanitise
from syncsde_engine.mesh.mesh import Mesh, areas

SQUARE = "v 0 0 0\nv 1 0 0\nv 1 1 0\nv 0 1 0\n"


def corners(mesh: Mesh) -> list:
    return mesh.triangles.tolist()


def test_order_and_separate_texture_indices_survive():
    text = SQUARE + "vt 0 0\nvt 1 0\nvt 1 1\nvt 0 1\nvt .5 .5\nvn 0 0 1\n"
    mesh = read_obj(text + "f 4/1/1 3/2/1 2/3/1\nf 1/5 2/3 3/4\n", "name")
    assert mesh.positions.tolist() == [[0, 0, 0], [1, 0, 0], [1, 1, 0], [0, 1, 0]]
    assert corners(mesh) == [[3, 2, 1], [0, 1, 2]]
    assert mesh.uv_triangles is not None
    assert mesh.uv_triangles.tolist() == [[0, 1, 2], [4, 2, 3]]
    assert mesh.uvs is not None
    assert mesh.uvs[4].tolist() == [0.5, 0.5]
    assert mesh.name == "name"
    assert mesh.positions.dtype == np.float32
    assert mesh.triangles.dtype == mesh.uv_triangles.dtype == np.int32


@pytest.mark.parametrize(
    ("face", "expected"),
    [
        ("f 1 2 3", [[0, 1, 2]]),
        ("f 1//7 2//7 3//7", [[0, 1, 2]]),
        ("f -4 -3 -2", [[0, 1, 2]]),
        ("f 1 2 3 4", [[0, 1, 2], [0, 2, 3]]),
        ("f 1 2 \\\n 3", [[0, 1, 2]]),
        ("f 1 2 \\\r\n 3\r\nf 1 \\\r\n 2 3", [[0, 1, 2], [0, 1, 2]]),
        ("f 1 2 3 # comment\r\ng part\ns off\nusemtl m", [[0, 1, 2]]),
    ],
)
def test_faces_as_programs_write_them(face: str, expected: list):
    mesh = read_obj("# made by hand\nmtllib a.mtl\no thing\n" + SQUARE + face, "")
    assert corners(mesh) == expected
    assert mesh.uvs is None


def test_negative_indices_count_from_the_lines_above():
    mesh = read_obj(SQUARE + "f -4 -3 -2\nv 9 9 9\nv 8 8 8\nf -6 -2 -1\n", "")
    assert corners(mesh) == [[0, 1, 2], [0, 4, 5]]


def test_faces_without_texture_coordinates_say_so():
    text = SQUARE + "vt 0 0\nvt 1 0\nvt 1 1\nf 1/1 2/2 3/3\nf 1 3 4\nf 1/1 3 4/2\n"
    mesh = read_obj(text, "")
    assert mesh.uv_triangles is not None
    assert mesh.uv_triangles.tolist() == [[0, 1, 2], [-1, -1, -1], [-1, -1, -1]]


@pytest.mark.parametrize("index", ["9", "99999999999999999999"])
def test_faces_of_missing_vertices_are_read_and_left_to_sanitise(index: str):
    mesh = read_obj(SQUARE + f"f 1 2 3\nf 1 2 3 {index}\n", "")
    assert sanitise(mesh).defects.out_of_range == 1
    assert sanitise(mesh).faces.tolist() == [0, 1]


SCENE = (
    SQUARE
    + "f 1 2 3\nusemtl red\no box one\nf 1 2 3 4\nusemtl blue\nf 1 2 4\no empty\no two\nf 2 3 4\n"
    + "usemtl\to\nusemtl red\no box one\nf 3 4 1\n"
)


def test_objects_and_materials_are_told_for_every_triangle():
    mesh = read_obj(SCENE, "file")
    assert mesh.objects == ("file", "box one", "two")
    assert mesh.owners("object").tolist() == [0, 1, 1, 1, 2, 1]
    assert mesh.materials == ("material", "red", "blue")
    assert mesh.owners("material").tolist() == [0, 1, 1, 2, 2, 1]
    groups = read_obj(SCENE.replace("\no ", "\ng "), "file")
    assert (groups.objects, groups.owners("object").tolist()) == (
        mesh.objects,
        mesh.owners("object").tolist(),
    )


def test_groups_do_not_split_objects():
    mesh = read_obj(SCENE.replace("usemtl blue", "g part"), "file")
    assert mesh.objects == ("file", "box one", "two")


@pytest.mark.parametrize("change", [lambda t: t.replace("f 1/1 ", "f\t1/1  "), lambda t: t + "#"])
def test_the_quick_and_the_careful_way_read_the_same(change):
    """A comment after a face is enough for faces to be read one by one."""
    faces = ["1/1 2/2 3/3", "1/1/1 2//2 3", "1/2 3/3/ 4/1 2/1", "3/1 2/1 1/2"]
    text = SQUARE + "vt 0 0\nvt 1 0\nvt 1 1\n" + "".join(f"f {face}\n" for face in faces)
    quick, careful = read_obj(change(text), ""), read_obj(text.replace("3/3\n", "3/3 # a\n"), "")
    np.testing.assert_array_equal(quick.triangles, careful.triangles)
    np.testing.assert_array_equal(quick.uv_triangles, careful.uv_triangles)


CHEVRON = [(0, 0), (4, 0), (4, 3), (2, 1), (0, 3)]
COMB = [
    *((0, 0), (7, 0), (7, 3), (6, 3), (6, 1), (4, 1)),
    *((4, 3), (3, 3), (3, 1), (1, 1), (1, 3), (0, 3)),
]
DART = [(0, 0), (3, -2), (1, 0), (3, 2)]


@pytest.mark.parametrize("outline", [CHEVRON, COMB, DART, DART[::-1]])
@pytest.mark.parametrize("turn", [1, -1])
@pytest.mark.parametrize("plane", [(0, 1, 2), (1, 2, 0), (2, 0, 1)])
def test_polygons_that_are_not_convex_are_covered_once(outline: list, turn: int, plane: tuple):
    points = np.zeros((len(outline), 3))
    points[:, list(plane[:2])] = np.array(outline)[::turn]
    points[:, plane[2]] = points[:, plane[0]] * 0.5
    text = "".join(f"v {x} {y} {z}\n" for x, y, z in points)
    mesh = read_obj(text + "f " + " ".join(str(i + 1) for i in range(len(outline))), "")
    assert len(mesh.triangles) == len(outline) - 2
    a, b, c = points[mesh.triangles].swapaxes(0, 1)
    cross = np.cross(b - a, c - a)
    whole = np.cross(points, np.roll(points, -1, axis=0)).sum(axis=0)
    assert (cross @ whole > 0).all()  # none is turned over, so none overlaps another
    assert areas(mesh).sum() == pytest.approx(np.linalg.norm(whole) / 2)


def test_polygons_among_triangles_keep_the_order_of_faces():
    text = SQUARE + "v 2 0 0\nvt 0 0\nvt 1 0\nvt 1 1\nvt 0 1\n"
    mesh = read_obj(text + "f 1/1 2/2 5/3\nf 1/4 2/3 3/2 4/1\nf 2/1 5/2 3/3\n", "")
    assert corners(mesh) == [[0, 1, 4], [0, 1, 2], [0, 2, 3], [1, 4, 2]]
    assert mesh.uv_triangles is not None
    assert mesh.uv_triangles.tolist() == [[0, 1, 2], [3, 2, 1], [3, 1, 0], [0, 1, 2]]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "no faces"),
        ("v 0 0 0\nv 1 0 0\nv 0 1 0\n", "no faces"),
        (SQUARE + "f 1 2\n", "Line 5 .*too few"),
        (SQUARE + "f 1 2 0\n", "Line 5 .*index 0"),
        (SQUARE + "f 1 2 -5\n", "Line 5 .*index -5 of 4"),
        (SQUARE + "f 1 2 3\nf 1/1 2/x 3/1\n", "Line 6"),
        (SQUARE + "f a b c\n", "Line 5"),
        ("v 0 zero 0\n", "Line 1 .*could not convert"),
        ("v 0 0\n", "Line 1 .*too few"),
        (SQUARE + "f 1/x 2/1 3/1\n", "Line 5"),
        (SQUARE + "f 1 2 3 4 nan\n", "Line 5"),
    ],
)
def test_what_cannot_be_read_is_named(text: str, message: str):
    with pytest.raises(InvalidMesh, match=message) as caught:
        read_obj(text, "")
    assert "\n" not in str(caught.value)
