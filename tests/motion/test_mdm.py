# SPDX-License-Identifier: GPL-3.0-or-later
"""MDM: a checkpoint of its exact layout through import, command line and engine."""

import json
import math
import os
import pickle

import numpy as np
import pytest
import safetensors.torch
import torch
from torch.nn import functional

from syncsde_engine.cli import main
from syncsde_engine.method.schedule import Schedule
from syncsde_engine.models.motion import MotionModel
from syncsde_engine.models.motion_networks import Mdm
from tests.motion.tiny_motion import (
    SCHEDULER,
    checkpoint,
    deviations,
    save_clip,
    save_download,
    shapes,
)

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    return save_clip(tmp_path_factory.mktemp("clip") / "clip")


@pytest.fixture
def imported(clip, tmp_path):
    file = save_download(tmp_path / "download")
    folder = tmp_path / "mdm"
    arguments = ["models", "import", str(file), "--text-encoder", str(clip)]
    assert main([*arguments, "--output", str(folder)]) == 0
    return folder


def test_the_layout_is_that_of_the_published_checkpoints():
    network = Mdm()
    assert {n: tuple(v.shape) for n, v in network.state_dict().items()} == shapes(512, 8)
    assert sum(p.numel() for p in network.parameters()) == 17_880_327


def forward(weights, y, timestep, text, width=16, heads=4):
    """MDM's forward pass, written out from its paper: post-norm layers, one condition token."""

    def linear(x, name):
        return x @ weights[f"{name}.weight"].T + weights[f"{name}.bias"]

    def norm(x, name):
        return functional.layer_norm(
            x, (width,), weights[f"{name}.weight"], weights[f"{name}.bias"]
        )

    def position(count):
        table = torch.zeros(count, width)
        for p in range(count):
            for i in range(0, width, 2):
                angle = p * math.exp(-i * math.log(10000.0) / width)
                table[p, i], table[p, i + 1] = math.sin(angle), math.cos(angle)
        return table

    frames = y.shape[-1]
    hidden = linear(position(timestep + 1)[timestep], "embed_timestep.time_embed.0")
    condition = linear(functional.silu(hidden), "embed_timestep.time_embed.2")
    condition = condition + linear(text, "embed_text")
    poses = linear(y[:, :, 0].transpose(1, 2), "input_process.poseEmbedding")
    x = torch.cat([condition[:, None], poses], dim=1) + position(frames + 1)
    for layer in range(2):
        name = f"seqTransEncoder.layers.{layer}"
        mixed = x @ weights[f"{name}.self_attn.in_proj_weight"].T
        mixed = mixed + weights[f"{name}.self_attn.in_proj_bias"]
        q, k, v = (
            part.unflatten(-1, (heads, width // heads)).transpose(1, 2)
            for part in mixed.chunk(3, dim=-1)
        )
        share = torch.softmax(q @ k.transpose(-1, -2) / math.sqrt(width // heads), dim=-1)
        seen = (share @ v).transpose(1, 2).flatten(2)
        x = norm(x + linear(seen, f"{name}.self_attn.out_proj"), f"{name}.norm1")
        inner = functional.gelu(linear(x, f"{name}.linear1"))
        x = norm(x + linear(inner, f"{name}.linear2"), f"{name}.norm2")
    return linear(x[:, 1:], "output_process.poseFinal").transpose(1, 2)[:, :, None]


def test_the_imported_network_computes_what_mdm_does(imported):
    model = MotionModel.load(imported, CPU)
    weights = safetensors.torch.load_file(imported / "model.safetensors")
    y = torch.randn(2, 263, 1, 24, generator=torch.Generator().manual_seed(1))
    text = torch.stack([model.text.encode("a person walks"), torch.zeros(512)])
    assert text.shape == (2, 512)
    step = model.schedule.steps(50)[17]
    with torch.no_grad():
        found = model.clean(y, step, text)
    torch.testing.assert_close(
        found, forward(weights, y, step.timestep, text), rtol=1e-4, atol=1e-4
    )


def test_guidance_is_on_the_clean_motion_and_nothing_means_zeros(imported):
    model = MotionModel.load(imported, CPU)
    y = torch.randn(2, 263, 1, 24, generator=torch.Generator().manual_seed(2))
    step = model.schedule.steps(50)[30]
    prompts = ["a person walks", "a person sits"]
    guided = model.guided(prompts, ["", ""], 2.5, 1).predict_noise(y, step)
    with torch.no_grad():
        wanted = model.clean(y, step, torch.stack([model.text.encode(p) for p in prompts]))
        without = model.clean(y, step, torch.zeros(2, 512))
    clean = without + 2.5 * (wanted - without)
    torch.testing.assert_close(step.tweedie(y, guided), clean, rtol=1e-3, atol=1e-3)


def test_long_prompts_are_cut_to_twenty_tokens(imported):
    model = MotionModel.load(imported, CPU)
    short, long = "abcdefghij klmnopqrst", "abcdefghij klmnopqrst uvwxyz"
    assert torch.equal(model.text.encode(short), model.text.encode(long))
    assert not torch.equal(model.text.encode(short), model.text.encode("abcdefghij"))


@pytest.mark.parametrize("count", [50, 1000])
def test_the_ancestral_sampler_has_the_posterior_variance(count):
    schedule = Schedule.from_config({**SCHEDULER, "num_train_timesteps": count})
    before = torch.cat([torch.ones(1, dtype=torch.float64), schedule.alphas[:-1]])
    betas = 1 - schedule.alphas / before
    posterior = betas * (1 - before) / (1 - schedule.alphas)
    sigmas = torch.tensor([step.sigma for step in schedule.steps(count, eta=1.0)][::-1])
    assert (sigmas.double() ** 2 - posterior).abs().max() < 1e-6


@pytest.mark.parametrize(
    "changes", [{}, {"diffusion_steps": 1000}, {"latent_dim": 32, "layers": 3}]
)
def test_from_the_download_to_motion(clip, tmp_path, changes):
    sizes = {"width": changes.get("latent_dim", 16), "layers": changes.get("layers", 2)}
    file = save_download(tmp_path / "download", checkpoint(**sizes), **changes)
    folder, out = tmp_path / "mdm", tmp_path / "out"
    place = ["--text-encoder", str(clip), "--output", str(folder)]
    assert main(["models", "import", str(file), *place]) == 0
    asked = ["--prompt", "a person walks", "--prompt", "a person sits", "--frames", "40"]
    asked += ["--overlap", "10", "--steps", "5", "--eta", "1", "--model", str(folder)]
    assert main(["motion", *asked, "--output", str(out)]) == 0
    report = json.loads((out / "report.json").read_text())
    assert report["parameters"]["guidance_scale"] == 2.5
    assert "non-commercial" in report["model_license"]
    assert np.load(out / "motion.npz")["features"].shape == (70, 263)


def test_averages_are_preferred_and_positions_left_out(clip, tmp_path):
    both = {"model": checkpoint(0), "model_avg": checkpoint(1)}
    file = save_download(tmp_path / "download", both)
    assert main(["models", "import", str(file), "--output", str(tmp_path / "mdm")]) == 0
    found = safetensors.torch.load_file(tmp_path / "mdm" / "model.safetensors")
    wanted = {n: v for n, v in checkpoint(1).items() if not n.endswith(".pe")}
    assert set(found) == set(wanted)
    assert all(torch.equal(found[name], wanted[name]) for name in wanted)


def test_importing_twice_gives_the_same_bytes(tmp_path):
    file = save_download(tmp_path / "download")
    for name in ("a", "b"):
        assert main(["models", "import", str(file), "--output", str(tmp_path / name)]) == 0
    for path in sorted((tmp_path / "a").iterdir()):
        assert path.read_bytes() == (tmp_path / "b" / path.name).read_bytes()


class Evil:
    def __reduce__(self):
        return (os.system, ("true",))


def spoil_pickle(folder):
    torch.save({"model": Evil()}, folder / "model000200000.pt")


def spoil_plain_pickle(folder):
    (folder / "model000200000.pt").write_bytes(pickle.dumps(Evil()))


def spoil_key(folder):
    weights = checkpoint()
    del weights["seqTransEncoder.layers.1.norm2.bias"]
    torch.save(weights, folder / "model000200000.pt")


def spoil_width(folder):
    weights = checkpoint(width=24)
    torch.save(weights, folder / "model000200000.pt")


def spoil_features(folder):
    torch.save(checkpoint(channels=251), folder / "model000200000.pt")


def spoil_extra(folder):
    weights = checkpoint() | {"embed_action.weight": torch.zeros(3)}
    torch.save(weights, folder / "model000200000.pt")


def spoil_statistics(folder):
    std = deviations()
    std[:4] /= 25
    std[259:] /= 25
    np.save(folder / "Std.npy", std)


def spoil_mean(folder):
    np.save(folder / "Mean.npy", np.zeros(251, np.float32))


def spoil_objects(folder):
    np.save(folder / "Mean.npy", np.array([{}], dtype=object), allow_pickle=True)


def spoil_arguments(folder):
    (folder / "args.json").unlink()


def spoil_architecture(folder):
    (folder / "args.json").write_text(json.dumps({"arch": "trans_dec"}))


def spoil_text(folder):
    (folder / "args.json").write_text(json.dumps({"text_encoder_type": "bert"}))


def spoil_content(folder):
    torch.save([1, 2], folder / "model000200000.pt")


def spoil_bytes(folder):
    (folder / "model000200000.pt").write_bytes(b"no checkpoint")


REFUSED = {
    spoil_pickle: "could be code",
    spoil_plain_pickle: "could be code",
    spoil_key: "it has no seqTransEncoder.layers.1.norm2.bias",
    spoil_width: "has the shape (24, 263), not (16, 263)",
    spoil_features: "251 features",
    spoil_extra: "it has embed_action.weight",
    spoil_statistics: "deviation for the evaluator",
    spoil_mean: "has the shape (251,)",
    spoil_objects: "Cannot read",
    spoil_arguments: "args.json",
    spoil_architecture: "trans_dec",
    spoil_text: "bert",
    spoil_content: "no parameters",
    spoil_bytes: "holds more than tensors|Cannot read",
}


@pytest.mark.parametrize("spoil", REFUSED, ids=lambda spoil: spoil.__name__)
def test_refused_with_a_sentence_of_its_own(spoil, tmp_path, capsys):
    file = save_download(tmp_path / "download")
    spoil(tmp_path / "download")
    assert main(["models", "import", str(file), "--output", str(tmp_path / "mdm")]) == 2
    said = capsys.readouterr().err
    assert any(part in said for part in REFUSED[spoil].split("|")), said
    assert not (tmp_path / "mdm").exists(), "all of it or nothing"


def test_a_folder_without_clip_says_so(tmp_path, capsys):
    file = save_download(tmp_path / "download")
    assert main(["models", "import", str(file), "--output", str(tmp_path / "mdm")]) == 0
    asked = ["--prompt", "a person walks", "--model", str(tmp_path / "mdm")]
    assert main(["motion", *asked, "--output", str(tmp_path / "out")]) == 3
    assert "openai/clip-vit-base-patch32" in capsys.readouterr().err


def test_a_folder_with_a_broken_part_is_missing_weights(imported, tmp_path, capsys):
    weights = safetensors.torch.load_file(imported / "model.safetensors")
    del weights["embed_text.bias"]
    safetensors.torch.save_file(weights, imported / "model.safetensors")
    asked = ["--prompt", "a person walks", "--model", str(imported)]
    assert main(["motion", *asked, "--output", str(tmp_path / "out")]) == 3
    assert "it has no embed_text.bias" in capsys.readouterr().err
