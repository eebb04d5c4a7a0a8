# SPDX-License-Identifier: GPL-3.0-or-later
"""The text encoder's own lessons: what captions say, and networks that go on reading it."""

import copy
from dataclasses import replace

import pytest
import torch

from training.attributes import CLASSES, NONE, attributes, fold, teach
from training.captions import write_caption
from training.networks import make_text_encoder, make_unet
from training.scenes import Scene, draw_scene
from training.tokenizer import train_tokenizer

pytestmark = pytest.mark.filterwarnings("ignore")  # of diffusers and transformers, about each other


@pytest.fixture(scope="module")
def tokenizer(smoke_plan):
    return train_tokenizer(smoke_plan)


def test_attributes_are_what_the_caption_tells():
    brick = Scene(1, "object", shape="vase", material="brick", color="red", background="blue")
    said = attributes(brick, "a red brick vase on a blue background, front view")
    assert said["material"] == "brick"
    assert said["color"] == "red"
    assert said["background"] == "blue"
    assert said["view"] == "front"
    assert said["wall"] == said["place"] == NONE
    gold = replace(brick, material="gold", background=None)
    assert attributes(gold, "a golden vase")["color"] == NONE, "it has none to choose"
    assert attributes(gold, "a golden vase")["view"] == NONE


def test_every_attribute_of_every_scene_is_a_class(smoke_plan):
    from random import Random

    for seed in range(300):
        scene = draw_scene(seed)
        said = attributes(scene, write_caption(scene, Random(seed)))
        assert all(said[name] in CLASSES[name] for name in CLASSES)


def test_an_encoder_learns_what_captions_speak_of(smoke_plan, tokenizer):
    torch.manual_seed(0)
    text = make_text_encoder(smoke_plan, tokenizer)
    short, long = (replace(smoke_plan, text_steps=steps) for steps in (1, 60))
    assert teach(copy.deepcopy(text), tokenizer, short) < 0.4
    assert teach(text, tokenizer, long) > 0.6


def changed_by(text, matrix):
    """A text encoder whose states are those of another, times a matrix."""
    after = copy.deepcopy(text)
    last = torch.nn.Linear(*matrix.shape, bias=False)
    with torch.no_grad():
        last.weight.copy_(matrix.T)
    after.final_layer_norm = torch.nn.Sequential(after.final_layer_norm, last)
    return after


@pytest.fixture
def before(smoke_plan, tokenizer):
    torch.manual_seed(0)
    return make_text_encoder(smoke_plan, tokenizer).eval()


def test_a_network_reads_turned_words_as_before(smoke_plan, tokenizer, before):
    width = smoke_plan.text_width
    after = changed_by(before, torch.linalg.qr(torch.randn(width, width)).Q)
    unet = make_unet(smoke_plan).eval()
    changed = copy.deepcopy(unet)
    ids = tokenizer(["a red brick vase"], padding="max_length", max_length=32, return_tensors="pt")
    assert fold(before, after, [changed], tokenizer, smoke_plan) > 0.9
    noisy, time = torch.randn(1, 4, 8, 8), torch.tensor([500])
    with torch.no_grad():
        expected = unet(noisy, time, before(ids.input_ids)[0]).sample
        told = changed(noisy, time, after(ids.input_ids)[0]).sample
        other = unet(noisy, time, after(ids.input_ids)[0]).sample
    assert (told - expected).abs().mean() < 0.2 * (other - expected).abs().mean()


def test_words_that_differ_in_few_directions_do_not_blow_weights_up(smoke_plan, tokenizer, before):
    """Networks with huge keys and values would never learn to read again."""
    squeezed = torch.ones(smoke_plan.text_width)
    squeezed[: smoke_plan.text_width // 2] = 1e-5
    unet = make_unet(smoke_plan).eval()
    changed = copy.deepcopy(unet)
    fold(before, changed_by(before, torch.diag(squeezed)), [changed], tokenizer, smoke_plan)
    largest = [
        max(float(p.detach().norm()) for name, p in network.named_parameters() if "attn2" in name)
        for network in (changed, unet)
    ]
    assert largest[0] < 3 * largest[1]
