# SPDX-License-Identifier: GPL-3.0-or-later
"""Bodies fitted to joints, legs that reach, feet that stay."""

import numpy as np

from syncsde_engine.motion import limbs, metrics
from syncsde_engine.motion.fit import fit
from syncsde_engine.motion.rotations import unit
from syncsde_engine.motion.skeleton import LEGS, bone_lengths
from tests.motion.figures import moving
from training.motion.clips import draw_clip


def test_constant_bones_are_given_back():
    for number, verb in enumerate(("walk", "kick", "sit", "dance")):
        joints = draw_clip(7, number, verb).joints
        assert np.abs(fit(joints).joints() - joints).max() < 1e-9


def test_wandering_bones_become_constant_and_ankles_stay():
    joints = moving(100) + np.random.default_rng(0).normal(size=(100, 22, 3)) * 0.01
    found = fit(joints).joints()
    assert bone_lengths(joints).std(0).max() > 0.01
    assert bone_lengths(found).std(0).max() < 1e-12
    ankles = [leg[2] for leg in LEGS]
    length = bone_lengths(found)[0]
    within = np.linalg.norm(found[:, [1, 2]] - joints[:, ankles], axis=-1)
    within = within < 0.999 * (length[[3, 4]] + length[[6, 7]])
    assert within.mean() > 0.5
    assert np.linalg.norm(found[:, ankles] - joints[:, ankles], axis=-1)[within].max() < 1e-9
    assert np.linalg.norm(found - joints, axis=-1).mean() < 0.03


def test_elbows_and_knees_bend_about_their_own_axes():
    motion = fit(draw_clip(7, 1, "punch").joints)
    # An elbow's turn within the upper arm's frame is about its hinge alone.
    for joint, axis in ((18, 1), (19, 1), (4, 0), (5, 0)):
        turn = motion.rotations[:, joint]
        bent = np.arccos(np.clip((np.trace(turn, axis1=1, axis2=2) - 1) / 2, -1, 1)) > 0.3
        lever = np.stack([turn[:, 2, 1] - turn[:, 1, 2], turn[:, 0, 2] - turn[:, 2, 0],
                          turn[:, 1, 0] - turn[:, 0, 1]], axis=1)  # fmt: skip
        assert bent.any()
        assert np.abs(unit(lever[bent]))[:, axis].min() > 0.999


def test_rotations_are_smooth_where_motion_is():
    motion = fit(draw_clip(7, 2, "walk").joints)
    steps = np.einsum("fkij,fkij->fk", motion.rotations[1:], motion.rotations[:-1])
    assert np.degrees(np.arccos(np.clip((steps - 1) / 2, -1, 1))).max() < 60


def test_two_bones_meet_the_law_of_cosines():
    random = np.random.default_rng(3)
    start, end, toward = random.normal(size=(3, 300, 3))
    upper, lower = random.uniform(0.5, 2, (2, 300))
    middle, reached = limbs.bend(start, end, toward, upper, lower)
    assert np.abs(np.linalg.norm(middle - start, axis=1) - upper).max() < 1e-9
    assert np.abs(np.linalg.norm(reached - middle, axis=1) - lower).max() < 1e-9
    distance = np.linalg.norm(end - start, axis=1)
    can = (distance < 0.999 * (upper + lower)) & (distance > np.abs(upper - lower) + 1e-5)
    assert np.abs(reached - end)[can].max() < 1e-9
    plane = np.cross(end - start, toward)
    assert np.abs(((middle - start) * unit(plane)).sum(1)).max() < 1e-9


def sliding():
    """A walk whose standing feet drift by 1 cm a frame, as networks' do."""
    clip = draw_clip(7, 3, "wave", plain=True)
    joints = clip.joints.copy()
    joints[:, :, 2] += 0.01 * np.sin(0.7 * np.arange(len(joints)))[:, None]
    joints[:, :, 0] += 0.012 * np.cos(0.5 * np.arange(len(joints)))[:, None]
    return joints


def test_locked_feet_stand_and_bones_of_legs_keep_their_lengths():
    joints = sliding()
    locked = limbs.lock_feet(joints)
    before, after = (np.linalg.norm(np.diff(j[:, 10], axis=0), axis=1) for j in (joints, locked))
    assert after.mean() < 0.1 * before.mean()
    legs = [joint - 1 for leg in LEGS for joint in leg[1:]]
    assert np.abs(bone_lengths(locked) - bone_lengths(joints))[:, legs].max() < 1e-9
    others = [j for j in range(22) if j not in (4, 5, 7, 8, 10, 11)]
    assert np.array_equal(locked[:, others], joints[:, others])


def test_a_foot_is_never_moved_far():
    joints = draw_clip(7, 4, "run").joints
    moved = np.linalg.norm(limbs.lock_feet(joints) - joints, axis=-1)
    assert moved[:, [7, 8, 10, 11]].max() <= limbs.FARTHEST + 0.02
    assert metrics.skate(limbs.lock_feet(joints)) <= metrics.skate(joints) + 0.01
