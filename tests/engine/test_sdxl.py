# SPDX-License-Identifier: GPL-3.0-or-later
"""SDXL against diffusers' own pipelines on the same folder, and in every task."""

import io
import json
import shutil

import numpy as np
import pytest
import torch
from diffusers import (
    ControlNetUnionModel,
    DDIMScheduler,
    StableDiffusionXLControlNetPipeline,
    StableDiffusionXLControlNetUnionPipeline,
    StableDiffusionXLPipeline,
)
from PIL import Image
from safetensors.torch import load_file, save_file

from syncsde_engine import pictures
from syncsde_engine.errors import InvalidRequest, MissingWeights
from syncsde_engine.mesh.files import io as mesh_io
from syncsde_engine.models import catalog, loading
from syncsde_engine.models.detect import detect
from syncsde_engine.models.stable_diffusion import StableDiffusion
from tests.engine.running import finish
from tests.tiny import save_xl

CPU = torch.device("cpu")
PROMPTS = ["a red brick", "a longer prompt, with commas, cut off at the end of the window", "moss"]
SIDE = 8  # latent cells


@pytest.fixture(scope="module")
def xl(tmp_path_factory):
    return save_xl(tmp_path_factory.mktemp("models") / "xl")


def load(folder, **options):
    return StableDiffusion.load(folder, CPU, **options)


def drawn(seed=0):
    return torch.randn(3, 4, SIDE, SIDE, generator=torch.Generator().manual_seed(seed))


def depth():
    shape = (3, 3, SIDE * 8, SIDE * 8)
    return torch.rand(shape, generator=torch.Generator().manual_seed(1))


def ours(model, unwanted, guidance_scale=3.0, steps=5, **options):
    denoiser = model.guided(PROMPTS, unwanted, guidance_scale, None, **options)
    y = drawn()
    for step in model.schedule.steps(steps):
        y = step.ddim(y, denoiser.predict_noise(y, step))
    return y


def theirs(kind, folder, unwanted, steps=5, controlnet=None, **options):
    given = {} if controlnet is None else {"controlnet": controlnet}
    pipeline = kind.from_pretrained(folder, add_watermarker=False, **given)
    pipeline.scheduler = DDIMScheduler.from_config(
        pipeline.scheduler.config, set_alpha_to_one=True, clip_sample=False
    )
    pipeline.set_progress_bar_config(disable=True)
    return pipeline(
        PROMPTS,
        negative_prompt=unwanted,
        num_inference_steps=steps,
        guidance_scale=3.0,
        latents=drawn(),
        height=SIDE * 8,
        width=SIDE * 8,
        output_type="latent",
        **options,
    ).images


def close(result, expected):
    return (result - expected).abs().max() < 1e-4 * expected.abs().max()


quiet = pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning")


@quiet
def test_latents_equal_those_of_diffusers_pipeline(xl):
    model = load(xl)
    result = ours(model, ["bad"] * 3)
    assert close(result, theirs(StableDiffusionXLPipeline, xl, ["bad"] * 3))
    assert (result - drawn()).abs().max() > 0.1
    assert model.text.width == 40
    assert catalog.settings(xl).image_size == catalog.settings(xl).view_size == 1024


@quiet
@pytest.mark.parametrize("force_zeros", [True, False])
def test_an_empty_prompt_is_what_the_model_says(tmp_path, force_zeros):
    """diffusers takes no negative prompt at all for the one that is forced to zero."""
    folder = save_xl(tmp_path / "model", force_zeros=force_zeros)
    result = ours(load(folder), [""] * 3)
    assert close(result, theirs(StableDiffusionXLPipeline, folder, None))
    assert close(result, theirs(StableDiffusionXLPipeline, folder, [""] * 3)) != force_zeros


@quiet
def test_depth_control_equals_diffusers(xl):
    control = {"image": depth(), "controlnet_conditioning_scale": 0.7, "control_guidance_end": 0.99}
    expected = theirs(StableDiffusionXLControlNetPipeline, xl, ["bad"] * 3, **control)
    model = load(xl, control=True)
    result = ours(model, ["bad"] * 3, control=depth(), control_scale=0.7)
    assert close(result, expected)
    assert not close(ours(model, ["bad"] * 3), expected)


@pytest.fixture(scope="module")
def union(xl, tmp_path_factory):
    """A ControlNet for six kinds of images."""
    torch.manual_seed(0)
    config = json.loads((xl / "controlnet" / "config.json").read_text())
    narrow = {"num_trans_channel": 8, "num_trans_head": 2, "num_proj_channel": 8}
    network = ControlNetUnionModel.from_config({**config, **narrow})
    for parameter in network.parameters():
        if not parameter.any():
            torch.nn.init.normal_(parameter, std=0.1)
    folder = tmp_path_factory.mktemp("models") / "union"
    network.save_pretrained(folder)
    return folder


@quiet
def test_a_union_is_told_that_it_is_given_depth(xl, union):
    model = loading.load(xl, CPU, controlnet=union, control=True)
    result = ours(model, ["bad"] * 3, control=depth(), control_scale=0.7)
    loading._last.clear()
    given = {
        "control_image": [depth()],
        "controlnet_conditioning_scale": 0.7,
        "control_guidance_end": 0.99,
        "controlnet": ControlNetUnionModel.from_pretrained(union),
    }
    of_depth, of_normals = (
        theirs(
            StableDiffusionXLControlNetUnionPipeline, xl, ["bad"] * 3, control_mode=kind, **given
        )
        for kind in (1, 4)
    )
    assert close(result, of_depth)
    assert not close(result, of_normals)
    assert detect(union).kind == "an SDXL union ControlNet"


def test_pooled_words_and_sizes_matter(xl, monkeypatch):
    model = load(xl)
    whole = ours(model, ["bad"] * 3)
    added = StableDiffusion._added
    for name in ("text_embeds", "time_ids"):
        monkeypatch.setattr(
            StableDiffusion,
            "_added",
            lambda self, words, y, name=name: {
                key: value * (key != name) for key, value in added(self, words, y).items()
            },
        )
        assert not close(ours(model, ["bad"] * 3), whole)


@quiet
def test_pictures_equal_diffusers_and_stay_finite_in_half_precision(xl):
    """The autoencoder of SDXL overflows in float16: ours never runs in it."""
    model = load(xl, precision="float16")
    assert model.unet.dtype == torch.float16
    assert model.vae.dtype == torch.float32
    pipeline = StableDiffusionXLPipeline.from_pretrained(xl, add_watermarker=False)
    with torch.no_grad():
        expected = pipeline.vae.decode(drawn() / 0.13025).sample
    assert torch.allclose(model.decode(drawn()), (expected / 2 + 0.5).clamp(0, 1), atol=1e-5)


def test_what_it_is_and_what_is_hashed(xl):
    assert str(detect(xl)).startswith("SDXL model, float32")
    names = [path.parent.name for path, _, _ in catalog.weights(xl, control=True)]
    assert names == ["text_encoder", "vae", "unet", "text_encoder_2", "controlnet"]


@pytest.mark.parametrize("part", ["text_encoder_2", "tokenizer_2"])
def test_a_missing_part_is_named(xl, tmp_path, part):
    folder = shutil.copytree(xl, tmp_path / "model")
    shutil.rmtree(folder / part)
    with pytest.raises(MissingWeights, match=part):
        load(folder)


def test_the_refiner_is_refused(xl, tmp_path):
    folder = shutil.copytree(xl, tmp_path / "model")
    index = json.loads((folder / "model_index.json").read_text())
    index["text_encoder"] = [None, None]
    (folder / "model_index.json").write_text(json.dumps(index))
    with pytest.raises(MissingWeights, match=r"an SDXL refiner model, which is not run here"):
        loading.load(folder, CPU)


def test_controlnets_of_the_other_family_are_refused(xl, tiny_model):
    with pytest.raises(
        MissingWeights, match=r"a Stable Diffusion ControlNet, and the model is SDXL"
    ):
        loading.load(xl, CPU, controlnet=tiny_model / "controlnet", control=True)
    with pytest.raises(MissingWeights, match=r"is an SDXL ControlNet, and the model is Stable"):
        loading.load(tiny_model, CPU, controlnet=xl / "controlnet", control=True)


def image(files):
    return Image.open(io.BytesIO(files["image.png"]))


FEW = {"steps": 2, "guidance_scale": 2.0}


def test_a_wide_image(xl):
    files = finish(
        "wide", {"prompt": "sea", "model": str(xl), "patch_size": 64, "width": 128, **FEW}
    )
    assert image(files).size == (128, 64)


def half_mask():
    pixels = np.zeros((64, 64), dtype=np.uint8)
    pixels[:, 32:] = 255
    return pictures.png(pixels)


def test_a_mask_image(xl):
    asked = {"prompt": "a", "background": "b", "foreground": ["c"], "model": str(xl), "size": 64}
    files = finish("mask", {**asked, **FEW}, {"mask": half_mask()})
    assert image(files).size == (64, 64)


@pytest.fixture
def photo():
    pixels = np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8)
    return {"image": pictures.png(pixels), "mask": half_mask()}


EDIT = {"source_prompt": "a cat", "prompt": "a dog", "size": 64}


@pytest.mark.parametrize("strategy", ["syncsde", "masactrl"])
def test_an_edited_image(xl, photo, strategy):
    files = finish("edit", {**EDIT, "model": str(xl), "strategy": strategy, **FEW}, photo)
    assert image(files).size == (64, 64)


def test_an_edit_finds_its_mask_in_the_attention(xl, photo):
    del photo["mask"]
    with pytest.raises(InvalidRequest, match="attention to the word is between") as raised:
        finish("edit", {**EDIT, "model": str(xl), "mask_threshold": 1.0, **FEW}, photo)
    assert raised.value.field == "mask_threshold"


def test_prompt_tuning_is_refused(xl, photo):
    with pytest.raises(InvalidRequest, match="tunes the words of one text encoder, and SDXL has"):
        finish("edit", {**EDIT, "model": str(xl), "strategy": "pti", **FEW}, photo)


@pytest.mark.parametrize(
    "more", [{}, {"shared_attention": "ring"}, {"prompt_for": [["Cube", "brick"]]}]
)
def test_a_texture(xl, tmp_path, more):
    asked = {"prompt": "moss", "model": str(xl), "view_size": 64, "cameras": 2, **FEW, **more}
    files = finish("texture", {**asked, "texture_size": 32}, {"mesh": cube(tmp_path)})
    report = json.loads(files["report.json"])
    assert report["network_evaluations"]["controlnet"] > 0
    assert report["parameters"]["view_size"] == 64


def cube(folder):
    corners = [(x, y, z) for x in (-1, 1) for y in (-1, 1) for z in (-1, 1)]
    faces = ["1 2 4 3", "5 7 8 6", "1 5 6 2", "3 4 8 7", "1 3 7 5", "2 6 8 4"]
    lines = [f"v {x} {y} {z}" for x, y, z in corners] + ["o Cube"] + [f"f {f}" for f in faces]
    (folder / "cube.obj").write_text("\n".join(lines) + "\n")
    return mesh_io.to_safetensors(mesh_io.load(folder / "cube.obj"))


def test_not_finite_weights_are_told(xl, tmp_path):
    folder = shutil.copytree(xl, tmp_path / "model")
    file = folder / "unet" / "diffusion_pytorch_model.safetensors"
    weights = load_file(file)
    weights["conv_in.weight"][0, 0] = 1e6  # more than float16 has
    save_file(weights, file)
    load(folder)
    with pytest.raises(MissingWeights, match=r"conv_in\.weight is not finite in float16.*float32"):
        load(folder, precision="float16")
