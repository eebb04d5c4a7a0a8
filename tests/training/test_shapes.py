# SPDX-License-Identifier: GPL-3.0-or-later
from random import Random

import pytest
import torch

from training.shapes import FREE_FORM, HELD_OUT, SIMPLE, ellipsoid, gradient, make_shape


def _surface(sdf):
    axis = torch.linspace(-1.3, 1.3, 48)
    grid = torch.stack(torch.meshgrid(axis, axis, axis, indexing="ij")).flatten(1)
    return grid[:, sdf(grid).abs() < 0.03]


@pytest.mark.parametrize("name", [*SIMPLE, *FREE_FORM, *HELD_OUT])
def test_shape_fills_the_unit_sphere_and_not_more(name):
    for seed in range(3):
        surface = _surface(make_shape(name, Random(seed)))
        reach = surface.norm(dim=0).max()
        assert 0.85 < reach < 1.12


def test_the_same_draw_gives_the_same_shape():
    points = torch.rand(3, 100)
    first, second = (make_shape("creature", Random(4))(points) for _ in range(2))
    assert torch.equal(first, second)


def test_flat_ellipsoid_distance_is_right_near_its_surface():
    sdf = ellipsoid((0, 0, 0), (0.5, 0.4, 0.05))
    above = torch.tensor([[0.0], [0.0], [0.08]])
    assert sdf(above).item() == pytest.approx(0.03, rel=0.5)


def test_gradient_points_outwards():
    sdf = ellipsoid((0, 0, 0), (0.6, 0.6, 0.6))
    points = torch.nn.functional.normalize(torch.randn(3, 50), dim=0) * 0.6
    assert torch.allclose(gradient(sdf, points), points / 0.6, atol=0.02)
