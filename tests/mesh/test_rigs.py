# SPDX-License-Identifier: GPL-3.0-or-later
from dataclasses import replace

import numpy as np
import pytest
import torch

from syncsde_engine.mesh.bake import gather
from syncsde_engine.mesh.bake.blend import bake
from syncsde_engine.mesh.bake.texels import used_texels
from syncsde_engine.mesh.intake.charts import chart_unwrap
from syncsde_engine.mesh.mesh import normalize
from syncsde_engine.mesh.raster.rasterize import rasterizer
from syncsde_engine.mesh.views import pairs as pairing
from syncsde_engine.mesh.views import silhouettes
from syncsde_engine.mesh.views.cameras import Camera, clip_positions, paper_cameras
from syncsde_engine.mesh.views.maps import view_maps
from syncsde_engine.mesh.views.pairs import view_to_view
from syncsde_engine.mesh.views.rigs import (
    extend,
    framed,
    front,
    front_first,
    neighbors,
    ring_cameras,
)
from syncsde_engine.mesh.views.scene import observe
from tests.mesh.shapes import icosphere, lumpy

BUILTIN = rasterizer("builtin")


def places(cameras):
    return [(round(camera.azimuth, 3), round(camera.elevation, 3)) for camera in cameras]


def test_rings_are_even_have_a_front_and_begin_at_the_back():
    assert places(ring_cameras(1)) == [(0, 0)]
    assert places(ring_cameras(4)) == [(180, 0), (270, 0), (0, 0), (90, 0)]
    assert places(ring_cameras(6)) == [*places(ring_cameras(4)), (0, 90), (0, -90)]
    assert places(ring_cameras(10)) == [
        *((180, 0), (240, 0), (300, 0), (0, 0), (60, 0), (120, 0)),
        *((180, 45), (0, 45), (180, -45), (0, -45)),
    ]
    for count in range(1, 65):
        cameras = ring_cameras(count)
        assert len(set(places(cameras))) == len(cameras) == count
        assert (0, 0) in places(cameras)


def test_many_rings_leave_no_point_of_a_sphere_far_from_a_camera():
    random = np.random.default_rng(0).normal(size=(2000, 3))
    points = random / np.linalg.norm(random, axis=1, keepdims=True)
    for count, degrees in ((6, 55), (14, 45), (30, 45)):
        toward = np.stack([camera.toward for camera in ring_cameras(count)])
        farthest = np.degrees(np.arccos((points @ toward.T).max(axis=1))).max()
        assert farthest <= degrees + 1, count


@pytest.mark.parametrize("lens", [(60,), (25,), (60, True), (40, False, 1.8), (60, True, 0.6)])
def test_a_framed_camera_holds_the_unit_sphere_as_large_as_it_goes(lens):
    random = np.random.default_rng(1).normal(size=(20000, 3))
    sphere = torch.tensor(random / np.linalg.norm(random, axis=1, keepdims=True)).float()
    camera = framed(Camera(30, 20), *lens)
    x, y, z, w = clip_positions(sphere, (camera,))[0].unbind(-1)
    across = torch.maximum((x / w).abs().max(), (y / w).abs().max())
    assert 0.99 < across <= 1.0001
    assert (z.abs() <= w).all()
    assert framed(Camera(30, 20), 60).distance == pytest.approx(2), "as in the paper"


def test_the_front_comes_first_and_each_view_after_some_beside_it():
    cameras = front_first(paper_cameras())
    assert places(cameras) == [
        *((0, 0), (0, 30), (315, 0), (45, 0), (270, 0), (90, 0)),
        *((225, 0), (135, 0), (180, 30), (180, 0)),
    ]
    assert front(cameras) == 0
    assert front(paper_cameras()) == 4
    for i in range(1, len(cameras)):
        nearest = max(cameras[i].toward @ other.toward for other in cameras[:i])
        assert nearest >= np.cos(np.radians(53))


def test_neighbors_of_the_papers_cameras_are_the_papers():
    ring = [sorted({(i - 1) % 8, i, (i + 1) % 8}) for i in range(8)]
    assert neighbors(paper_cameras()) == [*ring, [4, 8], [0, 9]]


def test_neighbors_of_other_rigs_stand_beside_each_other():
    assert neighbors([Camera(0, 0)]) == [[0]]
    assert neighbors([Camera(0, 0), Camera(180, 0)]) == [[0, 1], [0, 1]]
    assert neighbors(ring_cameras(6))[2] == [1, 2, 3], "not what is above or below"
    assert neighbors(ring_cameras(6))[4][-1] == 4, "from above: the nearest, and itself"
    assert len(neighbors(ring_cameras(6))[4]) == 2
    for count in (3, 9, 14, 20):
        groups = neighbors(ring_cameras(count))
        assert all(i in group and 2 <= len(group) <= 3 for i, group in enumerate(groups))


@pytest.fixture(scope="module")
def ball():
    return chart_unwrap(lumpy(3), 256, 4)


def test_further_cameras_show_what_the_others_do_not(ball):
    given = (Camera(0, 0), Camera(20, 0))
    cameras, seen = extend(ball, given, Camera(0, 0), 30, BUILTIN)
    assert cameras[:2] == given
    assert len(cameras) == len(seen) + 1
    assert 4 <= len(cameras) < 20, "it ends by itself"
    assert np.all(np.diff(seen) > 0)
    assert np.all(np.diff(np.diff(seen)) <= 1e-9), "the best place first"
    assert seen[0] < 0.5
    assert seen[-1] > 0.95
    assert cameras[2].toward[2] < 0.3, "first away from the front"
    images = torch.zeros(len(cameras), 3, 64, 64)
    scene = observe(ball, cameras, BUILTIN)
    coverage = bake(scene, images, used_texels(scene, 128)).coverage
    assert coverage.seen == pytest.approx(seen[-1], abs=0.05), "but for silhouettes"


def test_no_further_camera_where_everything_is_seen():
    sphere = chart_unwrap(icosphere(3), 256, 4)
    given = ring_cameras(14)
    assert extend(sphere, given, Camera(0, 0), 5, BUILTIN) == (given, [1.0])


def test_further_cameras_are_at_most_as_many_as_asked_for_and_have_the_lens(ball):
    lens = framed(Camera(0, 0), 30, False, 1.5)
    given = (replace(lens, azimuth=10.0),)
    cameras, seen = extend(ball, given, lens, 2, BUILTIN)
    assert len(cameras) == len(seen) == 3
    assert {(c.fov, c.aspect, c.distance) for c in cameras} == {(30, 1.5, lens.distance)}


@pytest.mark.parametrize("compiled", [True, False], ids=["numba", "torch"])
@pytest.mark.parametrize("lens", [(40, False, 1.5), (60, True, 0.75)], ids=["wide", "orthographic"])
def test_every_lens_bakes_what_it_sees(lens, compiled, monkeypatch):
    """Views that show where each point is, baked: every texel holds its own place."""
    if not compiled:
        monkeypatch.setattr(gather, "gather_texels", None)
        monkeypatch.setattr(silhouettes, "_clear", None)
    mesh = normalize(chart_unwrap(lumpy(4), 128, 4))[0]
    cameras = tuple(
        framed(replace(camera, roll=20.0 * i), *lens) for i, camera in enumerate(ring_cameras(6))
    )
    scene = observe(mesh, cameras, BUILTIN)
    texels = used_texels(scene, 128)
    baked = bake(scene, view_maps(scene, 256).position / 2 + 0.5, texels)
    seen = baked.weight > 0
    assert seen.float().mean() > 0.85
    error = (baked.color[seen] - (texels.position()[seen] / 2 + 0.5)).abs().amax(1)
    assert error.quantile(0.99) < 0.01


@pytest.mark.parametrize("lens", [(40, False, 1.5), (60, True, 0.75)], ids=["wide", "orthographic"])
def test_pixels_of_every_lens_pair_at_one_spot(lens, monkeypatch):
    cameras = tuple(framed(camera, *lens) for camera in ring_cameras(6))
    scene = observe(lumpy(4), cameras, BUILTIN)
    pairs = view_to_view(scene, 32)
    maps = view_maps(scene, 32)
    position = maps.position.movedim(1, -1).reshape(-1, 3)
    apart = (position[pairs.looks] - position[pairs.source]).norm(dim=1)
    other = pairs.looks // pairs.pixels != pairs.source // pairs.pixels
    assert other.sum() > 1000
    assert apart[~other].max() == 0
    assert apart[other].quantile(0.95) < 0.2, "a pixel or two apart"
    monkeypatch.setattr(pairing, "pair_pixels", None)
    again = view_to_view(scene, 32)
    assert abs(len(again.looks) - len(pairs.looks)) <= 2
    assert again.weight.sum() == pytest.approx(float(pairs.weight.sum()), rel=1e-3)
