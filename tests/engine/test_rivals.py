# SPDX-License-Identifier: GPL-3.0-or-later
"""The four rival editing methods, each once more in a few lines from its publication."""

import io
import json
import math

import numpy as np
import pytest
import torch
from PIL import Image

from syncsde_engine import pictures, tasks
from syncsde_engine.config import EditConfig
from syncsde_engine.errors import InvalidRequest
from syncsde_engine.method import noise
from syncsde_engine.models.attention import Layer
from syncsde_engine.models.attention_maps import self_attention_layers
from syncsde_engine.models.stable_diffusion import StableDiffusion
from syncsde_engine.tasks.rivals import MutualSelfAttention, tune

SOURCE, TARGET, UNWANTED = "a red cat", "a blue dog", "bad"
CPU = torch.device("cpu")
SIDE = 8  # latent cells
STEPS = 5


@pytest.fixture(scope="module")
def model(tiny_model):
    return StableDiffusion.load(tiny_model, CPU)


def drawn(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def picture():
    pixels = np.random.default_rng(0).integers(0, 256, (SIDE * 8, SIDE * 8, 3), dtype=np.uint8)
    return pictures.png(pixels)


def edit(tiny_model, strategy, inputs=None, **parameters):
    """Returns files, report and the states of the last sampling."""
    config = EditConfig(
        **{
            "source_prompt": SOURCE,
            "prompt": TARGET,
            "negative_prompt": UNWANTED,
            "guidance_scale": 3.0,
            "steps": STEPS,
            "size": 64,
            "model": str(tiny_model),
            "device": "cpu",
            "strategy": strategy,
            **parameters,
        }
    )
    steps = []
    run = tasks.run("edit", config, {"image": picture(), **(inputs or {})})
    files = tasks.follow(run, steps.append)
    states = [step.state.y for step in steps if step.state is not None]
    return files, json.loads(files["report.json"]), states


def latent(model):
    return model.encode(pictures.read(picture(), "image")[None])


def guided(model, prompt, scale=3.0):
    return model.guided([prompt], [UNWANTED], scale, None)


def inverted(model, prompt):
    """Noisiest first."""
    path, denoiser = [latent(model)], model.guided([prompt], [], 1.0, None)
    steps = model.schedule.steps(STEPS)
    alphas = model.schedule.alphas
    for i in reversed(range(STEPS)):
        timestep = steps[i + 1].timestep if i + 1 < STEPS else 0
        level = model.schedule.steps(1)[0].__class__(
            0, 1, timestep, timestep / 1000, 0.0, float(alphas[timestep]), 1.0
        )
        eps = denoiser.predict_noise(path[-1], level)
        alpha, before = steps[i].alpha, steps[i].alpha_prev
        clean = (path[-1] - math.sqrt(1 - before) * eps) / math.sqrt(before)
        path.append(math.sqrt(alpha) * clean + math.sqrt(1 - alpha) * eps)
    return path[::-1]


def test_ddib_samples_the_target_from_the_sources_noise(tiny_model, model):
    _, report, states = edit(tiny_model, "ddib")
    y = inverted(model, SOURCE)[0]
    for i, step in enumerate(model.schedule.steps(STEPS)):
        y = step.ddim(y, guided(model, TARGET).predict_noise(y, step))
        assert torch.allclose(states[i], y, atol=1e-4)
    assert len(states) == STEPS
    assert report["network_evaluations"]["unet"] == STEPS + 2 * STEPS


@pytest.mark.parametrize(("strength", "redone"), [(0.6, 3), (1.0, 5), (0.01, 1)])
def test_sdedit_noises_and_goes_on_with_the_target(tiny_model, model, strength, redone):
    files, report, states = edit(tiny_model, "sdedit", strength=strength, seed=3)
    steps = model.schedule.steps(STEPS)[-redone:]
    alpha = steps[0].alpha
    drawing = noise.gaussian(3, 0, 0, (4, SIDE, SIDE))
    y = math.sqrt(alpha) * latent(model) + math.sqrt(1 - alpha) * drawing
    for i, step in enumerate(steps):
        y = step.ddim(y, guided(model, TARGET).predict_noise(y, step))
        assert torch.allclose(states[i], y, atol=1e-4)
    assert report["network_evaluations"]["unet"] == 2 * redone
    assert set(files) == {"image.png", "sheet.png", "report.json"}


class LookAtTheSource:
    """MasaCtrl with the samples told apart one by one."""

    def __init__(self, layers):
        self.layers = layers

    def __call__(self, layer, step, query, key, value):
        late = step.index >= 4 / 50 * step.total and layer.index >= 10 / 16 * self.layers
        mixed = []
        for sample in range(len(query)):
            source = sample - sample % 2 if late and not layer.cross else sample
            weights = query[sample] @ key[source].mT / math.sqrt(query.shape[-1])
            mixed.append(torch.softmax(weights, dim=-1) @ value[source])
        return torch.stack(mixed)


@pytest.mark.parametrize("index", [9, 10])
@pytest.mark.parametrize("early", [True, False])
def test_masactrl_looks_at_the_source_from_step_4_and_layer_10(model, index, early):
    """The published numbers are of 50 steps and 16 layers."""
    step = model.schedule.steps(50)[3 if early else 4]
    query, key, value = (drawn(4, 2, 6, 3, seed=seed) for seed in range(3))
    for cross in (True, False):
        layer = Layer("", index, cross)
        mixed = MutualSelfAttention(16)(layer, step, query, key, value)
        expected = LookAtTheSource(16)(layer, step, query, key, value)
        assert torch.allclose(mixed, expected, atol=1e-6)
        own = torch.softmax(query @ key.mT / math.sqrt(3), dim=-1) @ value
        assert torch.allclose(mixed, own, atol=1e-6) == (cross or early or index == 9)
    alone = MutualSelfAttention(16)(Layer("", index, False), step, query[:2], key[:2], value[:2])
    assert torch.allclose(alone[0], own[0], atol=1e-6)


def test_masactrl_samples_both_from_the_noise_of_no_words(tiny_model, model):
    files, report, states = edit(tiny_model, "masactrl")
    attend = LookAtTheSource(self_attention_layers(model.unet))
    both = model.guided(["", TARGET], [UNWANTED] * 2, 3.0, None, attend=attend)
    y = inverted(model, "")[0].repeat(2, 1, 1, 1)
    for i, step in enumerate(model.schedule.steps(STEPS)):
        y = step.ddim(y, both.predict_noise(y, step))
        assert torch.allclose(states[i], y, atol=1e-4)
    assert report["network_evaluations"]["unet"] == STEPS + 4 * STEPS
    assert set(files) == {"image.png", "reconstruction.png", "sheet.png", "report.json"}


def test_masactrl_needs_source_and_target_in_one_batch(tiny_model):
    with pytest.raises(InvalidRequest, match="batch_size 1"):
        edit(tiny_model, "masactrl", batch_size=1)


def test_tuned_words_lead_nearer_to_the_inversion(model):
    step = model.schedule.steps(STEPS)[1]
    y = drawn(1, 4, SIDE, SIDE)
    unwanted, words, others = model.encode_prompts([UNWANTED, SOURCE, TARGET]).split(1)

    def arrive(words):
        away, towards = (model.predict(y, step, w).detach() for w in (unwanted, words))
        return step.ddim(y, away + 3.0 * (towards - away))

    goal = arrive(others)
    tuned, reached = tune(model, 3.0, unwanted, words, y, goal, step)
    before, after = ((arrive(w) - goal).square().sum() for w in (words, tuned))
    assert after < 0.9 * before
    assert torch.allclose(reached, arrive(tuned), atol=1e-5)
    assert not tuned.requires_grad


def test_tuning_is_adam_on_the_squared_distance(model):
    """Written out: five updates of rate 0.01."""
    step = model.schedule.steps(STEPS)[1]
    y, goal = drawn(1, 4, SIDE, SIDE), drawn(1, 4, SIDE, SIDE, seed=1)
    unwanted, start = model.encode_prompts([UNWANTED, SOURCE]).split(1)
    tuned, _ = tune(model, 3.0, unwanted, start, y, goal, step)
    words, mean, square = start.clone(), 0.0, 0.0
    away = model.predict(y, step, unwanted)
    for i in range(1, 6):
        words = words.detach().requires_grad_()
        eps = away + 3.0 * (model.predict(y, step, words) - away)
        (slope,) = torch.autograd.grad(((step.ddim(y, eps) - goal) ** 2).sum(), words)
        mean, square = 0.9 * mean + 0.1 * slope, 0.999 * square + 0.001 * slope**2
        scaled = mean / (1 - 0.9**i) / ((square / (1 - 0.999**i)).sqrt() + 1e-8)
        words = words - 0.01 * scaled
    assert torch.allclose(tuned, words, atol=1e-3)


def test_pti_mixes_the_targets_words_with_those_tuned(tiny_model, model):
    files, report, states = edit(tiny_model, "pti")
    unwanted, words, wanted = model.encode_prompts([UNWANTED, SOURCE, TARGET]).split(1)
    path, y, mixed = inverted(model, SOURCE), inverted(model, SOURCE)[0], []
    steps = model.schedule.steps(STEPS)
    for i, step in enumerate(steps):
        words, y = tune(model, 3.0, unwanted, words, y, path[i + 1], step)
        mixed.append(0.2 * words + 0.8 * wanted)
    restored = Image.open(io.BytesIO(files["reconstruction.png"]))
    expected = pictures.to_bytes(model.decode(y)[0])
    assert np.abs(np.asarray(restored, dtype=float) - expected).max() <= 2
    y = path[0]
    with torch.no_grad():
        for i, step in enumerate(steps):
            away, towards = (model.predict(y, step, w) for w in (unwanted, mixed[i]))
            y = step.ddim(y, away + 3.0 * (towards - away))
    assert torch.allclose(states[-1], y, atol=1e-2)
    assert report["network_evaluations"]["unet"] == STEPS + STEPS * 7 + STEPS * 2


@pytest.mark.parametrize(
    ("strategy", "scale"), [("ddib", 5.0), ("sdedit", 5.0), ("masactrl", 7.5), ("pti", 7.5)]
)
def test_guidance_is_the_published_one(tiny_model, strategy, scale):
    _, report, _ = edit(tiny_model, strategy, guidance_scale=None, steps=1)
    assert report["parameters"]["guidance_scale"] == scale
    assert report["strategy"] == strategy


@pytest.mark.parametrize("strategy", ["ddib", "sdedit", "masactrl", "pti"])
def test_a_given_mask_only_measures_a_rival(tiny_model, strategy):
    pixels = np.zeros((SIDE * 8, SIDE * 8), dtype=np.uint8)
    pixels[:, SIDE * 4 :] = 255
    plain, report, _ = edit(tiny_model, strategy, steps=1)
    assert "background_difference" not in report
    files, report, _ = edit(tiny_model, strategy, {"mask": pictures.png(pixels)}, steps=1)
    assert files["image.png"] == plain["image.png"]
    assert 0 < report["background_difference"] < 1
    assert "mask.png" in files
    assert "mask.png" not in plain
