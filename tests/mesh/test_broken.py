# SPDX-License-Identifier: GPL-3.0-or-later
"""A corpus of broken meshes: each is painted as far as it can be, or refused in one sentence.

Each goes the whole way up to a view and the texels of a texture.
"""

import signal
from dataclasses import replace

import numpy as np
import pytest
import trimesh

from syncsde_engine.errors import InvalidMesh
from syncsde_engine.mesh.bake.texels import used_texels
from syncsde_engine.mesh.files.io import SUFFIXES, load
from syncsde_engine.mesh.intake.sanitize import Defects
from syncsde_engine.mesh.intake.take_in import take_in
from syncsde_engine.mesh.mesh import Mesh
from syncsde_engine.mesh.raster.rasterize import rasterizer
from syncsde_engine.mesh.views.cameras import paper_cameras
from syncsde_engine.mesh.views.maps import view_maps
from syncsde_engine.mesh.views.scene import observe
from tests.mesh.shapes import join, lumpy, quad

SECONDS = 20  # after that it hangs
BALL = lumpy(1)  # 80 faces, 42 vertices, no texture coordinates
SQUARE = quad(0.5)
RANDOM = np.random.default_rng(3)


def with_positions(mesh: Mesh, index, value) -> Mesh:
    positions = mesh.positions.copy()
    positions[index] = value
    return replace(mesh, positions=positions)


def with_triangles(mesh: Mesh, index, value) -> Mesh:
    triangles = mesh.triangles.copy()
    triangles[index] = value
    return replace(mesh, triangles=triangles)


def with_uvs(value, index=slice(None), mesh: Mesh | None = None) -> Mesh:
    mesh = mesh or several_squares(4)
    uvs = mesh.uvs.copy()
    uvs[index] = value
    return replace(mesh, uvs=uvs)


def scaled(mesh: Mesh, scale: float, offset: float = 0.0) -> Mesh:
    with np.errstate(over="ignore"):
        moved = (mesh.positions.astype(float) * scale + offset).astype(np.float32)
    return replace(mesh, positions=moved)


def moved(mesh: Mesh, offset) -> Mesh:
    return replace(mesh, positions=mesh.positions + np.array(offset, np.float32))


def several_squares(count: int, box=None) -> Mesh:
    """Squares of growing size, each with a tile of its own unless all get one box."""
    boxes = [box or (k / count, 0, (k + 1) / count, 1) for k in range(count)]
    return join(*(quad(0.1 + 0.1 * k, b) for k, b in enumerate(boxes)))


def objects(mesh: Mesh, count: int) -> Mesh:
    """The same faces as so many objects."""
    names = tuple(f"part {k}" for k in range(count))
    owner = np.arange(len(mesh.triangles), dtype=np.int32) * count // len(mesh.triangles)
    return replace(mesh, face_object=owner.astype(np.int32), objects=names)


def soup(count: int) -> Mesh:
    points = RANDOM.normal(size=(3 * count, 3)).astype(np.float32)
    return Mesh(points, np.arange(3 * count, dtype=np.int32).reshape(-1, 3))


def fins(count: int) -> Mesh:
    """Triangles around one edge."""
    turn = 2 * np.pi * np.arange(count) / count
    tips = np.stack([np.cos(turn), np.zeros(count), np.sin(turn)], axis=1)
    points = np.vstack([[[0, -1, 0], [0, 1, 0]], tips]).astype(np.float32)
    faces = np.array([[0, 1, 2 + k] for k in range(count)], np.int32)
    return Mesh(points, faces)


def garbage() -> Mesh:
    """Any bits at all: mostly huge, tiny or no numbers, and indices to match."""
    bits = RANDOM.integers(0, 2**32, (300, 3), np.uint32)
    faces = RANDOM.integers(-50, 350, (500, 3)).astype(np.int32)
    return Mesh(bits.view(np.float32), faces)


def everything() -> Mesh:
    """A ball with every defect of a face once, and a NaN among the texture coordinates."""
    sphere = lumpy(2)
    uvs = (sphere.positions[:, :2] / 2 + 0.5).astype(np.float32)
    uvs[7] = np.nan
    positions = np.vstack(
        [sphere.positions, [[np.nan, 0, 0], [1e30, 0, 0], [0, 0, 0], [0, 0, 1], [0, 0, 2]]]
    ).astype(np.float32)
    first = len(sphere.positions)
    bad = [[0, 1, 9999], [0, 1, first], [0, 1, first + 1], [5, 5, 6]]
    bad += [[first + 2, first + 3, first + 4], sphere.triangles[3][[1, 2, 0]]]
    triangles = np.vstack([bad, sphere.triangles]).astype(np.int32)
    uvs = np.vstack([uvs, np.full((5, 2), 0.5)]).astype(np.float32)
    return Mesh(positions, triangles, uvs, np.minimum(triangles, first + 4))


ARRAYS = {  # name -> (mesh, what the report counts)
    "a vertex that is no number": (with_positions(BALL, 3, np.nan), {"non_finite": 5}),
    "an infinite vertex": (with_positions(BALL, 12, -np.inf), {"non_finite_vertices": 1}),
    "a loose vertex that is no number": (
        replace(BALL, positions=np.vstack([BALL.positions, [[np.nan] * 3]]).astype(np.float32)),
        {"non_finite_vertices": 1, "unpainted": 0},
    ),
    "loose vertices far away": (
        replace(BALL, positions=np.vstack([BALL.positions, [[3e38] * 3]]).astype(np.float32)),
        {"far_away": 0, "unpainted": 0},
    ),
    "a vertex that flew away": (with_positions(BALL, 3, 1e30), {"far_away": 5}),
    "huge coordinates": (scaled(BALL, 1e30), {"absurd_scale": True, "unpainted": 0}),
    "the largest coordinates": (scaled(BALL, 3e38), {"absurd_scale": True}),
    "the smallest coordinates": (scaled(BALL, 1e-38), {"absurd_scale": True}),
    "far from the origin": (scaled(BALL, 1, 1e5), {"absurd_scale": True}),
    "an index too large": (with_triangles(BALL, (5, 1), 42), {"out_of_range": 1}),
    "a negative index": (with_triangles(BALL, (5, 1), -1), {"out_of_range": 1}),
    "the largest index": (with_triangles(BALL, 5, 2**31 - 1), {"out_of_range": 1}),
    "a repeated index": (
        with_triangles(BALL, (slice(4), 1), BALL.triangles[:4, 0]),
        {"repeated_index": 4},
    ),
    "a face without area": (with_positions(SQUARE, 3, SQUARE.positions[0]), {"zero_area": 1}),
    "a face that is a line": (with_positions(SQUARE, 3, [0, 0, 0]), {"zero_area": 1}),
    "a sliver": (with_positions(SQUARE, 3, [1e-7, 0, 0]), {"unpainted": 0}),
    "duplicate faces": (
        replace(BALL, triangles=np.vstack([BALL.triangles] * 3)[:, [2, 0, 1]]),
        {"duplicate": 160, "unpainted": 0},
    ),
    "a million duplicate faces": (
        replace(BALL, triangles=np.tile(BALL.triangles, (12_500, 1))),
        {"duplicate": 999_920},
    ),
    "both sides of a sheet": (
        replace(
            SQUARE,
            triangles=np.vstack([SQUARE.triangles, SQUARE.triangles[:, ::-1]]),
            uv_triangles=np.vstack([SQUARE.uv_triangles, SQUARE.uv_triangles[:, ::-1]]),
        ),
        {"duplicate": 2, "inconsistent_winding": 0},
    ),
    "half of the faces turned over": (
        with_triangles(BALL, slice(0, None, 2), BALL.triangles[::2, ::-1]),
        {"inconsistent_winding": 60},
    ),
    "inside out": (replace(BALL, triangles=BALL.triangles[:, ::-1]), {"inconsistent_winding": 0}),
    "an edge of seven faces": (fins(7), {"non_manifold_edges": 1}),
    "two cones that meet in a point": (
        join(quad(0.3), moved(quad(0.3), [0.6, 0.6, 0])),
        {},
    ),
    "a soup": (soup(500), {"non_manifold_edges": 0}),
    "a soup that shares vertices": (
        Mesh(soup(40).positions, RANDOM.integers(0, 120, (3000, 3)).astype(np.int32)),
        {},
    ),
    "one face": (
        replace(SQUARE, triangles=SQUARE.triangles[:1], uv_triangles=SQUARE.triangles[:1]),
        {},
    ),
    "shells within shells": (join(*(quad(0.1 + 1e-4 * k) for k in range(30))), {}),
    "a speck beside a plain": (join(quad(1000.0), moved(quad(0.01), [0, 0, 1])), {}),
    "some coordinates are no numbers": (with_uvs(np.nan, slice(2, 3)), {"without_uvs": 2}),
    "some coordinates are infinite": (with_uvs(np.inf, 4), {"without_uvs": 2}),
    "no coordinates are numbers": (with_uvs(np.nan), {"without_uvs": 0}),
    "coordinates beyond reason": (with_uvs(1e20), {"without_uvs": 0}),
    "a coordinate index too large": (
        replace(
            several_squares(4),
            uv_triangles=with_triangles(several_squares(4), (0, 0), 99).triangles,
        ),
        {"without_uvs": 1},
    ),
    "coordinate indices of nothing": (
        replace(SQUARE, uv_triangles=np.full((2, 3), -1, np.int32)),
        {"without_uvs": 0},
    ),
    "coordinates all in one place": (with_uvs(0.5), {"without_uvs": 0}),
    "coordinates on a line": (with_uvs([[0.0, k / 16] for k in range(16)]), {}),
    "no coordinates but indices": (replace(SQUARE, uvs=np.zeros((0, 2), np.float32)), {}),
    "faces all over each other in the texture": (several_squares(6, (0, 0, 1, 1)), {}),
    "half of it mirrored": (
        join(quad(0.3, (0, 0, 0.5, 1)), quad(0.4, (1, 0, 0.5, 1))),
        {"unpainted": 0},
    ),
    "objects that share nothing but texels": (objects(several_squares(6, (0, 0, 1, 1)), 3), {}),
    "one object without coordinates": (
        objects(
            replace(
                several_squares(2),
                uv_triangles=np.array([[0, 1, 2], [0, 2, 3], [-1] * 3, [-1] * 3], np.int32),
            ),
            2,
        ),
        {"without_uvs": 0},
    ),
    "any bits": (garbage(), {}),
    "everything at once": (
        everything(),
        {
            "out_of_range": 1,
            "non_finite": 1,
            "far_away": 1,
            "repeated_index": 1,
            "zero_area": 1,
            "duplicate": 1,
            "unpainted": 5,
        },
    ),
}
REFUSED = {  # name -> (mesh, what the sentence says)
    "no vertex is a number": (with_positions(BALL, slice(None), np.nan), "80 non_finite"),
    "no index is in range": (with_triangles(BALL, slice(None), 42), "80 out_of_range"),
    "all indices repeated": (with_triangles(BALL, slice(None), 7), "80 repeated_index"),
    "all vertices in one place": (scaled(BALL, 0), "80 zero_area"),
    "all vertices on a line": (with_positions(BALL, (slice(None), slice(2)), 0), "80 zero_area"),
    "no faces": (replace(BALL, triangles=np.zeros((0, 3), np.int32)), "empty"),
    "no vertices": (replace(BALL, positions=np.zeros((0, 3), np.float32)), "empty"),
    "no mesh": (Mesh(np.zeros((0, 3), np.float32), np.zeros((0, 3), np.int32)), "empty"),
    "more faces than anyone has": (
        replace(BALL, triangles=np.zeros((2_000_001, 3), np.int32)),
        "more than 2000000",
    ),
    "a texture that repeats": (quad(0.5, (0, 0, 3, 3)), "outside .* tiling"),
    "a repeating texture on small faces": (
        join(quad(0.3, (0, 0, 1, 1)), moved(quad(0.3, (1, 0, 2, 1)), [0.6, 0, 0])),
        "outside .* tiling",
    ),
    "too many objects over each other": (
        objects(several_squares(70, (0, 0, 1, 1)), 70),
        "needs 70 textures",
    ),
}


def paint(mesh: Mesh, seconds: float = 0.0):
    """What a run does with a mesh, at a small scale; without xatlas unless it is given time."""
    signal.signal(signal.SIGALRM, lambda *_: pytest.fail(f"hangs: more than {SECONDS} s"))
    signal.alarm(SECONDS)
    try:
        taken = take_in(mesh, "auto", 64, seconds)
        scene = observe(taken.work, paper_cameras()[4:5], rasterizer("builtin"), 64)
        return taken, used_texels(scene, 64), view_maps(scene, 32)
    finally:
        signal.alarm(0)


def check_outcome(mesh: Mesh, seconds: float = 0.0):
    taken, texels, maps = paint(mesh, seconds)
    assert (maps.face < len(taken.work.triangles)).all()
    assert len(texels.place) > 0
    assert np.isfinite(texels.position().numpy()).all()
    assert np.isfinite(taken.work.positions).all()
    used = taken.work.positions[taken.work.triangles]
    assert np.linalg.norm(used, axis=2).max() == pytest.approx(1, abs=1e-5)
    assert taken.whole.positions is mesh.positions
    assert taken.whole.triangles is mesh.triangles
    kept = taken.report["faces"] - taken.report["defects"]["unpainted"]
    assert len(taken.work.triangles) == kept
    return taken


@pytest.mark.parametrize("name", ARRAYS)
def test_what_can_be_painted_is(name: str):
    mesh, counted = ARRAYS[name]
    found = check_outcome(mesh).report["defects"]
    assert {key: found[key] for key in counted} == counted


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_painted_is_refused_in_one_sentence(name: str):
    mesh, message = REFUSED[name]
    with pytest.raises(InvalidMesh, match=message) as caught:
        paint(mesh)
    assert "\n" not in str(caught.value)
    assert caught.value.hint


HARD = [
    "a soup",
    "a million duplicate faces",
    "a vertex that is no number",
    "an edge of seven faces",
]


@pytest.mark.parametrize("name", HARD)
def test_xatlas_gets_nothing_to_hang_on(name: str):
    """The duplicates are unwrapped once, so that even a million of them are 80 faces to it."""
    taken = check_outcome(ARRAYS[name][0], 10.0)
    assert [texture.uv for texture in taken.textures] == ["xatlas"]


OBJ = "v 0 0 0\nv 1 0 0\nv 1 1 0\nv 0 1 0\n"
GLB = trimesh.Scene(trimesh.creation.icosphere(subdivisions=1)).export(file_type="glb")
PLY = trimesh.creation.icosphere(subdivisions=1).export(file_type="ply")
STL = trimesh.creation.icosphere(subdivisions=1).export(file_type="stl")
FILES = {  # name -> (suffix, content, what the sentence says, or None if it can be painted)
    "empty obj": (".obj", b"", "no faces"),
    "empty glb": (".glb", b"", "not a readable"),
    "obj cut within a line": (".obj", (OBJ + "f 1 2 3\nf 1 2").encode(), None),
    "obj cut between lines": (".obj", (OBJ + "f 1 2 3\n").encode(), None),
    "obj of binary bytes": (".obj", bytes(range(256)) * 40, "no faces"),
    "obj of no numbers": (".obj", (OBJ.replace("1", "nan") + "f 1 2 3\n").encode(), "non_finite"),
    "obj of numbers too large": (".obj", (OBJ + "v 1e400 0 0\nf 1 2 3\nf 1 2 5\n").encode(), None),
    "obj of faces before vertices": (".obj", ("f 1 2 3\n" + OBJ).encode(), None),
    "obj of points and lines": (".obj", (OBJ + "p 1\nl 1 2\n").encode(), "no faces"),
    "obj of missing vertices": (".obj", b"f 1 2 3\nf 4 5 6\n", "empty"),
    "obj of one odd polygon": (
        ".obj",
        (OBJ + "f " + "1 2 3 4 " * 50 + "\n").encode(),
        None,
    ),
    "glb cut in half": (".glb", GLB[: len(GLB) // 2], "not a readable"),
    "glb cut at its end": (".glb", GLB[:-40], "not a readable"),
    "glb of zeros": (".glb", bytes(4000), "not a readable"),
    "glb with a long header": (".glb", GLB[:12] + b"\xff\xff\xff\x7f" + GLB[16:], "not a readable"),
    "gltf without its buffer": (
        ".gltf",
        b'{"asset":{"version":"2.0"},"buffers":[{"uri":"away.bin","byteLength":9}]}',
        "not a readable|no faces",
    ),
    "gltf of nothing": (".gltf", b"{}", "not a readable|no faces"),
    "ply cut in half": (".ply", PLY[: len(PLY) // 2], "not a readable"),
    "ply of a header": (".ply", PLY[: PLY.index(b"end_header") + 11], "not a readable|no faces"),
    "stl cut in half": (".stl", STL[: len(STL) // 2], "not a readable|no faces"),
    "stl of no faces": (".stl", bytes(84), "not a readable|no faces"),
    "stl of text": (".stl", b"solid a\nfacet normal 0 0 1\n", "not a readable|no faces"),
}


@pytest.mark.parametrize("name", FILES)
def test_every_file_has_a_clear_outcome(name: str, tmp_path):
    suffix, content, message = FILES[name]
    path = tmp_path / f"broken{suffix}"
    path.write_bytes(content)
    if message is None:
        check_outcome(load(path))
        return
    with pytest.raises(InvalidMesh, match=message) as caught:
        paint(load(path))
    assert "\n" not in str(caught.value)
    assert caught.value.hint


def test_every_defect_that_is_counted_is_caused():
    caused = {name for _, counted in ARRAYS.values() for name, count in counted.items() if count}
    assert set(Defects._fields) - caused == set()


def test_every_format_is_broken_in_some_way():
    assert {suffix for suffix, _, message in FILES.values() if message} == set(SUFFIXES)
