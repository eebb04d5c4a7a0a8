# SPDX-License-Identifier: GPL-3.0-or-later
"""Mask-based images: regions, layers, sizes, MultiDiffusion's regions, and what is refused."""

import io
import json

import pytest
import torch
from PIL import Image

from syncsde_engine import pictures
from syncsde_engine.errors import InvalidRequest
from syncsde_engine.method.coupling import earlier
from syncsde_engine.method.schedule import Schedule
from syncsde_engine.tasks.mask import Bootstrapped, layers, topmost
from tests.engine.exact import STABLE_DIFFUSION, start
from tests.engine.running import finish


def png(height=96, width=96, box=(0.25, 0.75)):
    mask = torch.zeros(3, height, width)
    rows, columns = (slice(round(box[0] * n), round(box[1] * n)) for n in (height, width))
    mask[:, rows, columns] = 1
    return pictures.png(pictures.to_bytes(mask))


@pytest.fixture
def mask(tiny_model):
    def run(inputs=None, **parameters):
        chosen = {"background": "sea", "foreground": ["boat"], "prompt": "boat at sea", "size": 64}
        chosen |= {"model": str(tiny_model), "steps": 4}
        files = finish("mask", {**chosen, **parameters}, inputs or {"mask": png()})
        return Image.open(io.BytesIO(files["image.png"])), json.loads(files["report.json"])

    return run


def test_three_trajectories_are_evaluated_and_one_is_decoded(mask):
    image, report = mask(steps=5)
    assert image.size == (64, 64)
    assert report["network_evaluations"]["unet"] == 3 * 2 * 5, "300 at the paper's 50 steps"
    assert report["network_evaluations"]["vae_decoder"] == 1
    assert report["disagreement"] > 0


@pytest.mark.parametrize(("size", "expected"), [((60, 120), (128, 64)), ((300, 200), (64, 128))])
def test_the_image_has_the_shape_of_the_mask(mask, size, expected):
    image, _ = mask({"mask": png(*size)})
    assert image.size == expected


def test_several_foregrounds_take_a_mask_each(mask):
    inputs = {"mask": png(box=(0, 0.5)), "mask_2": png(box=(0.5, 1))}
    _, report = mask(inputs, foreground=["boat", "sun"], steps=3)
    assert report["network_evaluations"]["unet"] == 4 * 2 * 3


def test_later_masks_lie_on_top():
    labels = topmost([torch.ones(8, 8, dtype=torch.bool).triu(), torch.eye(8).bool()], 8, 8)
    assert (labels.diagonal() == 2).all()
    assert (labels[torch.ones(8, 8).triu(1).bool()] == 1).all()
    assert (labels[torch.ones(8, 8).tril(-1).bool()] == 0).all()


def test_each_region_is_free_where_it_paints_and_follows_the_background_elsewhere():
    """Eqs. 8 and 9: y2 is conditioned on y1 in the background, B; Eqs. 10 and 11: y3 on both."""
    labels = torch.zeros(6, 6, dtype=torch.int64)
    labels[2:4, 2:4] = 1
    y = start(3, (4, 6, 6))
    mean, precision = earlier(layers(labels, 2, whole=True).overlap()).gather(y)
    assert torch.equal(precision[1, 0] > 0, labels == 0)
    assert torch.equal(mean[2], torch.where(labels > 0, y[1], y[0]))


def test_multidiffusion_paints_regions_without_a_whole(mask):
    _, report = mask(strategy="multidiffusion", steps=5)
    assert report["network_evaluations"]["unet"] == 2 * 2 * 5
    assert report["network_evaluations"]["vae_encoder"] == 2, "plain colors for bootstrapping"


def test_bootstrapping_hides_the_outside_early_and_only_there():
    """arXiv:2302.08113: for the first 20 of 50 steps, sqrt(alpha) color + sqrt(1 - alpha) noise."""
    seen = []

    class Watching:
        def predict_noise(self, y, step):
            seen.append(y)
            return y

    y, color, noise = (start(2, (4, 6, 6), seed) for seed in (1, 2, 3))
    outside = torch.zeros(2, 1, 6, 6)
    outside[1, :, :3] = 1
    denoiser = Bootstrapped(Watching(), outside, color, noise)
    for step in Schedule.from_config(STABLE_DIFFUSION).steps(50):
        denoiser.predict_noise(y, step)
        shown = seen[-1]
        assert torch.equal(shown[0], y[0])
        assert torch.equal(shown[1, :, 3:], y[1, :, 3:])
        plain = step.alpha**0.5 * color + (1 - step.alpha) ** 0.5 * noise
        expected = plain if step.index < 20 else y
        assert torch.allclose(shown[1, :, :3], expected[1, :, :3])


@pytest.mark.parametrize("color", [0.0, 1.0])
def test_a_mask_with_nothing_or_everything_is_refused(mask, color):
    empty = pictures.png(pictures.to_bytes(torch.full((3, 20, 20), color)))
    with pytest.raises(InvalidRequest, match="everything" if color else "nothing"):
        mask({"mask": empty})


def test_a_mask_that_is_hidden_by_a_later_one_is_refused(mask):
    with pytest.raises(InvalidRequest, match="Mask 1 covers nothing that later masks leave free"):
        mask({"mask": png(), "mask_2": png()}, foreground=["a", "b"])


def test_a_foreground_without_its_mask_is_refused(mask):
    with pytest.raises(InvalidRequest, match="2 foregrounds and 1 mask"):
        mask(foreground=["a", "b"])


def test_a_mask_as_thin_as_a_line_is_refused(mask):
    with pytest.raises(InvalidRequest, match="4000 x 16"):
        mask({"mask": png(16, 4000)})
