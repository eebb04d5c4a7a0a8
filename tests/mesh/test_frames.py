# SPDX-License-Identifier: GPL-3.0-or-later
"""How pictures lie on surfaces, beside closed forms and cast rays."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from syncsde_engine.exemplar.sites import NEAR, PATCH, flat
from syncsde_engine.mesh.raster.rasterize import rasterizer
from syncsde_engine.mesh.views.cameras import Camera
from syncsde_engine.mesh.views.frames import surface_ground, tangents
from syncsde_engine.mesh.views.maps import view_maps
from syncsde_engine.mesh.views.scene import observe
from tests.mesh.rays import cast, rays_of
from tests.mesh.shapes import join, quad

SHOWN = 0.7  # what the cameras without perspective show: a part of a square in the unit ball
FACING = Camera(0, 0, ortho_scale=SHOWN)


def ground_of(mesh, cameras, size, unit, levels=1):
    """The maps of the views, and the sites of all that they show."""
    maps = view_maps(observe(mesh, cameras, rasterizer("builtin"), 256), size)
    return maps, surface_ground(maps, maps.coverage, unit, levels)


def turned(mesh, tilt, turn):
    """Leaned back by `tilt` degrees, then turned around the vertical by `turn`."""
    a, b = np.radians([tilt, turn])
    back = np.array([[1, 0, 0], [0, np.cos(a), np.sin(a)], [0, -np.sin(a), np.cos(a)]])
    around = np.array([[np.cos(b), 0, np.sin(b)], [0, 1, 0], [-np.sin(b), 0, np.cos(b)]])
    return replace(mesh, positions=(mesh.positions @ (around @ back).T).astype(np.float32))


def axes_of(mesh):
    """The horizontal and the steepest direction of a plane, as textbooks have them."""
    a, b, c = mesh.positions[mesh.triangles[0]].astype(np.float64)
    normal = np.cross(b - a, c - a)
    right = np.cross([0.0, 1.0, 0.0], normal)
    right /= np.linalg.norm(right)
    up = np.cross(normal, right)
    return right, up / np.linalg.norm(up)


def test_a_plane_that_faces_the_camera_is_a_flat_image():
    _, ground = ground_of(quad(0.7), (FACING,), 16, SHOWN / 16, levels=3)
    for surface, image in zip(ground.sites, flat(1, 16, 16, 3), strict=True):
        for name in ("view", "pixel", "patch", "near", "parent", "quadrant"):
            assert np.array_equal(getattr(surface, name), getattr(image, name)), name
        there = image.near >= 0
        np.testing.assert_allclose(surface.offset[there], image.offset[there], atol=1e-4)
        if len(image.parent):
            np.testing.assert_allclose(surface.inside, image.inside, atol=1e-4)
    assert np.array_equal(ground.number.reshape(-1), np.arange(256))
    np.testing.assert_allclose(ground.across, np.tile([16 / SHOWN, 0, 0], (256, 1)), atol=1e-4)
    np.testing.assert_allclose(ground.down, np.tile([0, -16 / SHOWN, 0], (256, 1)), atol=1e-4)


def test_a_larger_picture_takes_wider_steps():
    """Pixels of the picture that are two of the view: the patch is every second pixel."""
    _, ground = ground_of(quad(0.7), (FACING,), 32, 2 * SHOWN / 32)
    middle = 16 * 32 + 16
    assert ground.sites[0].patch[middle].tolist() == [
        middle + 2 * row * 32 + 2 * column for row, column in PATCH
    ]
    np.testing.assert_allclose(ground.sites[0].offset[middle], -np.array(NEAR) / 2, atol=1e-4)


@pytest.mark.parametrize(("tilt", "turn"), [(40, 0), (-50, 0), (0, 55), (25, -35)])
def test_taps_on_a_slanted_plane_are_the_pixels_that_show_the_wanted_points(tilt, turn):
    mesh, size, unit = turned(quad(0.7), tilt, turn), 40, 0.0237
    maps, ground = ground_of(mesh, (FACING,), size, unit)
    right, up = axes_of(mesh)
    position = maps.position.movedim(1, -1)[maps.coverage].double().numpy()
    compared = 0
    for place, (down, across) in enumerate(PATCH):
        wanted = position + unit * (across * right - down * up)
        row, column = (0.5 - wanted[:, 1] / SHOWN) * size, (0.5 + wanted[:, 0] / SHOWN) * size
        inside = (row > 0) & (row < size) & (column > 0) & (column < size)
        clear = np.minimum(abs(row - row.round()), abs(column - column.round())) > 1e-3
        sure = inside & (clear | ((down, across) == (0, 0)))
        expected = np.floor(row[sure]).astype(int) * size + np.floor(column[sure]).astype(int)
        assert np.array_equal(ground.sites[0].patch[sure, place], expected)
        compared += sure.sum()
    assert compared > 0.6 * 49 * size**2, "most taps are inside and away from pixel edges"


@pytest.mark.parametrize("camera", [Camera(0, 0, 1.0, 35), Camera(30, 20, 1.2, 25)])
def test_taps_in_perspective_show_the_wanted_points(camera):
    """Positions are those of cast rays; a tap may be off by half a pixel, and for perspective."""
    mesh, size, unit = turned(quad(0.7), 35, 20), 48, 0.016
    _, ground = ground_of(mesh, (camera,), size, unit)
    directions = rays_of(camera, size)
    hits = cast(mesh, camera.eye, directions)
    assert (hits.face >= 0).all()
    position = camera.eye + hits.distance[:, None] * directions
    right, up = axes_of(mesh)
    steps = np.array([across * right - down * up for down, across in PATCH])
    wanted = position[:, None] + unit * steps
    away = np.linalg.norm(position[ground.sites[0].patch] - wanted, axis=-1)
    rows, columns = np.divmod(np.arange(size**2), size)
    inner = (abs(rows - 23.5) < 14) & (abs(columns - 23.5) < 14)
    normal = np.cross(right, up)
    slant = -(directions @ normal) / np.linalg.norm(directions, axis=1)
    pixel = 2 * np.tan(np.radians(camera.fov) / 2) / size * hits.distance / abs(slant)
    assert (away[inner] < 1.2 * pixel[inner, None]).all()
    assert away[inner].mean() < 0.6 * pixel[inner].mean()


def test_neighbors_know_how_far_they_are():
    mesh, unit = turned(quad(0.7), 40, 25), 0.025
    maps, ground = ground_of(mesh, (FACING,), 24, unit)
    right, up = axes_of(mesh)
    position = maps.position.movedim(1, -1)[maps.coverage].double().numpy()
    sites = ground.sites[0]
    for place in range(9):
        there = sites.near[:, place] >= 0
        away = position[there] - position[sites.near[there, place]]
        expected = np.stack([-away @ up, away @ right], axis=1) / unit
        np.testing.assert_allclose(sites.offset[there, place], expected, atol=1e-4)
    assert (sites.near >= 0).mean() > 0.9


def test_patches_do_not_reach_over_a_step_in_depth():
    left, right = (quad(0.5) for _ in range(2))
    left.positions[:] += np.float32([-0.5, 0, 0.25])
    right.positions[:] += np.float32([0.5, 0, -0.25])
    maps, ground = ground_of(join(left, right), (FACING,), 32, SHOWN / 32, levels=3)
    depth = maps.position[:, 2][maps.coverage].numpy()
    for level, sites in enumerate(ground.sites):
        assert (depth[sites.patch] == depth[:, None]).all(), level
        there = sites.near >= 0
        assert (np.where(there, depth[sites.near], 0) == np.where(there, depth[:, None], 0)).all()
        if level < 2:
            count = ground.sites[level + 1].count
            above = np.zeros(count)
            above[sites.parent] = depth
            assert (above[sites.parent] == depth).all(), "no site stands for both sides"
            depth = above


def some_normals():
    normals = torch.randn(4000, 3, generator=torch.Generator().manual_seed(0)).double().numpy()
    angle = np.linspace(0, 2 * np.pi, 721)
    arcs = [np.stack([0 * angle, np.sin(angle), np.cos(angle)], axis=1)]
    arcs += [np.stack([np.cos(angle), np.sin(angle), 0 * angle], axis=1)]
    normals = np.concatenate([normals, *arcs])
    return (normals / np.linalg.norm(normals, axis=1, keepdims=True)).astype(np.float32)


def test_tangents_are_orthonormal_and_right_handed():
    normal = some_normals()
    right, up = tangents(normal)
    frame = np.stack([right, up, normal], axis=1).astype(np.float64)
    products = np.einsum("nij,nkj->nik", frame, frame)
    np.testing.assert_allclose(products, np.tile(np.eye(3), (len(normal), 1, 1)), atol=2e-4)
    assert (np.linalg.det(frame) > 0).all()


def test_up_is_up_where_the_surface_is_steep():
    normal = some_normals()
    steep = normal[abs(normal[:, 1]) < 0.85]
    right, up = tangents(steep)
    np.testing.assert_allclose(right[:, 1], 0, atol=1e-5)
    assert (up[:, 1] > 0.5).all()
    vertical = np.float32([[0, 0, 1], [1, 0, 0], [0, 0, -1], [-0.6, 0, 0.8]])
    right, up = tangents(vertical)
    np.testing.assert_allclose(up, np.tile([0, 1, 0], (4, 1)), atol=1e-6)
    # Whoever looks at the surface has the picture's right to the right.
    np.testing.assert_allclose(right[:2], [[1, 0, 0], [0, 0, -1]], atol=1e-6)


def test_level_surface_runs_from_back_to_front():
    poles = np.float32([[0, 1, 0], [0, -1, 0]])
    right, up = tangents(poles)
    np.testing.assert_allclose(right, [[1, 0, 0], [1, 0, 0]], atol=1e-6)
    np.testing.assert_allclose(up, [[0, 0, -1], [0, 0, 1]], atol=1e-6)


def test_a_normal_that_opposing_faces_have_cancelled_stays_finite():
    right, up = tangents(np.zeros((1, 3), np.float32))
    assert np.isfinite(right).all()
    assert np.isfinite(up).all()


def test_views_of_one_spot_have_one_frame(scene):
    maps = view_maps(scene, 48)
    ground = surface_ground(maps, maps.coverage, 0.04, 2)
    face = maps.face[maps.coverage].numpy()
    view = ground.sites[0].view
    seen = 0
    for number in np.unique(face):
        here = face == number
        seen += len(np.unique(view[here])) > 1
        for axes in (ground.across, ground.down):
            assert np.ptp(axes[here], axis=0).max() < 1e-5
    assert seen > 500, "faces that several views show"
    np.testing.assert_allclose(np.linalg.norm(ground.across, axis=1), 1 / 0.04, rtol=1e-3)
    np.testing.assert_allclose(np.linalg.norm(ground.down, axis=1), 1 / 0.04, rtol=1e-3)


def test_chosen_pixels_alone_are_sites():
    maps, _ = ground_of(quad(0.7), (FACING, replace(FACING, azimuth=20)), 16, SHOWN / 16)
    chosen = maps.coverage.clone()
    chosen[0, :, :8] = False
    ground = surface_ground(maps, chosen, SHOWN / 16, 2)
    assert (ground.number >= 0).sum() == int(chosen.sum()) == ground.sites[0].count
    for sites in ground.sites:
        assert (sites.view[sites.patch] == sites.view[:, None]).all()
        near = np.where(sites.near < 0, np.arange(sites.count)[:, None], sites.near)
        assert (sites.view[near] == sites.view[:, None]).all()
        assert (np.diff(sites.view) >= 0).all()
    below = np.bincount(ground.sites[0].parent, minlength=ground.sites[1].count)
    assert below.min() >= 1
    assert below.max() == 4
