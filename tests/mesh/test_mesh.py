# SPDX-License-Identifier: GPL-3.0-or-later
from dataclasses import replace

import numpy as np
import pytest

from syncsde_engine.errors import InvalidMesh
from syncsde_engine.mesh.mesh import Mesh, areas, check, check_uvs, normalize, normals
from tests.mesh.shapes import icosphere, quad


def test_normalized_vertices_fill_the_unit_ball():
    mesh = icosphere(2)
    positions = (mesh.positions * [1, 2, 3] * 1e-3 + [1e4, 0, -5]).astype(np.float32)
    loose = np.vstack([positions, [[9e5, 0, 0]]]).astype(np.float32)
    moved, how = normalize(replace(mesh, positions=loose))
    used = moved.positions[:-1].astype(np.float64)
    np.testing.assert_allclose(used.mean(axis=0), 0, atol=2e-3)
    assert np.linalg.norm(used, axis=1).max() == pytest.approx(1, abs=1e-6)
    np.testing.assert_allclose(used * how.scale + how.center, positions, rtol=1e-6)
    assert moved.positions.dtype == np.float32
    assert moved.triangles is mesh.triangles


def test_a_dense_part_does_not_pull_the_mesh_out_of_the_middle():
    """A coarse ball of radius 3 and a dense one of radius 1 that is 5 away along a diagonal."""
    large, small = icosphere(3), icosphere(5)
    along = np.array([0.6, 0.0, 0.8])
    positions = np.vstack([3 * large.positions, small.positions + 5 * along]).astype(np.float32)
    triangles = np.vstack([large.triangles, small.triangles + len(large.positions)])
    _, (center, scale) = normalize(Mesh(positions, triangles))
    np.testing.assert_allclose(center, 1.5 * along, atol=0.03)
    assert scale == pytest.approx(4.5, rel=0.01)


@pytest.mark.parametrize("count", [3, 4, 20])
def test_no_smaller_ball_fits(count):
    """Wherever else the center is, some point is farther away."""
    points = np.random.default_rng(count).normal(size=(count, 3)).astype(np.float32)
    triangles = np.arange(count - count % 3, dtype=np.int32).reshape(-1, 3)
    points = points[: triangles.size]
    _, (center, scale) = normalize(Mesh(points, triangles))
    for direction in np.random.default_rng(0).normal(size=(500, 3)):
        moved = center + 0.05 * scale * direction / np.linalg.norm(direction)
        assert np.linalg.norm(points - moved, axis=1).max() > scale


def test_normals_and_areas_of_a_square():
    mesh = quad(0.5)
    np.testing.assert_array_equal(normals(mesh), [[0, 0, 1], [0, 0, 1]])
    np.testing.assert_allclose(areas(mesh), [0.5, 0.5])


def broken(field: str, value: object):
    return replace(quad(0.5), **{field: value})


NAN = quad(0.5).positions.copy()
NAN[2:, 1] = np.nan
OUT_OF_RANGE = np.array([[0, 1, 2], [0, 2, 4]], np.int32)


@pytest.mark.parametrize(
    ("mesh", "message"),
    [
        (broken("positions", np.zeros((0, 3), np.float32)), "empty"),
        (broken("triangles", np.zeros((0, 3), np.int32)), "empty"),
        (broken("positions", NAN), r"2 of 4 vertices are not finite numbers \(first: 2\)"),
        (broken("triangles", OUT_OF_RANGE), r"1 of 2 triangles point outside .* \(first: 1\)"),
        (broken("triangles", -OUT_OF_RANGE), "2 of 2 triangles point outside"),
        (broken("positions", np.zeros((4, 3), np.float32)), "zero area"),
        (broken("triangles", np.zeros((2, 3), np.int32)), "zero area"),
        (broken("positions", np.zeros((4, 3))), "type float64"),
        (broken("positions", np.zeros(12, np.float32)), r"shape \(12,\)"),
        (broken("triangles", np.zeros((2_000_001, 3), np.int32)), "more than 2000000"),
        (broken("uvs", None), "must come together"),
        (broken("uvs", np.full((4, 2), np.inf, np.float32)), "4 of 4 texture coordinates"),
        (broken("uv_triangles", OUT_OF_RANGE), "texture triangles point outside"),
        (broken("uv_triangles", OUT_OF_RANGE[:1]), "2 triangles but 1 texture triangles"),
    ],
)
def test_an_unusable_mesh_is_named(mesh, message: str):
    with pytest.raises(InvalidMesh, match=message) as caught:
        check(mesh)
    assert caught.value.hint
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("scale", [1e-30, 1e-6, 1e6, 1e18])
def test_any_scale_is_a_surface(scale: float):
    check(quad(scale))


@pytest.mark.parametrize(
    ("box", "message"),
    [
        ((1, 0, 2, 1), "UDIM"),
        ((0, 3, 1, 4), "UDIM"),
        ((0, 0, 2, 1), "tiling"),
        ((-1, 0, 0, 1), "tiling"),
        ((0, 0, 0, 1), "no area"),
    ],
)
def test_unusable_texture_coordinates_are_named(box, message: str):
    mesh = quad(0.5, box)
    check(mesh)
    with pytest.raises(InvalidMesh, match=message):
        check_uvs(mesh)


def test_rounding_outside_the_unit_square_is_not_an_error():
    check_uvs(quad(0.5, (-1e-6, 0, 1 + 1e-6, 1)))


def test_missing_texture_coordinates_are_named():
    with pytest.raises(InvalidMesh, match="no texture coordinates"):
        check_uvs(replace(quad(0.5), uvs=None, uv_triangles=None))
