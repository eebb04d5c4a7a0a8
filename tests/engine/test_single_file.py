# SPDX-License-Identifier: GPL-3.0-or-later
"""Models in one safetensors file, against diffusers' pipelines of the same networks."""

import json
import shutil
import socket
from pathlib import Path

import pytest
import torch
from diffusers import (
    AutoencoderKL,
    ControlNetModel,
    DDIMScheduler,
    StableDiffusionPipeline,
    StableDiffusionXLPipeline,
    UNet2DConditionModel,
)
from safetensors.torch import load_file, save_file
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

from syncsde_engine.errors import MissingWeights
from syncsde_engine.models import catalog, detect, loading, single_file
from syncsde_engine.models.layouts import LAYOUTS, SCHEDULER, Layout
from syncsde_engine.models.tokenizers import clip_tokenizer
from tests.engine.running import finish
from tests.tiny import save_pipeline, save_xl
from tests.tiny_a1111 import a1111_of, save_a1111, save_controlnet

CPU = torch.device("cpu")
PROMPTS = ["a red brick, weathered", "moss"]
quiet = pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning")


@pytest.fixture(autouse=True)
def alone(monkeypatch):
    """Nothing of this may reach out, and no model is left over."""

    def refuse(*args):
        raise AssertionError("a connection is opened")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    loading._last.clear()
    yield
    loading._last.clear()


def sized(config, **changes):
    return CLIPTextConfig(
        **{**config, "vocab_size": 49408, "max_position_embeddings": 77, **changes}
    )


MARKS = {"bos_token_id": 49406, "eos_token_id": 49407, "pad_token_id": 49407}


def networks(folder, xl):
    """Those of a tiny folder, but with text encoders for all of CLIP's tokens."""
    torch.manual_seed(1)
    kinds = [("text_encoder", CLIPTextModel), ("text_encoder_2", CLIPTextModelWithProjection)]
    texts = []
    for name, kind in kinds[: 2 if xl else 1]:
        config = json.loads((folder / name / "config.json").read_text())
        texts.append(kind(sized(config, **MARKS)).eval())
    return (
        AutoencoderKL.from_pretrained(folder / "vae"),
        UNet2DConditionModel.from_pretrained(folder / "unet"),
        *texts,
    )


@pytest.fixture(params=["sd1", "xl"])
def made(request, tmp_path, monkeypatch):
    """A file, and diffusers' pipeline of the same networks."""
    xl = request.param == "xl"
    folder = (save_xl if xl else save_pipeline)(tmp_path / "model")
    vae, unet, *texts = networks(folder, xl)
    family = detect.SDXL if xl else detect.SD1
    layout = Layout(
        dict(unet.config),
        *(text.config.to_dict() for text in texts),
        vae=dict(vae.config),
    )
    monkeypatch.setitem(single_file.LAYOUTS, family, layout)
    monkeypatch.setitem(detect.BY_WIDTH, 40 if xl else 16, family)
    path = save_a1111(tmp_path / "some model.safetensors", vae, unet, *texts)
    scheduler = DDIMScheduler(**{**SCHEDULER, "set_alpha_to_one": False})
    if xl:
        pipeline = StableDiffusionXLPipeline(
            vae,
            *texts,
            clip_tokenizer(),
            clip_tokenizer("!"),
            unet,
            scheduler,
            add_watermarker=False,
        )
    else:
        pipeline = StableDiffusionPipeline(
            vae,
            *texts,
            clip_tokenizer(),
            unet,
            scheduler,
            None,
            None,
            requires_safety_checker=False,
        )
    pipeline.set_progress_bar_config(disable=True)
    return path, pipeline


@quiet
def test_latents_and_pictures_equal_diffusers(made):
    path, pipeline = made
    y = torch.randn(2, 4, 8, 8, generator=torch.Generator().manual_seed(0))
    expected = pipeline(
        PROMPTS,
        negative_prompt=["bad"] * 2,
        num_inference_steps=3,
        guidance_scale=3.0,
        latents=y,
        height=64,
        width=64,
        output_type="latent",
    ).images
    model = loading.load(path, CPU)
    denoiser = model.guided(PROMPTS, ["bad"] * 2, 3.0, None)
    for step in model.schedule.steps(3):
        y = step.ddim(y, denoiser.predict_noise(y, step))
    assert (y - expected).abs().max() < 1e-4 * expected.abs().max()
    with torch.no_grad():
        scale = pipeline.vae.config.scaling_factor
        image = pipeline.vae.decode(expected / scale).sample / 2 + 0.5
        latent = pipeline.vae.encode(2 * image.clamp(0, 1) - 1).latent_dist.mode() * scale
    assert torch.allclose(model.decode(expected), image.clamp(0, 1), atol=1e-4)
    assert torch.allclose(model.encode(image.clamp(0, 1)), latent, atol=1e-4)


def test_a_file_is_a_model_everywhere(made):
    path, _ = made
    files = finish(
        "wide",
        {"prompt": "sea", "model": str(path), "patch_size": 64, "width": 128, "steps": 2},
    )
    report = json.loads(files["report.json"])
    assert report["model_sha256"] == catalog.fingerprint(catalog.weights(path))


def test_what_is_missing_or_beyond_is_told(made):
    path, _ = made
    weights = load_file(path)
    name = "model.diffusion_model.out.2.bias"
    save_file({**weights, "model.diffusion_model.input_blocks.1.0.extra": torch.zeros(1)}, path)
    with pytest.raises(MissingWeights, match=r"UNet2DConditionModel has 1 weights .* no place"):
        loading.load(path, CPU)
    save_file({key: value for key, value in weights.items() if key != name}, path)
    with pytest.raises(MissingWeights, match=r"UNet2DConditionModel has no conv_out\.bias"):
        loading.load(path, CPU)


@pytest.mark.parametrize("layout", ["a1111", "diffusers"])
def test_a_controlnet_in_one_file_is_that_of_its_folder(tiny_model, tmp_path, layout):
    path = tmp_path / "depth.safetensors"
    if layout == "a1111":
        save_controlnet(path, ControlNetModel.from_pretrained(tiny_model / "controlnet"))
    else:
        (file,) = (tiny_model / "controlnet").glob("*.safetensors")
        shutil.copy(file, path)
    depth = torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    y = torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(0))
    said = []
    for controlnet in (None, path):
        model = loading.load(tiny_model, CPU, controlnet=controlnet, control=True)
        denoiser = model.guided(["moss"], [""], 2.0, None, control=depth)
        said.append(denoiser.predict_noise(y, model.schedule.steps(4)[1]))
        loading._last.clear()
    assert torch.equal(*said)
    assert catalog.weights(tiny_model, path, control=True)[-1][0] == path


def test_a_controlnet_with_other_blocks_in_one_file_is_refused(tiny_model, tmp_path):
    narrow = ControlNetModel.load_config(tiny_model / "controlnet") | {"block_out_channels": [8, 8]}
    path = tmp_path / "depth.safetensors"
    save_file(ControlNetModel.from_config(narrow).state_dict(), path)
    with pytest.raises(MissingWeights, match=r"'depth.safetensors'.*size mismatch") as raised:
        loading.load(tiny_model, CPU, controlnet=path, control=True)
    assert raised.value.field == "controlnet"
    save_file(
        {"controlnet_cond_embedding.a": torch.zeros(1), "task_embedding": torch.zeros(1)}, path
    )
    with pytest.raises(MissingWeights, match=r"a union is told apart by its config"):
        loading.load(tiny_model, CPU, controlnet=path, control=True)


PUBLISHED = {  # numbers of parameters: UNet, autoencoder, text encoders
    detect.SD1: (859_520_964, 83_653_863, 123_060_480),
    detect.SD2: (865_910_724, 83_653_863, 340_387_840),
    detect.SDXL: (2_567_463_684, 83_653_863, 123_060_480, 694_659_840),
}


def networks_of(family):
    """Without weights, of the real sizes."""
    layout = LAYOUTS[family]
    kinds = ((CLIPTextModel, layout.text), (CLIPTextModelWithProjection, layout.second_text))
    with torch.device("meta"):
        return [
            AutoencoderKL.from_config(layout.vae),
            UNet2DConditionModel.from_config(layout.unet),
            *(kind(CLIPTextConfig(**config)) for kind, config in kinds if config),
        ]


@pytest.mark.parametrize("family", PUBLISHED)
def test_layouts_have_as_many_parameters_as_the_real_models(family):
    vae, unet, *texts = networks_of(family)
    counts = [sum(each.numel() for each in net.parameters()) for net in (unet, vae, *texts)]
    assert tuple(counts) == PUBLISHED[family]


BESIDE = {  # what real files have, too, and nobody reads
    detect.SD1: (
        "model_ema.diffusion_modeltime_embed0weight",
        "alphas_cumprod",
        "cond_stage_model.transformer.text_model.embeddings.position_ids",
    ),
    detect.SD2: (
        "cond_stage_model.model.logit_scale",
        "cond_stage_model.model.text_projection",
        "cond_stage_model.model.transformer.resblocks.23.ln_1.weight",
        "cond_stage_model.model.transformer.resblocks.23.attn.in_proj_weight",
    ),
    detect.SDXL: (
        "conditioner.embedders.0.transformer.text_model.embeddings.position_ids",
        "conditioner.embedders.1.model.logit_scale",
        "denoiser.sigmas",
    ),
}


@pytest.mark.parametrize("family", PUBLISHED)
def test_files_of_the_real_sizes_fill_every_network(family, monkeypatch):
    """By the names and shapes of all tensors; there are no values."""
    vae, unet, *texts = networks_of(family)
    weights = a1111_of(vae, unet, *texts, is_open_clip=family == detect.SD2)
    width = texts[0].config.hidden_size
    beside = {
        name: torch.empty(width * (3 if "in_proj" in name else 1), width, device="meta")
        for name in BESIDE[family]
    }
    shapes = {name: tuple(value.shape) for name, value in weights.items()}
    assert detect.recognize(shapes)[:2] == (detect.MODEL, family)
    monkeypatch.setattr(single_file, "detect", lambda path: detect.Found(path, "model", family))
    monkeypatch.setattr(single_file, "load_file", lambda path: weights | beside)
    monkeypatch.setattr(single_file, "require_finite", lambda network: None)
    model = single_file.load_single_file(Path("some.safetensors"), torch.float16)
    loaded = [model.vae, model.unet, model.text.first.network]
    loaded += [model.text.second.network] if model.text.second else []
    for network, known in zip(loaded, (vae, unet, *texts), strict=True):
        shapes = {name: value.shape for name, value in network.state_dict().items()}
        assert shapes == {name: value.shape for name, value in known.state_dict().items()}
    assert model.unet.dtype == torch.float16
    expected = "v_prediction" if family == detect.SD2 else "epsilon"
    assert model.scheduler["prediction_type"] == expected


def test_the_tokenizer_is_clips():
    """Numbers that CLIP's authors and everybody's prompts have."""
    tokenizer = clip_tokenizer()
    assert len(tokenizer) == 49408
    assert tokenizer("a photo of a cat").input_ids == [49406, 320, 1125, 539, 320, 2368, 49407]
    assert tokenizer.decode(tokenizer("naïve café").input_ids[1:-1]).strip() == "naïve café"
    assert tokenizer("", padding="max_length").input_ids == [49406] + 76 * [49407]
    assert clip_tokenizer("!")("", padding="max_length").input_ids == [49406, 49407] + 75 * [0]


def test_a_folder_without_a_tokenizer_takes_clips_where_that_is_its_own(tmp_path):
    folder = save_pipeline(tmp_path / "model")
    shutil.rmtree(folder / "tokenizer")
    with pytest.raises(MissingWeights, match="tokenizer"):
        loading.load(folder, CPU)
    shutil.rmtree(folder / "text_encoder")
    config = sized({"hidden_size": 16, "intermediate_size": 32, "num_attention_heads": 2}, **MARKS)
    CLIPTextModel(config).save_pretrained(folder / "text_encoder")
    assert loading.load(folder, CPU).encode_prompts(["moss"]).shape == (1, 77, 16)
