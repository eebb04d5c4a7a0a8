# SPDX-License-Identifier: GPL-3.0-or-later
"""mime's training on a tiny plan: the same bytes again, in slices too, and a folder that loads."""

import json

import numpy as np
import pytest
import torch

from syncsde_engine.models.motion import MotionModel
from syncsde_engine.motion.features import decode
from training.__main__ import main
from training.loop import Clock
from training.motion import judge
from training.motion.clips import FRAMES, draw_clip
from training.motion.plan import MotionPlan, changed
from training.motion.train import Clips, Losses, make_clips, train

TINY = ["clips=6", "steps=4", "batch=3", "width=16", "layers=1", "heads=2", "feed_forward=16"]


@pytest.fixture
def command(tmp_path):
    def command(run, out, *more):
        place = ["--run", str(tmp_path / run), "--out", str(tmp_path / out)]
        return main(["--threads", "1", "motion", *place, "--set", *TINY, *more])

    return command


def content(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_the_command_makes_the_same_bytes_again_and_the_engine_loads_them(command, tmp_path):
    assert command("first", "a") == 0
    assert command("second", "b") == 0
    assert content(tmp_path / "a") == content(tmp_path / "b")
    model = MotionModel.load(tmp_path / "a", torch.device("cpu"))
    assert model.config["procedural"] is True
    assert "procedural" in (tmp_path / "a" / "README.md").read_text()
    denoiser = model.guided(["a person walks"], [""], 2.5, None)
    y = torch.randn(1, 263, 1, 120, generator=torch.Generator().manual_seed(0))
    assert torch.isfinite(denoiser.predict_noise(y, model.schedule.steps(50)[0])).all()


def test_slices_make_what_one_go_makes(tmp_path):
    plan = changed(MotionPlan(), TINY)
    whole = train(plan, tmp_path / "whole", Clock(5))

    class Short(Clock):
        def __init__(self):
            super().__init__(5)
            self.left = 2

        def out_of_time(self):
            self.left -= 1
            return self.left < 0

    first = train(plan, tmp_path / "parts", Short())
    assert not first.finished
    second = train(plan, tmp_path / "parts", Clock(5))
    for one, other in zip(whole.average.values, second.average.values, strict=True):
        assert torch.equal(one, other)


def test_an_unknown_field_of_the_plan():
    with pytest.raises(ValueError, match="a plan has no 'speed'"):
        changed(MotionPlan(), ["speed=3"])


def test_the_losses_are_zero_for_what_is_right_and_speeds_are_the_worlds(tmp_path):
    clips = make_clips(changed(MotionPlan(), TINY), tmp_path)
    losses = Losses(clips)
    clean = (clips.features[:2] - clips.mean) / clips.std
    assert losses(clean, clean) == 0
    assert losses(clean + 0.1 * torch.randn_like(clean), clean) > 0
    plain = Losses(Clips(clips.features, clips.words, torch.zeros(263), torch.ones(263)))
    rows = clips.features[:1]
    speeds = plain.speeds(rows, plain.joints(rows))[0].norm(dim=-1).numpy()
    world = np.linalg.norm(np.diff(decode(rows[0].numpy()), axis=0), axis=-1)
    assert np.abs(speeds - world).max() < 1e-6


def test_the_judge_knows_held_out_clips():
    taught = judge.teach(each=16)
    assert judge.accuracy(taught, each=2) == 1.0
    clip = draw_clip(3, 1, "kick", held_out=True)
    assert taught.verb(clip.joints[:FRAMES]) == "kick"


def test_the_config_names_every_word(tmp_path, command):
    assert command("run", "out") == 0
    config = json.loads((tmp_path / "out" / "config.json").read_text())
    assert {"walk", "slowly", "left", "hand"} <= set(config["words"])
