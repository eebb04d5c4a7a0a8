# SPDX-License-Identifier: GPL-3.0-or-later
"""Wide images: where patches lie, what they show, wrapping and extending."""

import io
import json

import numpy as np
import pytest
import safetensors.torch
import torch
from PIL import Image

from syncsde_engine import pictures, tasks
from syncsde_engine.errors import InvalidRequest
from syncsde_engine.method.coupling import earlier
from syncsde_engine.method.noise import gaussian
from syncsde_engine.request import build
from syncsde_engine.tasks.extend import FADE, join
from syncsde_engine.tasks.patches import crops, starts
from syncsde_engine.tasks.wide import prompts_of
from tests.engine.running import finish


@pytest.fixture
def wide(tiny_model):
    def run(inputs=None, **parameters):
        chosen = {"prompt": "sea", "model": str(tiny_model), "steps": 4, "patch_size": 64}
        files = finish("wide", {**chosen, **parameters}, inputs)
        return Image.open(io.BytesIO(files["image.png"])), json.loads(files["report.json"])

    return run


def test_patches_lie_a_stride_apart_and_the_last_ends_at_the_edge():
    assert starts(64, 16, 4) == list(range(0, 49, 4))
    assert starts(30, 16, 4) == [0, 4, 8, 12, 14]
    assert starts(16, 16, 4) == [0]
    canvas = crops(20, 30, 16, starts(20, 16, 4), starts(30, 16, 4))
    assert len(canvas.cells) == 2 * 5
    assert sorted(set(canvas.cells.flatten().tolist())) == list(range(600)), "all is covered"


def test_the_papers_setting_is_thirteen_patches():
    canvas = crops(64, 256, 64, starts(64, 64, 16), starts(256, 64, 16))
    assert len(canvas.cells) == 13
    precision = earlier(canvas.overlap()).gather(torch.zeros(13, 1, 64, 64)).precision
    assert precision[1:, :, :, :48].all()
    assert not precision[1:, :, :, 48:].any()


def test_wrapped_patches_are_conditioned_on_the_first():
    canvas = crops(16, 48, 16, [0], list(range(0, 48, 4)))
    y = torch.arange(12.0).view(12, 1, 1, 1).expand(12, 1, 16, 16)
    mean, precision = earlier(canvas.overlap()).gather(y)
    assert precision[-1].all(), "the last patch is conditioned everywhere"
    assert (mean[-1, 0, 0, :12] == 10).all()
    assert (mean[9, 0, 0, 12:] == 0).all(), "first to reach over the edge: it meets patch 0 there"


@pytest.mark.parametrize(
    ("asked", "size"),
    [
        ({}, (256, 64)),
        ({"width": 200}, (200, 64)),
        ({"width": 131, "height": 77}, (131, 77)),
        ({"height": 160}, (64, 160)),
        ({"width": 128, "wrap": True}, (128, 64)),
    ],
)
def test_any_size_is_made(wide, asked, size):
    image, report = wide(**asked)
    assert image.size == size
    assert (report["parameters"]["width"], report["parameters"]["height"]) == size


def test_each_patch_is_evaluated_once_a_step_and_the_canvas_decoded_once(wide):
    _, report = wide(width=256)
    assert report["network_evaluations"]["unet"] == 13 * 2 * 4
    assert report["network_evaluations"]["vae_decoder"] == 1
    assert report["network_evaluations"]["controlnet"] == 0
    assert report["disagreement"] > 0
    assert report["largest_gain"] <= 1


def test_prompts_change_at_their_column():
    config = build("wide", {"prompt": "a", "prompt_at": [[200, "c"], [100, "b"]]})
    canvas = crops(8, 48, 8, [0], starts(48, 8, 4))
    middles = [(left + 4.5) * 8 for left in starts(48, 8, 4)]
    expected = ["c" if m >= 200 else "b" if m >= 100 else "a" for m in middles]
    assert prompts_of(config, canvas, 8, 0, True) == expected
    assert prompts_of(config, canvas, 8, 150, True) == [
        "c" if m + 150 >= 200 else "b" for m in middles
    ]
    tall = crops(48, 8, 8, starts(48, 8, 4), [0])
    assert prompts_of(config, tall, 8, 0, False) == expected


def test_a_prompt_outside_the_image_is_refused(wide):
    with pytest.raises(InvalidRequest, match="prompt_at 500"):
        wide(width=256, prompt_at=[[500, "b"]])


@pytest.mark.parametrize("side", ["width", "height"])
def test_less_than_a_patch_is_refused(wide, side):
    with pytest.raises(InvalidRequest, match=f"{side} 100 is below one patch of 128"):
        wide(patch_size=128, **{side: 100})


@pytest.mark.parametrize(
    "strategy", ["synctweedies", "multidiffusion", "visual-anagrams", "syncmvd"]
)
def test_strategies_that_average_end_without_disagreement(wide, strategy):
    assert wide(strategy=strategy)[1]["disagreement"] < 1e-4


def test_synchronized_patches_agree_better(wide):
    together = wide(steps=10)[1]["disagreement"]
    assert together < 0.5 * wide(steps=10, strategy="independent")[1]["disagreement"]


def png(height, width):
    noise = torch.rand(3, height // 16, width // 16, generator=torch.Generator().manual_seed(1))
    image = torch.nn.functional.interpolate(noise[None], (height, width), mode="bilinear")[0]
    return pictures.png(pictures.to_bytes(image))


@pytest.mark.parametrize("side", ["right", "left"])
@pytest.mark.parametrize("size", [(64, 128), (96, 80)])
def test_a_finished_image_grows_and_keeps_its_pixels(wide, side, size):
    given = png(*size)
    image, report = wide({"extend": given}, extend_to=side, width=size[1] + 70)
    assert image.size == (size[1] + 70, size[0])
    old, new = np.asarray(Image.open(io.BytesIO(given))), np.asarray(image)
    kept = new[:, : size[1]] if side == "right" else new[:, -size[1] :]
    assert np.array_equal(kept, old)
    fresh = new[:, size[1] :] if side == "right" else new[:, :70]
    assert fresh.std() > 1
    assert report["network_evaluations"]["vae_encoder"] == len(starts(size[0] // 8, 8, 2))


def test_new_columns_begin_as_the_old_ones_end():
    given, region = torch.full((3, 4, 50), 0.5), torch.full((3, 4, 120), 0.3)
    joined = join(given, region, 50, left=False)
    assert torch.allclose(joined[:, :, 50], torch.tensor(0.5))
    assert torch.allclose(joined[:, :, 50 + FADE :], torch.tensor(0.3))
    assert torch.equal(join(given, region, 50, left=True), joined.flip(2))


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"width": 128}, "width 128 is not more"),
        ({"height": 65}, "height 65 is not that"),
        ({"wrap": True}, "no edge"),
        ({"patch_size": 128}, "below one patch of 128"),
    ],
)
def test_impossible_extensions_are_refused(wide, asked, message):
    with pytest.raises(InvalidRequest, match=message):
        wide({"extend": png(64, 128)}, **asked)


def test_closing_the_run_stops_it(tiny_model):
    config = build("wide", {"prompt": "sea", "model": str(tiny_model), "patch_size": 64})
    run = tasks.run("wide", config, {})
    stages = [next(run).stage for _ in range(3)]
    run.close()
    assert stages == ["load", "views", "views"]


@pytest.mark.parametrize("side", ["right", "left"])
def test_an_odd_height_grows(wide, side):
    image, _ = wide({"extend": png(77, 100)}, extend_to=side, width=150)
    assert image.size == (150, 77)


@pytest.mark.parametrize("strategy", ["synctweedies", "multidiffusion", "visual-anagrams"])
def test_new_patches_share_the_noise_of_the_old_edge(wide, strategy):
    grown = wide({"extend": png(64, 128)}, strategy=strategy, width=192, steps=10)[1]
    free = wide({"extend": png(64, 128)}, strategy="independent", width=192, steps=10)[1]
    assert grown["disagreement"] < 0.5 * free["disagreement"]


def test_a_wrapped_image_has_whole_cells(wide):
    with pytest.raises(InvalidRequest, match="width 130 of a wrapped image"):
        wide(wrap=True, width=130)


def test_columns_stay_columns_when_a_flat_image_grows_a_little(wide):
    with pytest.raises(InvalidRequest, match="prompt_at 400"):
        wide({"extend": png(128, 200)}, width=216, prompt_at=[[400, "b"]])
    wide({"extend": png(128, 200)}, width=216, prompt_at=[[150, "b"]])


def test_given_noise_gives_the_same_picture_bit_for_bit(tiny_model, tmp_path):
    noise = torch.stack([gaussian(0, i, 0, (4, 8, 8)) for i in range(5)])
    asked = {"prompt": "sea", "model": str(tiny_model), "steps": 3, "patch_size": 64, "width": 128}
    asked["strategy"] = "visual-anagrams"
    given = safetensors.torch.save({"noise": noise})
    files = [finish("wide", asked, inputs) for inputs in ({}, {"noise": given})]
    assert files[0]["image.png"] == files[1]["image.png"]
