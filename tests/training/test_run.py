# SPDX-License-Identifier: GPL-3.0-or-later
"""One tiny run through every stage, interrupted and continued, exported and used."""

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch
from diffusers import ControlNetModel, DDIMScheduler
from safetensors import safe_open
from safetensors.torch import load_file

from training import batches as batching
from training.__main__ import main
from training.ahead import drawn_ahead
from training.autoencoder import (
    anchor_loss,
    chroma_correlation,
    principal_components,
    whiten,
)
from training.batches import FAINT_STEP, FIRST_STEP, Batches
from training.data import Renders
from training.decoder import energy_loss
from training.draw import draw_views, held_out_depth, load_pipeline
from training.networks import make_autoencoder, make_controlnet, make_unet
from training.scenes import KINDS
from training.snapshot import restore_snapshot, take_snapshot
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
    main([*slice_, "--minutes", "5", "--until", "joint"])
    assert not (folder / "vae_fine").exists()
    main([*slice_, "--minutes", "5"])
    return folder


@pytest.fixture(scope="module")
def model(run):
    out = run / "mini"
    main(["export", "--run", str(run), "--out", str(out)])
    return out


def test_a_finished_run_does_nothing_more(run):
    """Results are not touched; checkpoints may be saved again, but hold the same."""
    results = [path for name in ("renders", "vae", "vae_fine") for path in (run / name).iterdir()]
    results.append(run / "latents.npy")
    times = {path: path.stat().st_mtime_ns for path in results}
    checkpoints = ("autoencoder.pt", "unet.pt", "joint.pt")
    before = [torch.load(run / name, weights_only=True) for name in checkpoints]
    main(["--run", str(run), "--minutes", "5", "--device", "cpu"])
    assert {path: path.stat().st_mtime_ns for path in results} == times
    after = [torch.load(run / name, weights_only=True) for name in checkpoints]
    assert after[-1]["step"] == 3
    for (place, old), (_, new) in zip(leaves(before), leaves(after), strict=True):
        same = torch.equal(old, new) if isinstance(old, torch.Tensor) else old == new
        assert same, place


def leaves(tree):
    """Everything in nested dictionaries and lists, with the way to it."""
    return torch.utils._pytree.tree_flatten_with_path(tree)[0]


def test_the_last_stage_changes_the_decoder_alone(run):
    before, after = (
        load_file(run / name / "diffusion_pytorch_model.safetensors")
        for name in ("vae", "vae_fine")
    )
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert changed
    assert all(name.startswith(("decoder.", "post_quant_conv.")) for name in changed)


def test_energy_tells_blurred_pictures_from_shifted_ones():
    noise = torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(0)) * 2 - 1
    blurred = torch.nn.functional.avg_pool2d(noise, 3, 1, 1)
    assert energy_loss(noise, noise) == 0
    assert energy_loss(noise.roll(4, -1), noise) < 0.5 * energy_loss(blurred, noise)


def test_the_stock_pipeline_draws_from_the_exported_folder(model):
    pipeline = load_pipeline(model)
    depths = held_out_depth("monkey", 0, 0, 64)[None].repeat(2, 1, 1, 1)
    views = draw_views(pipeline, ["a red statue", ""], depths, 2, 3.0, 0)
    assert views.shape == (2, 3, 64, 64)
    assert views.isfinite().all()


def test_the_exported_folder_says_what_the_engine_asks(model):
    description = json.loads((model / "syncsde.json").read_text())
    assert description["view_size"] == 64
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


@pytest.fixture(scope="module")
def batches(run, smoke_plan):
    def with_changes(**changes):
        plan = replace(smoke_plan, **changes)
        renders, tokenizer = Renders(plan, run / "renders"), load_tokenizer(plan, run)
        return Batches(plan, renders, np.load(run / "latents.npy"), tokenizer)

    return with_changes


def test_batches_depend_on_the_step_alone(batches):
    first, again = batches().first_phase(5), batches().first_phase(5)
    assert torch.equal(first.noise, again.noise)
    assert torch.equal(first.latents, again.latents)
    assert torch.equal(first.tokens, again.tokens)
    assert first.depth is None
    assert first.latents.shape == (2, 4, 4, 4)
    assert first.weight.mean().item() == pytest.approx(1)


def test_batches_drawn_ahead_are_those_drawn_here(batches, run, smoke_plan):
    plan = replace(smoke_plan, loaders=1)
    with drawn_ahead(batches().joint, "joint", plan, run) as draw:
        for step in (3, 4, 5, 9):  # also after a leap
            for here, there in zip(batches().joint(step), draw(step), strict=True):
                assert (here is None and there is None) or torch.equal(here, there)


def test_views_without_depth_are_whole_and_objects_with_depth_mostly_windows(batches):
    drawn = [batches(alone=0.5, shares=(0.6, 0.1, 0.2, 0.1)).joint(step) for step in range(300)]
    alone = [batch for batch in drawn if batch.depth is None]
    assert len(alone) / 300 == pytest.approx(0.7, abs=0.08)
    assert {batch.latents.shape[-1] for batch in alone} == {8}
    windows = [batch.depth.shape for batch in drawn if batch.depth is not None]
    assert set(windows) == {(2, 3, 32, 32), (1, 3, 64, 64)}
    assert windows.count((1, 3, 64, 64)) / len(windows) == pytest.approx(0.3, abs=0.12)


def test_views_without_depth_are_seen_at_noisier_times(batches):
    def mean_time(exponent):
        few = batches(shares=(0, 0, 1, 0), alone_noisier=exponent, first_steps=0, faint=0)
        return sum(few.joint(step).timesteps.item() for step in range(300)) / 300

    assert mean_time(1.0) == pytest.approx(500, abs=50)
    assert mean_time(2.0) == pytest.approx(1000 * 2 / 3, abs=50)  # mean of the square root of u


def test_a_share_of_the_samples_is_as_samplers_see_it(batches):
    few = batches(first_steps=0.3, faint=0.3, batch=16)
    drawn = [few.joint(step) for step in range(60)]
    times = torch.cat([batch.timesteps for batch in drawn])
    apart = torch.cat([(batch.shown - batch.latents).abs().amax((1, 2, 3)) for batch in drawn])
    usual = apart < 1e-5  # color and pattern were added again
    assert usual.float().mean() == pytest.approx(0.4, abs=0.06)
    assert times[~usual].min() >= FAINT_STEP
    assert (times[~usual] >= FIRST_STEP).float().mean() > 0.6  # all of the first, a third of faint
    assert times[usual].min() < 200
    held_back = batches().validation("object", 4, 8)
    assert torch.equal(held_back.shown, held_back.latents)


def test_a_faint_pattern_keeps_the_colors_of_object_and_background():
    stripes = torch.arange(24) % 4 < 2
    inside = torch.zeros(24, 24, dtype=torch.bool)
    inside[4:20, 4:20] = True
    latents = torch.where(inside, torch.where(stripes, 3.0, 1.0), -5.0).expand(1, 4, -1, -1)
    depth = inside.float().repeat_interleave(8, 0).repeat_interleave(8, 1)
    coarse = batching._coarse(latents, depth.expand(1, 3, -1, -1))
    assert (coarse[..., inside] - 2).abs().max() < 0.5
    assert (coarse[..., ~inside] + 5).abs().max() < 1e-5


def test_held_back_views_are_of_the_kind_asked_for(batches, run, smoke_plan):
    scenes = Renders(smoke_plan, run / "renders").scenes[-smoke_plan.held_back :]
    for kind in KINDS:
        count = sum(scene.kind == kind for scene in scenes)
        batch = batches().validation(kind, 99, 8)
        assert (len(batch.latents) if batch else 0) == count


def test_a_run_from_an_exported_model_begins_with_its_weights(model, tmp_path):
    options = ["--threads", "1", "--run", str(tmp_path), "--device", "cpu", "--minutes", "5"]
    untaught = ["--set", "text_steps=0"]
    main([*options, "--from", str(model), "--preset", "smoke", "--until", "encode", *untaught])
    assert not (tmp_path / "autoencoder.pt").exists()
    start = torch.load(tmp_path / "start.pt", weights_only=True)["modules"]
    for name, part in (("unet", "unet"), ("controlnet", "controlnet")):
        exported = load_file(model / part / "diffusion_pytorch_model.safetensors")
        assert start[name].keys() == exported.keys()
        assert all(torch.equal(start[name][key], value.float()) for key, value in exported.items())
    # A rate of nothing: what the joint phase begins with is what it ends with.
    main([*options, "--from", str(model), "--set", "rate=0.0"])
    assert not (tmp_path / "unet.pt").exists()
    trained = torch.load(tmp_path / "joint.pt", weights_only=True)["modules"]
    for name, state in trained.items():
        assert all(torch.allclose(state[key], start[name][key]) for key in state)
    words = [folder / "tokenizer" / "tokenizer.json" for folder in (model, tmp_path)]
    assert words[0].read_text() == words[1].read_text()


def test_a_run_goes_on_from_a_snapshot(run, tmp_path):
    main(["snapshot", "--run", str(run), "--out", str(tmp_path / "snapshot")])
    options = ["--threads", "1", "--run", str(tmp_path / "next"), "--device", "cpu"]
    options += ["--snapshot", str(tmp_path / "snapshot"), "--minutes", "5"]
    main([*options, "--until", "encode"])
    old, new = (
        torch.load(folder / "joint.pt", weights_only=True) for folder in (run, tmp_path / "next")
    )
    assert new["step"] == old["step"] == 3
    for before, after in zip(old["average"]["values"], new["average"]["values"], strict=True):
        assert torch.allclose(before, after, atol=1e-3, rtol=1e-3)
    main([*options, "--set", "joint_steps=5"])
    assert torch.load(tmp_path / "next" / "joint.pt", weights_only=True)["step"] == 5


def test_an_unfinished_autoencoder_goes_on_from_a_snapshot(run, tmp_path):
    begun = tmp_path / "begun"
    begun.mkdir()
    for name in ("plan.json", "autoencoder.pt"):
        shutil.copy(run / name, begun / name)
    shutil.copytree(run / "tokenizer", begun / "tokenizer")
    assert take_snapshot(begun, tmp_path / "snapshot") == ("autoencoder", 3)
    plan = restore_snapshot(tmp_path / "snapshot", tmp_path / "next")
    state = torch.load(tmp_path / "next" / "autoencoder.pt", weights_only=True)
    make_autoencoder(plan).load_state_dict(state["modules"]["vae"])
    assert not (tmp_path / "next" / "vae").exists()
    with pytest.raises(FileNotFoundError, match="no stage"):
        take_snapshot(tmp_path, tmp_path / "snapshot")


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


def test_principal_components_are_the_best_that_is_linear():
    generator = torch.Generator().manual_seed(0)
    colors = torch.rand(6, 3, 8, 8, generator=generator) * 2 - 1
    images = colors.repeat_interleave(8, -1).repeat_interleave(8, -2)
    components = principal_components(images, 3)
    latents = components.of(images)
    assert latents.shape == (6, 3, 8, 8)
    flat = latents.transpose(0, 1).flatten(1)
    assert torch.allclose(torch.cov(flat), torch.eye(3), atol=0.02)
    assert anchor_loss(latents, images, components) < 1e-8
    # What has one color in each cell is known from its three numbers.
    known = torch.cat([flat, torch.ones(1, flat.shape[1])]).T.double()
    wanted = colors.transpose(0, 1).flatten(1).T.double()
    told = known @ torch.linalg.pinv(known) @ wanted
    assert torch.allclose(told, wanted, atol=1e-4)


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
