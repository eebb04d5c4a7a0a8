# SPDX-License-Identifier: GPL-3.0-or-later
"""What researchers ask for: a run from given noise, and every state of it as a file."""

import json

import pytest
import safetensors
import torch
from safetensors.torch import load_file, save_file

from syncsde_engine.cli import main
from syncsde_engine.errors import NumericalFailure
from syncsde_engine.method.noise import gaussian
from syncsde_engine.method.strategies import SyncSDE

SHAPE = (3, 4, 8, 8)  # 3 patches of 64 pixels, 32 apart
WIDE = ["--prompt", "moss", "--width", "128", "--patch-size", "64", "--stride", "0.5"]


@pytest.fixture
def wide(tiny_model, tmp_path):
    def wide(name, *arguments, steps=3):
        fixed = ["--model", str(tiny_model), "--steps", str(steps), "--guidance-scale", "2"]
        return main(["wide", *WIDE, *fixed, "--output", str(tmp_path / name), *arguments])

    return wide


def picture(folder):
    return (folder / "image.png").read_bytes()


def save_noise(path, tensor, name="noise"):
    save_file({name: tensor.contiguous()}, path)
    return str(path)


def test_given_the_noise_of_a_seed_a_run_is_the_run_of_that_seed(wide, tmp_path):
    noise = torch.stack([gaussian(7, i, 0, SHAPE[1:]) for i in range(SHAPE[0])])
    path = save_noise(tmp_path / "noise.safetensors", noise)
    assert wide("seed", "--seed", "7", "--no-shared-noise") == 0
    assert wide("noise", "--noise", path) == 0
    assert picture(tmp_path / "noise") == picture(tmp_path / "seed")
    assert wide("other", "--seed", "8", "--no-shared-noise") == 0
    assert picture(tmp_path / "other") != picture(tmp_path / "seed")


def test_a_trace_begins_with_what_noise_takes(wide, tmp_path):
    trace = tmp_path / "trace"
    assert wide("first", "--seed", "7", "--trace", str(trace)) == 0
    assert wide("again", "--noise", str(trace / "noise.safetensors")) == 0
    assert picture(tmp_path / "again") == picture(tmp_path / "first")
    noise = load_file(trace / "noise.safetensors")["noise"]
    torch.testing.assert_close(noise[1, :, :, :4], noise[0, :, :, 4:], rtol=0, atol=0)


def test_a_trace_has_every_step_and_ends_with_the_latents(wide, tmp_path):
    trace, latents = tmp_path / "deep" / "trace", tmp_path / "latents.safetensors"
    assert wide("out", "--trace", str(trace), "--save-latents", str(latents)) == 0
    names = ["noise", "step_000", "step_001", "step_002"]
    assert sorted(path.name for path in trace.iterdir()) == [f"{n}.safetensors" for n in names]
    final = load_file(latents)["latents"]
    assert (final.shape, final.dtype) == (SHAPE, torch.float32)
    timesteps = []
    for index in range(3):
        path = trace / f"step_{index:03}.safetensors"
        with safetensors.safe_open(path, "pt") as file:
            told = file.metadata()
        assert (told["index"], told["total"]) == (str(index), "3")
        timesteps.append(int(told["timestep"]))
    assert timesteps == [667, 334, 1]  # 3 of 1000, "leading", with an offset of one
    assert torch.equal(load_file(trace / "step_002.safetensors")["latents"], final)
    assert not torch.equal(load_file(trace / "step_001.safetensors")["latents"], final)


def test_a_shorter_run_leaves_no_steps_of_a_longer_one(wide, tmp_path):
    trace = tmp_path / "trace"
    assert wide("out", "--trace", str(trace), steps=4) == 0
    (trace / "notes.txt").write_text("mine")
    assert wide("out", "--trace", str(trace), steps=2) == 0
    names = ["noise.safetensors", "notes.txt", "step_000.safetensors", "step_001.safetensors"]
    assert sorted(path.name for path in trace.iterdir()) == names


def test_a_failed_run_leaves_nothing(wide, tmp_path, monkeypatch, capsys):
    advance = SyncSDE.advance

    def explode(self, y, eps, step, coupling, fresh):
        return advance(self, y, eps, step, coupling, fresh) * (torch.inf if step.index else 1)

    monkeypatch.setattr(SyncSDE, "advance", explode)
    before = set(tmp_path.iterdir())
    places = ["--trace", str(tmp_path / "t"), "--save-latents", str(tmp_path / "l" / "x.st")]
    assert wide("out", *places) == NumericalFailure.exit_code
    assert "step 2 of 3" in capsys.readouterr().err
    assert set(tmp_path.iterdir()) == before


@pytest.mark.parametrize("flag", ["--trace", "--save-latents"])
def test_a_place_that_cannot_be_written_is_told_before_any_work(wide, tmp_path, capsys, flag):
    (tmp_path / "file").write_text("mine")
    assert wide("out", flag, str(tmp_path / "file" / "below"), "--model", "no-such-model") == 2
    assert str(tmp_path / "file") in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_latents_need_the_name_of_a_file(wide, tmp_path, capsys):
    assert wide("out", "--save-latents", str(tmp_path)) == 2
    assert str(tmp_path) in capsys.readouterr().err


def test_what_cannot_be_replaced_takes_everything_back(wide, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "report.json").mkdir()  # a folder where a file shall go
    (tmp_path / "latents").write_text("old")
    arguments = ["--trace", str(tmp_path / "trace"), "--save-latents", str(tmp_path / "latents")]
    assert wide("out", *arguments) == 2
    assert (tmp_path / "latents").read_text() == "old"
    assert not (tmp_path / "trace").exists()
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["report.json"]


def wrong_noises():
    good = torch.zeros(SHAPE)
    bad = good.clone()
    bad[1, 2, 3, 4] = torch.nan
    return {
        "one trajectory too few": (good[:2], "noise", "(3, 4, 8, 8)"),
        "another size": (torch.zeros(3, 4, 16, 16), "noise", "(3, 4, 8, 8)"),
        "another name": (good, "latents", "no tensor 'noise'"),
        "not finite": (bad, "noise", "not finite"),
    }


@pytest.mark.parametrize(
    ("tensor", "name", "told"), wrong_noises().values(), ids=wrong_noises().keys()
)
def test_wrong_noise_is_one_sentence(wide, tmp_path, capsys, tensor, name, told):
    path = save_noise(tmp_path / "bad.safetensors", tensor, name)
    capsys.readouterr()
    assert wide("out", "--noise", path, "--json") == 2
    error = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert error["field"] == "inputs.noise"
    assert told in error["message"]
    assert path in error["message"]
    assert not (tmp_path / "out").exists()


def test_noise_that_is_no_safetensors_file(wide, tmp_path, capsys):
    path = tmp_path / "noise.pt"
    path.write_bytes(b"PK\x03\x04 a pickle")
    assert wide("out", "--noise", str(path)) == 2
    assert "not a safetensors file" in capsys.readouterr().err
