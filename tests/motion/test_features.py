# SPDX-License-Identifier: GPL-3.0-or-later
"""HumanML3D's features: there and back, and what their columns mean."""

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter1d
from scipy.spatial.transform import Rotation

from syncsde_engine.motion import features
from syncsde_engine.motion.skeleton import OFFSETS, PARENTS, bone_lengths, positions
from tests.motion.figures import moving


@pytest.mark.parametrize("rule", ["body", "humanml3d"])
@pytest.mark.parametrize("seed", range(3))
def test_there_and_back(rule, seed):
    joints = moving(361, seed)
    rows = features.encode(joints, rule)
    assert (rows.shape, rows.dtype) == ((360, 263), np.float32)
    facing = features.canonical(joints, features.heading(joints, rule)[0])[:-1]
    assert np.abs(features.decode(rows) - facing).max() < 1e-6


def test_there_and_back_along_a_path_that_is_known():
    joints, yaw = moving(200, 1), 0.02 * np.arange(200) + 0.3
    rows = features.encode(joints, yaw=yaw)
    assert np.abs(rows[:, 0] + 0.01).max() < 1e-7
    assert np.abs(features.decode(rows) - features.canonical(joints, 0.3)[:-1]).max() < 2e-6


def test_bones_keep_their_lengths():
    assert bone_lengths(features.decode(features.encode(moving(300)))).std(0).max() < 1e-6


def test_a_straight_walk_goes_straight_on():
    rows = np.zeros((50, 263))
    rows[:, 2], rows[:, 3] = 0.06, 0.9
    _, root = features.path(rows)
    expected = np.stack([np.zeros(50), np.full(50, 0.9), 0.06 * np.arange(50)], axis=1)
    assert np.abs(root - expected).max() < 1e-12


def test_a_constant_turn_closes_its_circle():
    rows = np.zeros((101, 263))
    rows[:, 0], rows[:, 2] = -np.pi / 100, 0.05  # half of the turn to the next frame
    yaw, root = features.path(rows)
    assert yaw[25] == pytest.approx(np.pi / 2), "to the left"
    assert root[25, 0] > 0
    assert np.abs(root[100] - root[0]).max() < 1e-12
    radius = np.linalg.norm(root[:100, [0, 2]] - root[:100, [0, 2]].mean(0), axis=1)
    assert radius.std() < 1e-12


def standing(yaw):
    turn = np.broadcast_to(np.eye(3), (len(yaw), 22, 3, 3)).copy()
    turn[:, 0] = Rotation.from_rotvec(np.outer(yaw, (0, 1, 0))).as_matrix()
    return positions(OFFSETS, turn, np.broadcast_to([0, 0.95, 0], (len(yaw), 3)))


def test_headings_of_a_body_that_turns():
    yaw = np.linspace(0.2, 4.0, 40)
    assert np.abs(features.heading(standing(yaw)) - yaw).max() < 1e-12


def test_the_data_sets_heading_exchanges_hips_and_is_smoothed():
    joints = moving(150, 2)
    across = (joints[:, 1] - joints[:, 2]) + (joints[:, 17] - joints[:, 16])
    across /= np.linalg.norm(across, axis=1, keepdims=True)
    forward = gaussian_filter1d(np.cross([[0, 1, 0]], across), 20, axis=0, mode="nearest")
    expected = np.unwrap(np.arctan2(forward[:, 0], forward[:, 2]))
    assert np.abs(features.heading(joints, "humanml3d") - expected).max() < 1e-9
    assert np.abs(expected - features.heading(joints)).max() > 0.05


def test_a_foot_that_stands_still_is_in_contact():
    joints = standing(np.zeros(10))
    rows = features.encode(joints)
    assert (rows[:, features.CONTACTS] == 1).all()
    joints[:, 10, 0] += 0.1 * np.arange(10)
    rows = features.encode(joints)
    assert rows[:, features.CONTACTS].mean(0).tolist() == [1, 0, 1, 1]


def test_rotations_are_the_shortest_arcs_from_their_axes():
    joints = moving(30, 3)
    rows = features.encode(joints)
    six = rows[:, features.ROTATIONS].reshape(-1, 21, 6).astype(float)
    first, second = six[..., :3], six[..., 3:]
    turns = np.stack([first, second, np.cross(first, second)], axis=-1)
    assert np.abs(np.linalg.det(turns) - 1).max() < 1e-5
    # Along a chain they compose to the bones' directions, as the data set's own kinematics do.
    local = joints - joints[:, :1] * (1, 0, 1)
    facing = Rotation.from_rotvec(np.outer(-features.heading(joints), (0, 1, 0))).as_matrix()[:-1]
    world = np.eye(3)
    for joint, axis in ((1, [1, 0, 0]), (4, [0, -1, 0]), (7, [0, -1, 0]), (10, [0, 0, 1])):
        world = world @ turns[:, joint - 1]
        bone = local[:-1, joint] - local[:-1, PARENTS[joint]]
        bone = np.einsum("fij,fj->fi", facing, bone / np.linalg.norm(bone, axis=1, keepdims=True))
        assert np.abs(world @ axis - bone).max() < 1e-5, joint


def test_bones_without_length_do_not_divide_by_zero():
    joints = moving(20, 4)
    joints[:, [13, 14]] = joints[:, [9, 9]]  # as collars in many recorded files
    assert np.isfinite(features.encode(joints, "humanml3d")).all()


def test_one_frame_has_no_features():
    with pytest.raises(ValueError, match="no velocity"):
        features.encode(moving(1))
