# SPDX-License-Identifier: GPL-3.0-or-later
"""The generator of motion: bodies that hold together, feet that stand, captions that are true."""

import numpy as np
import pytest

from syncsde_engine.models.words_known import KnownWords
from syncsde_engine.motion import metrics
from syncsde_engine.motion.features import decode
from syncsde_engine.motion.skeleton import bone_lengths
from training.motion.clips import FRAMES, OVERLAP, Style, draw_clip
from training.motion.verbs import VERBS
from training.motion.wording import forms


def test_there_are_enough_verbs():
    assert len(VERBS) >= 12


@pytest.mark.parametrize("verb", VERBS)
def test_bones_feet_and_floor(verb):
    for number in range(3):
        joints = draw_clip(11, number, verb).joints
        assert joints.shape == (FRAMES + 1, 22, 3)
        assert np.isfinite(joints).all()
        assert bone_lengths(joints).std(0).max() < 1e-9
        assert joints[..., 1].min() > 0.0
        assert metrics.skate(joints) <= 0.2


def test_the_same_number_is_the_same_clip():
    first, again, other = (draw_clip(11, number) for number in (5, 5, 6))
    assert np.array_equal(first.features(), again.features())
    assert not np.array_equal(first.joints, other.joints)


def test_neighbors_lie_within_the_overlaps_and_are_frequent():
    clips = [draw_clip(12, number) for number in range(60)]
    begins = np.array([clip.middle[0] for clip in clips])
    ends = np.array([clip.middle[1] for clip in clips])
    assert begins.max() <= OVERLAP
    assert ends.min() >= FRAMES - OVERLAP
    assert 0.35 < (begins > 0).mean() < 0.85
    assert 0.3 < (ends < FRAMES).mean() < 0.7


def test_features_decode_to_the_joints():
    clip = draw_clip(11, 3, "walk")
    joints = clip.joints - clip.joints[0, 0] * (1, 0, 1)
    decoded = decode(clip.features())
    distances = [np.linalg.norm(j[:, 20] - j[:, 0], axis=1) for j in (joints[:-1], decoded)]
    assert np.abs(distances[0] - distances[1]).max() < 1e-5


def test_circles_turn_the_way_that_the_caption_says():
    for number in range(40):
        clip = draw_clip(13, number, "walk")
        turned = clip.yaw[90] - clip.yaw[30]
        if "to the left" in clip.caption:
            assert turned > 0.5
        elif "to the right" in clip.caption:
            assert turned < -0.5
        else:
            assert abs(turned) < 0.5


def test_hands_are_those_of_the_caption():
    seen = set()
    for number in range(20):
        clip = draw_clip(13, number, "wave")
        high = clip.joints[45:75, [20, 21], 1].mean(0)
        if "left hand" in clip.caption:
            assert high[0] > high[1] + 0.2
            seen.add("left")
        if "right hand" in clip.caption:
            assert high[1] > high[0] + 0.2
            seen.add("right")
    assert seen == {"left", "right"}


def test_held_out_styles_lie_between_those_of_training():
    random = np.random.default_rng(0)
    trained = np.array([Style.draw(random).width for _ in range(300)])
    held = np.array([Style.draw(random, held_out=True).width for _ in range(300)])
    assert not ((trained > held.min()) & (trained < held.max())).any()


def test_every_caption_is_made_of_known_words():
    known = KnownWords(forms())
    captions = {draw_clip(14, number).caption for number in range(80)}
    assert len({tuple(known.encode(caption).tolist()) for caption in captions}) == len(captions)
