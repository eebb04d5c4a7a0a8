# SPDX-License-Identifier: GPL-3.0-or-later
"""The networks' attention layers against diffusers' own, and Ring against an explicit softmax."""

import math
from collections import Counter

import pytest
import torch
from diffusers import ControlNetModel, UNet2DConditionModel

from syncsde_engine.errors import InvalidRequest
from syncsde_engine.models.attention import Layer, Ring
from syncsde_engine.models.stable_diffusion import StableDiffusion

CPU = torch.device("cpu")
PROMPTS = ["a red brick", "moss", "a red brick"]
SIDE = 8  # latent cells


@pytest.fixture(scope="module")
def model(tiny_model):
    return StableDiffusion.load(tiny_model, CPU, control=True)


def drawn(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def depth(count=3):
    return torch.rand(count, 3, SIDE * 8, SIDE * 8, generator=torch.Generator().manual_seed(1))


def latents(count=3):
    return drawn(count, 4, SIDE, SIDE)


class Recorder:
    """Keeps what each layer is given, and attends as if it were not there."""

    def __init__(self):
        self.calls = []

    def __call__(self, layer, step, query, key, value):
        self.calls.append((layer, step, query, key, value))
        return torch.nn.functional.scaled_dot_product_attention(query, key, value)


def test_networks_equal_those_with_stock_processors(model, tiny_model):
    unet = UNet2DConditionModel.from_pretrained(tiny_model / "unet")
    controlnet = ControlNetModel.from_pretrained(tiny_model / "controlnet")
    words = model.encode_prompts(PROMPTS)
    step = model.schedule.steps(4)[1]
    with torch.no_grad():
        down, middle = controlnet(
            latents(),
            step.timestep,
            encoder_hidden_states=words,
            controlnet_cond=depth(),
            conditioning_scale=0.7,
            return_dict=False,
        )
        expected = unet(
            latents(),
            step.timestep,
            encoder_hidden_states=words,
            down_block_additional_residuals=down,
            mid_block_additional_residual=middle,
        ).sample
        bare = unet(latents(), step.timestep, encoder_hidden_states=words).sample
    controlled = model.guided(PROMPTS, [], 1.0, None, control=depth(), control_scale=0.7)
    assert (controlled.predict_noise(latents(), step) - expected).abs().max() < 1e-5
    free = model.guided(PROMPTS, [], 1.0, None)
    assert (free.predict_noise(latents(), step) - bare).abs().max() < 1e-5
    assert (bare - expected).abs().max() > 1e-2, "control matters"


def test_what_does_not_change_is_computed_once(model):
    rows = Counter()

    def count(name):
        return lambda module, inputs, output: rows.update({name: len(inputs[0])})

    hooks = [model.embed_control.register_forward_hook(count("control"))]
    for kind, network in (("unet", model.unet), ("controlnet", model.controlnet)):
        for name, module in network.named_modules():
            if "attn2.to_k" in name or "attn2.to_v" in name:
                hooks.append(module.register_forward_hook(count(f"{kind}.{name}")))
    denoiser = model.guided(PROMPTS, ["bad"] * 3, 3.0, 2, control=depth())
    for step in model.schedule.steps(4):
        denoiser.predict_noise(latents(), step)
    for hook in hooks:
        hook.remove()
    assert rows.pop("control") == 3
    assert any("unet" in name for name in rows)
    assert any("controlnet" in name for name in rows)
    assert set(rows.values()) == {3}, "distinct prompts"


def test_two_denoisers_of_one_model_do_not_disturb_each_other(model):
    steps = model.schedule.steps(3)

    def first():
        return model.guided(PROMPTS, ["bad"] * 3, 3.0, 2, control=depth())

    alone = [first().predict_noise(latents(), step) for step in steps]
    mine = first()
    other = model.guided(["gold"], [""], 2.0, None, attend=Recorder())
    for step, expected in zip(steps, alone, strict=True):
        other.predict_noise(latents(1), step)
        assert torch.equal(mine.predict_noise(latents(), step), expected)


def test_layers_are_counted_in_the_order_of_use(model):
    recorder = Recorder()
    step = model.schedule.steps(4)[2]
    plain = model.guided(PROMPTS, ["bad"] * 3, 3.0, None, control=depth())
    told = model.guided(PROMPTS, ["bad"] * 3, 3.0, None, control=depth(), attend=recorder)
    assert torch.equal(told.predict_noise(latents(), step), plain.predict_noise(latents(), step))
    layers = [layer for layer, *_ in recorder.calls]
    assert [layer.cross for layer in layers] == [False, True] * (len(layers) // 2)
    assert [layer.index for layer in layers] == [i // 2 for i in range(len(layers))]
    assert layers[0].name == "down_blocks.1.attentions.0.transformer_blocks.0.attn1"
    assert {call[1] for call in recorder.calls} == {step}
    unet = [name for name, _ in model.unet.named_modules() if name.endswith(("attn1", "attn2"))]
    assert sorted(layer.name for layer in layers) == sorted(unet), "those of the UNet only"


def test_the_unwanted_half_comes_first(model):
    recorder = Recorder()
    denoiser = model.guided(["gold", "moss", "lava"], ["bad"] * 3, 3.0, None, attend=recorder)
    denoiser.predict_noise(latents(), model.schedule.steps(4)[0])
    (_, _, query, key, value), *_ = [call for call in recorder.calls if call[0].cross]
    heads, tokens = query.shape[1], model.tokenizer.model_max_length
    assert query.shape[0] == 6
    assert key.shape == value.shape == (6, heads, tokens, query.shape[-1])
    assert torch.equal(key[:3], key[:1].expand(3, -1, -1, -1)), "one unwanted prompt"
    assert not torch.equal(key[3], key[4])
    assert not torch.equal(key[3], key[0])


def test_what_attend_returns_is_used(model):
    step = model.schedule.steps(4)[0]

    def mute(layer, step, query, key, value):
        return torch.zeros_like(query)

    plain = model.guided(PROMPTS, [], 1.0, None).predict_noise(latents(), step)
    muted = model.guided(PROMPTS, [], 1.0, None, attend=mute).predict_noise(latents(), step)
    assert (plain - muted).abs().max() > 1e-3


def softmax_attention(query, key, value):
    return torch.softmax(query @ key.T / math.sqrt(query.shape[-1]), dim=-1) @ value


NEIGHBORS = [[2, 0, 1], [0, 1, 2], [1, 2, 0], [1, 3]]


@pytest.mark.parametrize("halves", [1, 2])
@pytest.mark.parametrize("early", [True, False])
def test_ring_is_attention_to_neighbors_and_early_to_the_reference(model, halves, early):
    steps = model.schedule.steps(30)
    step = [step for step in steps if (step.time > 0.8) == early][-1 if early else 0]
    views, heads = len(NEIGHBORS), 2
    query, key, value = (drawn(halves * views, heads, 5, 3, seed=seed) for seed in range(3))
    result = Ring(NEIGHBORS, reference=1)(Layer("", 0, False), step, query, key, value)
    for half in range(halves):
        for view, near in enumerate(NEIGHBORS):
            for head in range(heads):
                own, *others = (
                    [part[half * views + other, head] for part in (key, value)]
                    for other in (1, *near)
                )
                keys, values = (torch.cat(part) for part in zip(*others, strict=True))
                looking = query[half * views + view, head]
                expected = softmax_attention(looking, keys, values)
                if early:
                    expected = (expected + softmax_attention(looking, *own)) / 2
                assert torch.allclose(result[half * views + view, head], expected, atol=1e-6)


def test_ring_leaves_the_words_alone(model):
    query, key, value = drawn(2, 1, 5, 3), drawn(2, 1, 7, 3), drawn(2, 1, 7, 3, seed=1)
    ring = Ring([[0, 1], [0, 1]], reference=0)
    result = ring(Layer("", 0, True), model.schedule.steps(2)[0], query, key, value)
    assert torch.allclose(result[1, 0], softmax_attention(query[1, 0], key[1, 0], value[1, 0]))


def test_ring_of_lonely_views_changes_nothing_but_neighbors_do(model):
    step = model.schedule.steps(30)[-1]

    def noise(attend):
        bound = model.guided(PROMPTS, ["bad"] * 3, 3.0, None, attend=attend)
        return bound.predict_noise(latents(), step)

    lonely = noise(Ring([[0], [1], [2]], reference=0))
    assert torch.allclose(lonely, noise(None), atol=1e-5)
    assert (noise(Ring([[0], [0, 1], [2]], reference=0)) - lonely)[1].abs().max() > 1e-4


def test_ring_needs_all_views_in_one_batch(model):
    ring = Ring([[i] for i in range(12)], reference=0)
    with pytest.raises(InvalidRequest, match="12") as caught:
        model.guided(["moss"] * 12, [""] * 12, 2.0, 11, attend=ring)
    assert caught.value.field == "batch_size"
    recorder = Recorder()
    recorder.mixes = True
    bound = model.guided(["moss"] * 12, [""] * 12, 2.0, None, attend=recorder)
    bound.predict_noise(latents(12), model.schedule.steps(4)[0])
    assert {len(query) for _, _, query, *_ in recorder.calls} == {24}
