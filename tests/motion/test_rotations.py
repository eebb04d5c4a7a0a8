# SPDX-License-Identifier: GPL-3.0-or-later
"""Rotations, against scipy's."""

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from syncsde_engine.motion import rotations

MANY = Rotation.random(500, random_state=0)


def test_quaternions_there_and_back():
    matrices = MANY.as_matrix()
    quaternions = rotations.to_quaternions(matrices)
    expected = MANY.as_quat()[:, [3, 0, 1, 2]]
    expected *= np.sign(expected[:, :1])
    assert np.abs(quaternions - expected).max() < 1e-12
    assert np.abs(rotations.from_quaternions(quaternions) - matrices).max() < 1e-12


@pytest.mark.parametrize("axis", ["x", "y", "z"])
def test_half_turns_have_quaternions_too(axis):
    half = Rotation.from_euler(axis, 180, degrees=True).as_matrix()
    back = rotations.from_quaternions(rotations.to_quaternions(half))
    assert np.abs(back - half).max() < 1e-12


def test_neighboring_quaternions_have_the_same_sign():
    turning = Rotation.from_rotvec(np.outer(np.linspace(0, 20, 200), (0, 0, 1))).as_matrix()
    steps = np.diff(rotations.continuous(rotations.to_quaternions(turning)), axis=0)
    assert np.abs(steps).max() < 0.06


def test_euler_angles_are_scipys():
    angles = rotations.to_zxy(MANY.as_matrix())
    assert np.abs(angles - MANY.as_euler("ZXY")).max() < 1e-9


def test_six_numbers_there_and_back():
    matrices = MANY.as_matrix()
    assert np.abs(rotations.from_six(rotations.to_six(matrices)) - matrices).max() < 1e-12
    odd = rotations.from_six(np.random.default_rng(0).normal(size=(50, 6)))
    assert np.abs(odd @ np.swapaxes(odd, 1, 2) - np.eye(3)).max() < 1e-12


def test_shortest_arcs_arrive_by_the_smallest_turn():
    random = np.random.default_rng(1)
    start, end = random.normal(size=(2, 200, 3))
    arcs = rotations.shortest_arc(start, end)
    arrived = np.einsum("nij,nj->ni", arcs, rotations.unit(start))
    assert np.abs(arrived - rotations.unit(end)).max() < 1e-12
    between = np.arccos((rotations.unit(start) * rotations.unit(end)).sum(1))
    assert np.abs(Rotation.from_matrix(arcs).magnitude() - between).max() < 1e-7


def test_opposite_directions_are_joined_by_half_a_turn():
    for start in np.eye(3):
        arc = rotations.shortest_arc(start, -start)
        assert np.abs(arc @ start + start).max() < 1e-12
        assert np.linalg.det(arc) == pytest.approx(1)


def test_the_closest_rotation_is_scipys():
    random = np.random.default_rng(2)
    start, end = random.normal(size=(2, 20, 5, 3))
    for a, b, found in zip(start, end, rotations.closest_rotation(start, end), strict=True):
        expected, _ = Rotation.align_vectors(b, a)
        assert np.abs(found - expected.as_matrix()).max() < 1e-9
