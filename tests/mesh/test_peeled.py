# SPDX-License-Identifier: GPL-3.0-or-later
"""Views of what other surfaces hide, against rays that go on behind what they hit."""

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
import torch

from syncsde_engine.mesh.bake import gather as gathering
from syncsde_engine.mesh.bake.blend import bake
from syncsde_engine.mesh.bake.texels import used_texels
from syncsde_engine.mesh.mesh import Mesh
from syncsde_engine.mesh.raster.builtin import BuiltinRasterizer
from syncsde_engine.mesh.views import pairs
from syncsde_engine.mesh.views.cameras import Camera, clip_positions
from syncsde_engine.mesh.views.maps import view_maps
from syncsde_engine.mesh.views.pairs import view_to_view
from syncsde_engine.mesh.views.rigs import extend
from syncsde_engine.mesh.views.scene import observe
from tests.mesh.gltf_files import BOX, INDEX, UVS
from tests.mesh.rays import cast, rays_of
from tests.mesh.shapes import lumpy

BACKENDS = [BuiltinRasterizer(), BuiltinRasterizer(use_numba=False)]
CAMERA = Camera(33, 21)


def boxes(*halves: float) -> Mesh:
    """Boxes inside of each other, each an object with its own strip of the texture."""
    count = len(halves)
    triangles = INDEX.reshape(-1, 3).astype(np.int32)
    index = np.concatenate([triangles + 24 * k for k in range(count)])
    uvs = [(UVS + np.array([k, 0])) / [count, 1] for k in range(count)]
    return Mesh(
        np.concatenate([BOX * np.float32(half) for half in halves]),
        index,
        np.concatenate(uvs).astype(np.float32),
        index,
        face_object=np.repeat(np.arange(count, dtype=np.int32), 12),
        objects=tuple(f"box {k}" for k in range(count)),
    )


def layers_of(mesh: Mesh, camera: Camera, size: int, most: int) -> list[tuple]:
    """Faces and depths of the first, second ... hit of every pixel's ray."""
    rays, beyond, found = rays_of(camera, size), np.full(size * size, 1e-9), []
    for _ in range(most):
        hits = cast(mesh, camera.eye, rays, beyond)
        found.append((hits.face.reshape(size, size), hits.distance.reshape(size, size)))
        beyond = np.where(np.isfinite(hits.distance), hits.distance + 1e-7, np.inf)
    return found


@pytest.mark.parametrize("backend", BACKENDS, ids=["numba", "numpy"])
@pytest.mark.parametrize("mesh", [boxes(0.55, 0.35, 0.2), lumpy(2)], ids=["boxes", "lumpy"])
def test_layers_are_what_rays_hit_one_after_another(mesh: Mesh, backend: BuiltinRasterizer):
    size = 96
    clip = clip_positions(torch.tensor(mesh.positions), (CAMERA,))
    peeled = list(backend.peel(clip, torch.tensor(mesh.triangles), (size, size)))
    assert len(peeled) >= 4
    for raster, (face, depth) in zip(
        peeled, layers_of(mesh, CAMERA, size, len(peeled)), strict=True
    ):
        mine = raster.face[0].numpy()
        assert (mine != face).sum() <= max(6, 0.01 * (face >= 0).sum())  # centers on edges
        same = (mine == face) & (face >= 0)
        np.testing.assert_allclose(raster.w[0].numpy()[same], depth[same], rtol=1e-4)


@pytest.mark.parametrize("backend", BACKENDS, ids=["numba", "numpy"])
def test_every_face_that_covers_a_pixel_is_in_one_layer_of_it(backend: BuiltinRasterizer):
    """Also where faces lie in one plane, as those of a box that is there twice."""
    mesh, size = boxes(0.5, 0.5, 0.3), 40
    clip = clip_positions(torch.tensor(mesh.positions), (CAMERA,))
    triangles = torch.tensor(mesh.triangles)
    alone = np.zeros((size, size, len(triangles)), int)
    for number, triangle in enumerate(triangles):
        alone[..., number] = backend.rasterize(clip, triangle[None], (size, size)).face[0] >= 0
    found = np.zeros_like(alone)
    for raster in backend.peel(clip, triangles, (size, size)):
        rows, columns = np.nonzero(raster.face[0].numpy() >= 0)
        np.add.at(found, (rows, columns, raster.face[0].numpy()[rows, columns]), 1)
    np.testing.assert_array_equal(found, alone)


def test_both_backends_peel_alike():
    mesh, size = lumpy(3), 64
    clip = clip_positions(torch.tensor(mesh.positions), (CAMERA,))
    first, second = (
        [raster.face for raster in backend.peel(clip, torch.tensor(mesh.triangles), (size, size))]
        for backend in BACKENDS
    )
    assert len(first) == len(second)
    assert all((a == b).all() for a, b in zip(first, second, strict=True))


def test_the_first_layer_is_the_image_without_layers():
    mesh, size = lumpy(3), 64
    clip = clip_positions(torch.tensor(mesh.positions), (CAMERA,))
    plain = BACKENDS[0].rasterize(clip, torch.tensor(mesh.triangles), (size, size))
    first = next(BACKENDS[0].peel(clip, torch.tensor(mesh.triangles), (size, size)))
    for name in ("face", "bary", "z", "w"):
        assert torch.equal(getattr(first, name), getattr(plain, name))


def hidden_by(mesh: Mesh, camera: Camera, points: np.ndarray) -> np.ndarray:
    """How many surfaces lie between the camera and each point, (P,)."""
    rays, count = points - camera.eye, np.zeros(len(points), int)
    if camera.orthographic:
        rays = np.broadcast_to(3 * camera.basis[2], rays.shape)
    beyond = np.full(len(points), 1e-9)
    for _ in range(8):
        hits = cast(mesh, points - rays, rays, beyond)
        before = hits.distance < 1 - 1e-4
        count += before
        beyond = np.where(before, hits.distance + 1e-7, np.inf)
    return count


@pytest.mark.parametrize("compiled", [True, False], ids=["numba", "torch"])
@pytest.mark.parametrize("layer", [0, 1, 2])
@pytest.mark.parametrize("lens", [{}, {"ortho_scale": 2.0}], ids=["perspective", "orthographic"])
def test_texels_are_painted_by_the_layer_that_they_lie_in(layer, compiled, lens, monkeypatch):
    if not compiled:
        monkeypatch.setattr(gathering, "gather_texels", None)
    mesh = boxes(0.55, 0.35, 0.2)
    camera = replace(CAMERA, layer=layer, **lens)
    scene = observe(mesh, (camera,), BACKENDS[0])
    texels = used_texels(scene, 96)
    maps = view_maps(scene, 192)
    baked = bake(scene, maps.position / 2 + 0.5, texels, maps)
    point, normal = texels.position().numpy(), texels.normal().numpy()
    ray = point - camera.eye if not lens else np.broadcast_to(camera.basis[2], point.shape)
    cos = -(ray * normal).sum(1) / np.linalg.norm(ray, axis=1)
    away = hidden_by(mesh, camera, point)
    expected = (away == layer) & (cos > 0.15)
    seen = (baked.weight > 0).numpy()
    assert expected.sum() > 100
    assert (seen & (away != layer)).mean() < 0.002
    assert (expected & ~seen).sum() < 0.2 * expected.sum()  # beside edges
    # What it paints is the place itself: nothing of another layer gets in.
    apart = np.abs(baked.color.numpy()[seen] * 2 - 1 - point[seen]).max()
    assert apart < 0.05


@pytest.mark.parametrize("compiled", [True, False], ids=["numba", "torch"])
def test_pixels_of_other_layers_go_together_where_they_show_one_spot(compiled, monkeypatch):
    if not compiled:
        monkeypatch.setattr(pairs, "pair_pixels", None)
    mesh = boxes(0.55, 0.35)
    near = replace(CAMERA, azimuth=50.0)
    cameras = (CAMERA, replace(CAMERA, layer=1), near, replace(near, layer=1))
    scene = observe(mesh, cameras, BACKENDS[0])
    overlap = view_to_view(scene, 48)
    place = view_maps(scene, 48).position.movedim(1, -1).reshape(-1, 3).numpy()
    other = (overlap.source // overlap.pixels).numpy()
    for number, camera in enumerate(cameras):
        points = place[overlap.looks.numpy()[other == number]]
        assert len(points) > 100
        assert (hidden_by(mesh, camera, points) != camera.layer).mean() < 0.01
    view, other = overlap.looks // overlap.pixels, overlap.source // overlap.pixels
    found = Counter(zip(view.tolist(), other.tolist(), strict=True))
    assert min(found[pair] for pair in ((1, 3), (3, 1), (0, 2), (2, 0))) > 50
    # Never through a surface, but for where its two sides meet.
    assert sum(found[pair] for pair in ((0, 1), (1, 0), (2, 3), (3, 2))) < 0.01 * found.total()


def test_further_views_look_through_what_hides_most():
    mesh = boxes(0.55, 0.35, 0.2)
    given = (Camera(0, 0),)
    cameras, seen = extend(mesh, given, Camera(0, 0), 60, BACKENDS[0])
    assert {camera.layer for camera in cameras} == {0}
    assert seen[-1] < 0.4  # the outer box alone
    cameras, seen = extend(mesh, given, Camera(0, 0), 60, BACKENDS[0], 3, 0.95)
    assert {camera.layer for camera in cameras} >= {0, 1, 2}
    assert seen[-1] >= 0.95 > seen[-2]
    assert len(cameras) == len(seen) <= 20
    texels = used_texels(observe(mesh, cameras, BACKENDS[0]), 96)
    point, normal = texels.position().numpy(), texels.normal().numpy()
    covered = np.zeros(len(point), bool)
    for camera in cameras:
        ray = point - camera.eye
        cos = -(ray * normal).sum(1) / np.linalg.norm(ray, axis=1)
        covered |= (hidden_by(mesh, camera, point) == camera.layer) & (cos >= 0.3)
    assert covered.mean() == pytest.approx(seen[-1], abs=0.02)


def test_a_goal_that_cannot_be_reached_ends_the_search():
    """Both sides of an inner sheet are hidden by one layer, and no layer may be looked through."""
    cameras, seen = extend(
        boxes(0.55, 0.35), (Camera(0, 0),), Camera(0, 0), 60, BACKENDS[0], 0, 0.9
    )
    assert 0.4 < seen[-1] < 0.6
    assert len(cameras) < 20
