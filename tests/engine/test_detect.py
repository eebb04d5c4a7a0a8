# SPDX-License-Identifier: GPL-3.0-or-later
"""Whatever file an artist has: it is told what it is, and works or is refused in one sentence."""

from __future__ import annotations

import json
import logging
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file

from syncsde_engine.cli import main
from syncsde_engine.errors import InvalidRequest, MissingWeights
from syncsde_engine.models import catalog, loading
from syncsde_engine.models.detect import detect, recognize, require_controlnet, require_model
from syncsde_engine.request import build

CPU = torch.device("cpu")
UNET = "diffusion_pytorch_model.safetensors"
# Names of tensors that real files have, with the sizes that tell: (..., the width of words).
A1111 = {
    "first_stage_model.decoder.conv_in.weight": (1, 4),
    "model.diffusion_model.input_blocks.0.0.weight": (0, 4, 3, 3),
}
CROSS = "model.diffusion_model.input_blocks.1.1.transformer_blocks.0.attn2.to_k.weight"
KOHYA = "down_blocks_1_attentions_0_transformer_blocks_0"
FILES = {
    "SD 1": ({**A1111, "cond_stage_model.transformer.a": (1,), CROSS: (0, 768)}, ""),
    "SD 2": ({**A1111, "cond_stage_model.model.a": (1,), CROSS: (0, 1024)}, ""),
    "SDXL": ({**A1111, "conditioner.embedders.1.model.a": (1,), CROSS: (0, 2048)}, ""),
    "SDXL refiner": (
        {**A1111, "conditioner.embedders.0.model.a": (1,), CROSS: (0, 1280)},
        "an SDXL refiner model, which is not run here. Take the base model",
    ),
    "inpainting": (
        {
            **A1111,
            "cond_stage_model.transformer.a": (1,),
            CROSS: (0, 768),
            "model.diffusion_model.input_blocks.0.0.weight": (0, 9, 3, 3),
        },
        "a Stable Diffusion 1 inpainting model, which is not run here. Take the model that",
    ),
    "UNet alone": (
        {"model.diffusion_model.a": (1,)},
        "a UNet, and no whole model. Give the folder",
    ),
    "FLUX": (
        {"model.diffusion_model.double_blocks.0.img_attn.qkv.weight": (1,)},
        "a FLUX transformer, which is not supported yet. Take Stable Diffusion 1",
    ),
    "FLUX of diffusers": (
        {"single_transformer_blocks.0.attn.to_k.weight": (1,)},
        "a FLUX transformer, which is not supported yet",
    ),
    "SD 3": (
        {"model.diffusion_model.joint_blocks.0.context_block.attn.qkv.weight": (1,)},
        "a Stable Diffusion 3 transformer, which is not supported yet",
    ),
    "kohya LoRA": (
        {f"lora_unet_{KOHYA}_attn2_to_k.lora_down.weight": (4, 2048)},
        "an SDXL LoRA, and no whole model. Give it as --lora, beside",
    ),
    "LoRA of diffusers": (
        {"unet.down_blocks.0.attentions.0.transformer_blocks.0.attn2.to_k.lora_A.weight": (4, 768)},
        "a Stable Diffusion 1 LoRA, and no whole model",
    ),
    "LoHa": ({"lora_unet_a.hada_w1_a": (1,)}, "a LoHa LoRA, and no whole model"),
    "FLUX LoRA": ({"lora_unet_double_blocks.0_a.lora_down.weight": (1,)}, "a FLUX LoRA, and no"),
    "VAE": ({"decoder.conv_in.weight": (1,)}, "a VAE, and no whole model. Give the folder or file"),
    "A1111 VAE": ({"first_stage_model.decoder.conv_in.weight": (1,)}, "a VAE, and no whole"),
    "IP-Adapter": (
        {"image_proj.proj.weight": (1,), "ip_adapter.1.to_k_ip.weight": (0, 2048)},
        "an SDXL IP-Adapter, and no whole model",
    ),
    "textual inversion": ({"emb_params": (1, 768)}, "a textual inversion, and no whole model"),
    "ControlNet": (
        {
            "control_model.input_hint_block.0.weight": (1,),
            "control_model.a.attn2.to_k.weight": (0, 768),
        },
        "a Stable Diffusion 1 ControlNet, and no whole model. Give it as --controlnet",
    ),
    "union": (
        {"controlnet_cond_embedding.a": (1,), "task_embedding": (6, 320)},
        "a union ControlNet, and no whole model",
    ),
    "text encoder": ({"text_model.encoder.a": (1,)}, "a text encoder, and no whole model"),
    "scaled float8": (
        {**A1111, "conditioner.a": (1,), "scaled_fp8": (2,), CROSS: (0, 2048)},
        "an SDXL scaled float8 model, which is not run here. Take the float16 file",
    ),
    "another": ({"weight": (1,)}, "nothing at .* known as a model"),
}


def written(path, shapes):
    save_file({name: torch.zeros(shape) for name, shape in shapes.items()}, path)
    return path


@pytest.mark.parametrize("name", FILES)
def test_single_files_are_told_apart(tmp_path, name):
    shapes, refused = FILES[name]
    found = detect(written(tmp_path / "some.safetensors", shapes))
    if not refused:
        require_model(found)
        return
    with pytest.raises(MissingWeights, match=refused) as raised:
        require_model(found)
    assert str(tmp_path) in str(raised.value)
    assert "\n" not in str(raised.value)


def test_what_a_file_is_told_to_be(tmp_path):
    found = detect(written(tmp_path / "xl.safetensors", FILES["SDXL"][0]))
    assert (found.family, found.part, found.precision, found.pixels) == (
        "SDXL",
        "model",
        "float32",
        1024,
    )
    assert found.size == (tmp_path / "xl.safetensors").stat().st_size


@pytest.fixture
def folder(tiny_model, tmp_path):
    """A copy to be changed."""
    loading._last.clear()
    yield shutil.copytree(tiny_model, tmp_path / "model")
    loading._last.clear()


def load(folder, **options):
    loading._last.clear()
    return loading.load(folder, CPU, **options)


def change(path, **fields):
    path.write_text(json.dumps(json.loads(path.read_text()) | fields))


def half(path):
    save_file({name: value.half() for name, value in load_file(path).items()}, path)


def test_a_folder_with_nothing_but_fp16_variants_is_loaded(folder):
    known = load(folder)
    for part in ("unet", "vae", "text_encoder"):
        (file,) = (folder / part).glob("*.safetensors")
        half(file)
        file.rename(file.with_suffix(".fp16.safetensors"))
    model = load(folder)
    assert model.unet.dtype == torch.float32
    pairs = zip(model.unet.parameters(), known.unet.parameters(), strict=True)
    assert all(torch.equal(a, b.half().float()) for a, b in pairs)
    assert detect(folder).precision == "float16"
    assert len(catalog.weights(folder)) == 3, "they are what is hashed"


def test_shards_are_loaded_and_a_missing_one_is_named(folder):
    known = load(folder)
    shutil.rmtree(folder / "unet")
    known.unet.save_pretrained(folder / "unet", max_shard_size="20KB")
    shards = sorted((folder / "unet").glob("*.safetensors"))
    assert len(shards) > 1
    pairs = zip(load(folder).unet.parameters(), known.unet.parameters(), strict=True)
    assert all(torch.equal(a, b) for a, b in pairs)
    shards[1].unlink()
    with pytest.raises(MissingWeights, match=rf"'unet'.*{shards[1].name}.*shards, is not there"):
        load(folder)


def test_float8_is_loaded_as_what_is_computed_with(folder):
    known = load(folder)
    weights = {
        name: value.to(torch.float8_e4m3fn)
        for name, value in load_file(folder / "unet" / UNET).items()
    }
    save_file(weights, folder / "unet" / UNET)
    model = load(folder)
    assert detect(folder).precision == "float8"
    assert model.unet.dtype == torch.float32
    pairs = zip(model.unet.parameters(), known.unet.parameters(), strict=True)
    assert all(torch.equal(a, b.to(torch.float8_e4m3fn).float()) for a, b in pairs)


def pointer(path):
    path.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n")


def renamed(suffix):
    return lambda path: path.rename(path.with_suffix(suffix))


def extra(path):
    save_file({**load_file(path), "motion_modules.0.weight": torch.zeros(1)}, path)


def not_a_number(path):
    weights = load_file(path)
    weights["conv_in.weight"][0, 0] = float("nan")
    save_file(weights, path)


BROKEN = {
    "pickled": (renamed(".bin"), "is a pickle, which .* `syncsde models convert`"),
    "ckpt": (renamed(".ckpt"), "is a pickle"),
    "pointer": (pointer, "is a pointer of git-lfs, .* `git lfs pull`"),
    "truncated": (lambda path: path.write_bytes(path.read_bytes()[:-9]), "truncated or broken"),
    "empty": (lambda path: path.write_bytes(b""), "truncated or broken"),
    "unexpected": (extra, "1 weights that its config has no place for, like motion_modules"),
    "not a number": (not_a_number, "its weight conv_in.weight is not finite in float32"),
    "gone": (lambda path: path.unlink(), "it has no safetensors file"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_broken_weights_are_refused(folder, name):
    breaks, sentence = BROKEN[name]
    breaks(folder / "unet" / UNET)
    with pytest.raises(MissingWeights, match=rf"'unet'.*{sentence}") as raised:
        load(folder)
    assert "\n" not in str(raised.value)


UNETS = {
    "LCM": ({"time_cond_proj_dim": 256}, "Stable Diffusion LCM model"),
    "inpainting": ({"in_channels": 9}, "Stable Diffusion inpainting model"),
    "pix2pix": ({"in_channels": 8}, "Stable Diffusion instruct-pix2pix model"),
    "motion": ({"_class_name": "UNetMotionModel"}, "AnimateDiff model"),
    "upscaler": ({"num_class_embeds": 1000}, "upscaler model"),
    "image": ({"encoder_hid_dim_type": "ip_image_proj"}, "image-conditioned model"),
}


@pytest.mark.parametrize("name", UNETS)
def test_unets_that_want_more_than_words_are_refused(folder, name):
    fields, sentence = UNETS[name]
    change(folder / "unet" / "config.json", **fields)
    with pytest.raises(MissingWeights, match=rf"is an? .*{sentence}, which is not run here. Take"):
        load(folder)


def test_pipelines_of_transformers_are_refused(folder):
    change(folder / "model_index.json", _class_name="FluxPipeline")
    (folder / "unet").rename(folder / "transformer")
    with pytest.raises(MissingWeights, match=r"a Flux model, which is not supported yet. Take"):
        load(folder)


def test_parts_alone_are_no_model(folder):
    for part, sentence in (
        ("vae", "a VAE, and no whole model"),
        ("unet", "a Stable Diffusion UNet, and no whole model"),
        (
            "controlnet",
            "a Stable Diffusion ControlNet, and no whole model. Give it as --controlnet",
        ),
    ):
        with pytest.raises(MissingWeights, match=sentence):
            load(folder / part)


def test_a_folder_that_is_no_model(tmp_path):
    with pytest.raises(MissingWeights, match=r"nothing at .*no model_index\.json"):
        load(tmp_path)
    written(tmp_path / "some.safetensors", FILES["VAE"][0])
    with pytest.raises(MissingWeights, match=r"holds the file 'some\.safetensors': give that"):
        load(tmp_path)


def test_controlnets_of_other_families_are_refused_before_loading(folder):
    controlnet = folder / "controlnet"
    change(folder / "unet" / "config.json", cross_attention_dim=768)
    change(controlnet / "config.json", cross_attention_dim=2048)
    with pytest.raises(
        MissingWeights, match=r"an SDXL ControlNet, and the model is Stable Diffusion 1. Give"
    ):
        load(folder, controlnet=controlnet, control=True)
    with pytest.raises(MissingWeights, match=r"a VAE, not a ControlNet"):
        require_controlnet(detect(folder / "vae"), "SDXL")


def test_a_controlnet_with_other_blocks_is_refused(folder, tmp_path):
    narrow = json.loads((folder / "controlnet" / "config.json").read_text())
    from diffusers import ControlNetModel

    other = ControlNetModel.from_config(narrow | {"block_out_channels": [8, 8]})
    other.save_pretrained(tmp_path / "other")
    with pytest.raises(MissingWeights, match=r"its block_out_channels is .*8, 8.*16"):
        load(folder, controlnet=tmp_path / "other", control=True)


def test_the_hubs_cache_is_followed_to_the_snapshot(folder, tmp_path):
    cache = tmp_path / "models--some--model"
    snapshot = cache / "snapshots" / "0123"
    shutil.copytree(folder, snapshot)
    (cache / "snapshots" / "0456").mkdir()
    (cache / "refs").mkdir()
    (cache / "refs" / "main").write_text("0123")
    assert catalog.locate(str(cache)) == snapshot
    (snapshot / "unet" / UNET).unlink()
    with pytest.raises(MissingWeights, match=r"'unet'.*it has no safetensors file"):
        load(catalog.locate(str(cache)))


def test_the_size_is_that_of_the_unets_config(folder):
    for side, image, view in ((64, 512, 768), (96, 768, 768), (128, 1024, 1024)):
        change(folder / "unet" / "config.json", sample_size=side)
        settings = catalog.settings(folder)
        assert (settings.image_size, settings.view_size) == (image, view)
    change(folder / "unet" / "config.json", sample_size=None)
    assert catalog.settings(folder).image_size == 512


def test_what_is_slow_on_a_cpu_is_told(folder, caplog):
    load(folder)
    assert not caplog.records
    with caplog.at_level(logging.WARNING):
        load(folder, precision="float16")
    assert "float16 is many times slower than float32 on a CPU" in caplog.text


def test_noise_levels_that_are_not_walked_are_told(folder, caplog):
    change(folder / "scheduler" / "scheduler_config.json", use_karras_sigmas=True)
    load(folder)
    assert "use_karras_sigmas on: walked are the timesteps" in caplog.text


@pytest.mark.parametrize("scale", [0, 0.0, 1, 1.0])
def test_guidance_of_0_is_off(scale):
    assert build("wide", {"prompt": "a", "guidance_scale": scale}).guidance_scale == 1.0


def test_guidance_between_off_and_on_is_refused():
    with pytest.raises(InvalidRequest, match=r"guidance_scale.*0 or 1 is off \(got 0\.5\)"):
        build("texture", {"prompt": "a", "guidance_scale": 0.5})


def test_models_show_tells_what_was_found(folder, tmp_path, capsys):
    assert main(["models", "show", str(folder)]) == 0
    assert capsys.readouterr().out.startswith("Stable Diffusion model, float32, 0.")
    file = written(tmp_path / "x.safetensors", FILES["kohya LoRA"][0])
    assert main(["models", "show", str(file)]) == 0
    shown = capsys.readouterr().out
    assert shown.startswith("SDXL LoRA, float32, 0.")
    assert "Give it as --lora" in shown
    assert main(["models", "show", str(file), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["found"]["family"] == "SDXL"


def test_models_convert_makes_a_pickled_folder_work(folder, tmp_path):
    known = load(folder)
    for part, stem in (("unet", "diffusion_pytorch_model"), ("text_encoder", "pytorch_model")):
        (file,) = (folder / part).glob("*.safetensors")
        torch.save({"state_dict": load_file(file)}, file.with_name(f"{stem}.bin"))
        file.unlink()
    with pytest.raises(MissingWeights, match=r"models convert"):
        load(folder)
    made = tmp_path / "made"
    assert main(["models", "convert", str(folder), "--output", str(made)]) == 0
    model = load(made)
    pairs = zip(model.unet.parameters(), known.unet.parameters(), strict=True)
    assert all(torch.equal(a, b) for a, b in pairs)
    assert torch.equal(model.encode_prompts(["a"]), known.encode_prompts(["a"]))


class Code:
    def __reduce__(self):
        return (print, ("code",))


def test_models_convert_runs_no_code(tmp_path, capsys):
    torch.save({"weight": torch.zeros(1), "other": Code()}, tmp_path / "model.ckpt")
    command = ["models", "convert", str(tmp_path / "model.ckpt"), "--output", str(tmp_path / "out")]
    assert main(command) == 2
    captured = capsys.readouterr()
    assert "holds more than tensors, which could be code" in captured.err
    assert captured.out == ""
    assert not (tmp_path / "out").exists()


def test_nothing_is_recognized_in_nothing():
    assert recognize({}) == ("", "", "")
