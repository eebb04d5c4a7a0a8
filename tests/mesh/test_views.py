# SPDX-License-Identifier: GPL-3.0-or-later
from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy import ndimage

from syncsde_engine.mesh.mesh import Mesh
from syncsde_engine.mesh.raster.rasterize import rasterizer
from syncsde_engine.mesh.views import pairs
from syncsde_engine.mesh.views.cameras import FRONT, Camera, look_at, paper_cameras
from syncsde_engine.mesh.views.control import depth_control
from syncsde_engine.mesh.views.maps import ViewMaps, view_maps
from syncsde_engine.mesh.views.pairs import view_to_view
from syncsde_engine.mesh.views.scene import Scene, observe
from syncsde_engine.mesh.views.sight import see
from syncsde_engine.method.coupling import earlier
from tests.mesh.rays import cast, rays_of
from tests.mesh.shapes import icosphere, join, lumpy, quad

BUILTIN = rasterizer("builtin")


def test_maps_hold_the_point_and_normal_that_a_ray_meets(scene: Scene):
    size = 48
    maps = view_maps(scene, size)
    for j in (0, 3, 8):
        camera = scene.cameras[j]
        rays = rays_of(camera, size)
        hits = cast(scene.mesh, camera.eye, rays)
        same = (maps.face[j].numpy().ravel() == hits.face) & (hits.face >= 0)
        assert same.sum() > 0.98 * (hits.face >= 0).sum() > 600
        point = camera.eye + rays * np.where(same, hits.distance, 0)[:, None]
        position = maps.position[j].reshape(3, -1).T.numpy()
        np.testing.assert_allclose(position[same], point[same], atol=2e-4)
        a, b, c = scene.mesh.positions[scene.mesh.triangles[hits.face[same]]].swapaxes(0, 1)
        normal = np.cross(b - a, c - a)
        normal /= np.linalg.norm(normal, axis=1, keepdims=True)
        np.testing.assert_allclose(maps.normal[j].reshape(3, -1).T[same], normal, atol=1e-3)
        empty = ~maps.coverage[j]
        assert (maps.position[j][:, empty] == 0).all()
        assert (maps.normal[j][:, empty] == 0).all()
        assert torch.isinf(maps.depth[j][empty]).all()


def frame_of(camera: Camera, position, target, up, size: int):
    """Origins and directions of depth 1, (H, W, 3), by cross products and tangents."""
    forward = np.subtract(target, position) / np.linalg.norm(np.subtract(target, position))
    right = np.cross(forward, up)
    right /= np.linalg.norm(right)
    above = np.cross(right, forward)
    half = np.tan(np.radians(camera.fov) / 2) if not camera.ortho_scale else camera.ortho_scale / 2
    rows, columns = camera.frame(size)
    pixel = 2 * half / min(rows, columns)
    x = (np.arange(columns) + 0.5 - columns / 2) * pixel
    y = (rows / 2 - np.arange(rows) - 0.5) * pixel
    across = x[None, :, None] * right + y[:, None, None] * above
    position = np.array(position, float)
    if camera.ortho_scale:
        return position + across, np.broadcast_to(forward, across.shape)
    return np.broadcast_to(position, across.shape), forward + across


@pytest.mark.parametrize(
    "lens",
    [{"aspect": 1.5}, {"ortho_scale": 1.8, "aspect": 0.75}],
    ids=["perspective", "orthographic"],
)
def test_maps_of_a_sphere_are_its_closed_form(lens):
    pose = (1.5, 1.0, 2.0), (0.2, 0.1, 0.0), (0.3, 1.0, 0.0)
    camera = look_at(*pose, **lens)
    maps = view_maps(observe(icosphere(6), (camera,), BUILTIN, 200), 96)
    origin, direction = frame_of(camera, *pose, 96)
    square = (direction**2).sum(-1)
    along, rest = (origin * direction).sum(-1), (origin**2).sum(-1) - 1
    root = along**2 - square * rest
    depth = (-along - np.sqrt(np.maximum(root, 0))) / square
    point = origin + depth[..., None] * direction
    cos = -(point * direction).sum(-1) / np.sqrt(square)
    inside = (root > 0) & (cos > 0.2)
    assert maps.face.shape == (1, *camera.frame(96))
    assert inside.mean() > 0.2
    assert maps.coverage[0].numpy()[inside].all()
    assert not maps.coverage[0].numpy()[root < 0].any()
    np.testing.assert_allclose(maps.depth[0].numpy()[inside], depth[inside], atol=2e-3)
    found = maps.position[0].permute(1, 2, 0).numpy()[inside]
    np.testing.assert_allclose(found, point[inside], atol=2e-3)
    normal = maps.normal[0].permute(1, 2, 0).numpy()[inside]
    assert (normal * point[inside]).sum(-1).min() > 0.998
    x, y = ((np.arange(side) + 0.5) / side for side in camera.frame(96)[::-1])
    place = np.stack(np.broadcast_arrays(x[None, :], y[:, None]), -1)[inside]
    sight = see(
        camera,
        observe(icosphere(6), (camera,), BUILTIN).depth[0],
        torch.tensor(found),
        torch.tensor(normal),
    )
    np.testing.assert_allclose(torch.stack([sight.x, sight.y], -1), place, atol=1e-5)
    np.testing.assert_allclose(sight.cos, cos[inside], atol=0.05)
    assert sight.seen.float().mean() > 0.999


def test_outsides_are_found_whatever_the_winding():
    mesh = lumpy(2)
    right = observe(mesh, paper_cameras(), BUILTIN, 256)
    flipped = mesh.triangles.copy()
    flipped[::3] = flipped[::3, ::-1]
    wrong = observe(replace(mesh, triangles=flipped), paper_cameras(), BUILTIN, 256)
    seen = np.unique(view_maps(right, 128).face)[1:]
    assert len(seen) > 250
    torch.testing.assert_close(wrong.normals[seen], right.normals[seen])
    outward = torch.tensor(mesh.positions[mesh.triangles].mean(1))
    assert ((right.normals * outward).sum(1) > 0).float().mean() > 0.95


def test_depth_control_of_a_sphere_is_its_stretched_inverse_depth():
    size = 64  # too small for a blur
    camera = Camera(77, 0)
    control = depth_control(view_maps(observe(icosphere(5), (camera,), BUILTIN, 64), size))
    rays = rays_of(camera, size)
    along, square = rays @ camera.eye, (rays**2).sum(axis=1)
    root = along**2 - square * 3  # |eye + t ray| = 1
    depth = (-along - np.sqrt(np.maximum(root, 0))) / square
    inside = ndimage.binary_erosion((root > 0).reshape(size, size), iterations=3)
    inverse = (1 / depth).reshape(size, size)
    expected = (inverse - 2 / 3) / (1 - 2 / 3)  # nearest 1; the rim, where rays touch, at 1.5
    assert control.shape == (1, 3, size, size)
    assert np.abs(control[0, 0].numpy() - expected)[inside].max() < 0.03
    assert (control[0, 0].numpy()[(root < -0.1).reshape(size, size)] == 0).all()
    assert control.max() > 0.99
    assert torch.equal(control[:, 0], control[:, 2])


def test_depth_control_of_a_plane_across_the_view_is_white_on_black():
    maps = view_maps(observe(quad(0.5), (Camera(0, 0),), BUILTIN, 64), 64)
    assert torch.equal(depth_control(maps)[0, 1], maps.coverage[0].float())


def test_depth_control_of_an_empty_view_is_black():
    empty = torch.full((2, 64, 64), torch.inf)
    scene = observe(quad(0.5), (Camera(0, 0), Camera(1, 0)), BUILTIN, 64)
    maps = ViewMaps(scene, 64, torch.full((2, 64, 64), -1), empty)
    assert (depth_control(maps) == 0).all()


@pytest.mark.parametrize(("size", "sigma", "radius"), [(768, 2, 2), (384, 1, 1)])
def test_depth_control_is_blurred_in_proportion_to_the_view(size: int, sigma: int, radius: int):
    maps = view_maps(observe(quad(0.5), (Camera(30, 0),), BUILTIN, 64), size)
    inverse = maps.depth[0].double().reciprocal().numpy()
    inside = maps.coverage[0].numpy()
    near, far = inverse[inside].max(), inverse[inside].min()
    sharp = np.where(inside, (inverse - far) / (near - far), 0)
    expected = ndimage.gaussian_filter(sharp, sigma, mode="mirror", radius=radius)
    np.testing.assert_allclose(depth_control(maps)[0, 0], expected, atol=1e-5)


def test_visibility_agrees_with_shadow_rays(scene: Scene):
    random = np.random.default_rng(3)
    face = torch.tensor(random.integers(0, len(scene.triangles), 4000))
    corners = scene.positions[scene.triangles[face].long()]
    weights = torch.tensor(random.dirichlet([1, 1, 1], len(face))).float()
    points, normals = (corners * weights[..., None]).sum(1), scene.normals[face]
    for j in (1, FRONT, 9):
        camera = scene.cameras[j]
        sight = see(camera, scene.depth[j], points, normals)
        ray = points.double().numpy() - camera.eye
        cos = -(ray * normals.numpy()).sum(1) / np.linalg.norm(ray, axis=1)
        distance = cast(scene.mesh, camera.eye, ray).distance
        truth = (distance > 1 - 1e-4) & (cos >= 0.1)
        assert 500 < truth.sum() < 3500
        assert (sight.seen.numpy() & ~truth).sum() < 0.005 * truth.sum()
        assert (~sight.seen.numpy() & truth).sum() < 0.006 * truth.sum()
        np.testing.assert_allclose(sight.cos, cos, atol=1e-4)


def test_a_sheet_close_behind_another_is_hidden():
    near, far = quad(0.5), quad(0.5)
    mesh = join(near, replace(far, positions=far.positions - np.float32([0, 0, 0.02])))
    camera = Camera(45, 0)
    scene = observe(mesh, (camera,), BUILTIN)
    random = np.random.default_rng(0).uniform(-0.45, 0.45, (500, 2))
    front = torch.tensor(np.hstack([random, np.zeros((500, 1))])).float()
    normal = torch.tensor([[0.0, 0.0, 1.0]]).expand(500, 3)
    assert see(camera, scene.depth[0], front, normal).seen.all()
    behind = front - torch.tensor([0, 0, 0.02])
    assert not see(camera, scene.depth[0], behind, normal).seen.any()
    assert not see(camera, scene.depth[0], front, -normal).seen.any()


def dense(overlap):
    """Index and weight (N, N, P) of the one pixel of view j that each pixel of view i sees."""
    count, pixels = overlap.count, overlap.pixels
    place = overlap.looks // pixels, overlap.source // pixels, overlap.looks % pixels
    assert len({*zip(*(part.tolist() for part in place), strict=True)}) == len(overlap.looks)
    index = torch.zeros(count, count, pixels, dtype=torch.int64)
    index[place] = overlap.source % pixels
    weight = torch.zeros(count, count, pixels)
    weight[place] = overlap.weight
    return index, weight


def test_pairs_agree_with_rays_from_view_to_view(scene: Scene):
    size = 24
    index, weights = dense(view_to_view(scene, size))
    rays = [rays_of(camera, size) for camera in scene.cameras]
    covered = [
        cast(scene.mesh, camera.eye, ray).face >= 0
        for camera, ray in zip(scene.cameras, rays, strict=True)
    ]
    linked = wrong = 0
    for i, j in [(4, 3), (3, 4), (0, 9), (8, 5), (6, 2)]:
        here, there = scene.cameras[i], scene.cameras[j]
        hits = cast(scene.mesh, here.eye, rays[i])
        pixel = np.flatnonzero(hits.face >= 0)
        point = here.eye + rays[i][pixel] * hits.distance[pixel, None]
        away = point - there.eye
        blocked = cast(scene.mesh, there.eye, away).distance < 1 - 1e-3
        cos = -(away * scene.normals[hits.face[pixel]].numpy()).sum(1)
        cos /= np.linalg.norm(away, axis=1)
        right, up, forward = there.basis
        scale = 1 / np.tan(np.radians(30)) / (away @ forward)
        column = np.floor((1 + away @ right * scale) / 2 * size).astype(int)
        row = np.floor((1 - away @ up * scale) / 2 * size).astype(int)
        target = row * size + column
        weight = np.where(~blocked & (cos >= 0.1) & covered[j][target], cos, 0)
        got = weights[i, j].numpy()
        same = (np.abs(got[pixel] - weight) < 1e-2) & (
            (weight == 0) | (index[i, j].numpy()[pixel] == target)
        )
        linked += (weight > 0).sum()
        wrong += (~same).sum()
        assert got[hits.face < 0].sum() <= 2  # a rim pixel may be decided the other way
    assert linked > 300
    assert wrong < 0.02 * linked


def test_every_view_pairs_with_itself_by_identity(scene: Scene):
    maps, (index, weight) = view_maps(scene, 32), dense(view_to_view(scene, 32))
    for i, camera in enumerate(scene.cameras):
        inside = maps.coverage[i].flatten()
        seen = weight[i, i] > 0
        assert torch.equal(index[i, i][seen], seen.nonzero()[:, 0])
        assert not seen[~inside].any()
        ray = torch.tensor(rays_of(camera, 32)).float()
        cos = -(ray * maps.normal[i].reshape(3, -1).T).sum(1) / ray.norm(dim=1)
        torch.testing.assert_close(weight[i, i], cos.clamp(min=0), atol=1e-3, rtol=0)


def test_later_views_of_a_closed_surface_mostly_find_earlier_ones(scene: Scene):
    size = 32
    coupling = earlier(view_to_view(scene, size))
    view = coupling.rows // (size * size)
    maps = view_maps(scene, size)
    share = torch.bincount(view, minlength=10) / maps.coverage.sum((1, 2))
    assert share[0] == 0
    assert (share[1:] > 0.15).all()
    assert (share[7:] > 0.6).all()


def test_the_best_source_is_the_view_that_faces_the_spot(scene: Scene):
    average, best = (view_to_view(scene, 24, sources) for sources in ("average", "best"))
    mean, one = earlier(average), earlier(best)
    assert len(mean.slots) > 1
    assert len(one.slots) == 1
    strongest = {}
    entries = zip(average.looks, average.source, average.weight, strict=True)
    for looks, source, weight in ((int(a), int(b), float(c)) for a, b, c in entries):
        if source // average.pixels < looks // average.pixels:
            strongest[looks] = max(strongest.get(looks, (0, 0)), (weight, -source))
    rows = zip(one.rows.tolist(), one.slots[0].pixel.tolist(), strict=True)
    assert {row: -pixel for row, pixel in rows} == {
        row: source for row, (_, source) in strongest.items()
    }
    assert (one.slots[0].weight == 1).all()


def test_pairs_are_the_same_without_numba(scene: Scene, monkeypatch: pytest.MonkeyPatch):
    compiled = dense(view_to_view(scene, 32))
    monkeypatch.setattr(pairs, "pair_pixels", None)
    plain = dense(view_to_view(scene, 32))
    same = (compiled[0] == plain[0]) & ((compiled[1] - plain[1]).abs() < 1e-4)
    assert (plain[1] > 0).sum() > 10000
    assert (~same).sum() < 0.001 * (plain[1] > 0).sum()  # a point on the edge of a pixel


@pytest.mark.parametrize("seen", [(0, 180), (0, 170, 190), (0, 10, 170)])
def test_a_sheet_has_one_outside(seen):
    """Seen about as much from both sides, all faces of a plane keep their winding."""
    side = np.linspace(-0.7, 0.7, 9, dtype=np.float32)
    x, y = (part.ravel() for part in np.meshgrid(side, side))
    corner = (np.arange(8)[:, None] * 9 + np.arange(8)).ravel()
    faces = np.concatenate(
        [
            np.stack([corner, corner + 1, corner + 10], axis=1),
            np.stack([corner, corner + 10, corner + 9], axis=1),
        ]
    ).astype(np.int32)
    plane = Mesh(np.stack([x, y, 0 * x], axis=1), faces)
    cameras = tuple(Camera(azimuth, 5) for azimuth in seen)
    scene = observe(plane, cameras, rasterizer("builtin"))
    torch.testing.assert_close(scene.normals, torch.tensor([[0.0, 0, 1]]).expand(len(faces), 3))
