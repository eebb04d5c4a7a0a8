# SPDX-License-Identifier: GPL-3.0-or-later
import math

import pytest
import torch

from training.materials import COLORS, MATERIALS, Surface, albedo
from training.render import Camera, Paint, normalized_inverse_depth, paint, trace
from training.shapes import ellipsoid

SPHERE = ellipsoid((0, 0, 0), (1.0, 1.0, 1.0))
GRAY = Paint("plain", "gray", 1.0, torch.zeros(3, 1))


def test_unit_sphere_touches_the_frame():
    coverage = trace(SPHERE, Camera(), 128).coverage
    rows = torch.nonzero(coverage.amax(1))[:, 0]
    assert rows.min() <= 1
    assert rows.max() >= 126
    assert coverage.mean() == pytest.approx(math.pi / 4, abs=0.015)


def test_depth_is_the_engines_control_image():
    picture = trace(SPHERE, Camera(azimuth=70, elevation=30), 128)
    depth, inside = picture.depth, picture.coverage >= 0.5
    assert depth[~inside].abs().max() == 0
    assert depth[inside].max() == 1
    assert depth[inside].min() == 0
    # The sphere's nearest point is at z = 1, its outline at z = 1.5.
    off_axis = math.tan(math.radians(30)) * 32.5 / 64
    cosine = 1 / math.hypot(1, off_axis)
    distance = 2 * cosine - math.sqrt(4 * cosine**2 - 3)
    expected = (1 / (distance * cosine) - 1 / 1.5) / (1 - 1 / 1.5)
    assert depth[64, 96].item() == pytest.approx(expected, abs=0.02)


def test_camera_turns_around_the_object():
    ball_in_front = ellipsoid((0, 0, 0.6), (0.3, 0.3, 0.3))
    columns = torch.arange(64.0)

    def middle(azimuth):
        coverage = trace(ball_in_front, Camera(azimuth), 64).coverage
        return (coverage.sum(0) * columns).sum() / coverage.sum()

    assert middle(0) == pytest.approx(31.5, abs=0.5)
    assert middle(90) < 20  # seen from +x, the object's front (+z) lies to the left


def test_empty_foreground_has_no_depth():
    assert normalized_inverse_depth(torch.empty(0)).numel() == 0


def test_one_view_is_painted_again_and_again():
    view = trace(SPHERE, Camera(), 64)
    white = torch.ones(3, 1, 1)
    gray = paint(view, GRAY, white)
    brick = paint(view, GRAY._replace(material="brick", color="red"), white)
    assert gray.shape == brick.shape == (3, 64, 64)
    assert (gray - brick).abs()[:, 24:40, 24:40].mean() > 0.1
    assert torch.equal(gray[:, 0, 0], white[:, 0, 0])
    edge = (view.coverage > 0) & (view.coverage < 1)
    assert edge.any()  # of which the backdrop is a part
    assert (gray[:, edge] > gray[:, 32, 32, None]).float().mean() > 0.9


@pytest.mark.parametrize("material", MATERIALS)
def test_material_is_a_color_and_a_function_of_space(material):
    points = torch.rand(3, 400) * 2 - 1
    normals = torch.nn.functional.normalize(torch.randn(3, 400), dim=0)
    offset = torch.tensor([[3.0], [7.0], [11.0]])
    surface = Surface(points, normals, 1.0, offset)
    every_other = Surface(points[:, ::2], normals[:, ::2], 1.0, offset)
    for color in COLORS:
        values = albedo(material, color, surface)
        assert values.shape == (3, 400)
        assert values.min() > -0.01
        assert values.max() < 1.6
        again = albedo(material, color, every_other)
        # Grain counts relative to the mean of what is seen.
        assert torch.allclose(again, values[:, ::2], atol=0.05, rtol=0.05)
