# SPDX-License-Identifier: GPL-3.0-or-later
import importlib.util
from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.spatial import Delaunay

from syncsde_engine.errors import DeviceUnavailable
from syncsde_engine.mesh.mesh import Mesh
from syncsde_engine.mesh.raster.buffers import interpolate
from syncsde_engine.mesh.raster.builtin import BuiltinRasterizer
from syncsde_engine.mesh.raster.rasterize import rasterizer
from syncsde_engine.mesh.views.cameras import Camera, clip_positions, paper_cameras
from syncsde_engine.mesh.views.maps import rays_of as rays
from syncsde_engine.mesh.views.scene import view_depth
from tests.mesh.opengl import face_ids
from tests.mesh.rays import cast, rays_of
from tests.mesh.shapes import lumpy, quad

BACKENDS = [BuiltinRasterizer(), BuiltinRasterizer(use_numba=False)]
both = pytest.mark.parametrize("backend", BACKENDS, ids=["numba", "numpy"])


def from_pixels(points: np.ndarray, size: int) -> torch.Tensor:
    """Clip space (1, V, 4) of image points (column, row), at depth 0.5."""
    ndc = 2 * points / size - 1
    rest = np.tile([0.0, 1.0], (len(points), 1))
    return torch.tensor(np.hstack([ndc * [1, -1], rest])[None], dtype=torch.float32)


def raster_of(mesh: Mesh, cameras: tuple[Camera, ...], size: int, backend: BuiltinRasterizer):
    clip = clip_positions(torch.tensor(mesh.positions), cameras)
    return backend.rasterize(clip, torch.tensor(mesh.triangles), cameras[0].frame(size))


@both
def test_edges_through_pixel_centers_belong_to_the_top_and_left(backend: BuiltinRasterizer):
    corners = np.array([[2.5, 2.5], [6.5, 2.5], [6.5, 6.5], [2.5, 6.5]])
    for order in ([[0, 1, 2], [0, 2, 3]], [[1, 0, 3], [3, 2, 1]]):
        face = backend.rasterize(from_pixels(corners, 8), torch.tensor(order).int(), (8, 8)).face
        expected = torch.zeros(8, 8, dtype=torch.bool)
        expected[2:6, 2:6] = True
        assert torch.equal(face[0] >= 0, expected)


@both
def test_triangles_that_share_edges_cover_each_pixel_once(backend: BuiltinRasterizer):
    random = np.random.default_rng(5)
    size = 64
    rim = np.array([[0, 0], [0, size], [size, 0], [size, size]], float)
    inner = random.uniform(0, size, (120, 2))
    inner[:60] = np.floor(inner[:60]) + 0.5  # edges and corners on pixel centers
    points = np.unique(np.vstack([rim, inner]), axis=0)
    clip = from_pixels(points, size)
    covers = torch.zeros(size, size)
    for triangle in Delaunay(points).simplices:
        triangles = torch.tensor(random.permutation(triangle)[None]).int()
        covers += backend.rasterize(clip, triangles, (size, size)).face[0] >= 0
    assert covers.min() == covers.max() == 1


@both
def test_of_equal_depths_the_lower_face_wins(backend: BuiltinRasterizer):
    mesh = quad(0.5)
    triangles = np.concatenate([mesh.triangles[:1], mesh.triangles[:1]])
    clip = clip_positions(torch.tensor(mesh.positions), (Camera(0, 0),))
    face = backend.rasterize(clip, torch.tensor(triangles), (32, 32)).face
    assert set(face.unique().tolist()) == {-1, 0}


def test_a_bigger_picture_of_the_same_ids_with_and_without_numba():
    mesh = lumpy(4)
    random = np.random.default_rng(0)
    positions = mesh.positions.copy()
    positions[random.integers(0, len(positions), 20)] = np.nan
    positions[random.integers(0, len(positions), 20)] *= 1e30
    cameras = (
        Camera(315, 0, aspect=1.3),
        Camera(0, 0, ortho_scale=1.2, aspect=1.3),
        Camera(20, 40, distance=0.9, fov=100, aspect=1.3),  # through the surface
        Camera(70, -10, distance=0.2, fov=120, aspect=1.3),  # inside
    )
    for broken in (mesh, Mesh(positions, mesh.triangles)):
        ours, other = (raster_of(broken, cameras, 200, backend) for backend in BACKENDS)
        assert torch.equal(ours.face, other.face)
        assert (ours.face >= 0).float().mean() > 0.3
        torch.testing.assert_close(ours.bary, other.bary, atol=1e-5, rtol=0)
        torch.testing.assert_close(ours.w, other.w, atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(ours.z, other.z, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(
    "camera",
    [
        Camera(200, 0),
        Camera(30, 35, fov=45),
        Camera(20, 40, distance=0.9, fov=100),
        Camera(70, -10, distance=0.2, fov=120),
    ],
    ids=["back", "above", "crossing", "inside"],
)
def test_agrees_with_rays_written_out_by_hand(camera: Camera):
    mesh, size = lumpy(2), 96
    raster = raster_of(mesh, (camera,), size, BACKENDS[0])
    near = max(0.99 * (camera.distance - 1), 0.01)
    hits = cast(mesh, camera.eye, rays_of(camera, size), beyond=near)
    face = raster.face.numpy().ravel()
    same = (face == hits.face) & (face >= 0)
    assert (face == hits.face).mean() > 0.996  # snapping moves edges by up to 1/512 pixel
    assert same.sum() > 2000
    np.testing.assert_allclose(raster.w.numpy().ravel()[same], hits.distance[same], rtol=1e-4)
    bary = raster.bary.numpy().reshape(-1, 2)[same]
    assert np.quantile(np.abs(bary - hits.bary[same]), 0.99) < 1e-4
    assert (raster.z.numpy().ravel()[same] > -1 - 1e-5).all()


@pytest.mark.parametrize(
    ("subdivisions", "camera", "short"),
    [
        (2, Camera(0, 0), 400),
        (5, Camera(200, 20), 250),
        (5, Camera(30, 35, fov=45, aspect=1.5), 500),
        (5, Camera(60, -20, ortho_scale=1.5, aspect=0.7), 300),
        (5, Camera(20, 40, distance=0.9, fov=100), 400),
        (4, Camera(70, -10, distance=0.2, fov=120), 300),
    ],
    ids=["coarse", "fine", "wide", "orthographic", "crossing", "inside"],
)
def test_agrees_with_opengl(subdivisions: int, camera: Camera, short: int):
    mesh, size = lumpy(subdivisions), camera.frame(short)
    clip = clip_positions(torch.tensor(mesh.positions), (camera,))
    other = face_ids(clip[0].numpy(), mesh.triangles, size)
    face = BACKENDS[0].rasterize(clip, torch.tensor(mesh.triangles), size).face[0].numpy()
    assert (face >= 0).mean() > 0.2
    assert np.array_equal(face >= 0, other >= 0)
    assert (face != other).sum() <= 2e-4 * face.size


def test_agrees_with_opengl_on_edges_through_pixel_centers():
    random = np.random.default_rng(8)
    points = np.unique(np.floor(random.uniform(0, 64, (300, 2))) + 0.5, axis=0)
    clip = from_pixels(points, 64)
    triangles = random.permutation(Delaunay(points).simplices.astype(np.int32))
    face = BACKENDS[0].rasterize(clip, torch.tensor(triangles), (64, 64)).face[0].numpy()
    assert np.array_equal(face, face_ids(clip[0].numpy(), triangles, (64, 64)))


@pytest.mark.parametrize(
    "camera",
    [
        Camera(120, 10),
        Camera(0, 0, fov=20, distance=6, aspect=1.6),
        Camera(45, 45, ortho_scale=2.0),
        Camera(20, 40, distance=0.9, fov=100),
    ],
    ids=["side", "far", "orthographic", "crossing"],
)
def test_visibility_and_depth_agree_with_embree(camera: Camera):
    scene_of = pytest.importorskip("embreex.rtcore_scene").EmbreeScene
    triangle_mesh = pytest.importorskip("embreex.mesh_construction").TriangleMesh
    mesh, short = lumpy(5), 300
    raster = raster_of(mesh, (camera,), short, BACKENDS[0])
    depth = view_depth((camera,), raster)[0].numpy().ravel()
    near, far = camera.depths()
    origin, direction = (part.expand(3, *camera.frame(short)) for part in rays(camera, short))
    origin = (origin + direction * near).reshape(3, -1).T.contiguous().numpy()
    direction = direction.reshape(3, -1).T.contiguous().numpy()
    oracle = scene_of()
    triangle_mesh(oracle, mesh.positions[mesh.triangles])
    hits = oracle.run(origin, direction, output=1)
    face = raster.face[0].numpy().ravel()
    assert (face >= 0).mean() > 0.2
    assert ((face >= 0) != (hits["primID"] >= 0)).sum() <= 2e-4 * face.size
    assert (face != hits["primID"]).mean() < 5e-3  # snapping moves edges by up to 1/512 pixel
    same = (face == hits["primID"]) & (face >= 0)
    np.testing.assert_allclose(depth[same], near + hits["tfar"][same], rtol=1e-4)
    assert depth[same].max() < far


@both
def test_a_floor_under_the_camera_is_cut_at_the_near_plane(backend: BuiltinRasterizer):
    """Two faces that reach from far before the camera to far behind it."""
    camera, size = Camera(40, 0, fov=90), 64
    corners = np.array([[-9, -0.9, -9], [9, -0.9, -9], [9, -0.9, 9], [-9, -0.9, 9]], np.float32)
    floor = Mesh(corners, np.array([[0, 2, 1], [0, 3, 2]], np.int32))
    raster = raster_of(floor, (camera,), size, backend)
    rays = rays_of(camera, size).reshape(size, size, 3)
    with np.errstate(divide="ignore"):
        depth = -0.9 / rays[..., 1]
    point = camera.eye + rays * depth[..., None]
    near, far = 0.99, 1.01 * 3
    margin = 1e-3
    on_floor = (np.abs(point) < 9).all(axis=-1)
    inside = on_floor & (depth > near + margin) & (depth < far - margin)
    outside = (depth < near - margin) | (depth > far + margin)
    face = raster.face[0].numpy()
    assert inside.sum() > 500
    assert (face[inside] >= 0).all()
    assert (face[outside] == -1).all()
    np.testing.assert_allclose(raster.w[0].numpy()[inside], depth[inside], rtol=1e-5)


def test_interpolation_is_perspective_correct():
    mesh = quad(1.0, (0.2, 0.1, 0.9, 0.8))
    camera, size = Camera(60, 20), 64
    raster = raster_of(mesh, (camera,), size, BACKENDS[0])
    uv = interpolate(torch.tensor(mesh.uvs), raster, torch.tensor(mesh.uv_triangles))
    rays = rays_of(camera, size).reshape(size, size, 3)
    point = camera.eye - rays * (camera.eye[2] / rays[..., 2:])  # where z = 0
    expected = torch.tensor(point[..., :2] * 0.35 + [0.55, 0.45]).float()
    seen = raster.face[0] >= 0
    assert seen.sum() > 300
    torch.testing.assert_close(uv[0][seen], expected[seen], atol=1e-3, rtol=0)
    assert (uv[0][~seen] == 0).all()


def test_auto_is_builtin_without_cuda():
    assert rasterizer("auto", "cpu").name == "builtin"
    assert rasterizer("builtin", "cpu").subpixel_bits == 8


def test_an_absent_backend_asked_for_by_name_is_an_error():
    with pytest.raises(DeviceUnavailable, match="nvdiffrast rasterizer needs a CUDA device"):
        rasterizer("nvdiffrast", "cpu")


needs_nvdiffrast = pytest.mark.skipif(
    not torch.cuda.is_available() or importlib.util.find_spec("nvdiffrast") is None,
    reason="needs CUDA and nvdiffrast",
)


@pytest.mark.gpu
@needs_nvdiffrast
@pytest.mark.parametrize("lens", [{}, {"ortho_scale": 2.0, "aspect": 1.5}], ids=["paper", "ortho"])
def test_nvdiffrast_agrees_with_builtin(lens, record_property):
    mesh, short = lumpy(4), 256
    cameras = tuple(replace(camera, **lens) for camera in paper_cameras())
    size = cameras[0].frame(short)
    ours = raster_of(mesh, cameras, short, BACKENDS[0])
    clip = clip_positions(torch.tensor(mesh.positions), cameras)
    other = rasterizer("nvdiffrast", "cuda").rasterize(clip, torch.tensor(mesh.triangles), size)
    seen, other_seen = ours.face >= 0, other.face.cpu() >= 0
    common = seen & other_seen
    positions, triangles = torch.tensor(mesh.positions), torch.tensor(mesh.triangles)
    point = interpolate(positions, ours, triangles)[common]
    other_point = interpolate(positions.cuda(), other, triangles.cuda()).cpu()[common]
    depth, other_depth = view_depth(cameras, ours), view_depth(cameras, other).cpu()
    same = common & (ours.face == other.face.cpu())
    apart = {
        "coverage": (seen != other_seen).float().mean(),
        "ids": (ours.face != other.face.cpu())[common].float().mean(),
        "points": (point - other_point).norm(dim=-1).median(),
        "depth": (depth - other_depth)[common].abs().quantile(0.999),
        "barycentrics": (ours.bary - other.bary.cpu())[same].abs().quantile(0.99),
    }
    for name, figure in apart.items():
        record_property(name, f"{float(figure):.2e}")
    footprint = 2 * np.tan(np.radians(30)) * 3 / short
    assert apart["coverage"] < 1e-3
    assert apart["ids"] < 0.06, "it snaps to 1/16 of a pixel"
    assert apart["points"] < 1.5 * footprint / 16
    assert apart["depth"] < 1e-2
    assert apart["barycentrics"] < 1e-3


@pytest.mark.gpu
@needs_nvdiffrast
def test_nvdiffrast_rows_begin_at_the_top_and_edges_are_covered_once(record_property):
    corners = np.array([[2.5, 2.5], [6.5, 2.5], [6.5, 5.5], [2.5, 5.5]])
    clip, triangles = from_pixels(corners, 8), torch.tensor([[0, 1, 2], [0, 2, 3]]).int()
    covered = rasterizer("nvdiffrast", "cuda").rasterize(clip, triangles, (8, 8)).face[0].cpu() >= 0
    record_property("rows", covered.any(1).nonzero().flatten().tolist())
    record_property("columns", covered.any(0).nonzero().flatten().tolist())
    assert covered[3:5, 3:6].all(), "rows count from the top"
    assert covered.sum() == 3 * 4, "of opposite edges through pixel centers one is covered"
