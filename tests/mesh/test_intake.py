# SPDX-License-Identifier: GPL-3.0-or-later
"""Whose texture every face is on, and where: UDIM tiles, shared materials, new coordinates."""

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest

from syncsde_engine.errors import InvalidMesh
from syncsde_engine.mesh.files.io import textured_glb
from syncsde_engine.mesh.intake.sanitize import first_alike, sanitize
from syncsde_engine.mesh.intake.take_in import take_in
from syncsde_engine.mesh.intake.uvs import doubled_areas
from syncsde_engine.mesh.mesh import Mesh, areas, check, check_uvs, weld
from syncsde_engine.pictures import png
from tests.mesh.shapes import icosphere, join, lumpy, quad


def scene(*parts: tuple[str, str, Mesh]) -> Mesh:
    """One mesh of (object, material, mesh) parts."""
    names = [tuple(dict.fromkeys(part[k] for part in parts)) for k in (0, 1)]
    counts = [len(mesh.triangles) for _, _, mesh in parts]
    owners = [
        np.repeat([names[k].index(part[k]) for part in parts], counts).astype(np.int32)
        for k in (0, 1)
    ]
    return replace(
        join(*(mesh for _, _, mesh in parts)),
        face_object=owners[0],
        face_material=owners[1],
        objects=names[0],
        materials=names[1],
    )


def at(x: float, box: tuple[float, float, float, float] = (0, 0, 1, 1), half: float = 0.4) -> Mesh:
    square = quad(half, box)
    return replace(square, positions=square.positions + np.array([x, 0, 0], np.float32))


def summary(taken) -> list:
    return [(t.name, t.objects, t.tile, t.uv) for t in taken.textures]


def test_udim_tiles_become_textures_in_the_unit_square():
    mesh = scene(
        ("body", "skin", at(0, (1, 0, 2, 1))),
        ("body", "skin", at(1, (0, 0, 1, 1))),
        ("head", "skin", at(2, (0.2, 2.2, 0.8, 2.8))),
        ("head", "eyes", at(3, (0, 0, 1, 1))),
    )
    taken = take_in(mesh, "auto", 64)
    assert summary(taken) == [
        ("skin.1001", ["body", "head"], 1001, "own"),
        ("skin.1002", ["body", "head"], 1002, "own"),
        ("skin.1021", ["body", "head"], 1021, "own"),
        ("eyes", ["head"], None, "own"),
    ]
    whole = taken.whole
    assert whole.owners("texture").tolist() == [1, 1, 0, 0, 2, 2, 3, 3]
    check_uvs(whole)
    corners = whole.uvs[whole.uv_triangles]
    shift = np.array([[1, 0], [1, 0], [0, 0], [0, 0], [0, 2], [0, 2], [0, 0], [0, 0]])
    np.testing.assert_allclose(corners, mesh.uvs[mesh.uv_triangles] - shift[:, None], atol=1e-6)


def test_coordinates_within_the_unit_square_stay_bit_for_bit():
    mesh = quad(0.5, (0.1, 0.2, 0.7, 0.9))
    whole = take_in(mesh, "auto", 64).whole
    np.testing.assert_array_equal(whole.uvs[:4], mesh.uvs)
    np.testing.assert_array_equal(whole.uv_triangles, mesh.uv_triangles)


def test_faces_without_area_in_the_texture_keep_their_coordinates():
    """Seams may be hidden in them; those beyond the tiles have nothing to keep."""
    mesh = join(at(0, half=2), at(3), at(4), at(5))
    uvs = mesh.uvs.copy()
    uvs[4:8], uvs[8:12], uvs[12:16] = [0.25, 0.75], [1, 1], [3, 3]
    taken = take_in(replace(mesh, uvs=uvs), "auto", 64)
    corners = taken.whole.uvs[taken.whole.uv_triangles]
    np.testing.assert_array_equal(corners[:6], uvs[mesh.uv_triangles][:6])
    assert (corners[6:] == 0).all()
    assert taken.report["defects"]["without_uvs"] == 6
    check_uvs(taken.whole)


def test_an_island_that_goes_on_in_the_next_tile_is_a_tiling_texture():
    """But who says to keep the coordinates, means tiles; faces must then be within one each."""
    strip = join(at(0, (0, 0, 1, 1), 0.5), at(1, (1, 0, 2, 1), 0.5))
    with pytest.raises(InvalidMesh, match=r"2 of 4 faces .* tiling") as caught:
        take_in(strip, "auto", 64)
    assert "--uv unwrap" in caught.value.hint
    assert [t.tile for t in take_in(strip, "keep", 64).textures] == [1001, 1002]
    with pytest.raises(InvalidMesh, match="tiling"):
        take_in(quad(0.5, (0, 0, 2, 1)), "keep", 64)
    assert summary(take_in(strip, "unwrap", 64)) == [("mesh", ["mesh"], None, "xatlas")]


def test_tiles_that_touch_in_the_texture_only_are_udim():
    apart = join(at(0, (0, 0, 1, 1), 0.4), at(1, (1, 0, 2, 1), 0.4))
    assert [t.tile for t in take_in(apart, "auto", 64).textures] == [1001, 1002]


def test_objects_share_their_materials_texture_unless_they_lie_over_each_other():
    atlas = scene(("a", "wood", at(0, (0, 0, 0.5, 1))), ("b", "wood", at(1, (0.5, 0, 1, 1))))
    assert summary(take_in(atlas, "auto", 64)) == [("wood", ["a", "b"], None, "own")]
    stacked = scene(("a", "wood", at(0)), ("b", "wood", at(1)), ("b", "iron", at(2)))
    assert summary(take_in(stacked, "auto", 64)) == [
        ("wood_a", ["a"], None, "own"),
        ("wood_b", ["b"], None, "own"),
        ("iron", ["b"], None, "own"),
    ]
    nameless = replace(
        stacked, materials=("material",), face_material=np.zeros(6, np.int32), name="file"
    )
    # Within b, the second square lies over the first: that is b's own affair.
    assert summary(take_in(nameless, "auto", 64)) == [
        ("a", ["a"], None, "own"),
        ("b", ["b"], None, "own"),
    ]


def test_only_what_has_no_coordinates_is_unwrapped():
    mesh = scene(("a", "wood", at(0)), ("b", "wood", at(1)), ("c", "iron", at(2)))
    bare = mesh.uv_triangles.copy()
    bare[2:4] = -1
    taken = take_in(replace(mesh, uv_triangles=bare), "auto", 64)
    assert summary(taken) == [
        ("wood_a", ["a"], None, "own"),
        ("wood_b", ["b"], None, "xatlas"),
        ("iron", ["c"], None, "own"),
    ]
    np.testing.assert_array_equal(taken.whole.uv_triangles[[0, 1, 4, 5]], bare[[0, 1, 4, 5]])
    with pytest.raises(InvalidMesh, match="'b' has no usable texture coordinates"):
        take_in(replace(mesh, uv_triangles=bare), "keep", 64)


def test_overlap_and_mirroring_are_told_in_percent():
    """A quarter of the used area lies under the second square, and that one is mirrored."""
    mesh = join(at(0, (0, 0, 1, 1)), at(1, (1, 0.5, 0.5, 1)))
    (texture,) = take_in(mesh, "auto", 64).textures
    assert texture.overlapping_percent == pytest.approx(25, abs=0.2)
    assert texture.mirrored_percent == pytest.approx(20, abs=0.2)
    warnings = take_in(mesh, "auto", 64).report["warnings"]
    assert [warning.partition(" of ")[0] for warning in warnings] == ["25.0 %", "20.0 %"]


def test_faces_on_each_other_get_the_same_new_coordinates():
    ball = lumpy(1)
    turned = np.vstack([ball.triangles, ball.triangles[:, [1, 2, 0]], ball.triangles[:, ::-1]])
    taken = take_in(replace(ball, triangles=turned), "auto", 64, 0.0)
    whole = taken.whole
    assert [texture.uv for texture in taken.textures] == ["charts"]
    at_vertex = {}
    for face in range(len(turned)):
        for vertex, corner in zip(turned[face], whole.uv_triangles[face], strict=True):
            key = (face % len(ball.triangles), vertex)
            assert at_vertex.setdefault(key, corner) == corner
    assert taken.textures[0].overlapping_percent == 0


def test_the_work_is_clean_and_knows_its_place_in_the_whole():
    ball = lumpy(1)
    triangles = ball.triangles.copy()
    triangles[[3, 7]] = [[0, 0, 1], [0, 1, 99]]
    clean = sanitize(replace(ball, triangles=triangles))
    check(clean.mesh)
    assert clean.faces.tolist() == [k for k in range(80) if k not in (3, 7)]
    taken = take_in(replace(ball, triangles=triangles), "auto", 64, 0.0)
    check(taken.work)
    np.testing.assert_array_equal(taken.whole.uv_triangles[clean.faces], taken.work.uv_triangles)
    left_out = taken.whole.uvs[taken.whole.uv_triangles[[3, 7]]]
    assert (left_out == 0).all()


def test_edges_are_counted_as_one_by_one():
    random = np.random.default_rng(0)
    faces = random.integers(0, 12, (60, 3)).astype(np.int32)
    faces = faces[[len(set(face)) == 3 for face in faces.tolist()]]
    positions = random.normal(size=(12, 3)).astype(np.float32)
    defects = sanitize(Mesh(positions, faces)).defects
    distinct = list({frozenset(face): face for face in faces[::-1].tolist()}.values())
    edges = Counter(frozenset(e) for a, b, c in distinct for e in ((a, b), (b, c), (c, a)))
    directed = Counter(e for a, b, c in distinct for e in ((a, b), (b, c), (c, a)))
    assert defects.duplicate == len(faces) - len(distinct)
    assert defects.non_manifold_edges == sum(count > 2 for count in edges.values()) > 0
    alike = sum(count == 2 and edges[frozenset(e)] == 2 for e, count in directed.items())
    assert defects.inconsistent_winding == alike > 0


def test_closed_surfaces_have_no_defects_even_when_split():
    ball = icosphere(2)
    split = Mesh(
        ball.positions[ball.triangles.ravel()], np.arange(960, dtype=np.int32).reshape(-1, 3)
    )
    for mesh in (ball, split):
        assert not any(sanitize(mesh).defects)
    assert len(set(weld(split.positions).tolist())) == len(ball.positions)


def test_weld_takes_minus_zero_for_zero():
    assert weld(np.array([[0.0, 1, 2], [-0.0, 1, 2], [0, 1, 3]], np.float32)).tolist()[:2] in (
        [0, 0],
        [1, 1],
    )


def test_first_alike_finds_faces_in_any_order():
    faces = np.array([[1, 2, 3], [3, 1, 2], [4, 5, 6], [2, 1, 3]])
    assert first_alike(faces).tolist() == [0, 0, 2, 0]


def test_what_leaves_the_unit_square_a_little_is_wrapped():
    """One face of two reaches over the border, where nothing else is: the texture repeats there."""
    mesh = quad(0.5, (0.6, 0.1, 1.3, 0.9))
    taken = take_in(mesh, "auto", 64)
    (texture,) = taken.textures
    assert (texture.uv, texture.tile) == ("own", None)
    assert taken.report["warnings"] == [
        "2 faces have texture coordinates outside [0, 1], where the texture repeats."
    ]
    work = taken.work
    check_uvs(work)
    assert len(work.triangles) > 2
    assert areas(work).sum() * taken.normalization.scale**2 == pytest.approx(1, rel=1e-5)
    # Where a point of the square lies in the texture: u is 0.95 + 0.7 x, modulo 1.
    centers = work.positions[work.triangles].mean(axis=1) * taken.normalization.scale
    uvs = work.uvs[work.uv_triangles].mean(axis=1)
    np.testing.assert_allclose(uvs[:, 0], (0.95 + 0.7 * centers[:, 0]) % 1, atol=1e-5)
    np.testing.assert_allclose(uvs[:, 1], 0.5 + 0.8 * centers[:, 1], atol=1e-5)
    whole = taken.whole
    np.testing.assert_array_equal(whole.uvs[whole.uv_triangles], mesh.uvs[mesh.uv_triangles])
    glb = textured_glb(whole, [png(np.zeros((4, 4, 3), np.uint8))])
    assert b'"wrapS": 10497' in glb


def test_pieces_cover_what_their_faces_do_and_meet_at_the_border():
    """Over a corner of four tiles; the cut edges of neighbors have the same vertices."""
    mesh = quad(0.5, (0.8, 0.6, 1.2, 1.3))
    work = take_in(mesh, "auto", 64).work
    corners = work.uvs[work.uv_triangles].astype(float)
    assert np.abs(doubled_areas(corners)).sum() / 2 == pytest.approx(0.4 * 0.7, rel=1e-5)
    assert (doubled_areas(corners) > 0).all()
    edges = np.sort(weld(work.positions)[work.triangles][:, [[0, 1], [1, 2], [2, 0]]], axis=-1)
    _, count = np.unique(edges.reshape(-1, 2), axis=0, return_counts=True)
    border = np.unique(np.round(work.positions[np.unique(work.triangles)], 5), axis=0)
    on_border = (np.abs(border[:, :2]) == np.abs(border[:, :2]).max()).any(axis=1).sum()
    assert (count == 1).sum() == on_border
    assert count.max() == 2


def test_a_layout_in_the_tile_beside_is_moved_in():
    taken = take_in(quad(0.5, (-2, 0, -1, 1)), "auto", 64)
    assert len(taken.work.triangles) == 2
    check_uvs(taken.work)


def test_real_tiling_tells_how_much_would_be_shared():
    with pytest.raises(InvalidMesh, match="tiling") as caught:
        take_in(quad(0.5, (0, 0, 3, 1)), "auto", 64)
    assert caught.value.hint.startswith("Wrapped around, 100% of the texture would be shared")
    with pytest.raises(InvalidMesh, match="tiling") as caught:
        take_in(quad(0.5, (0, 0, 900, 1)), "auto", 64)
    assert caught.value.hint.startswith("Wrapped around, most of the texture")
