# SPDX-License-Identifier: GPL-3.0-or-later
"""The numbers of a finished texture, against textures whose numbers are known."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from syncsde_engine.mesh.bake.blend import bake
from syncsde_engine.mesh.bake.fill import fill
from syncsde_engine.mesh.bake.seams import chart_borders, density, seams
from syncsde_engine.mesh.bake.texels import used_texels
from syncsde_engine.mesh.raster.rasterize import rasterizer
from syncsde_engine.mesh.views.cameras import Camera
from syncsde_engine.mesh.views.scene import Scene, observe
from tests.mesh.shapes import color, icosphere, quad, touching

BUILTIN = rasterizer("builtin")


@pytest.fixture
def halves():
    """A square whose two triangles lie on the left and the right half of the texture."""
    mesh = quad(0.5)
    uvs = np.array([[0, 0], [0.4, 0], [0.4, 1], [0.6, 0], [1, 1], [0.6, 1]], np.float32)
    return replace(mesh, uvs=uvs, uv_triangles=np.array([[0, 1, 2], [3, 4, 5]], np.int32))


def test_borders_of_charts_are_the_edges_that_part_in_the_texture(halves):
    first, second, length = chart_borders(halves)
    assert length == pytest.approx([np.sqrt(2)])
    for face, start, end in (first, second):
        # The diagonal from vertex 0 to 2, as each triangle has it in the texture.
        ends = {0: [[0, 0], [0.4, 1]], 1: [[0.6, 0], [1, 1]]}[int(face[0])]
        np.testing.assert_allclose(halves.uvs[[start[0], end[0]]], ends)
    assert {int(first[0][0]), int(second[0][0])} == {0, 1}
    assert len(chart_borders(quad(0.5))[2]) == 0


def test_two_textures_that_meet_are_a_border():
    mesh = replace(quad(0.5), face_texture=np.array([0, 1], np.int32), textures=("a", "b"))
    assert len(chart_borders(mesh)[2]) == 1
    assert len(chart_borders(touching())[2]) > 0


def test_a_step_between_charts_is_measured(halves):
    scene = observe(halves, (Camera(0, 0),), BUILTIN, 64)
    texels = used_texels(scene, 64)
    baked = bake(scene, torch.zeros(1, 3, 64, 64), texels)
    texture = torch.full((1, 64, 64, 3), 0.25)
    texture[:, :, 32:] = 0.75
    assert seams(halves, baked, texture).charts == pytest.approx(0.5)
    assert seams(quad(0.5), baked, texture).charts == 0


def test_a_step_between_views_is_measured(scene: Scene):
    """Constant views that differ by 0.4 from one to the next, against constant ones that agree."""
    texels = used_texels(scene, 256)
    shades = torch.tensor([0.3, 0.7] * 5)[:, None, None, None].expand(-1, 3, 64, 64)
    baked = bake(scene, shades, texels)
    found = seams(scene.mesh, baked, fill(baked))
    assert found.views > 4 * found.elsewhere
    assert found.views > 0.01
    baked = bake(scene, torch.full((10, 3, 64, 64), 0.3), texels)
    assert max(seams(scene.mesh, baked, fill(baked))) < 1e-6


def test_a_color_of_space_has_no_seams(scene: Scene):
    texels = used_texels(scene, 256)
    baked = bake(scene, torch.zeros(10, 3, 64, 64), texels)
    exact = replace(baked, color=color(texels.position()), trust=torch.ones_like(baked.trust))
    assert seams(scene.mesh, exact, fill(exact)).charts < 0.02


def test_density_is_texels_along_a_unit():
    assert density(quad(2.0, (0, 0, 0.5, 0.5)), 256) == pytest.approx((32, 32, 32))
    tall = replace(quad(1.0), positions=quad(1.0).positions * np.float32([1, 4, 1]))
    assert density(tall, 64) == pytest.approx((16, 16, 16)), "the geometric mean"
    ball = icosphere(2)
    uvs = np.random.default_rng(0).uniform(size=(len(ball.positions), 2)).astype(np.float32)
    low, median, high = density(replace(ball, uvs=uvs, uv_triangles=ball.triangles), 64)
    assert 0 < low < median < high
