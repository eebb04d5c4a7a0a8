# SPDX-License-Identifier: GPL-3.0-or-later
"""The network adapter against diffusers' own pipeline on the same folder."""

import json
import shutil

import pytest
import torch
from diffusers import StableDiffusionControlNetPipeline

from syncsde_engine import noise
from syncsde_engine.coupling import couple
from syncsde_engine.errors import DeviceUnavailable, MissingWeights
from syncsde_engine.models import catalogue
from syncsde_engine.models.stable_diffusion import StableDiffusion, pick_device
from syncsde_engine.models.stable_diffusion import load as load_once
from syncsde_engine.sampler import sample
from syncsde_engine.strategies import Independent
from tests.engine.exact import random_pairs
from tests.tiny import save_pipeline

CPU = torch.device("cpu")
PROMPTS = ["a red brick", "a longer prompt, with commas, cut off at the end of the window", "moss"]
SIDE = 8  # latent pixels


def load(folder):
    return StableDiffusion.load(folder, None, CPU)


def depth(count):
    return torch.rand(count, 3, SIDE * 8, SIDE * 8, generator=torch.Generator().manual_seed(1))


def ours(folder, guidance_scale, batch_size=None, steps=5, control_scale=0.7):
    return generate(load(folder), guidance_scale, batch_size, steps, control_scale)


def generate(model, guidance_scale, batch_size=None, steps=5, control_scale=0.7):
    denoiser = model.guided(
        PROMPTS, ["bad"] * 3, depth(3), guidance_scale, control_scale, batch_size
    )
    y = noise.initial(0, 3, (4, SIDE, SIDE))
    coupling = couple(random_pairs(3, SIDE * SIDE))
    for state in sample(y, model.schedule.steps(steps), denoiser, Independent(), coupling):
        y = state.y
    return y


@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction", "sample"])
@pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning")
def test_latents_equal_those_of_diffusers_pipeline(tmp_path, prediction):
    folder = save_pipeline(tmp_path / "model", prediction)
    pipeline = StableDiffusionControlNetPipeline.from_pretrained(
        folder, safety_checker=None, feature_extractor=None, requires_safety_checker=False
    )
    pipeline.set_progress_bar_config(disable=True)
    expected = pipeline(
        PROMPTS,
        image=depth(3),
        negative_prompt=["bad"] * 3,
        num_inference_steps=5,
        guidance_scale=3.0,
        controlnet_conditioning_scale=0.7,
        latents=noise.initial(0, 3, (4, SIDE, SIDE)),
        output_type="latent",
    ).images
    result = ours(folder, 3.0)
    assert (result - expected).abs().max() < 1e-4 * expected.abs().max()
    assert (result - noise.initial(0, 3, (4, SIDE, SIDE))).abs().max() > 0.1


def test_chunks_change_a_result_by_rounding_only(tiny_model):
    whole = ours(tiny_model, 3.0)
    for batch_size in (1, 2):
        assert torch.allclose(ours(tiny_model, 3.0, batch_size), whole, atol=1e-4)


def test_prompt_and_depth_matter(tiny_model):
    whole = ours(tiny_model, 3.0)
    assert not torch.allclose(ours(tiny_model, 3.0, control_scale=0.0), whole, atol=1e-3)
    assert not torch.allclose(ours(tiny_model, 1.0), whole, atol=1e-3)


def test_evaluations_are_counted(tiny_model):
    model = load(tiny_model)
    generate(model, 3.0, steps=4)
    assert model.usage.evaluations == {"text_encoder": 4, "unet": 24, "controlnet": 24}
    images = model.decode(torch.zeros(2, 4, SIDE, SIDE))
    assert images.shape == (2, 3, SIDE * 8, SIDE * 8)
    assert 0 <= images.min() <= images.max() <= 1
    assert model.usage.evaluations["vae_decoder"] == 2
    assert model.usage.seconds > 0


def test_a_prompt_that_is_cut_is_told(tiny_model, caplog):
    model = load(tiny_model)
    model.encode_prompts(["moss"])
    assert not caplog.records
    model.encode_prompts(["a prompt far beyond sixteen tokens"])
    assert "cut to the model's 16" in caplog.text


def test_without_guidance_only_the_prompt_is_evaluated(tiny_model):
    model = load(tiny_model)
    generate(model, 1.0, steps=4)
    assert model.usage.evaluations["unet"] == 12


def test_a_controlnet_of_its_own_folder(tiny_model, tmp_path):
    folder = tmp_path / "without"
    shutil.copytree(tiny_model, folder)
    shutil.move(folder / "controlnet", tmp_path / "controlnet")
    with pytest.raises(MissingWeights, match="controlnet"):
        load(folder)
    StableDiffusion.load(folder, tmp_path / "controlnet", CPU)


@pytest.mark.parametrize("part", ["unet", "vae", "text_encoder", "tokenizer", "scheduler"])
def test_a_missing_part_is_named(tiny_model, tmp_path, part):
    shutil.copytree(tiny_model, tmp_path / "model")
    shutil.rmtree(tmp_path / "model" / part)
    with pytest.raises(MissingWeights, match=part) as caught:
        load(tmp_path / "model")
    assert "\n" not in str(caught.value)


def test_pickled_weights_are_refused(tiny_model, tmp_path):
    shutil.copytree(tiny_model, tmp_path / "model")
    unet = tmp_path / "model" / "unet"
    (unet / "diffusion_pytorch_model.safetensors").unlink()
    torch.save({}, unet / "diffusion_pytorch_model.bin")
    with pytest.raises(MissingWeights, match="safetensors"):
        load(tmp_path / "model")


@pytest.mark.parametrize("part", catalogue.PARTS)
def test_truncated_weights_are_refused(tiny_model, tmp_path, part):
    shutil.copytree(tiny_model, tmp_path / "model")
    (weights,) = (tmp_path / "model" / part).glob("*.safetensors")
    weights.write_bytes(weights.read_bytes()[:1000])
    with pytest.raises(MissingWeights, match=part):
        load(tmp_path / "model")


def test_a_folder_of_another_network_is_no_controlnet(tiny_model):
    with pytest.raises(MissingWeights, match="UNet2DConditionModel, not a ControlNetModel"):
        StableDiffusion.load(tiny_model, tiny_model / "unet", CPU)


@pytest.mark.parametrize("content", ["[]", "{", '{"prediction_type": "flow"}'])
def test_a_senseless_scheduler_is_refused(tiny_model, tmp_path, content):
    shutil.copytree(tiny_model, tmp_path / "model")
    (tmp_path / "model" / "scheduler" / "scheduler_config.json").write_text(content)
    with pytest.raises(MissingWeights, match="scheduler"):
        load(tmp_path / "model")


def test_a_model_is_loaded_again_only_if_its_files_change(tiny_model, tmp_path):
    folder = tmp_path / "model"
    shutil.copytree(tiny_model, folder)
    first = load_once(folder, None, CPU)
    assert load_once(folder, None, CPU) is first
    weights = folder / "unet" / "diffusion_pytorch_model.safetensors"
    weights.write_bytes(weights.read_bytes())
    assert load_once(folder, None, CPU) is not first


def test_unknown_models_are_refused():
    for name in ("no-such-model", "nobody/no-such-model", "../nowhere"):
        with pytest.raises(MissingWeights, match=name):
            catalogue.locate(name)


def test_settings_of_a_model_override_the_papers(tiny_model, tmp_path):
    assert catalogue.settings(tiny_model).guidance_scale == 15.5
    text = json.dumps({"guidance_scale": 3.0, "vocabulary": ["red"]})
    (tmp_path / catalogue.SETTINGS_FILE).write_text(text)
    assert catalogue.settings(tmp_path).guidance_scale == 3.0
    assert catalogue.settings(tmp_path).control_scale == 0.7


WRONG = ["{", "[]", '{"guidance_scale": "3"}', '{"guidance_scale": 150}', '{"view_size": 100}']


@pytest.mark.parametrize("content", WRONG)
def test_senseless_settings_are_refused(tmp_path, content):
    (tmp_path / catalogue.SETTINGS_FILE).write_text(content)
    with pytest.raises(MissingWeights, match=catalogue.SETTINGS_FILE):
        catalogue.settings(tmp_path)


def test_fingerprint_follows_the_weights_that_are_loaded(tiny_model, tmp_path):
    def fingerprint(folder):
        return catalogue.fingerprint(catalogue.weights(folder, None))

    folder = tmp_path / "model"
    shutil.copytree(tiny_model, folder)
    before = fingerprint(folder)
    assert before == fingerprint(tiny_model)
    weights = folder / "vae" / "diffusion_pytorch_model.safetensors"
    shutil.copy(weights, weights.with_name("diffusion_pytorch_model.fp16.safetensors"))
    assert fingerprint(folder) == before
    weights.write_bytes(weights.read_bytes()[:-1] + b"\x01")
    assert fingerprint(folder) != before


@pytest.mark.skipif(torch.cuda.is_available(), reason="CUDA is there")
def test_an_absent_device_is_named():
    assert pick_device("auto").type in ("cpu", "mps")
    with pytest.raises(DeviceUnavailable, match="cuda:3"):
        pick_device("cuda:3")
