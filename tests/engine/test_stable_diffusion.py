# SPDX-License-Identifier: GPL-3.0-or-later
"""The network adapter against diffusers' own pipelines on the same folder."""

import json
import shutil
from itertools import pairwise

import pytest
import torch
from diffusers import AutoencoderKL, StableDiffusionControlNetPipeline, StableDiffusionPipeline

from syncsde_engine.errors import DeviceUnavailable, MissingWeights
from syncsde_engine.models import catalog, loading, tiles
from syncsde_engine.models.devices import pick_device
from syncsde_engine.models.stable_diffusion import StableDiffusion
from tests.tiny import save_pipeline

CPU = torch.device("cpu")
PROMPTS = ["a red brick", "a longer prompt, with commas, cut off at the end of the window", "moss"]
SIDE = 8  # latent cells
PARTS = (*catalog.PARTS, "controlnet")


def load(folder, **options):
    return StableDiffusion.load(folder, CPU, control=True, **options)


@pytest.fixture(scope="module")
def mini():
    return load(catalog.locate("mini"))


def drawn(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def depth(count, side=SIDE):
    return torch.rand(count, 3, side * 8, side * 8, generator=torch.Generator().manual_seed(1))


def generate(denoiser, y, steps):
    """Every trajectory on its own."""
    for step in steps:
        y = step.ddim(y, denoiser.predict_noise(y, step))
    return y


def ours(model, guidance_scale=3.0, batch_size=None, steps=5, control_scale=0.7, side=SIDE):
    denoiser = model.guided(
        PROMPTS,
        ["bad"] * 3,
        guidance_scale,
        batch_size,
        control=depth(3, side),
        control_scale=control_scale,
    )
    return generate(denoiser, drawn(3, 4, side, side), model.schedule.steps(steps))


def theirs(kind, folder, steps=5, **options):
    pipeline = kind.from_pretrained(
        folder, safety_checker=None, feature_extractor=None, requires_safety_checker=False
    )
    pipeline.set_progress_bar_config(disable=True)
    return pipeline(
        PROMPTS,
        negative_prompt=["bad"] * 3,
        num_inference_steps=steps,
        guidance_scale=3.0,
        latents=drawn(3, 4, SIDE, SIDE),
        output_type="latent",
        **options,
    ).images


@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction", "sample"])
@pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning")
def test_latents_equal_those_of_diffusers_pipeline(tmp_path, prediction):
    folder = save_pipeline(tmp_path / "model", prediction)
    control = {"image": depth(3), "controlnet_conditioning_scale": 0.7}
    expected = theirs(
        StableDiffusionControlNetPipeline, folder, control_guidance_end=0.99, **control
    )
    result = ours(load(folder))
    assert (result - expected).abs().max() < 1e-4 * expected.abs().max()
    assert (result - drawn(3, 4, SIDE, SIDE)).abs().max() > 0.1
    throughout = theirs(StableDiffusionControlNetPipeline, folder, **control)
    assert (result - throughout).abs().max() > 1e-3, "the last step has no control"


@pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning")
def test_a_single_step_is_controlled(tiny_model):
    expected = theirs(
        StableDiffusionControlNetPipeline,
        tiny_model,
        steps=1,
        image=depth(3),
        controlnet_conditioning_scale=0.7,
    )
    result = ours(load(tiny_model), steps=1)
    assert (result - expected).abs().max() < 1e-4 * expected.abs().max()


@pytest.fixture(scope="module")
def bare_model(tiny_model, tmp_path_factory):
    """A folder without a ControlNet, like that of Stable Diffusion 2 base."""
    folder = tmp_path_factory.mktemp("bare") / "model"
    shutil.copytree(tiny_model, folder, ignore=shutil.ignore_patterns("controlnet"))
    index = json.loads((folder / "model_index.json").read_text())
    del index["controlnet"]
    index["_class_name"] = "StableDiffusionPipeline"
    (folder / "model_index.json").write_text(json.dumps(index))
    return folder


@pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning")
def test_without_a_controlnet_none_is_needed(bare_model):
    model = loading.load(bare_model, CPU)
    denoiser = model.guided(PROMPTS, ["bad"] * 3, 3.0, None)
    result = generate(denoiser, drawn(3, 4, SIDE, SIDE), model.schedule.steps(5))
    expected = theirs(StableDiffusionPipeline, bare_model)
    assert (result - expected).abs().max() < 1e-4 * expected.abs().max()
    assert model.usage.evaluations["controlnet"] == 0


def test_chunks_change_a_result_by_rounding_only(tiny_model, mini):
    for model, side in ((load(tiny_model), SIDE), (mini, 16)):
        whole = ours(model, side=side)
        for batch_size in (1, 2):
            result = ours(model, batch_size=batch_size, side=side)
            assert torch.allclose(result, whole, atol=1e-4)


@pytest.mark.parametrize(
    ("count", "batch_size", "samples"),
    [(13, None, [14, 12]), (10, None, [20]), (7, 3, [6, 4, 4]), (2, 64, [4])],
)
def test_batches_are_balanced(tiny_model, count, batch_size, samples):
    model = load(tiny_model)
    seen = []
    model.unet.register_forward_pre_hook(
        lambda unet, inputs, named: seen.append(len(named["sample"])), with_kwargs=True
    )
    denoiser = model.guided(["moss"] * count, [""] * count, 2.0, batch_size)
    y = drawn(count, 4, SIDE, SIDE)
    assert denoiser.predict_noise(y, model.schedule.steps(2)[0]).shape == y.shape
    assert seen == samples


def test_prompt_and_depth_matter(tiny_model):
    model = load(tiny_model)
    whole = ours(model)
    assert not torch.allclose(ours(model, control_scale=0.0), whole, atol=1e-3)
    assert not torch.allclose(ours(model, 1.0), whole, atol=1e-3)


def test_evaluations_are_counted(tiny_model):
    model = load(tiny_model)
    denoiser = model.guided(["moss"] * 10, [""] * 10, 3.0, None, control=depth(10))
    generate(denoiser, drawn(10, 4, SIDE, SIDE), model.schedule.steps(30))
    assert model.usage.evaluations == {"text_encoder": 2, "unet": 600, "controlnet": 580}
    images = model.decode(torch.zeros(2, 4, SIDE, SIDE))
    assert images.shape == (2, 3, SIDE * 8, SIDE * 8)
    assert 0 <= images.min() <= images.max() <= 1
    assert model.encode(images).shape == (2, 4, SIDE, SIDE)
    assert model.usage.evaluations["vae_decoder"] == 2
    assert model.usage.evaluations["vae_encoder"] == 2
    assert model.usage.seconds > 0


def test_without_guidance_only_the_prompt_is_evaluated(tiny_model):
    model = load(tiny_model)
    ours(model, 1.0, steps=4)
    assert model.usage.evaluations == {"text_encoder": 3, "unet": 12, "controlnet": 9}


def test_what_is_cut_from_a_prompt_is_told(tiny_model, mini, caplog):
    model = load(tiny_model)
    model.encode_prompts(["moss", "exactly 14 let"])
    assert not caplog.records
    model.encode_prompts(["a prompt far beyond sixteen tokens"])
    assert "16 tokens; lost: 'nd sixteen tokens'" in caplog.text  # each letter is a token here
    mini.encode_prompts([f"a {'mossy ' * 29}statue, front view", "moss"])
    assert "32 tokens; lost: 'statue , front view'" in caplog.text


def test_a_single_prediction_is_differentiable_in_the_words(tiny_model):
    model = load(tiny_model)
    y, weight, direction = drawn(1, 4, SIDE, SIDE), drawn(1, 4, SIDE, SIDE, seed=1), 1e-2
    step = model.schedule.steps(5)[2]
    words = model.encode_prompts(["moss"]).requires_grad_()
    eps = model.predict(y, step, words)
    assert torch.allclose(eps, model.guided(["moss"], [], 1, None).predict_noise(y, step))
    (gradient,) = torch.autograd.grad((weight * eps).sum(), words)
    with torch.no_grad():
        nudge = direction * gradient / gradient.norm()
        up, down = (
            (weight * model.predict(y, step, words + side)).sum() for side in (nudge, -nudge)
        )
    assert float(up - down) / (2 * direction) == pytest.approx(float(gradient.norm()), rel=1e-2)


def test_an_image_is_encoded_to_the_posteriors_mean(tiny_model):
    vae = AutoencoderKL.from_pretrained(tiny_model / "vae")
    images = depth(2)
    with torch.no_grad():
        expected = vae.encode(images * 2 - 1).latent_dist.mode() * vae.config.scaling_factor
    assert torch.allclose(load(tiny_model).encode(images), expected, atol=1e-5)


@pytest.fixture(scope="module")
def mossy(mini):
    """Latents of what mini draws well, (1, 4, 32, 32)."""
    denoiser = mini.guided(["mossy stone statue"], [""], 3.0, None)
    return generate(denoiser, drawn(1, 4, 32, 32), mini.schedule.steps(8))


def test_mini_encodes_and_decodes_an_image(mini, mossy):
    image = mini.decode(mossy)
    assert image.std() > 0.05
    assert (mini.decode(mini.encode(image)) - image).abs().mean() < 0.03


def largest_tile(model, latents):
    seen = []
    hook = model.vae.decoder.register_forward_pre_hook(
        lambda decoder, inputs: seen.append(inputs[0].shape[-2] * inputs[0].shape[-1])
    )
    images = model.decode(latents)
    hook.remove()
    return images, max(seen)


def test_the_papers_canvas_is_decoded_whole_and_a_wider_one_in_tiles(tiny_model):
    model = load(tiny_model)
    images, largest = largest_tile(model, torch.zeros(1, 4, 64, 256))
    assert model.usage.evaluations["vae_decoder"] == 1
    images, largest = largest_tile(model, torch.zeros(1, 4, 64, 257))
    assert images.shape == (1, 3, 512, 257 * 8)
    assert model.usage.evaluations["vae_decoder"] == 3
    assert largest == 64 * 256


@pytest.mark.parametrize(
    ("height", "width", "pieces"),
    [(32, 48, 1), (32, 49, 2), (32, 500, 16), (500, 32, 16), (40, 41, 4), (4, 1000, 3)],
)
def test_tiles_do_not_grow_with_the_picture(tiny_model, monkeypatch, height, width, pieces):
    monkeypatch.setattr(tiles, "MOST_CELLS", 32 * 48)
    monkeypatch.setattr(tiles, "LEAST_SIDE", 39)
    model = load(tiny_model)
    images, largest = largest_tile(model, drawn(2, 4, height, width))
    assert images.shape == (2, 3, height * 8, width * 8)
    assert images.isfinite().all()
    assert largest <= 32 * 48
    assert model.usage.evaluations["vae_decoder"] == 2 * pieces


@pytest.mark.parametrize("turned", [False, True])
def test_tiles_look_like_the_whole(mini, mossy, monkeypatch, turned):
    latents = mossy.repeat(1, 1, 1, 4)
    latents = latents.mT if turned else latents
    whole = mini.decode(latents)
    monkeypatch.setattr(tiles, "MOST_CELLS", 32 * 64)
    monkeypatch.setattr(tiles, "LEAST_SIDE", 32)
    tiled, largest = largest_tile(mini, latents)
    assert largest == 32 * 64
    assert not torch.equal(tiled, whole)
    assert (tiled - whole).abs().max() < 0.02
    assert (tiled - whole).abs().mean() < 0.002


@pytest.mark.parametrize(("length", "tile"), [(100, 100), (101, 100), (1000, 128), (129, 128)])
def test_tiles_cover_everything_and_overlap_enough(length, tile):
    begin = tiles.starts(length, tile)
    assert begin[0] == 0
    assert begin[-1] + tile == length
    steps = [after - before for before, after in pairwise(begin)]
    assert all(0 < step <= tile - tiles.OVERLAP for step in steps)


@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
def test_lower_precision_is_the_networks_alone(tiny_model, precision):
    model = load(tiny_model, precision=precision)
    assert model.unet.dtype == model.controlnet.dtype == getattr(torch, precision)
    assert model.vae.dtype == torch.float32
    result, whole = ours(model), ours(load(tiny_model))
    assert result.dtype == torch.float32
    assert 0 < (result - whole).abs().mean() < 0.1 * whole.std()


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning")
def test_compiled_networks_say_the_same(tiny_model):
    model = loading.load(tiny_model, CPU, control=True, compile=True)
    assert torch.allclose(ours(model, steps=2), ours(load(tiny_model), steps=2), atol=1e-3)


def test_the_step_without_control_is_not_compiled_for_itself(tiny_model):
    model = load(tiny_model)
    graphs = []

    def backend(graph, inputs):
        graphs.append(graph)
        return graph.forward

    model.unet.compile(backend=backend)
    first = ours(model, steps=3)
    assert len(graphs) == 1
    assert torch.allclose(first, ours(load(tiny_model), steps=3), atol=1e-4)


def test_what_cannot_compile_says_so(tiny_model, monkeypatch):
    def broken(function):
        raise RuntimeError("No working C++ compiler found\nand much more")

    monkeypatch.setattr(torch, "compile", broken)
    monkeypatch.setattr(loading, "_last", [])
    with pytest.raises(DeviceUnavailable, match="No working C") as caught:
        loading.load(tiny_model, CPU, compile=True)
    assert caught.value.field == "compile"
    assert "\n" not in str(caught.value)


def test_a_controlnet_of_its_own_folder(tiny_model, bare_model):
    with pytest.raises(MissingWeights, match="controlnet"):
        load(bare_model)
    load(bare_model, controlnet=tiny_model / "controlnet")


def test_parts_of_different_models_are_refused(tiny_model, tmp_path):
    folder = catalog.locate("mini")
    with pytest.raises(MissingWeights, match=r"'controlnet'.*width 128.*16"):
        load(tiny_model, controlnet=folder / "controlnet")
    shutil.copytree(tiny_model, tmp_path / "model")
    shutil.rmtree(tmp_path / "model" / "unet")
    shutil.copytree(folder / "unet", tmp_path / "model" / "unet")
    with pytest.raises(MissingWeights, match=r"'unet'.*width 128.*16"):
        load(tmp_path / "model")


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


@pytest.mark.parametrize("part", PARTS)
def test_truncated_weights_are_refused(tiny_model, tmp_path, part):
    shutil.copytree(tiny_model, tmp_path / "model")
    (weights,) = (tmp_path / "model" / part).glob("*.safetensors")
    weights.write_bytes(weights.read_bytes()[:1000])
    with pytest.raises(MissingWeights, match=part):
        load(tmp_path / "model")


def test_a_folder_of_another_network_is_no_controlnet(tiny_model):
    with pytest.raises(MissingWeights, match="UNet2DConditionModel, not a ControlNetModel"):
        load(tiny_model, controlnet=tiny_model / "unet")


@pytest.mark.parametrize("content", ["[]", "{", '{"prediction_type": "flow"}'])
def test_a_senseless_scheduler_is_refused(tiny_model, tmp_path, content):
    shutil.copytree(tiny_model, tmp_path / "model")
    (tmp_path / "model" / "scheduler" / "scheduler_config.json").write_text(content)
    with pytest.raises(MissingWeights, match="scheduler"):
        load(tmp_path / "model")


def test_a_model_is_loaded_again_only_if_its_files_change(tiny_model, tmp_path):
    folder = tmp_path / "model"
    shutil.copytree(tiny_model, folder)
    first = loading.load(folder, CPU, control=True)
    assert loading.load(folder, CPU, control=True) is first
    weights = folder / "unet" / "diffusion_pytorch_model.safetensors"
    weights.write_bytes(weights.read_bytes())
    second = loading.load(folder, CPU, control=True)
    assert second is not first
    assert loading.load(folder, CPU, control=True, precision="bfloat16") is not second


def test_a_model_with_control_serves_requests_without(tiny_model, bare_model):
    both = loading.load(tiny_model, CPU, control=True)
    assert loading.load(tiny_model, CPU) is both
    alone = loading.load(bare_model, CPU)
    assert alone.controlnet is None
    own = tiny_model / "controlnet"
    given = loading.load(bare_model, CPU, controlnet=own, control=True)
    assert given is not alone
    assert loading.load(bare_model, CPU, controlnet=own) is given
    with pytest.raises(MissingWeights, match="controlnet"):
        loading.load(bare_model, CPU, control=True)


def test_a_folder_that_says_nothing_is_stable_diffusion(bare_model, tmp_path):
    folder = tmp_path / "model"
    shutil.copytree(bare_model, folder)
    (folder / "model_index.json").unlink()
    assert type(loading.load(folder, CPU)) is StableDiffusion
    (folder / "model_index.json").write_text("[")
    weights = folder / "unet" / "diffusion_pytorch_model.safetensors"
    weights.write_bytes(weights.read_bytes())
    with pytest.raises(MissingWeights, match=r"model_index\.json"):
        loading.load(folder, CPU)


def test_unknown_models_are_refused():
    for name in ("no-such-model", "nobody/no-such-model", "../nowhere"):
        with pytest.raises(MissingWeights, match=name):
            catalog.locate(name)


def test_settings_of_a_model_override_the_papers(tiny_model, tmp_path):
    assert catalog.settings(tiny_model).guidance_scale == 15.5
    text = json.dumps({"guidance_scale": 3.0, "vocabulary": ["red"]})
    (tmp_path / catalog.SETTINGS_FILE).write_text(text)
    assert catalog.settings(tmp_path).guidance_scale == 3.0
    assert catalog.settings(tmp_path).control_scale == 0.7


WRONG = ["{", "[]", '{"guidance_scale": "3"}', '{"guidance_scale": 150}', '{"view_size": 100}']


@pytest.mark.parametrize("content", WRONG)
def test_senseless_settings_are_refused(tmp_path, content):
    (tmp_path / catalog.SETTINGS_FILE).write_text(content)
    with pytest.raises(MissingWeights, match=catalog.SETTINGS_FILE):
        catalog.settings(tmp_path)


def test_fingerprint_follows_the_weights_that_are_loaded(tiny_model, tmp_path):
    def fingerprint(folder, **options):
        return catalog.fingerprint(catalog.weights(folder, **options))

    folder = tmp_path / "model"
    shutil.copytree(tiny_model, folder)
    before = fingerprint(folder)
    assert before == fingerprint(tiny_model)
    weights = folder / "vae" / "diffusion_pytorch_model.safetensors"
    shutil.copy(weights, weights.with_name("diffusion_pytorch_model.fp16.safetensors"))
    assert fingerprint(folder) == before
    controlled = fingerprint(folder, control=True)
    shutil.move(folder / "controlnet", tmp_path / "controlnet")
    assert fingerprint(folder) == before != controlled
    assert fingerprint(folder, controlnet=tmp_path / "controlnet") == before
    given = fingerprint(folder, controlnet=tmp_path / "controlnet", control=True)
    assert given == controlled
    weights.write_bytes(weights.read_bytes()[:-1] + b"\x01")
    assert fingerprint(folder) != before


def test_minis_settings_are_those_its_export_writes():
    settings = catalog.settings(catalog.locate("mini"))
    assert (settings.image_size, settings.image_guidance_scale) == (256, 3.0)
    papers = catalog.Settings()
    assert (papers.image_size, papers.image_guidance_scale) == (512, None)


@pytest.mark.skipif(torch.cuda.is_available(), reason="CUDA is there")
def test_an_absent_device_is_named():
    assert pick_device("auto").type in ("cpu", "mps")
    with pytest.raises(DeviceUnavailable, match="cuda:3"):
        pick_device("cuda:3")
