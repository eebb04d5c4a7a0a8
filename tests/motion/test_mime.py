# SPDX-License-Identifier: GPL-3.0-or-later
"""mime as it ships: small, said to be procedural, and it does what it is told."""

import json

import numpy as np
import pytest
import torch

from syncsde_engine.cli import main
from syncsde_engine.method.noise import Noise
from syncsde_engine.method.sampler import sample
from syncsde_engine.method.strategies import strategy
from syncsde_engine.models import catalog
from syncsde_engine.models.motion import MotionModel
from syncsde_engine.motion.features import decode
from syncsde_engine.motion.sequence import Layout
from syncsde_engine.tasks.motion import canvas_of
from training.motion.judge import teach

FOLDER = catalog.locate("mime")
VERBS = ("walk", "run", "sit", "wave", "jump", "clap")


@pytest.fixture(scope="module")
def model():
    return MotionModel.load(FOLDER, torch.device("cpu"))


def test_it_is_small_and_says_what_it_is(model, capsys):
    assert sum(path.stat().st_size for path in FOLDER.iterdir()) <= 12_000_000
    assert sum(p.numel() for p in model.network.parameters()) <= 3_000_000
    assert model.config["procedural"] is True
    assert main(["models", "show", "mime"]) == 0
    assert "procedural" in capsys.readouterr().out


def test_it_shows_the_verbs_it_is_told(model):
    chosen = strategy("independent")
    prompts = [f"a person {verb}s" for verb in VERBS]
    overlap = canvas_of(Layout(len(VERBS), 120, 0), tuple(range(len(VERBS))), False).overlap()
    y = Noise(1, (len(VERBS), 263, 1, 120), torch.device("cpu")).initial()
    scale = catalog.settings(FOLDER).image_guidance_scale or 2.5
    denoiser = model.guided(prompts, [""] * len(prompts), scale, None)
    *_, last = sample(y, model.schedule.steps(50), denoiser, chosen, chosen.couple(overlap))
    judge = teach(each=16)
    seen = [judge.verb(decode(rows)) for rows in model.features(last.y)]
    assert sum(a == b for a, b in zip(seen, VERBS, strict=True)) >= len(VERBS) - 1, seen


def test_a_default_run_from_the_command_line(tmp_path):
    asked = ["--prompt", "a person walks", "--prompt", "a person sits down", "--steps", "10"]
    assert main(["motion", *asked, "--output", str(tmp_path / "out")]) == 0
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    assert report["model"] == "mime"
    assert "procedural" in report["model_data"]
    assert np.load(tmp_path / "out" / "motion.npz")["joints"].shape == (210, 22, 3)
