# SPDX-License-Identifier: GPL-3.0-or-later
import subprocess
import sys
import time
from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy import ndimage

from syncsde_engine.errors import InvalidMesh
from syncsde_engine.mesh.intake import unwrap as unwrapping
from syncsde_engine.mesh.intake.charts import chart_unwrap
from syncsde_engine.mesh.intake.unwrap import unwrap
from syncsde_engine.mesh.mesh import Mesh, areas, check, check_uvs
from syncsde_engine.mesh.raster.buffers import uv_clip
from syncsde_engine.mesh.raster.builtin import BuiltinRasterizer
from tests.mesh.shapes import icosphere, lumpy, quad


def covers(mesh: Mesh, size: int) -> np.ndarray:
    """How often each texel is covered, (size, size): one face rasterized at a time."""
    clip, count = uv_clip(torch.tensor(mesh.uvs)), np.zeros((size, size), int)
    for triangle in torch.tensor(mesh.uv_triangles):
        face = BuiltinRasterizer().rasterize(clip, triangle[None], (size, size)).face[0]
        count += (face >= 0).numpy()
    return count


def soup(count: int) -> Mesh:
    """Triangles through each other, joined to nothing."""
    points = np.random.default_rng(1).normal(size=(3 * count, 3)).astype(np.float32)
    return Mesh(points, np.arange(3 * count, dtype=np.int32).reshape(-1, 3))


def spiral() -> Mesh:
    """A ramp of two turns, which lies over itself when seen from above."""
    turn = np.linspace(0, 4 * np.pi, 80)
    rim = [np.stack([r * np.cos(turn), 0.1 * turn, r * np.sin(turn)], axis=1) for r in (0.5, 1.0)]
    points = np.stack(rim, axis=1).reshape(-1, 3).astype(np.float32)
    strip = np.arange(158)[:, None] + np.arange(3)
    strip[::2, 1:] = strip[::2, :0:-1]
    return Mesh(points, strip.astype(np.int32))


def split(mesh: Mesh) -> Mesh:
    """Every face with vertices of its own, as STL files have it."""
    corners = mesh.triangles.ravel()
    return Mesh(mesh.positions[corners], np.arange(len(corners), dtype=np.int32).reshape(-1, 3))


@pytest.mark.parametrize("way", ["xatlas", "charts"])
@pytest.mark.parametrize("mesh", [lumpy(2), spiral(), soup(60)], ids=["lumpy", "spiral", "soup"])
def test_every_texel_belongs_to_one_face(way: str, mesh: Mesh):
    size = 256
    if way == "xatlas":
        unwrapped, by = unwrap(mesh, size, 60)
        assert by == "xatlas"
    else:
        unwrapped = chart_unwrap(mesh, size, 4)
    assert unwrapped.positions is mesh.positions
    assert unwrapped.triangles is mesh.triangles
    check(unwrapped)
    check_uvs(unwrapped)
    count = covers(unwrapped, size)
    assert (count > 1).mean() < 1e-4
    assert (count > 0).mean() > (0.3 if len(mesh.triangles) > 200 else 0.1)
    corners = unwrapped.uvs.astype(float)[unwrapped.uv_triangles]
    flat = np.linalg.det(corners[:, 1:] - corners[:, :1])
    if len(mesh.positions) < 3 * len(mesh.triangles):  # the soup's faces are wound at random
        assert (flat < 0).mean() <= (0.2 if way == "xatlas" else 0), "little is mirrored"
    density = np.abs(flat) / 2 / areas(mesh)
    assert np.quantile(density, 0.05) > 0.2 * np.quantile(density, 0.95)


@pytest.mark.parametrize("way", ["xatlas", "charts"])
def test_charts_stand_four_texels_apart(way: str, monkeypatch: pytest.MonkeyPatch):
    size = 256
    monkeypatch.setattr(unwrapping, "MAX_XATLAS_FACES", 1e6 if way == "xatlas" else 0)
    unwrapped, by = unwrap(lumpy(2), size, 60)
    assert by == way
    used = covers(unwrapped, size) > 0
    islands, count = ndimage.label(used, np.ones((3, 3)))
    assert count > 3
    for island in range(1, count + 1):
        if (islands == island).sum() > 20:
            others = (islands != island) & used
            gap = ndimage.distance_transform_edt(~others)[islands == island].min()
            assert gap >= 5  # between centers


def test_vertices_that_meet_are_one_chart_even_when_split():
    whole, apart = (chart_unwrap(mesh, 256, 4) for mesh in (icosphere(2), split(icosphere(2))))
    assert (covers(apart, 64) > 0).mean() == pytest.approx((covers(whole, 64) > 0).mean(), abs=0.01)


def test_a_square_is_one_square_of_texture():
    unwrapped = chart_unwrap(quad(7.0), 128, 4)
    assert len(unwrapped.uvs) == 4
    assert np.ptp(unwrapped.uvs, axis=0) == pytest.approx([1 - 8 / 128] * 2, abs=1e-3)
    order = unwrapped.uvs[unwrapped.uv_triangles[0]] @ [1, 1]
    assert order.argmin() == 0  # not turned over: the lower left corner stays there
    assert order.argmax() == 2


def test_xatlas_is_killed_in_time(monkeypatch: pytest.MonkeyPatch):
    started = []
    run = subprocess.run

    def hang(command: list[str], **options: object):
        started.append(command)
        return run([sys.executable, "-c", "import time; time.sleep(60)"], **options)

    monkeypatch.setattr(unwrapping.subprocess, "run", hang)
    begin = time.monotonic()
    unwrapped, by = unwrap(lumpy(1), 64, 0.5)
    check_uvs(unwrapped)
    assert by == "charts"
    assert time.monotonic() - begin < 10
    assert started


@pytest.mark.parametrize("script", ["raise SystemExit(1)", "pass", "import os; os.abort()"])
def test_xatlas_may_fail(script: str, monkeypatch: pytest.MonkeyPatch):
    run = subprocess.run
    monkeypatch.setattr(
        unwrapping.subprocess,
        "run",
        lambda command, **options: run([sys.executable, "-c", script], **options),
    )
    unwrapped, by = unwrap(lumpy(1), 64, 10)
    check_uvs(unwrapped)
    assert by == "charts"


def test_big_meshes_do_not_wait_for_xatlas(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(unwrapping.subprocess, "run", lambda *_, **__: pytest.fail("ran xatlas"))
    monkeypatch.setattr(unwrapping, "MAX_XATLAS_FACES", 100)
    check_uvs(unwrap(lumpy(2), 64, 10)[0])


def test_a_broken_mesh_is_refused_before_anything_can_hang():
    positions = lumpy(1).positions.copy()
    positions[5] = np.nan
    with pytest.raises(InvalidMesh, match="not finite"):
        unwrap(replace(lumpy(1), positions=positions), 64, 10)


def test_unwrapping_again_replaces_unusable_coordinates():
    mesh = quad(0.5, (0, 0, 3, 3))
    mesh = replace(mesh, uvs=np.full_like(mesh.uvs, np.nan))
    check_uvs(unwrap(mesh, 64, 10)[0])


def test_zero_area_and_repeated_faces_are_unwrapped_too():
    mesh = lumpy(1)
    degenerate = np.array([[0, 0, 1], [2, 2, 2]], np.int32)
    triangles = np.concatenate([mesh.triangles, degenerate, mesh.triangles[:5]])
    check_uvs(chart_unwrap(replace(mesh, triangles=triangles), 64, 4))
