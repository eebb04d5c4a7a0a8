# SPDX-License-Identifier: GPL-3.0-or-later
"""Editing: which word, where it is, what is replayed, and pictures of any size."""

import io
import json
import math
import re

import numpy as np
import pytest
import torch
from PIL import Image

from syncsde_engine import pictures, tasks, words
from syncsde_engine.config import EditConfig
from syncsde_engine.errors import InvalidRequest
from syncsde_engine.method import noise
from syncsde_engine.method.inversion import invert
from syncsde_engine.method.strategies import SyncSDE
from syncsde_engine.models.attention_maps import (
    Recorder,
    columns,
    foreground,
    halved,
    look_at,
    self_attention_layers,
)
from syncsde_engine.models.stable_diffusion import StableDiffusion
from syncsde_engine.tasks.edit import working_size
from syncsde_engine.tasks.rivals import rival_of

CPU = torch.device("cpu")
SOURCE, TARGET = "a red cat", "a blue cat"
WIDTH, HEIGHT = 70, 50


@pytest.fixture(scope="module")
def model(tiny_model):
    return StableDiffusion.load(tiny_model, CPU)


@pytest.fixture(scope="module")
def mini():
    from syncsde_engine.models import catalog

    return StableDiffusion.load(catalog.locate("mini"), CPU)


def picture(width=WIDTH, height=HEIGHT, mode="RGB"):
    pixels = np.random.default_rng(0).integers(0, 256, (height, width, 4), dtype=np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels, "RGBA").convert(mode).save(file, "PNG")
    return file.getvalue()


def half_mask(width=WIDTH, height=HEIGHT):
    """The right half changes."""
    pixels = np.zeros((height, width), dtype=np.uint8)
    pixels[:, width // 2 :] = 255
    return pictures.png(pixels)


def opened(content):
    return Image.open(io.BytesIO(content))


def edit(tiny_model, *, image=None, mask=None, inputs=None, **parameters):
    """Returns files, report and the Progress of every step."""
    config = EditConfig(
        **{
            "source_prompt": SOURCE,
            "prompt": TARGET,
            "steps": 3,
            "size": 64,
            "model": str(tiny_model),
            "device": "cpu",
            **parameters,
        }
    )
    blobs = {"image": picture() if image is None else image, **(inputs or {})}
    if mask is not None:
        blobs["mask"] = mask
    progress = []
    files = tasks.follow(tasks.run("edit", config, blobs), progress.append)
    return files, json.loads(files["report.json"]), progress


# The word


@pytest.mark.parametrize(
    ("source", "target", "expected"),
    [
        ("a red cat on a mat", "a blue cat on a mat", ["red"]),
        ("a cat on a mat", "an otter on a mat", ["cat"]),
        ("A Red cat, asleep", "a red dog, asleep", ["cat"]),
        ("a rusty iron pot", "a golden pot", ["rusty", "iron"]),
        ("a cat and a dog", "a fox and a wolf", ["cat", "dog"]),
        ("a red-haired cat", "a cat", ["red-haired"]),
    ],
)
def test_changed_words_are_found_by_comparing_prompts(source, target, expected):
    assert [source[slice(*span)] for span in words.changed(source, target)] == expected


@pytest.mark.parametrize("target", ["a red cat", "A RED CAT", "a red cat on a mat"])
def test_nothing_changed_asks_for_the_word(target):
    with pytest.raises(InvalidRequest, match="Set word") as caught:
        words.changed("a red cat", target)
    assert caught.value.field == "word"


def test_words_are_found_whole_and_everywhere():
    prompt = "a bored Red  cat by a red cat."
    found = [prompt[slice(*span)] for span in words.find("red cat", prompt)]
    assert found == ["Red  cat", "red cat"]
    assert words.find("red", "a bored red") == [(8, 11)]


@pytest.mark.parametrize("word", ["dog", "re", "cat red"])
def test_a_word_that_is_not_there_is_named_with_the_prompt(word):
    with pytest.raises(InvalidRequest, match=rf"'{word}'.*'a red cat'") as caught:
        words.find(word, "a red cat")
    assert caught.value.field == "word"


@pytest.mark.parametrize(
    ("prompt", "word", "pieces"),
    [
        ("a crimson  ball, by a wall", "ball", ["ball</w>"]),
        ("the zzyzx-mossy stone, (red) wall", "mossy stone", ["mossy</w>", "stone</w>"]),
        ("the zzyzx-mossy stone, (red) wall", "wall", ["wall</w>"]),
        ("green 123 wall", "wall", ["wall</w>"]),
    ],
)
def test_columns_are_tokens_and_not_words(mini, prompt, word, pieces):
    """Paper: the authors take the place of a word among words for that of its token."""
    places = columns(mini.tokenizer, prompt, words.find(word, prompt))
    ids = mini.tokenizer(prompt).input_ids
    assert [mini.tokenizer.convert_ids_to_tokens(ids[place]) for place in places] == pieces


def test_all_pieces_of_an_unknown_word_are_columns(mini):
    prompt = "a zzyzx by the wall"
    places = columns(mini.tokenizer, prompt, words.find("zzyzx", prompt))
    assert len(places) > 1
    assert mini.tokenizer.decode([mini.tokenizer(prompt).input_ids[i] for i in places]) == "zzyzx"


def test_a_word_beyond_the_window_is_refused(model):
    prompt = "a bcdefghijklmn cat"  # letters are tokens; the window holds 14 of them
    assert columns(model.tokenizer, prompt, words.find("a", prompt)) == [1]
    with pytest.raises(InvalidRequest, match=r"'cat' stands beyond the 14") as caught:
        columns(model.tokenizer, prompt, words.find("cat", prompt))
    assert caught.value.field == "source_prompt"


# The soft mask


def drawn(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def test_looking_at_words_is_a_mean_of_probabilities():
    query, key = drawn(2, 3, 6, 5), drawn(2, 3, 7, 5, seed=1)
    expected = torch.zeros(6)
    for sample in range(2):
        for head in range(3):
            for cell in range(6):
                weights = (key[sample, head] @ query[sample, head, cell] / math.sqrt(5)).exp()
                expected[cell] += (weights[2] + weights[4]) / 2 / weights.sum() / 6
    assert torch.allclose(look_at(query, key, [2, 4]), expected, atol=1e-6)


def test_halving_averages_neighbors():
    tokens = torch.arange(16.0).view(1, 1, 16, 1).repeat(2, 3, 1, 2)
    assert halved(tokens, (4, 4))[1, 2, :, 1].tolist() == [2.5, 4.5, 10.5, 12.5]


def test_soft_mask_is_mean_self_attention_times_mean_cross_attention(model):
    """Eqs. 24 and 25, once more from every layer's queries and keys."""
    size, chosen = (8, 16), [3, 4]
    latent, steps = drawn(1, 4, *size), model.schedule.steps(4)
    recorder = Recorder(model.unet, chosen, size)
    calls = {}

    def keep(layer, step, query, key, value):
        mixed = recorder(layer, step, query, key, value)
        calls.setdefault(step.timestep, []).append((layer, query, key))
        return mixed

    plain = list(invert(latent, model.schedule, steps, model.guided([SOURCE], [], 1.0, None)))
    denoiser = model.guided([SOURCE], [], 1.0, None, attend=keep)
    watched = list(invert(latent, model.schedule, steps, denoiser))
    assert torch.allclose(watched[-1].y, plain[-1].y, atol=1e-4), "watching changes nothing"

    cross, own = [], []
    for step in calls.values():
        maps = []
        for layer, query, key in step:
            weights = torch.softmax(query @ key.mT / math.sqrt(query.shape[-1]), dim=-1)
            if layer.cross:
                maps.append(weights[..., chosen].mean((0, 1, 3)).view(1, 1, 4, 8))
        own.append([step for step in step if not step[0].cross][-1])
        mean = torch.stack(maps).mean(0)
        cross.append(torch.nn.functional.interpolate(mean / mean.max(), size, mode="bicubic")[0, 0])
    attention = torch.stack(
        [
            torch.softmax(query @ key.mT / math.sqrt(query.shape[-1]), dim=-1).mean((0, 1))
            for _, query, key in own
        ]
    ).mean(0)
    word = torch.stack(cross).mean(0).clamp(0, 1)
    coarse = word.view(4, 2, 8, 2).mean((1, 3))  # the finest attention is at half the size
    smooth = (attention @ coarse.flatten()).view(1, 1, 4, 8)
    expected = torch.nn.functional.interpolate(smooth, size, mode="bicubic")[0, 0].clamp(0, 1)
    assert len(calls) == 4
    assert torch.allclose(recorder.soft_mask(), expected, atol=1e-5)
    assert expected.std() > 0


def layer(index, cross):
    from syncsde_engine.models.attention import Layer

    return Layer("", index, cross)


def test_words_are_read_where_stable_diffusions_authors_read_them(model):
    """At 16 x 16 and 8 x 8 tokens of 64 x 64 cells; finer layers do not count."""
    recorder = Recorder(model.unet, [1], (64, 64))
    step = model.schedule.steps(1)[0]
    for tokens, counts in ((4096, 0), (1024, 0), (256, 1), (64, 2)):
        recorder(layer(0, True), step, drawn(1, 1, tokens, 2), drawn(1, 1, 5, 2), drawn(1, 1, 5, 2))
        assert len(recorder.now) == counts


def test_of_a_wide_picture_the_same_layers_are_read(model):
    recorder = Recorder(model.unet, [1], (64, 128))
    step = model.schedule.steps(1)[0]
    for tokens, grid in ((2048, None), (512, (16, 32)), (128, (8, 16))):
        recorder.now = []
        recorder(layer(0, True), step, drawn(1, 1, tokens, 2), drawn(1, 1, 5, 2), drawn(1, 1, 5, 2))
        assert [word.shape[2:] for word in recorder.now] == ([grid] if grid else [])


def test_a_word_read_at_one_side_is_found_there(model):
    """A network that looks at the word from the left third, and within each part at itself."""
    size, last = (32, 32), self_attention_layers(model.unet) - 1
    recorder = Recorder(model.unet, [2], size)
    left = (torch.arange(32) < 10).float().expand(32, 32)
    coarse = left.view(16, 2, 16, 2).mean((1, 3)).flatten()
    word = torch.zeros(1, 1, 5, 2)
    word[..., 2, 0] = 12.0
    for step in model.schedule.steps(2):
        looking = torch.stack([coarse * 2 - 1, coarse * 0], 1)[None, None]
        recorder(layer(0, True), step, looking, word, word)
        part = torch.stack([left.flatten(), 1 - left.flatten()], 1)[None, None] * 5
        recorder(layer(last, False), step, part, part, part)
    soft = recorder.soft_mask()
    assert (foreground(soft, 0.3) == left.long()).float().mean() > 0.99
    assert recorder.own.shape == (1024, 1024)


def test_self_attention_of_large_pictures_is_kept_coarser(model):
    recorder = Recorder(model.unet, [1], (96, 128))
    last = self_attention_layers(model.unet) - 1
    query, key = drawn(1, 1, 96 * 128, 2), drawn(1, 1, 96 * 128, 2, seed=1)
    recorder(layer(last, False), model.schedule.steps(1)[0], query, key, key)
    assert recorder.own.shape == (48 * 64, 48 * 64)
    assert torch.allclose(recorder.own.sum(1), torch.ones(48 * 64), atol=1e-4)


def test_threshold_on_the_foreground_is_the_papers_on_the_background():
    """Paper: tau on B~ = 1 - M; the authors' 0.3 on M is tau = 0.7."""
    soft = torch.rand(32, 32, generator=torch.Generator().manual_seed(0))
    background = 1 - soft >= 0.7
    assert torch.equal(foreground(soft, 0.3) == 0, background)
    assert foreground(torch.tensor([[0.25, 0.5]]), 0.25).tolist() == [[0, 1]], "strictly above"


@pytest.mark.parametrize(("threshold", "which"), [(0.0, "fore"), (0.75, "back")])
def test_a_mask_of_all_or_nothing_names_what_was_found(threshold, which):
    with pytest.raises(InvalidRequest, match=rf"{which}ground.*0\.250 and 0\.750") as caught:
        foreground(torch.tensor([[0.25, 0.75]]), threshold)
    assert caught.value.hint.startswith("Set mask_threshold between 0.250 and 0.750")
    assert caught.value.field == "mask_threshold"


def test_attention_that_tells_nothing_is_said_to():
    with pytest.raises(InvalidRequest, match="Give a mask: this model hardly tells"):
        foreground(torch.tensor([[0.75, 0.77]]), 0.3)


# The task


def test_default_edit_needs_250_samples_of_the_unet(tiny_model):
    """50 to invert, then two trajectories with guidance; the authors need 448."""
    _, report, _ = edit(tiny_model, mask=half_mask(), steps=50)
    assert report["network_evaluations"]["unet"] == 250
    assert report["network_evaluations"]["vae_encoder"] == 1
    assert report["largest_gain"] == pytest.approx(0.618, abs=1e-3)


def test_files_have_the_size_of_the_image(tiny_model):
    files, report, progress = edit(tiny_model, mask=half_mask())
    assert set(files) == {
        "image.png",
        "mask.png",
        "reconstruction.png",
        "sheet.png",
        "report.json",
    }
    for name in ("image.png", "mask.png", "reconstruction.png"):
        assert opened(files[name]).size == (WIDTH, HEIGHT)
    shown = np.asarray(opened(files["mask.png"]))
    assert not shown[:, : WIDTH // 2 - 8].any()
    assert (shown[:, WIDTH // 2 + 8 :] == 255).all()
    assert report["parameters"]["size"] == 64
    stages = [(entry.stage, entry.step, entry.total) for entry in progress]
    assert stages == [
        ("load", 0, 1),
        *(("invert", i, 3) for i in (1, 2, 3)),
        *(("views", i, 3) for i in (0, 1, 2, 3)),
        ("write", 0, 1),
    ]


def test_trajectories_are_the_papers(tiny_model, model):
    """Eqs. 8 to 11 step by step: source, target in the mask, target everywhere."""
    files, report, progress = edit(tiny_model, mask=half_mask(), guidance_scale=3.0, seed=4)
    image = pictures.read(picture(), "image")
    latent = model.encode(pictures.resize(image, 64, 64)[None])
    steps, side = model.schedule.steps(3), 8
    path = [latent]
    plain = model.guided([SOURCE], [], 1.0, None)
    path += [state.y for state in invert(latent, model.schedule, steps, plain)]
    path = path[::-1]
    mask = (torch.arange(side) >= 4).float().expand(1, 1, side, side)
    second, third = noise.gaussian(4, 1, 0, (4, side, side))[None], path[0]
    inside = model.guided([TARGET], [""], 3.0, None)
    whole = model.guided([TARGET], [SOURCE], 3.0, None)
    for i, step in enumerate(steps):
        gain = SyncSDE().gain(step)
        pulled = gain * (1 - mask) * (path[i] - second)
        union = mask * second + (1 - mask) * path[i]
        third = step.ddim(third, whole.predict_noise(third, step)) + gain * (union - third)
        second = step.ddim(second, inside.predict_noise(second, step)) + pulled
        states = [e.state for e in progress if e.stage == "views" and e.state is not None]
        expected = torch.cat([path[i + 1], second, third])
        assert torch.allclose(states[i].y, expected, atol=1e-4)
    shown = np.asarray(opened(files["reconstruction.png"]), dtype=float)
    restored = pictures.resize(model.decode(latent)[0], HEIGHT, WIDTH)
    assert np.abs(shown - pictures.to_bytes(restored)).max() <= 1
    after = np.asarray(opened(files["image.png"]), dtype=float) / 255
    outside = np.asarray(opened(files["mask.png"])) == 0
    difference = np.abs(after - image.movedim(0, -1).numpy())[outside].mean()
    assert report["background_difference"] == pytest.approx(difference, abs=0.003)


def test_a_negative_prompt_takes_the_place_of_both(tiny_model):
    files, *_ = edit(tiny_model, mask=half_mask())
    given, report, _ = edit(tiny_model, mask=half_mask(), negative_prompt="blur")
    assert given["image.png"] != files["image.png"]
    assert report["parameters"]["negative_prompt"] == "blur"


def test_soft_mask_or_what_was_found_instead(tiny_model):
    with pytest.raises(InvalidRequest, match="foreground") as caught:
        edit(tiny_model, mask_threshold=0.0)
    low, high = (float(part) for part in re.findall(r"\d\.\d{3}", caught.value.message))
    assert 0 < low < high <= 1
    files, report, _ = edit(tiny_model, mask_threshold=(low + high) / 2)
    assert {0, 255} == set(np.asarray(opened(files["mask.png"])).flatten())
    assert report["network_evaluations"]["unet"] == 3 + 3 * 4


def test_mask_from_the_word_that_is_asked_for(tiny_model):
    with pytest.raises(InvalidRequest, match="'dog'"):
        edit(tiny_model, word="dog")
    with pytest.raises(InvalidRequest, match="Set word"):
        edit(tiny_model, prompt=SOURCE)
    found = []
    for word in ("red", "cat"):
        with pytest.raises(InvalidRequest) as caught:
            edit(tiny_model, word=word, mask_threshold=1.0)
        found.append(caught.value.message)
    assert found[0] != found[1]


@pytest.mark.parametrize("strategy", ["synctweedies", "multidiffusion", "syncmvd", "independent"])
def test_every_strategy_replays_the_source(tiny_model, strategy):
    whole, *_ = edit(tiny_model, mask=half_mask())
    files, _, progress = edit(tiny_model, mask=half_mask(), strategy=strategy)
    assert files["reconstruction.png"] == whole["reconstruction.png"]
    assert files["image.png"] != whole["image.png"]
    assert all(torch.isfinite(entry.state.y).all() for entry in progress if entry.state)


def test_same_seed_same_files_another_seed_another_image(tiny_model):
    one, two = (edit(tiny_model, mask=half_mask(), seed=3)[0] for _ in range(2))
    other, *_ = edit(tiny_model, mask=half_mask(), seed=5)
    for name in ("image.png", "mask.png", "sheet.png"):
        assert one[name] == two[name]
    assert one["image.png"] != other["image.png"]


@pytest.mark.parametrize("mode", ["RGBA", "L", "P", "LA"])
def test_pictures_of_every_mode(tiny_model, mode):
    files, *_ = edit(tiny_model, image=picture(mode=mode), mask=half_mask(), steps=1)
    assert opened(files["image.png"]).size == (WIDTH, HEIGHT)


@pytest.mark.parametrize("size", [(1, 1), (3, 500), (64, 64), (129, 65)])
def test_pictures_of_every_size(tiny_model, size):
    mask = half_mask(*size) if min(size) > 1 else half_mask(64, 64)
    files, report, _ = edit(tiny_model, image=picture(*size), mask=mask, steps=1)
    assert opened(files["image.png"]).size == size
    assert math.isfinite(report["background_difference"])


def test_a_strip_is_worked_on_at_the_longest_side(tiny_model):
    image = picture(3, 500)
    files, report, _ = edit(tiny_model, image=image, mask=half_mask(3, 500), steps=1, size=None)
    assert opened(files["image.png"]).size == (3, 500)
    assert 1900 < report["parameters"]["size"] <= 2048


def test_the_model_works_in_the_aspect_of_the_image():
    def size(width, height, longer=None):
        return working_size(torch.zeros(3, height, width), longer, 512, 64)

    assert size(512, 512) == (512, 512)
    assert size(1024, 512) == (512, 1024), "512 is the shorter side"
    assert size(300, 400) == (704, 512)
    assert size(300, 200, 384) == (256, 384), "an explicit size is the longer side"
    assert size(10000, 10)[0] == 64
    assert 1900 < size(10000, 10)[1] <= 2048, "the most that EditConfig.size can say"


def test_a_mask_of_another_shape_is_refused(tiny_model):
    with pytest.raises(InvalidRequest, match=r"35 x 50.*70 x 50") as caught:
        edit(tiny_model, mask=half_mask(35, 50))
    assert caught.value.field == "inputs.mask"
    edit(tiny_model, mask=half_mask(2 * WIDTH, 2 * HEIGHT), steps=1)
    with pytest.raises(InvalidRequest, match="covers nothing"):
        edit(tiny_model, mask=pictures.png(np.zeros((HEIGHT, WIDTH), dtype=np.uint8)))


def test_what_is_no_picture_is_refused(tiny_model):
    with pytest.raises(InvalidRequest) as caught:
        edit(tiny_model, image=b"no picture")
    assert caught.value.field == "inputs.image"


def test_mini_makes_a_golden_ball_blue_and_leaves_the_rest():
    y, x = np.mgrid[:128, :128]
    ball = (y - 64) ** 2 + (x - 64) ** 2 < 40**2
    pixels = np.where(ball[..., None], (212, 160, 40), (128, 128, 128)).astype(np.uint8)
    files, report, _ = edit(
        "mini",
        image=pictures.png(pixels),
        mask=pictures.png((ball * 255).astype(np.uint8)),
        source_prompt="a golden ball",
        prompt="a blue ball",
        steps=10,
        size=128,
    )
    after = np.asarray(opened(files["image.png"]), dtype=float)
    red, _, blue = after[ball].mean(0)
    assert blue > red + 20
    assert report["background_difference"] < 0.08


def test_rivals_refuse_given_noise():
    config = EditConfig(source_prompt="a", prompt="b", strategy="ddib")
    with pytest.raises(InvalidRequest, match="ddib does not start from given noise"):
        rival_of(config, {"noise": b""})
