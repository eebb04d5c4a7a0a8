# SPDX-License-Identifier: GPL-3.0-or-later
import numpy as np
import pytest

from syncsde_engine.errors import InvalidMesh
from syncsde_engine.mesh.files.names import unique
from syncsde_engine.mesh.files.obj import decoded, read_obj
from syncsde_engine.mesh.intake.sanitize import sanitize
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
def test_faces_of_missing_vertices_are_read_and_left_to_sanitize(index: str):
    mesh = read_obj(SQUARE + f"f 1 2 3\nf 1 2 3 {index}\n", "")
    assert sanitize(mesh).defects.out_of_range == 1
    assert sanitize(mesh).faces.tolist() == [0, 1]


SCENE = (
    SQUARE
    + "f 1 2 3\nusemtl red\no box one\nf 1 2 3 4\nusemtl blue\nf 1 2 4\no empty\no two\nf 2 3 4\n"
    + "usemtl\to\nusemtl red\no box one\nf 3 4 1\n"
)


def test_objects_and_materials_are_told_for_every_triangle():
    mesh = read_obj(SCENE, "file")
    assert mesh.objects == ("file", "box one", "two", "box one.001")  # as in Blender
    assert mesh.owners("object").tolist() == [0, 1, 1, 1, 2, 3]
    assert mesh.materials == ("material", "red", "blue")
    assert mesh.owners("material").tolist() == [0, 1, 1, 2, 2, 1]
    groups = read_obj(SCENE.replace("\no ", "\ng "), "file")
    assert groups.objects == ("file", "box one", "two")  # parts of a group are one
    assert groups.owners("object").tolist() == [0, 1, 1, 1, 2, 1]


def test_groups_do_not_split_objects():
    mesh = read_obj(SCENE.replace("usemtl blue", "g part"), "file")
    assert mesh.objects == ("file", "box one", "two", "box one.001")


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
        (SQUARE + "f 1 2\n", "No face .* line 5, '1 2'"),
        (SQUARE + "f 1 2 x\nf 0 1 2\n", "No face .* 2 lines .* line 5, '1 2 x'"),
    ],
)
def test_a_file_of_which_nothing_is_left_is_refused(text: str, message: str):
    with pytest.raises(InvalidMesh, match=message) as caught:
        read_obj(text, "")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "bad",
    ["f 1 2", "f 1 2 0", "f 1 2 -5", "f 1/1 2/x 3/1", "f a b c", "f 1 2 3 4 nan", "f 1 2 -x", "f"],
)
def test_a_face_that_cannot_be_read_is_left_out_and_counted(bad: str):
    mesh = read_obj(SQUARE + f"o a\nf 1 2 3\no b\n{bad}\no c\nf 1 3 4\n", "")
    assert corners(mesh) == [[0, 1, 2], [0, 2, 3]]
    assert mesh.objects == ("a", "c")
    assert mesh.owners("object").tolist() == [0, 1]
    (note,) = mesh.notes
    assert note.startswith("1 line of the OBJ file cannot be read and left out (first: line 8, ")


@pytest.mark.parametrize("bad", ["v 0 zero 0", "v 0 0", "v", "v 1.#IND 0 0", "vt x 1", "vt"])
def test_a_number_that_cannot_be_read_moves_no_other(bad: str):
    """The bad line comes first: what follows it must keep its index."""
    kind = bad.split()[0]
    good = SQUARE + "vt 0 0\nvt 1 0\nvt 1 1\nvt 0 1\n"
    count = {"v": 0, "vt": 0} | {kind: 1}
    faces = [[2, 3, 4], [1, 2, 4]]
    lines = ["f " + " ".join(f"{i + count['v']}/{i + count['vt']}" for i in face) for face in faces]
    mesh = read_obj(f"{bad}\n{good}" + "\n".join(lines), "")
    assert mesh.uvs is not None
    assert mesh.uv_triangles is not None
    expected = read_obj(good + "f 2/2 3/3 4/4\nf 1/1 2/2 4/4\n", "")
    assert expected.uvs is not None
    np.testing.assert_array_equal(
        mesh.positions[mesh.triangles], expected.positions[expected.triangles]
    )
    np.testing.assert_array_equal(mesh.uvs[mesh.uv_triangles], expected.uvs[expected.uv_triangles])
    assert len(mesh.notes) == 1
    assert f"line 1, {bad[len(kind) :].strip()!r}" in mesh.notes[0]


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-16-le", "utf-16-be"])
def test_text_of_other_encodings_is_read(encoding: str):
    mesh = read_obj(decoded((SQUARE + "o Größe\nf 1 2 3\n").encode(encoding)), "")
    assert (corners(mesh), mesh.objects, mesh.notes) == ([[0, 1, 2]], ("Größe",), ())


def test_two_objects_of_one_name_stay_two():
    text = SQUARE + "o Leaf\nusemtl Green\nf 1 2 3\no Leaf\nusemtl Green\nf 1 3 4\n"
    mesh = read_obj(text, "")
    assert mesh.objects == ("Leaf", "Leaf.001")
    assert mesh.owners("object").tolist() == [0, 1]
    assert mesh.materials == ("Green",)


def test_names_that_are_made_unique_meet_none_that_are_there():
    assert unique(["a", "a.001", "a", "a", "a.001"]) == (
        "a",
        "a.001",
        "a.002",
        "a.003",
        "a.001.001",
    )
    long = unique(["x" * 300, "x" * 300], 255)
    assert len(set(long)) == 2
    assert max(map(len, long)) == 255


def test_a_hole_on_a_bridge_stays_a_hole():
    """Blender's importer gives 8, which is 3 x 3 - 1 x 1; a fan gives 10."""
    outer, inner = "v 0 0 0\nv 3 0 0\nv 3 3 0\nv 0 3 0\n", "v 1 1 0\nv 1 2 0\nv 2 2 0\nv 2 1 0\n"
    mesh = read_obj(outer + inner + "f 1 2 3 4 1 5 6 7 8 5\n", "")
    assert areas(mesh).sum() == pytest.approx(8)
    centers = mesh.positions[mesh.triangles].mean(axis=1)
    assert not ((centers > 1) & (centers < 2))[:, :2].all(axis=1).any()


def test_a_polygon_of_many_corners_is_cut_in_time():
    """A gear of 50 000 corners; its area in closed form."""
    count = 50_000
    angle = 2 * np.pi * np.arange(count) / count
    radius = 1 + 0.3 * np.sin(40 * angle)
    flat = np.stack([radius * np.cos(angle), radius * np.sin(angle), 0 * angle], axis=1)
    text = "".join(f"v {x} {y} {z}\n" for x, y, z in flat)
    mesh = read_obj(text + "f " + " ".join(map(str, range(1, count + 1))), "")
    assert areas(mesh).sum() == pytest.approx(np.pi * (1 + 0.3**2 / 2), rel=1e-4)
    with pytest.raises(InvalidMesh, match="has 90000 corners, and 65536 are the most"):
        read_obj(SQUARE + "f " + "1 2 3 " * 30_000, "")
