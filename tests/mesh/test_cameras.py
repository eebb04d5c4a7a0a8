# SPDX-License-Identifier: GPL-3.0-or-later
import numpy as np
import pytest
import torch

from syncsde_engine.mesh.cameras import BACK, FRONT, Camera, clip_positions, paper_cameras


def project(camera: Camera, *point: float) -> tuple[float, float, float]:
    """x right, y up and depth in the image's normalised coordinates."""
    x, y, _, w = clip_positions(torch.tensor([point]), (camera,))[0, 0].tolist()
    return x / w, y / w, w


def test_known_points_of_known_views():
    tangent = np.tan(np.radians(30))
    front, right_side = Camera(0, 0), Camera(90, 0)
    assert project(front, 0, 0, 0) == pytest.approx((0, 0, 2))
    assert project(front, 1, 0, 0) == pytest.approx((1 / (2 * tangent), 0, 2))
    assert project(front, 0, 1, 0.5) == pytest.approx((0, 1 / (1.5 * tangent), 1.5))
    assert project(right_side, 0, 0, 1)[0] == pytest.approx(-1 / (2 * tangent))  # front is left
    assert project(Camera(180, 0), 1, 0, 0)[0] == pytest.approx(-1 / (2 * tangent))
    assert project(Camera(0, 30), 0, 1, 0)[2] == pytest.approx(1.5)  # looks down on the top
    np.testing.assert_allclose(Camera(90, 0).eye, [2, 0, 0], atol=1e-12)
    np.testing.assert_allclose(Camera(0, 30).eye, [0, 1, np.sqrt(3)], atol=1e-12)


def test_the_paper_order_begins_at_the_back_and_has_front_fifth():
    cameras = paper_cameras()
    assert [camera.direction for camera in cameras] == [
        *("back", "back", "side", "side", "front", "side", "side", "back"),
        *("front", "back"),
    ]
    np.testing.assert_allclose(cameras[BACK].eye, [0, 0, -2], atol=1e-12)
    np.testing.assert_allclose(cameras[FRONT].eye, [0, 0, 2], atol=1e-12)
    assert [camera.elevation for camera in cameras] == [0] * 8 + [30] * 2
    assert Camera(0, 31).direction == "top"
    assert Camera(0, -31).direction == "bottom"
    assert Camera(-30, 0).direction == "front"
    assert Camera(120, 0).direction == "back"


def test_the_unit_sphere_touches_the_frame_and_lies_between_near_and_far():
    random = np.random.default_rng(1).normal(size=(4000, 3))
    sphere = torch.tensor(random / np.linalg.norm(random, axis=1, keepdims=True)).float()
    x, y, z, w = clip_positions(sphere, (*paper_cameras(), Camera(10, 90))).unbind(-1)
    assert (w > 0).all()
    assert (z.abs() <= w).all()
    assert 0.99 < (x / w).abs().max() <= 1.0001
    assert 0.99 < (y / w).abs().max() <= 1.0001
    assert -1 <= (z / w).min() < -0.9
    assert 0.9 < (z / w).max() <= 1


@pytest.mark.parametrize("elevation", [-90, 0, 45, 90])
def test_the_view_is_a_rigid_motion(elevation: float):
    view = Camera(33, elevation).view
    np.testing.assert_allclose(view[:3, :3] @ view[:3, :3].T, np.eye(3), atol=1e-12)
    assert np.linalg.det(view) == pytest.approx(1)
    np.testing.assert_allclose(view @ [*Camera(33, elevation).eye, 1], [0, 0, 0, 1], atol=1e-12)
