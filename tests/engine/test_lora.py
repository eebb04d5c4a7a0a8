# SPDX-License-Identifier: GPL-3.0-or-later
"""LoRAs in the names of several programs, against what they mean: W x + scale * up(down(x))."""

import json
import shutil

import pytest
import torch
from diffusers import StableDiffusionXLPipeline
from safetensors.torch import save_file
from torch import nn

from syncsde_engine.cli import main
from syncsde_engine.cli.flags import Parser, add_task, parameters
from syncsde_engine.config import loras
from syncsde_engine.errors import InvalidRequest, MissingWeights
from syncsde_engine.models import catalog, loading
from syncsde_engine.models.lora import Lora
from syncsde_engine.models.stable_diffusion import StableDiffusion
from syncsde_engine.request import build
from tests.engine.running import finish
from tests.tiny import save_xl

CPU = torch.device("cpu")
RANK, ALPHA = 2, 1.0
CROSSED = "down_blocks.1.attentions.0.transformer_blocks.0.attn2.to_k"
UNET = (
    CROSSED,
    "up_blocks.0.attentions.0.transformer_blocks.0.ff.net.0.proj",
    "mid_block.attentions.0.transformer_blocks.0.attn1.to_out.0",
    "down_blocks.1.resnets.0.conv1",
    "down_blocks.1.resnets.0.time_emb_proj",
    "up_blocks.0.resnets.1.conv_shortcut",
    "down_blocks.0.downsamplers.0.conv",
    "conv_in",
)
SGM = {  # the same layers, as the first programs count blocks
    CROSSED: "input_blocks_3_1_transformer_blocks_0_attn2_to_k",
    UNET[1]: "output_blocks_0_1_transformer_blocks_0_ff_net_0_proj",
    UNET[2]: "middle_block_1_transformer_blocks_0_attn1_to_out_0",
    UNET[3]: "input_blocks_3_0_in_layers_2",
    UNET[4]: "input_blocks_3_0_emb_layers_1",
    UNET[5]: "output_blocks_1_0_skip_connection",
    UNET[6]: "input_blocks_2_0_op",
    UNET[7]: "input_blocks_0_0",
}
TEXT = ("encoder.layers.0.self_attn.q_proj", "encoder.layers.1.mlp.fc1")


@pytest.fixture(scope="module")
def xl(tmp_path_factory):
    return save_xl(tmp_path_factory.mktemp("models") / "xl")


@pytest.fixture(autouse=True)
def forget():
    loading._last.clear()
    yield
    loading._last.clear()


def layer_of(network, name):
    inner = network.text_model if hasattr(network, "text_model") else network
    return (inner if name.startswith("encoder.") else network).get_submodule(name)


def networks_of(model):
    return model.unet, model.text.first.network, model.text.second.network


def pairs_for(model):
    """(network's number, layer's name) -> up and down, of the rank."""
    generator = torch.Generator().manual_seed(0)
    pairs = {}
    for number, network in enumerate(networks_of(model)):
        for name in TEXT if number else UNET:
            out, into, *kernel = layer_of(network, name).weight.shape
            down = torch.randn(RANK, into, *kernel, generator=generator) * 0.3
            up = torch.randn(out, RANK, *(1 for _ in kernel), generator=generator) * 0.3
            pairs[number, name] = up, down
    return pairs


def kohya(number, name):
    if number:
        return f"lora_te{number}_text_model_{name.replace('.', '_')}"
    return f"lora_unet_{name.replace('.', '_')}"


def sgm(number, name):
    return kohya(number, name) if number else f"lora_unet_{SGM[name]}"


def dotted(number, name):
    text = ("text_encoder", "text_encoder_2")
    return f"{text[number - 1]}.text_model.{name}" if number else f"unet.{name}"


NAMES = {  # how layers are called, and what stands behind
    "kohya": (kohya, ".lora_up.weight", ".lora_down.weight", True),
    "kohya sgm": (sgm, ".lora_up.weight", ".lora_down.weight", True),
    "PEFT": (dotted, ".lora_B.weight", ".lora_A.weight", False),
    "diffusers": (dotted, ".lora.up.weight", ".lora.down.weight", False),
    "old diffusers": (dotted, "_lora.up.weight", "_lora.down.weight", False),
}


def save(path, pairs, style="kohya", rename=lambda name: name, told=None):
    named, up_end, down_end, has_alpha = NAMES[style]
    weights = {}
    for (number, name), (up, down) in pairs.items():
        stem = rename(named(number, name))
        weights |= {f"{stem}{up_end}": up, f"{stem}{down_end}": down}
        if has_alpha:
            weights[f"{stem}.alpha"] = torch.tensor(ALPHA)
    save_file(weights, path, {"lora_adapter_metadata": json.dumps(told)} if told else None)
    return path


def hook(model, pairs, scale):
    """Add scale * up(down(x)) to what the layers say."""
    for (number, name), (up, down) in pairs.items():
        layer = layer_of(networks_of(model)[number], name)
        if isinstance(layer, nn.Conv2d):

            def added(layer, inputs, output, up=up, down=down):
                small = nn.functional.conv2d(inputs[0], down, None, layer.stride, layer.padding)
                return output + scale * nn.functional.conv2d(small, up)
        else:

            def added(layer, inputs, output, up=up, down=down):
                return output + scale * (inputs[0] @ down.T @ up.T)

        layer.register_forward_hook(added)
    return model


def drawn():
    return torch.randn(2, 4, 8, 8, generator=torch.Generator().manual_seed(0))


def ours(model):
    denoiser = model.guided(["a red brick", "moss"], ["bad"] * 2, 3.0, None)
    y = drawn()
    for step in model.schedule.steps(3):
        y = step.ddim(y, denoiser.predict_noise(y, step))
    return y


def load(folder, *loras):
    return StableDiffusion.load(folder, CPU, loras=loras)


@pytest.mark.parametrize("style", NAMES)
def test_latents_are_those_of_networks_with_something_beside_their_layers(xl, tmp_path, style):
    plain = load(xl)
    pairs = pairs_for(plain)
    before = ours(plain)
    scale = 0.8 * (ALPHA / RANK if NAMES[style][3] else 1)
    expected = ours(hook(plain, pairs, scale))
    result = ours(load(xl, Lora(save(tmp_path / "a.safetensors", pairs, style), 0.8)))
    assert (result - expected).abs().max() < 1e-4 * expected.abs().max()
    assert (before - expected).abs().max() > 1e-2 * expected.abs().max()


def test_what_diffusers_writes_beside_the_tensors_is_read(xl, tmp_path):
    plain = load(xl)
    before = plain.unet.conv_in.weight
    pairs = {key: pair for key, pair in pairs_for(plain).items() if key[0] == 0}
    path = save(tmp_path / "a.safetensors", pairs, "PEFT", told={"unet.lora_alpha": 3.0 * RANK})
    up, down = pairs[0, "conv_in"]
    delta = load(xl, Lora(path, 1.0)).unet.conv_in.weight - before
    assert torch.allclose(delta, 3 * torch.einsum("orxy,rikl->oikl", up, down), atol=1e-5)
    save(path, pairs, "PEFT", told={"unet.use_rslora": True})
    refused(xl, path, r"was trained with use_rslora, which is not supported")


def test_several_add_up_and_0_changes_nothing(xl, tmp_path):
    plain = load(xl)
    path = save(tmp_path / "a.safetensors", pairs_for(plain))
    twice = load(xl, Lora(path, 0.25), Lora(path, 0.5)).unet.conv_in.weight
    assert torch.allclose(twice, load(xl, Lora(path, 0.75)).unet.conv_in.weight, atol=1e-6)
    for one, other in zip(networks_of(load(xl, Lora(path, 0.0))), networks_of(plain), strict=True):
        assert all(map(torch.equal, one.parameters(), other.parameters()))


def test_a_kernel_between_two_matrices(xl, tmp_path):
    """LyCORIS's LoCon for convolutions: three of them, one after another."""
    torch.manual_seed(0)
    down, middle, up = torch.randn(2, 8), torch.randn(3, 2, 3, 3), torch.randn(16, 3)
    stem = "lora_unet_down_blocks_1_resnets_0_conv1"
    weights = {
        f"{stem}.lora_down.weight": down[:, :, None, None],
        f"{stem}.lora_mid.weight": middle,
        f"{stem}.lora_up.weight": up[:, :, None, None],
    }
    save_file(weights, tmp_path / "a.safetensors")
    name = "down_blocks.1.resnets.0.conv1"
    added, plain = (
        model.unet.get_submodule(name).weight
        for model in (load(xl, Lora(tmp_path / "a.safetensors", 1.0)), load(xl))
    )
    x = torch.randn(1, 8, 5, 5)
    kernels = (down[:, :, None, None], middle, up[:, :, None, None])
    expected = x
    for kernel in kernels:
        expected = nn.functional.conv2d(expected, kernel, padding=kernel.shape[-1] // 2)
    result = nn.functional.conv2d(x, added - plain, padding=1)
    assert torch.allclose(result, expected, rtol=1e-3, atol=1e-3 * float(expected.abs().max()))


@pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning")
def test_latents_equal_those_of_diffusers_with_peft(xl, tmp_path):
    pytest.importorskip("peft")
    model = load(xl)
    # Those of text encoders are lost between diffusers 0.42 and transformers 5.23.
    pairs = {key: pair for key, pair in pairs_for(model).items() if key[0] == 0}
    path = save(tmp_path / "a.safetensors", pairs)
    pipeline = StableDiffusionXLPipeline.from_pretrained(xl, add_watermarker=False)
    pipeline.load_lora_weights(str(path))
    pipeline.fuse_lora(lora_scale=0.8)
    theirs = (pipeline.unet, pipeline.text_encoder, pipeline.text_encoder_2)
    fused = load(xl, Lora(path, 0.8))
    for (number, name), _ in pairs.items():
        expected = layer_of(theirs[number], name).base_layer.weight
        assert torch.allclose(
            layer_of(networks_of(fused)[number], name).weight, expected, atol=1e-6
        )


def wide(model, **more):
    asked = {"prompt": "sea", "model": str(model), "patch_size": 64, "width": 128, "steps": 2}
    return finish("wide", asked | more)


def test_a_lora_is_part_of_the_model(xl, tmp_path):
    path = save(tmp_path / "a.safetensors", pairs_for(load(xl)))
    plain, added, less = (
        wide(xl, **more) for more in ({}, {"lora": str(path)}, {"lora": f"{path}:0.5"})
    )
    assert len({files["image.png"] for files in (plain, added, less)}) == 3
    hashes = [json.loads(files["report.json"])["model_sha256"] for files in (plain, added)]
    assert hashes[0] != hashes[1]
    assert wide(xl)["image.png"] == plain["image.png"], "it is gone with the next run"
    save(path, {key: (2 * up, down) for key, (up, down) in pairs_for(load(xl)).items()})
    assert wide(xl, lora=str(path))["image.png"] != added["image.png"], "the file has changed"


def test_the_command_line_takes_several(xl, tmp_path):
    path = save(tmp_path / "a.safetensors", pairs_for(load(xl)))
    command = ["wide", "--prompt", "sea", "--model", str(xl), "--patch-size", "64", "--width"]
    command += ["128", "--steps", "2", "--lora", f"{path}:0.5", "--lora", str(path), "--output"]
    assert main([*command, str(tmp_path / "out")]) == 0
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    assert report["parameters"]["lora"] == f"{path}:0.5,{path}"


@pytest.mark.parametrize(
    ("given", "read"),
    [
        (None, ()),
        ("a.safetensors", (("a.safetensors", 1.0),)),
        ("a:0.8, b:-1 ,c", (("a", 0.8), ("b", -1.0), ("c", 1.0))),
        (r"C:\loras\a.safetensors", ((r"C:\loras\a.safetensors", 1.0),)),
        (r"C:\loras\a.safetensors:2", ((r"C:\loras\a.safetensors", 2.0),)),
    ],
)
def test_names_and_weights_are_read(given, read):
    assert loras(given) == read


@pytest.mark.parametrize("given", ["a:11", "a,,b", ":1", "a:nan", ",".join("a" * 17), " "])
def test_senseless_ones_are_refused(given):
    with pytest.raises(InvalidRequest, match="lora"):
        build("wide", {"prompt": "sea", "lora": given})


def test_repeated_flags_are_joined():
    parser = Parser(prog="syncsde wide")
    add_task(parser, "wide")
    options = parser.parse_args(["--prompt", "a", "--lora", "a:1", "--lora", "b"])
    assert parameters("wide", options)["lora"] == "a:1,b"


def refused(folder, path, match):
    with pytest.raises(MissingWeights, match=match) as raised:
        loading.load(folder, CPU, loras=(Lora(path, 1.0),))
    assert "\n" not in str(raised.value)


def test_what_does_not_fit_is_refused(xl, tiny_model, tmp_path):
    pairs = pairs_for(load(xl))
    path = tmp_path / "a.safetensors"
    refused(xl, shutil.copy(xl / "vae" / "diffusion_pytorch_model.safetensors", path), "is a VAE")
    save(path, pairs, rename=lambda name: name.replace("conv_in", "conv_no"))
    refused(xl, path, r"1 of its 12 layers are not in the model, like unet: conv_no")
    save(path, {key: (up[:-1], down) for key, (up, down) in pairs.items()})
    refused(xl, path, r"its layer .* has shape .*, and the model's")
    save(path, {key: (up * float("nan"), down) for key, (up, down) in pairs.items()})
    refused(xl, path, r"its layer .* is not finite")
    save_file({"lora_unet_a.hada_w1_a": torch.zeros(1)}, path)
    refused(xl, path, r"is a LoHa, which is not supported yet")
    crossed = f"lora_unet_{CROSSED.replace('.', '_')}"
    save_file({f"{crossed}.lora_down.weight": torch.zeros(2, 768)}, path)
    refused(xl, path, r"is for Stable Diffusion 1, and the model is SDXL")
    assert catalog.locate(str(path), "lora") == path
    with pytest.raises(MissingWeights, match="There is no model 'nothing'") as raised:
        finish("wide", {"prompt": "sea", "model": str(tiny_model), "lora": "nothing"})
    assert raised.value.field == "lora"


def test_motion_takes_none():
    with pytest.raises(InvalidRequest, match="is for models of pictures"):
        finish("motion", {"prompt": ["walk"], "lora": "a"})
