# SPDX-License-Identifier: GPL-3.0-or-later
"""How segments are joined, and figures of motions of which they are known."""

import itertools

import numpy as np
import pytest

from syncsde_engine.motion import metrics
from syncsde_engine.motion.features import decode, encode
from syncsde_engine.motion.sequence import Layout, compose
from tests.motion.figures import moving


@pytest.mark.parametrize("count", [1, 2, 4])
def test_the_papers_setting(count):
    layout = Layout(count, 120, 30)
    assert layout.total == 120 + 90 * (count - 1)
    weights = np.zeros(layout.total)
    for segment, weight in enumerate(layout.ramps()):
        weights[layout.begin(segment) :][:120] += weight
    assert np.abs(weights - 1).max() < 1e-12
    owned = [layout.own(segment) for segment in range(count)]
    assert owned[0][0] == 0
    assert owned[-1][1] == layout.total
    assert all(a[1] == b[0] for a, b in itertools.pairwise(owned))


def test_a_later_segment_hides_an_earlier_one():
    segments = np.arange(3.0)[:, None, None] * np.ones((3, 10, 2))
    layout = Layout(3, 10, 4)
    over = compose(segments, layout, "over")[:, 0]
    assert over.tolist() == [0] * 6 + [1] * 6 + [2] * 10
    again = compose(segments, layout, "over", on_top=(1,))[:, 0]
    assert again.tolist() == [0] * 6 + [1] * 10 + [2] * 6


def test_a_fade_blends_linearly_and_touches_nothing_else():
    segments = np.arange(2.0)[:, None, None] * np.ones((2, 10, 1))
    faded = compose(segments, Layout(2, 10, 4), "fade")[:, 0]
    assert faded.tolist() == [0] * 6 + [0, 0.25, 0.5, 0.75] + [1] * 6


def test_segments_cut_out_of_one_motion_make_it_again():
    rows = encode(moving(211, 5))
    layout = Layout(2, 120, 30)
    segments = np.stack([rows[:120], rows[90:210]])
    for join in ("over", "fade"):
        assert np.abs(decode(compose(segments, layout, join)) - decode(rows)).max() < 1e-5


def test_jerk_of_a_cubic_is_its_coefficient():
    joints = np.zeros((20, 22, 3))
    t = np.arange(20.0)
    joints[:, 3, 0], joints[:, 3, 1] = 0.01 * t**3, -0.02 * t**3
    joints[:, 5, 2] = 0.02 * t**3
    assert np.abs(metrics.jerk(joints) - 0.18).max() < 1e-9
    found = metrics.seam(joints, 5, 10, ordinary=0.08)
    assert found.peak == pytest.approx(0.18)
    assert found.area == pytest.approx(0.1 * 7)


def test_jerk_inside_leaves_seams_out():
    joints = np.zeros((60, 22, 3))
    joints[30:, :, 0] = 1.0
    assert metrics.jerk_inside(joints, [(25, 35)]) == 0
    assert metrics.jerk_inside(joints, []) > 0


def test_only_low_feet_skate():
    joints = np.zeros((11, 22, 3))
    joints[:, 10, 1] = joints[:, 11, 1] = 0.02
    joints[:, 10, 0] = 0.03 * np.arange(11)
    assert metrics.skate(joints) == 1.0
    joints[5:, 10, 1] = 0.2
    assert metrics.skate(joints) == pytest.approx(0.5)


def test_a_window_is_nearest_to_itself_wherever_it_stands():
    joints = moving(90, 6)
    known = np.stack([metrics.window(joints[i : i + 30]) for i in range(0, 60, 10)])
    turned = joints[20:50] @ np.array([[0, 0, 1.0], [0, 1, 0], [-1, 0, 0]]) + (3, 0, 1)
    assert metrics.nearest_window(turned, known) < 1e-9
    assert metrics.nearest_window(moving(30, 7), known) > 0.01


def test_bones_that_wander():
    joints = moving(50)
    assert metrics.bone_spread(joints) < 1e-9
    joints[::2, 15] += (0, 0.05, 0)
    assert metrics.bone_spread(joints) > 0.005
