# SPDX-License-Identifier: GPL-3.0-or-later
import numpy as np
import pytest
import torch

from syncsde_engine.mesh.views.cameras import (
    BACK,
    FRONT,
    Camera,
    clip_positions,
    look_at,
    paper_cameras,
)


def project(camera: Camera, *point: float) -> tuple[float, float, float]:
    """x right, y up and depth in the image's normalized coordinates."""
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


def test_the_shorter_side_of_the_image_has_the_field_of_view():
    wide, tall = Camera(0, 0, fov=90, aspect=2), Camera(0, 0, fov=90, aspect=0.5)
    assert project(wide, 0, 1, 0) == pytest.approx((0, 1 / 2, 2))
    assert project(wide, 1, 0, 0) == pytest.approx((1 / 4, 0, 2))
    assert project(tall, 1, 0, 0) == pytest.approx((1 / 2, 0, 2))
    assert project(tall, 0, 1, 0) == pytest.approx((0, 1 / 4, 2))
    assert wide.frame(256) == (256, 512)
    assert tall.frame(256) == (512, 256)


def test_an_orthographic_image_does_not_shrink_with_the_distance():
    camera = Camera(90, 0, ortho_scale=3, aspect=2)
    for depth in (-1, 0, 0.5):
        assert project(camera, depth, 1.5, -1)[:2] == pytest.approx((1 / 3, 1))
    near, far = camera.depths()
    z = [clip_positions(torch.tensor([[x, 0, 0]]), (camera,))[0, 0, 2].item() for x in (1, 0, -1)]
    assert z == pytest.approx([2 * (depth - near) / (far - near) - 1 for depth in (1, 2, 3)])


@pytest.mark.parametrize(
    ("position", "target", "up"),
    [
        ((3, 1, 2), (0.2, -0.1, 0.3), (0, 1, 0)),
        ((0, 0, -2), (0, 0, 0), (1, 1, 0)),
        ((0.1, 4, 0), (0.1, 0, 0), (0, 0, -1)),
        ((-1, -2, 0.5), (-1, -3, 0.5), (1, 0, 1)),
    ],
    ids=["level", "turned", "from above", "from above, askew"],
)
def test_a_camera_looks_at_a_point_with_up_upward(position, target, up):
    camera = look_at(position, target, up, fov=50)
    eye, forward = np.array(position, float), np.subtract(target, position).astype(float)
    forward /= np.linalg.norm(forward)
    right = np.cross(forward, up)
    right /= np.linalg.norm(right)
    np.testing.assert_allclose(camera.eye, eye, atol=1e-12)
    np.testing.assert_allclose(camera.basis, [right, np.cross(right, forward), forward], atol=1e-12)
    x, y, w = project(camera, *target)
    assert (x, y) == pytest.approx((0, 0), abs=1e-6)
    assert w == pytest.approx(np.linalg.norm(np.subtract(target, position)))


def test_directions_are_those_of_the_viewer_whatever_is_looked_at():
    assert look_at((0.3, 0, 5), (0.3, 0, 4)).direction == "front"
    assert look_at((5, 1, 0), (0, 1, 0)).direction == "side"
    assert look_at((0, 5, 1), (0, 0, 0)).direction == "top"


def test_near_and_far_enclose_what_is_before_the_camera():
    assert Camera(0, 0).depths() == pytest.approx((0.99, 3.03))
    assert Camera(0, 0, distance=0.2).depths() == pytest.approx((0.01, 1.01 * 1.2))
    beside = look_at((0, 0, 3), (3, 0, 0))  # the origin lies at depth 3 / sqrt(2)
    assert beside.depths() == pytest.approx((0.99 * (4.5**0.5 - 1), 1.01 * (4.5**0.5 + 1)))
    away = look_at((0, 0, 3), (0, 0, 6)).depths()
    assert 0 < away[0] < away[1]
