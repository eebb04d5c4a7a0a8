# SPDX-License-Identifier: GPL-3.0-or-later
"""DeepFloyd IF's two stages against diffusers' own pipelines on the same folders."""

import io
import json
import math
import shutil
from itertools import pairwise

import pytest
import torch
from diffusers import DDIMScheduler, IFPipeline, IFSuperResolutionPipeline
from PIL import Image

from syncsde_engine import tasks
from syncsde_engine.config import AmbiguousConfig, EditConfig, MaskConfig, TextureConfig, WideConfig
from syncsde_engine.errors import InvalidRequest, MissingWeights
from syncsde_engine.models import catalog, deepfloyd, loading
from syncsde_engine.models.deepfloyd import DeepFloyd, Upscaler
from syncsde_engine.tasks.session import Session
from tests.tiny_deepfloyd import save_first_stage, save_second_stage

CPU = torch.device("cpu")
PROMPTS = ["A red dog ", "a cat"]


@pytest.fixture(scope="module")
def first(tmp_path_factory):
    return save_first_stage(tmp_path_factory.mktemp("if") / "first")


@pytest.fixture(scope="module")
def second(tmp_path_factory):
    return save_second_stage(tmp_path_factory.mktemp("if") / "second")


def drawn(generator, size):
    return torch.randn((2, 3, size, size), generator=generator)


def generate(denoiser, y, steps):
    for step in steps:
        y = step.ddim(y, denoiser.predict_noise(y, step))
    return y


def with_ddim(pipeline):
    pipeline.scheduler = DDIMScheduler.from_config(pipeline.scheduler.config)
    pipeline.scheduler.register_to_config(variance_type="fixed_small")  # drops the variance
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def run(task, config, inputs=None):
    return tasks.follow(tasks.run(task, config, inputs or {}))


@pytest.mark.parametrize("scale", [1.0, 10.0])
def test_first_stage_steps_as_in_diffusers(first, scale):
    """Each step from the same state: random networks amplify rounding from step to step."""
    y = drawn(torch.Generator().manual_seed(3), 64)
    theirs = [y]
    with_ddim(IFPipeline.from_pretrained(first))(
        PROMPTS,
        negative_prompt=["bad"] * 2,
        guidance_scale=scale,
        num_inference_steps=6,
        generator=torch.Generator().manual_seed(3),
        output_type="pt",
        callback=lambda i, timestep, state: theirs.append(state),
    )
    model = DeepFloyd.load(first, CPU)
    for batch_size in (None, 1):
        denoiser = model.guided(PROMPTS, ["bad"] * 2, scale, batch_size)
        for step, (before, after) in zip(model.schedule.steps(6), pairwise(theirs), strict=True):
            ours = step.ddim(before, denoiser.predict_noise(before, step))
            assert (ours - after).abs().max() < 1e-4
    assert theirs[-1].std() > 0.1


def test_the_threshold_matters_in_the_comparison(first):
    """Without it, clean estimates of the same run leave the range of pixels."""
    model = DeepFloyd.load(first, CPU)
    step = model.schedule.steps(6)[0]
    y = drawn(torch.Generator().manual_seed(3), 64)
    eps = model.guided(PROMPTS, ["bad"] * 2, 10.0, None).predict_noise(y, step)
    free = (y - (1 - step.alpha) ** 0.5 * eps) / step.alpha**0.5
    assert free.abs().max() > 2
    assert step.tweedie(y, eps).abs().max() <= 1
    assert step.timestep == 830


def test_second_stage_equals_diffusers(first, second):
    model = DeepFloyd.load(first, CPU)
    upscaler = Upscaler.load(second, model)
    small = drawn(torch.Generator().manual_seed(1), 64).clamp(-1, 1)
    asked = model.guided(PROMPTS, ["bad"] * 2, 10.0, None)
    unwanted, wanted = asked.words
    theirs = with_ddim(IFSuperResolutionPipeline.from_pretrained(second))(
        prompt_embeds=wanted,
        negative_prompt_embeds=unwanted,
        image=small,
        noise_level=250,
        guidance_scale=10.0,
        num_inference_steps=3,
        generator=torch.Generator().manual_seed(3),
        output_type="pt",
    ).images
    generator = torch.Generator().manual_seed(3)
    y, noise = drawn(generator, 128), drawn(generator, 128)
    denoiser = upscaler.guided(small, asked, noise, 250)
    ours = generate(denoiser, y, model.schedule.steps(3))
    assert upscaler.factor == 2
    assert (ours - theirs).abs().max() < 1e-4
    assert theirs.std() > 0.1
    last = upscaler.guided(small[1:], asked, noise[1:], 250)
    assert (generate(last, y[1:], model.schedule.steps(3)) - ours[1:]).abs().max() < 1e-4


def test_ambiguous_picture_through_both_stages(first, second):
    """As many evaluations as the paper's 30 steps need, and not one more."""
    config = AmbiguousConfig(
        prompt=("a red dog", "a cat"),
        transform=("flip",),
        model=str(first),
        upscaler=str(second),
    )
    files = run("ambiguous", config)
    report = json.loads(files["report.json"])
    counts = report["network_evaluations"]
    assert (counts["unet"], counts["upscaler"], counts["text_encoder"]) == (120, 60, 3)
    assert len(report["upscaler_sha256"]) == 64
    assert report["parameters"]["size"] == 64
    image = Image.open(io.BytesIO(files["image.png"]))
    view = Image.open(io.BytesIO(files["views/01.png"]))
    assert image.size == (128, 128)
    assert image.transpose(Image.Transpose.FLIP_TOP_BOTTOM).tobytes() == view.tobytes()


class Recorder(torch.nn.Module):
    """Passes calls on to a network and keeps what it was given."""

    def __init__(self, network):
        super().__init__()
        self.network, self.dtype, self.given = network, network.dtype, []

    def forward(self, sample, timestep, class_labels=None, **options):
        self.given.append((sample, timestep, class_labels))
        return self.network(sample, timestep, class_labels=class_labels, **options)


def test_the_upscaler_enlarges_the_last_view(first, second, monkeypatch):
    """Section 3.3.4: noise level 250, on the last trajectory's picture."""
    recorders = []
    load = Upscaler.load

    def recording(*arguments):
        upscaler = load(*arguments)
        upscaler.unet = Recorder(upscaler.unet)
        recorders.append(upscaler.unet)
        return upscaler

    monkeypatch.setattr(Upscaler, "load", recording)
    given = {"prompt": ("a", "b"), "transform": ("rotate_cw",), "steps": 2, "sampler": "ddpm"}
    given |= {"model": str(first), "upscaler": str(second)}
    running = tasks.run("ambiguous", AmbiguousConfig(**given), {})
    states = [p.state for p in running if p.stage == "views" and p.state is not None]
    small = states[-1].y[-1:]
    sample, _, level = recorders[0].given[0]
    assert level.tolist() == [250, 250]
    large = torch.nn.functional.interpolate(small, (128, 128), mode="bilinear", align_corners=True)
    bar = [math.cos((t / 1000 + 0.008) / 1.008 * math.pi / 2) ** 2 for t in (0, 251)]
    alpha = bar[1] / bar[0]
    noise = (sample[:1, 3:] - alpha**0.5 * large) / (1 - alpha) ** 0.5
    assert abs(noise.mean()) < 0.02
    assert abs(noise.std() - 1) < 0.02
    assert abs(torch.corrcoef(torch.stack([noise.flatten(), sample[0, :3].flatten()]))[0, 1]) < 0.02


def test_words_are_lower_case_and_cut_with_a_warning(first, caplog):
    model = DeepFloyd.load(first, CPU)
    plain, shouted = model.encode_prompts(["a red dog", " A RED Dog"])
    assert plain.equal(shouted)
    assert model.usage.evaluations["text_encoder"] == 1
    assert not caplog.records
    model.encode_prompts(["a " * 76 + "zebra"])
    assert "77 tokens; lost: 'zebra'" in caplog.text


def test_images_and_states_are_the_same_pixels(first):
    model = DeepFloyd.load(first, CPU)
    images = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    assert (model.decode(model.encode(images)) - images).abs().max() < 1e-6
    assert model.encode(torch.zeros(1, 3, 8, 8)).eq(-1).all()
    assert model.decode(torch.full((1, 3, 8, 8), 3.0)).eq(1).all()


def test_half_precision_keeps_a_whole_state(first):
    step = DeepFloyd.load(first, CPU).schedule.steps(6)[2]
    y = drawn(torch.Generator().manual_seed(3), 64)
    eps = {
        precision: DeepFloyd.load(first, CPU, precision=precision)
        .guided(PROMPTS, ["bad"] * 2, 2.0, None)
        .predict_noise(y, step)
        for precision in ("float32", "bfloat16")
    }
    assert eps["bfloat16"].dtype == torch.float32
    difference = (eps["bfloat16"] - eps["float32"]).abs().mean()
    assert 0 < difference < 0.1 * eps["float32"].abs().mean()


def test_settings_are_those_of_64_pixels(first, tmp_path):
    assert catalog.settings(first).image_size == 64
    folder = tmp_path / "own"
    shutil.copytree(first, folder)
    (folder / "syncsde.json").write_text('{"image_guidance_scale": 4.0}')
    assert catalog.settings(folder).image_size == 64
    assert catalog.settings(folder).image_guidance_scale == 4.0
    (folder / "syncsde.json").write_text('{"image_size": 96}')
    assert catalog.settings(folder).image_size == 96
    assert isinstance(loading.load(first, CPU), DeepFloyd)


def test_masks_and_wide_images_work_on_pixels(first):
    file = io.BytesIO()
    mask = Image.new("L", (64, 64))
    mask.paste(255, (16, 16, 48, 48))
    mask.save(file, "PNG")
    options = {"steps": 2, "model": str(first), "strategy": "multidiffusion"}
    masked = MaskConfig(background="a", foreground=("b",), prompt="c", **options)
    files = run("mask", masked, {"mask": file.getvalue()})
    assert Image.open(io.BytesIO(files["image.png"])).size == (64, 64)
    files = run("wide", WideConfig(prompt="a", width=96, **options))
    assert Image.open(io.BytesIO(files["image.png"])).size == (96, 64)


def test_textures_edits_and_attention_are_refused_in_one_sentence(first):
    session = Session("wide", WideConfig(prompt="a", model=str(first)))
    with pytest.raises(InvalidRequest, match=r"DeepFloyd IF cannot .* no depth control"):
        Session("texture", TextureConfig(prompt="a", model=str(first)), control=True)
    with pytest.raises(InvalidRequest, match="attention"):
        session.guided(["a"], [""], 1.0, attend=lambda *_: None)
    file = io.BytesIO()
    Image.new("RGB", (64, 64)).save(file, "PNG")
    edit = EditConfig(source_prompt="a cat", prompt="a dog", model=str(first))
    with pytest.raises(InvalidRequest, match="attention"):
        run("edit", edit, {"image": file.getvalue()})


def damage(folder, part, **changes):
    path = folder / part
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


BROKEN = {
    "no unet": (lambda folder: shutil.rmtree(folder / "unet"), "unet"),
    "a pickle": (
        lambda folder: (folder / "unet/diffusion_pytorch_model.safetensors").rename(
            folder / "unet/diffusion_pytorch_model.bin"
        ),
        "unet",
    ),
    "no text encoder": (lambda folder: shutil.rmtree(folder / "text_encoder"), "text_encoder"),
    "no tokenizer": (lambda folder: shutil.rmtree(folder / "tokenizer"), "tokenizer"),
    "no scheduler": (lambda folder: shutil.rmtree(folder / "scheduler"), "scheduler"),
    "another prediction": (
        lambda folder: damage(
            folder, "scheduler/scheduler_config.json", prediction_type="v_prediction"
        ),
        "v_prediction",
    ),
}


@pytest.mark.parametrize("name", BROKEN)
def test_broken_first_stages_are_named(first, tmp_path, name):
    breaking, told = BROKEN[name]
    folder = tmp_path / "broken"
    shutil.copytree(first, folder)
    breaking(folder)
    with pytest.raises(MissingWeights, match=told):
        DeepFloyd.load(folder, CPU)


def test_stages_are_not_mistaken_for_each_other(first, second, tiny_model, tmp_path):
    model = DeepFloyd.load(first, CPU)
    with pytest.raises(MissingWeights, match="image_noising_scheduler"):
        Upscaler.load(first, model)
    shutil.copytree(second, tmp_path / "mixed")
    shutil.rmtree(tmp_path / "mixed" / "unet")
    shutil.copytree(first / "unet", tmp_path / "mixed" / "unet")
    with pytest.raises(MissingWeights, match="in_channels is 3 where 6"):
        Upscaler.load(tmp_path / "mixed", model)
    with pytest.raises(MissingWeights, match="text_encoder"):
        DeepFloyd.load(tiny_model, CPU)


@pytest.mark.parametrize("absent", ["sentencepiece", "protobuf"])
def test_a_tokenizer_that_needs_other_packages_names_them(tmp_path, monkeypatch, absent):
    (tmp_path / "spiece.model").write_bytes(b"")
    for name in ("sentencepiece", "protobuf"):
        monkeypatch.setattr(deepfloyd, f"is_{name}_available", lambda name=name: name != absent)
    with pytest.raises(MissingWeights, match="packages sentencepiece and protobuf"):
        deepfloyd.load_tokenizer(tmp_path)
