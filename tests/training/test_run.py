# SPDX-License-Identifier: GPL-3.0-or-later
"""One tiny run through every stage, interrupted and continued, exported and used."""

import json

import pytest
import torch
from diffusers import ControlNetModel, DDIMScheduler
from safetensors import safe_open

from training.__main__ import main
from training.autoencoder import chroma_correlation, whiten
from training.batches import Batches
from training.data import Renders
from training.evaluate import draw_views, held_out_depth, load_pipeline
from training.networks import make_autoencoder, make_controlnet, make_unet
from training.stages import load_tokenizer

pytestmark = pytest.mark.filterwarnings("ignore")  # of diffusers and transformers, about each other


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    slice_ = ["--threads", "1", "--run", str(folder), "--device", "cpu"]
    main([*slice_, "--preset", "smoke", "--minutes", "0"])  # stops after its first shard
    assert not (folder / "autoencoder.pt").exists()
    main([*slice_, "--minutes", "5", "--until", "autoencoder"])
    assert not (folder / "latents.npy").exists()
    main([*slice_, "--minutes", "5", "--until", "unet"])
    main([*slice_, "--minutes", "5"])
    return folder


@pytest.fixture(scope="module")
def model(run):
    out = run / "mini"
    main(["export", "--run", str(run), "--out", str(out)])
    return out


def test_a_finished_run_does_nothing_more(run):
    before = (run / "unet.pt").stat().st_mtime_ns
    renders = sorted((run / "renders").iterdir())
    main(["--run", str(run), "--minutes", "5", "--device", "cpu"])
    assert torch.load(run / "joint.pt", weights_only=True)["step"] == 3
    assert (run / "unet.pt").stat().st_mtime_ns >= before
    assert sorted((run / "renders").iterdir()) == renders


def test_the_stock_pipeline_draws_from_the_exported_folder(model):
    pipeline = load_pipeline(model)
    depths = held_out_depth("monkey", 0, 0, 64)[None].repeat(2, 1, 1, 1)
    views = draw_views(pipeline, ["a red statue", ""], depths, 2, 3.0, 0)
    assert views.shape == (2, 3, 64, 64)
    assert views.isfinite().all()


def test_the_exported_folder_says_what_the_engine_asks(model):
    description = json.loads((model / "syncsde.json").read_text())
    assert description["view_size"] == 96
    assert "mossy stone" in description["vocabulary"]["materials"]
    unet = json.loads((model / "unet" / "config.json").read_text())
    assert unet["sample_size"] == 8
    scheduler = DDIMScheduler.from_pretrained(model / "scheduler").config
    assert scheduler.prediction_type == "v_prediction"
    assert not scheduler.rescale_betas_zero_snr
    for weights in model.rglob("*.safetensors"):
        with safe_open(weights, "pt") as file:
            kinds = {file.get_tensor(name).dtype for name in file.keys()}  # noqa: SIM118
        assert kinds == {torch.float16}


def test_no_exported_file_names_a_place_on_this_machine(model, run):
    for file in model.rglob("*.json"):
        assert str(run) not in file.read_text()


def test_batches_depend_on_the_step_alone(run, smoke_plan):
    import numpy as np

    renders = Renders(smoke_plan, run / "renders")
    latents, tokenizer = np.load(run / "latents.npy"), load_tokenizer(smoke_plan, run)
    first = Batches(smoke_plan, renders, latents, tokenizer).training(5, 0.0)
    again = Batches(smoke_plan, renders, latents, tokenizer).training(5, 0.0)
    for a, b in zip(first, again, strict=True):
        assert torch.equal(a, b)
    assert first.latents.shape == (2, 4, 4, 4)
    assert first.depth.shape == (2, 3, 32, 32)
    assert first.weight.mean().item() == pytest.approx(1)
    whole = Batches(smoke_plan, renders, latents, tokenizer).training(5, 1.0)
    assert whole.latents.shape[-1] == 8


def test_whitening_changes_latents_but_not_reconstructions(smoke_plan):
    torch.manual_seed(0)
    vae = make_autoencoder(smoke_plan).eval()
    images = torch.rand(8, 3, 64, 64) * 2 - 1
    with torch.no_grad():
        before = vae.decode(vae.encode(images).latent_dist.mean).sample
        whiten(vae, [images])
        latents = vae.encode(images).latent_dist
        after = vae.decode(latents.mean).sample
    assert torch.allclose(before, after, atol=1e-3)
    flat = latents.mean.transpose(0, 1).flatten(1)
    assert torch.allclose(torch.cov(flat), torch.eye(4), atol=0.02)
    assert flat.mean(1).abs().max() < 0.01


def test_depth_enters_the_controlnet_at_full_strength_and_leaves_silently(smoke_plan):
    torch.manual_seed(0)
    unet = make_unet(smoke_plan)
    depths = held_out_depth("monkey", 20, 0, 64)[None]
    controlnet: ControlNetModel = make_controlnet(smoke_plan, unet, depths)
    with torch.no_grad():
        assert controlnet.controlnet_cond_embedding(depths).std() > 0.5
        states = torch.zeros(1, 8, smoke_plan.text_width)
        down, middle = controlnet(torch.randn(1, 4, 8, 8), 10, states, depths, return_dict=False)
    assert all(not residual.any() for residual in (*down, middle))
    assert torch.equal(controlnet.conv_in.weight, unet.conv_in.weight)


def test_gray_pictures_have_no_chroma_correlation():
    images = torch.rand(2, 3, 16, 16) * 2 - 1
    gray = images.mean(1, keepdim=True).expand_as(images) + 1e-4 * torch.randn_like(images)
    assert chroma_correlation(images, images) == pytest.approx(1)
    assert chroma_correlation(gray, images) < 0.3
