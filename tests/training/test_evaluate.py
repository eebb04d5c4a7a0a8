# SPDX-License-Identifier: GPL-3.0-or-later
"""The figures of the model card: known for perfect views, and worse for wrong ones."""

import pytest
import torch

from training import judge as judging
from training.evaluate import Figure, followed, markdown, real_views
from training.judge import Judge, load_judge, read, share, train_judge
from training.kernel_distance import kernel_distance
from training.materials import COLORABLE, COLORS, HELD_OUT_PAIRS, MATERIALS
from training.scenes import draw_scene
from training.wording import words


@pytest.fixture(scope="module")
def asked():
    return real_views(64, 1, 0)


def test_every_pair_is_asked_for_once(asked):
    assert len(set(asked.pairs)) == len(asked.pairs) == 7 * 12 + 11
    assert len(set(asked.prompts)) == len(asked.prompts)
    assert words("planks", "red") == "red wooden"
    assert words("gold", "gray") == "golden"


def test_renders_follow_their_depth_and_views_of_other_depths_do_not(asked):
    edges, silhouette, backdrop = followed(asked, asked.real)
    assert edges.model == edges.real > 0.8
    assert edges.chance < edges.model - 0.2
    assert silhouette.model > silhouette.chance + 0.2
    assert backdrop.model < 0.01
    gray = followed(asked, torch.full_like(asked.real, 0.5))
    assert gray[0].model == gray[1].model == 0


def test_kernel_distance_is_the_unbiased_estimate():
    generator = torch.Generator().manual_seed(0)
    a, b = (torch.randn(n, 3, generator=generator).double() for n in (7, 5))

    def k(x, y):
        return (float(x @ y) / 3 + 1) ** 3

    def mean(pairs):
        return sum(pairs) / len(pairs)

    expected = (
        mean([k(x, y) for i, x in enumerate(a) for j, y in enumerate(a) if i != j])
        + mean([k(x, y) for i, x in enumerate(b) for j, y in enumerate(b) if i != j])
        - 2 * mean([k(x, y) for x in a for y in b])
    )
    assert kernel_distance(a, b) == pytest.approx(expected)


def test_the_judge_learns_to_read_plain_colors():
    judge = train_judge(pictures=96, epochs=1)
    materials, colors = read(judge, torch.rand(3, 3, 64, 64))
    assert set(materials) <= set(MATERIALS)
    assert set(colors) <= set(COLORS)
    assert share(["a", "b", "c", "c"], ["a", "b", "b", "c"]) == 0.75


def test_a_judge_is_kept_for_the_next_evaluation(tmp_path, monkeypatch):
    made = []
    monkeypatch.setattr(judging, "train_judge", lambda: made.append(Judge()) or made[-1].eval())
    views = torch.rand(4, 3, 64, 64)
    first, again = (load_judge(tmp_path / "judge.pt") for _ in range(2))
    assert len(made) == 1
    assert torch.equal(first(views)[0], again(views)[0])


def test_held_out_pairs_are_never_rendered():
    scenes = [draw_scene(seed) for seed in range(12_000)]
    pairs = {(scene.material, scene.color) for scene in scenes}
    pairs |= {scene.wall for scene in scenes}
    assert not pairs & HELD_OUT_PAIRS
    named = {pair for pair in pairs if pair and pair[0] in COLORABLE}
    assert len(named) == 84 - len(HELD_OUT_PAIRS)


def test_the_table_leaves_out_what_is_not_known():
    table = markdown([Figure("x", 0.5, None, 0.25)], {"gold": 1.0}, 3)
    assert "| x | 0.5 |  | 0.25 |" in table
    assert "gold 1.00" in table
