# SPDX-License-Identifier: GPL-3.0-or-later
from collections import Counter
from random import Random

import pytest
import torch

from training.captions import view_word, write_caption
from training.landscapes import PLACES, SKIES, paint_landscape
from training.plan import PAINTS
from training.scenes import KINDS, SHARES, Scene, draw_scene, render_scene
from training.tokenizer import train_tokenizer


def test_kinds_come_in_their_shares():
    kinds = Counter(draw_scene(seed * PAINTS).kind for seed in range(4000))
    for kind, share in zip(KINDS, SHARES, strict=True):
        assert kinds[kind] / 4000 == pytest.approx(share, abs=0.03)


def test_a_plan_may_ask_for_other_shares():
    kinds = Counter(draw_scene(seed * PAINTS, (0, 0, 3, 1)).kind for seed in range(2000))
    assert set(kinds) == {"landscape", "front"}
    assert kinds["landscape"] / 2000 == pytest.approx(0.75, abs=0.03)


def test_a_scene_renders_the_same_twice():
    scene = draw_scene(12)
    for first, second in zip(render_scene(scene, 64), render_scene(scene, 64), strict=True):
        assert torch.equal(first, second)


def test_every_kind_renders_with_depth_only_for_objects():
    found = {scene.kind: scene for scene in map(draw_scene, range(0, 360, PAINTS))}
    assert set(found) == set(KINDS)
    for kind, scene in found.items():
        image, depth = render_scene(scene, 64)
        assert image.shape == (3, 64, 64)
        assert image.dtype == depth.dtype == torch.uint8
        assert (depth.max() > 0) == (kind in ("object", "front"))


def test_seeds_that_follow_each_other_show_one_view_in_several_materials():
    scenes = [draw_scene(seed, (1, 0, 0, 0)) for seed in range(600, 600 + PAINTS)]
    assert len({(scene.shape, scene.azimuth, scene.elevation) for scene in scenes}) == 1
    assert len({(scene.material, scene.color) for scene in scenes}) > 3
    pictures, depths = zip(*(render_scene(scene, 64) for scene in scenes), strict=True)
    assert all(torch.equal(depth, depths[0]) for depth in depths)
    assert not torch.equal(pictures[0], pictures[1])
    assert draw_scene(600 + PAINTS, (1, 0, 0, 0)).azimuth != scenes[0].azimuth


def test_unnamed_background_is_neutral_gray():
    image, _ = render_scene(Scene(3, "object", "vase", "plain", "red"), 64)
    assert image[:, 0, 0].tolist() == [128, 128, 128]


@pytest.mark.parametrize("place", PLACES)
def test_landscapes_are_pictures(place):
    for time in SKIES:
        image = paint_landscape(place, time, 64, Random(1))
        assert image.shape == (3, 64, 64)
        assert image.min() >= 0
        assert image.max() <= 1
        assert image.std() > 0.03


def test_captions_name_what_is_there():
    rng = Random(0)
    scene = Scene(1, "object", "vase", "brick", "red", azimuth=170.0, background="black")
    captions = [write_caption(scene, rng) for _ in range(60)]
    assert all("brick" in caption and "black background" in caption for caption in captions)
    assert any(caption.endswith(", back view") for caption in captions)
    assert "a red brick vase on a black background" in captions


def test_no_caption_shows_its_machinery():
    rng = Random(0)
    for seed in range(2000):
        caption = write_caption(draw_scene(seed), rng)
        assert caption
        assert caption == caption.strip().lower()
        assert not {"none", "{", "_", "  "} & {caption, *caption.split()}


@pytest.mark.parametrize(
    ("azimuth", "elevation", "word"),
    [(0, 0, "front"), (-40, 30, "front"), (90, 0, "side"), (-90, 0, "side"), (181, 0, "back"),
     (0, 90, "top"), (0, -90, "bottom")],
)  # fmt: skip
def test_view_words(azimuth, elevation, word):
    assert view_word(azimuth, elevation) == word


def test_tokenizer_knows_our_words_and_spells_the_rest(smoke_plan):
    tokenizer = train_tokenizer(smoke_plan)
    assert len(tokenizer) <= smoke_plan.vocabulary
    assert len(tokenizer.tokenize("stone")) == 1
    ids = tokenizer("a Zürich statue", padding="max_length", max_length=smoke_plan.text_length)
    assert len(ids.input_ids) == smoke_plan.text_length
    assert ids.input_ids[0] == tokenizer.bos_token_id
    assert ids.input_ids[-1] == tokenizer.eos_token_id
    assert tokenizer.decode(ids.input_ids, skip_special_tokens=True) == "a zürich statue"
