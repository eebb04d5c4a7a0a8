# SPDX-License-Identifier: GPL-3.0-or-later
"""The three tables: known for perfect and for ignorant networks."""

from types import SimpleNamespace

import pytest
import torch

from training.diagnosis import (
    TIMES,
    draw_sample,
    errors_by_noise,
    kept_by_autoencoder,
    markdown,
    read_by_judge,
)
from training.judge import Judge
from training.materials import MATERIALS
from training.networks import make_scheduler


@pytest.fixture(scope="module")
def sample():
    return draw_sample(64, 1)


class Exact:
    """Stands for the networks of a pipeline: knows the clean latents, or only their mean."""

    def __init__(self, knows):
        self.knows, self.clean, self.row = knows, None, 0
        self.device = torch.device("cpu")
        self.scheduler = make_scheduler()
        self.tokenizer = SimpleNamespace(model_max_length=8)
        self.vae = SimpleNamespace(encode=self.encode)
        self.controlnet = lambda *_, **__: ((), None)

    def encode(self, images):
        cells = torch.nn.functional.avg_pool2d(images, 8)
        latents = torch.cat([cells, cells[:, :1]], 1)
        self.clean = latents if self.clean is None else torch.cat([self.clean, latents])
        return SimpleNamespace(latent_dist=SimpleNamespace(mean=latents))

    def unet(self, noisy, when, text, **_):
        alpha = self.scheduler.alphas_cumprod[when[0]]
        clean = self.clean[self.row // len(TIMES) : self.row // len(TIMES) + 1]
        self.row += 1
        guess = clean if self.knows else torch.zeros_like(clean)
        v = (alpha.sqrt() * noisy - guess) / (1 - alpha).sqrt()
        return SimpleNamespace(sample=v)


@pytest.mark.parametrize(("knows", "least", "most"), [(True, 0, 1e-4), (False, 0.5, 20)])
def test_errors_are_zero_for_who_knows_and_large_for_who_does_not(sample, knows, least, most):
    pipeline = Exact(knows)
    ids = SimpleNamespace(input_ids=torch.zeros(1, 8, dtype=torch.long))

    def tokenize(*_, **__):
        return ids

    tokenize.model_max_length = 8
    pipeline.tokenizer = tokenize
    pipeline.text_encoder = lambda _: (torch.zeros(1, 8, 4),)
    table = errors_by_noise(pipeline, sample)
    assert set(table) == set(MATERIALS)
    figures = torch.tensor(list(table.values()))
    assert least <= figures.mean() <= most


def test_an_exact_autoencoder_keeps_everything(sample):
    kept = kept_by_autoencoder(sample.images, sample.images)
    assert all(decibel > 90 and contrast == pytest.approx(1) for decibel, contrast in kept.values())
    gray = kept_by_autoencoder(sample.images, torch.full_like(sample.images, 0.5))
    assert all(decibel < 30 and contrast == 0 for decibel, contrast in gray.values())


def test_the_tables_are_one_text(sample):
    judged = read_by_judge(Judge().eval(), sample, sample.images)
    assert judged["material, renders"] == judged["material, reconstructions"]
    text = markdown(
        {name: [0.5] * len(TIMES) for name in MATERIALS},
        dict.fromkeys(MATERIALS, (20.0, 0.5)),
        judged,
    )
    assert "| brick | 20.0 | 0.50 | 0.50 |" in text
    assert "material, renders" in text
