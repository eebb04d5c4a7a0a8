# SPDX-License-Identifier: GPL-3.0-or-later
from dataclasses import replace

import numpy as np
import pytest
import torch

from syncsde_engine.errors import InvalidMesh
from syncsde_engine.mesh.bake import gather as gathering
from syncsde_engine.mesh.bake import texels as texel_module
from syncsde_engine.mesh.bake.blend import bake
from syncsde_engine.mesh.bake.texels import used_texels
from syncsde_engine.mesh.raster.rasterize import rasterizer
from syncsde_engine.mesh.views import silhouettes
from syncsde_engine.mesh.views.cameras import Camera, paper_cameras
from syncsde_engine.mesh.views.maps import view_maps
from syncsde_engine.mesh.views.scene import Scene, observe
from tests.mesh.shapes import color, icosphere, join, quad

BUILTIN = rasterizer("builtin")
HALF_FRAME = 2 * np.tan(np.radians(30))  # half the width of the front view at z = 0


@pytest.fixture(params=["numba", "torch"])
def gather(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Bake with and without the compiled pass."""
    if request.param == "torch":
        monkeypatch.setattr(gathering, "gather_texels", None)
        monkeypatch.setattr(silhouettes, "_clear", None)
    return request.param


def colored_views(scene: Scene, size: int, background: float = 0.0) -> torch.Tensor:
    maps = view_maps(scene, size)
    images = color(maps.position.movedim(1, -1)).movedim(-1, 1)
    return images.where(maps.coverage[:, None], background)


@pytest.mark.usefixtures("gather")
def test_a_picture_lands_on_a_quad_pixel_by_pixel():
    view = torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    mesh = quad(HALF_FRAME / 2, (0.25, 0.5, 0.75, 1.0))  # pixels 16..47, texels 16..47 by 0..31
    scene = observe(mesh, (Camera(0, 0),), BUILTIN, 512)
    baked = bake(scene, view, used_texels(scene, 64))
    texture = baked.texels.spread(baked.color)[0].movedim(-1, 0)
    inner = (slice(None), slice(1, 31), slice(17, 47))  # all but the eroded rim
    torch.testing.assert_close(texture[inner], view[0, :, 17:47, 17:47], atol=2e-5, rtol=0)
    assert len(baked.texels.place) == 32 * 32
    assert (baked.weight > 0).sum() == 30 * 30
    assert baked.coverage.filled == pytest.approx(1 - 30 * 30 / 32**2)
    assert baked.coverage.grazing == 0
    assert baked.disagreement == 0


@pytest.mark.usefixtures("gather")
def test_a_view_finer_than_the_texels_is_averaged():
    """Each texel spans four by four pixels of noise: it becomes their mean, not one of them."""
    view = torch.rand(1, 3, 256, 256, generator=torch.Generator().manual_seed(0))
    scene = observe(quad(HALF_FRAME / 2), (Camera(0, 0),), BUILTIN, 512)  # pixels 64..191
    texels = used_texels(scene, 32)
    texture = texels.spread(bake(scene, view, texels).color)[0].movedim(-1, 0)
    mean = torch.nn.functional.avg_pool2d(view[0, :, 64:192, 64:192], 4)
    torch.testing.assert_close(texture[:, 1:31, 1:31], mean[:, 1:31, 1:31], atol=1e-3, rtol=0)


@pytest.mark.usefixtures("gather")
def test_the_say_of_a_view_fades_towards_its_edges():
    """Two views of a square, a part of which something hides from the first."""
    wall, screen = quad(0.6, (0, 0, 1, 1)), quad(0.3, (0, 0, 0.01, 0.01))
    screen = replace(screen, positions=screen.positions + np.float32([-0.3, 0, 0.6]))
    cameras = (Camera(0, 0, ortho_scale=2), Camera(40, 0, ortho_scale=2))
    scene = observe(join(wall, screen), cameras, BUILTIN)
    views = torch.tensor([0.0, 1.0])[:, None, None, None].expand(2, 3, 192, 192)
    texels = used_texels(scene, 192)
    baked = bake(scene, views, texels)
    color, weight = (texels.spread(part)[0, 130, 8:-8] for part in (baked.color, baked.weight))
    beside = (weight[1:] > 0) & (weight[:-1] > 0)
    assert color.max() == 1, "where the first view sees nothing"
    assert color[weight > 0].min() < 0.2
    steps = color[:, 0].diff().abs()[beside]
    assert steps.max() < 0.25, "no hard edge where one of the views ends"


@pytest.mark.usefixtures("gather")
def test_known_colors_come_back_from_ten_views(scene: Scene):
    baked = bake(scene, colored_views(scene, 384), used_texels(scene, 256))
    expected, got = color(baked.texels.position()), baked.color
    weight = baked.weight
    good = weight > 0.3**6
    assert good.float().mean() > 0.7
    error = (got - expected)[good]
    assert -10 * torch.log10((error**2).mean()) > 60
    assert error.abs().max() < 0.02
    assert baked.disagreement < 1e-3
    assert sum(baked.coverage) == pytest.approx(1)
    assert baked.coverage.filled == pytest.approx((weight == 0).float().mean().item())
    assert 0.01 < baked.coverage.grazing < 0.2


@pytest.mark.parametrize("compiled", [True, False], ids=["numba", "torch"])
def test_texels_lie_on_their_faces(scene: Scene, compiled: bool, monkeypatch: pytest.MonkeyPatch):
    if not compiled:
        monkeypatch.setattr(texel_module, "place_texels", None)
    texels = used_texels(scene, 128)
    mesh = scene.mesh
    row, column = texels.place // 128, texels.place % 128
    u, v = (column + 0.5) / 128, 1 - (row + 0.5) / 128
    corners = mesh.uvs[mesh.uv_triangles[texels.face]].astype(np.float64)
    edges = np.stack([corners[:, 0] - corners[:, 2], corners[:, 1] - corners[:, 2]], axis=2)
    bary = np.linalg.solve(edges, (np.stack([u, v], 1) - corners[:, 2])[..., None])[..., 0]
    bary = np.hstack([bary, 1 - bary.sum(1, keepdims=True)])
    points = (mesh.positions[mesh.triangles[texels.face]] * bary[..., None]).sum(1)
    assert np.quantile(np.abs(texels.position().numpy() - points), 0.99) < 1e-3
    assert torch.equal(texels.normal(), scene.normals[texels.face.long()])


def test_both_ways_to_gather_agree(scene: Scene, monkeypatch: pytest.MonkeyPatch):
    views = torch.rand(10, 3, 96, 96, generator=torch.Generator().manual_seed(1))
    compiled = bake(scene, views, used_texels(scene, 128))
    monkeypatch.setattr(gathering, "gather_texels", None)
    plain = bake(scene, views, used_texels(scene, 128))
    differs = (compiled.weight - plain.weight).abs() > 1e-4  # a point on the edge of a pixel
    differs |= (compiled.color - plain.color).abs().amax(1) > 1e-3  # or one of several taps
    assert differs.sum() < 0.001 * len(plain.texels.place)
    assert (compiled.trust - plain.trust)[~differs].abs().max() < 1e-3
    assert (compiled.views[~differs] != plain.views[~differs]).float().mean() < 0.01
    assert compiled.disagreement == pytest.approx(plain.disagreement, rel=1e-3)


@pytest.mark.usefixtures("gather")
def test_disagreement_of_constant_views_is_their_difference():
    mesh = quad(0.4)
    scene = observe(mesh, (Camera(-20, 0), Camera(20, 0), Camera(180, 0)), BUILTIN, 512)
    views = torch.tensor([0.2, 0.9, 0.0])[:, None, None, None].expand(3, 3, 64, 64)
    baked = bake(scene, views, used_texels(scene, 32))
    assert baked.disagreement == pytest.approx(0.7)
    seen = baked.weight > 0
    assert (baked.color[seen] > 0.2 - 1e-6).all()
    assert (baked.color[seen] < 0.9 + 1e-6).all()
    assert baked.texels.spread(baked.color)[0, 16, 16, 0] == pytest.approx(0.55, abs=0.02)


@pytest.mark.usefixtures("gather")
def test_weights_are_the_sixth_power_of_the_cosine():
    scene = observe(quad(0.3), (Camera(0, 0), Camera(50, 0)), BUILTIN, 1536)
    views = torch.tensor([0.0, 1.0])[:, None, None, None].expand(2, 3, 256, 256)
    baked = bake(scene, views, used_texels(scene, 9))
    share = np.cos(np.radians(50)) ** 6
    assert baked.texels.spread(baked.weight)[0, 4, 4] == pytest.approx(1 + share, rel=1e-3)
    assert baked.texels.spread(baked.color)[0, 4, 4, 0] == pytest.approx(
        share / (1 + share), rel=1e-2
    )


@pytest.mark.usefixtures("gather")
def test_neither_background_nor_what_is_in_front_bleeds(scene: Scene):
    """Round bodies before each other on white: nothing but their own gray is ever baked."""
    sphere = icosphere(3)
    uvs = np.random.default_rng(0).uniform(size=(3 * len(sphere.triangles), 2)).astype(np.float32)
    flat = np.arange(len(uvs), dtype=np.int32).reshape(-1, 3)
    sphere = replace(sphere, positions=sphere.positions * 0.3, uvs=uvs, uv_triangles=flat)
    places = np.array([[-0.4, 0, 0.1], [0.2, 0.05, -0.5], [0.25, -0.1, 0.4]], np.float32)
    mesh = join(*(replace(sphere, positions=sphere.positions + place) for place in places))
    scene = observe(mesh, paper_cameras(), BUILTIN)
    maps = view_maps(scene, 128)
    part = maps.face // len(sphere.triangles)
    views = torch.where(maps.coverage, 0.1 + 0.3 * part, 1.0)[:, None].expand(-1, 3, -1, -1)
    texels = used_texels(scene, 96)
    assert (texels.face < len(sphere.triangles)).all()  # the lowest face owns shared texels
    baked = bake(scene, views, used_texels(scene, 96))
    painted = baked.weight > 0
    assert painted.float().mean() > 0.5
    assert (baked.color[painted] - 0.1).abs().max() < 1e-5


def test_a_mesh_that_cannot_be_painted_is_refused():
    mesh = quad(0.5, (0, 0, 3, 1))
    scene = observe(mesh, (Camera(0, 0),), BUILTIN, 64)
    with pytest.raises(InvalidMesh, match=r"outside \[0, 1\] \(laid out for a tiling texture\)"):
        used_texels(scene, 16)


def test_texture_coordinates_that_cover_no_texel_are_refused():
    mesh = quad(0.5, (0.501, 0.501, 0.502, 0.502))
    scene = observe(mesh, (Camera(0, 0),), BUILTIN, 64)
    with pytest.raises(InvalidMesh, match="cover no texel of a texture of 16 x 16"):
        used_texels(scene, 16)
