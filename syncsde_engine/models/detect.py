# SPDX-License-Identifier: GPL-3.0-or-later
"""What a file or folder holds, told before anything is loaded. Loads no torch.

Configs and the headers of safetensors files are enough: the names of tensors tell the part, the
width of the words that its attention takes tells the family.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import MissingWeights
from .folder import class_name, missing_weights, read_object
from .headers import chosen, read_header

SD, SD1, SD2, SDXL = (
    "Stable Diffusion",
    "Stable Diffusion 1",
    "Stable Diffusion 2",
    "SDXL",
)
IF, MOTION, FLUX, SD3 = "DeepFloyd IF", "motion", "FLUX", "Stable Diffusion 3"
MOTION_CLASS = "MotionDiffusion"  # what config.json of a model that makes motion says it is
BY_WIDTH = {768: SD1, 1024: SD2, 2048: SDXL}  # of the words
BY_CHANNELS = {9: "inpainting", 8: "instruct-pix2pix"}  # that a UNet takes in
MODEL, UNET, VAE, TEXT = "model", "UNet", "VAE", "text encoder"
CONTROLNET, LORA, ADAPTER, EMBEDDING = "ControlNet", "LoRA", "IP-Adapter", "textual inversion"
CLASSES = {  # of single networks' configs: part, variant
    "AutoencoderKL": (VAE, ""),
    "AutoencoderTiny": (VAE, "tiny"),
    "ControlNetModel": (CONTROLNET, ""),
    "ControlNetUnionModel": (CONTROLNET, "union"),
    "UNet2DConditionModel": (UNET, ""),
}
# Names of tensors that tell a part, in this order: any of the first, and all of the second.
TELLING: tuple[tuple[str, str, tuple[str, ...], tuple[str, ...]], ...] = (
    (LORA, "LoHa", ("hada_w1",), ()),
    (LORA, "LoKr", ("lokr_w1",), ()),
    (LORA, "DoRA", ("dora_scale", "lora_magnitude_vector"), ()),
    (LORA, "", ("lora_down", "lora_A", "lora.down"), ()),
    (ADAPTER, "", ("to_k_ip",), ("image_proj",)),
    (CONTROLNET, "union", ("control_add_embedding", "task_embedding"), ()),
    (CONTROLNET, "", ("controlnet_cond_embedding", "control_model.", "input_hint_block"), ()),
    (MODEL, "", ("cond_stage_model.", "conditioner."), ("model.diffusion_model.", "first_stage")),
    (UNET, "", ("model.diffusion_model.", "time_embedding."), ()),
    (VAE, "", ("first_stage_model.", "decoder.conv_in", "decoder.conv_out"), ()),
    (TEXT, "", ("text_model.", "token_embedding", "encoder.block.0"), ()),
    (EMBEDDING, "", ("emb_params", "clip_l", "clip_g", "string_to_param"), ()),
)
TRANSFORMERS = {
    "double_blocks.": FLUX,
    "single_transformer_blocks.": FLUX,
    "joint_blocks.": SD3,
}
NOT_RUN = {  # variant: what to do instead
    "inpainting": "Take the model that it was made from; a mask of what to keep needs no such one.",
    "instruct-pix2pix": "Take the model that it was made from.",
    "LCM": "Take a model that was not distilled with guidance, at its usual steps.",
    "refiner": "Take the base model: it makes pictures without a refiner.",
    "image-conditioned": "Take a model that is conditioned on text alone.",
    "upscaler": "Take a model that makes pictures from text.",
    "AnimateDiff": "Take the model of single pictures that it was made from.",
    "scaled float8": "Take the float16 file of the same model.",
}


@dataclass(frozen=True)
class Found:
    """What there is at a path."""

    path: Path
    part: str  # "model", "ControlNet", "LoRA", ...; "" if it is not known
    family: str = ""  # "SDXL", ...; "" if it is not known
    variant: str = ""  # "inpainting", "union", ...
    precision: str = ""
    size: int = 0  # of the weights that are loaded, bytes
    pixels: int | None = None  # side of the pictures that it was trained on

    def __str__(self) -> str:
        kind = " ".join(filter(None, (self.family, self.variant, self.part))) or "nothing known"
        size = f"{self.size / 1e9:.2f} GB" if self.size >= 1e7 else f"{self.size / 1e6:.2f} MB"
        return ", ".join(filter(None, (kind, self.precision, size)))

    @property
    def kind(self) -> str:
        """As in "it is an SDXL inpainting model"."""
        kind = " ".join(filter(None, (self.family, self.variant, self.part)))
        return f"{'an' if kind[:1] in 'aeioAEIO' or kind[:2] in ('SD', 'LC') else 'a'} {kind}"


def detect(path: Path) -> Found:
    """Find out what a file or folder is. Raises MissingWeights if it cannot be read."""
    if path.is_dir():
        return _in_folder(path)
    with missing_weights(path):
        header = read_header(path)
    part, family, variant = recognize(header.shapes)
    return Found(path, part, family, variant, header.precision, header.size, _trained_on(family))


def recognize(shapes: Mapping[str, tuple[int, ...]]) -> tuple[str, str, str]:
    """Part, family and variant from the names and shapes of tensors; "" for what is not known."""
    names = "\n".join(shapes)
    part, variant = next(
        (
            (part, variant)
            for part, variant, any_of, all_of in TELLING
            if any(name in names for name in any_of) and all(name in names for name in all_of)
        ),
        ("", ""),
    )
    for sign, family in TRANSFORMERS.items():
        if sign in names:
            return part if part in (LORA, MODEL, CONTROLNET) else "transformer", family, variant
    if part in (TEXT, VAE, EMBEDDING):
        return part, "", variant
    if part in (UNET, MODEL):
        variant = _variant_of_file(shapes, names)
    width = next((s[1] for name, s in shapes.items() if _takes_words(name) and len(s) > 1), 0)
    return part, SDXL if variant == "refiner" else BY_WIDTH.get(width, ""), variant


def _variant_of_file(shapes: Mapping[str, tuple[int, ...]], names: str) -> str:
    if "conditioner.embedders.0.model." in names:
        return "refiner"
    if "scale_weight" in names or "scaled_fp8" in names:
        return "scaled float8"
    if "motion_modules" in names:
        return "AnimateDiff"
    if "time_embedding.cond_proj" in names:
        return "LCM"
    first = shapes.get(
        "model.diffusion_model.input_blocks.0.0.weight", shapes.get("conv_in.weight")
    )
    return BY_CHANNELS.get(first[1] if first else 4, "")


def require_model(found: Found) -> None:
    """Raise MissingWeights unless this is a whole model of a kind that is run here."""
    _require_known(found, "model")
    if found.variant in NOT_RUN:
        raise _refused(found, "which is not run here", NOT_RUN[found.variant])
    if found.part == MODEL and found.family in (SD, SD1, SD2, SDXL, IF, MOTION):
        return
    if found.part in (MODEL, "transformer"):
        raise _refused(found, "which is not supported yet", f"Take {SD1}, {SD2} or {SDXL}.")
    hint = {
        LORA: "Give it as --lora, beside the model that it is for.",
        CONTROLNET: "Give it as --controlnet, beside the model that it is for.",
    }.get(
        found.part, f"Give the folder or file of a whole model; it lacks all but the {found.part}."
    )
    raise _refused(found, "and no whole model", hint)


def require_controlnet(found: Found, family: str) -> None:
    """Raise MissingWeights unless this is a ControlNet for models of a family."""
    _require_known(found, "controlnet")
    if found.part != CONTROLNET:
        raise _refused(found, "not a ControlNet", "Give a depth ControlNet.", "controlnet")
    if not fits(found.family, family):
        raise _refused(
            found,
            f"and the model is {family}",
            f"Give the depth ControlNet of {family}.",
            "controlnet",
        )


def fits(family: str, other: str) -> bool:
    """Whether parts of two families may belong together; SD is one of unusual width."""
    both = {family, other}
    return len(both) == 1 or "" in both or (SD in both and SDXL not in both)


def _require_known(found: Found, field: str) -> None:
    if found.part:
        return
    files = sorted(found.path.glob("*.safetensors")) if found.path.is_dir() else []
    hint = f"It must be a diffusers folder with safetensors weights, or one file of {SD}'s."
    if files:
        hint = f"It holds the file {files[0].name!r}: give that."
    raise MissingWeights(
        f"There is nothing at {str(found.path)!r} that is known as a model"
        + (": no model_index.json and no part like unet." if found.path.is_dir() else "."),
        hint=hint,
        field=field,
    )


def _refused(found: Found, why: str, hint: str, field: str = "model") -> MissingWeights:
    return MissingWeights(
        f"{str(found.path)!r} is {found.kind}, {why}.",
        hint=hint,
        field=field,
    )


def _takes_words(name: str) -> bool:
    """Whether a tensor projects the words of a prompt: a matrix, or the first half of a LoRA's."""
    name = name.replace("_", ".")
    return ("attn2.to.k." in name and not name.endswith((".lora.up.weight", ".lora.B.weight"))) or (
        name.endswith("to.k.ip.weight")
    )


def _trained_on(family: str) -> int | None:
    return {SD1: 512, SD2: 768, SDXL: 1024}.get(family)


def _in_folder(folder: Path) -> Found:
    name = class_name(folder)
    is_part = (folder / "config.json").is_file() and not (folder / "model_index.json").is_file()
    if is_part and name != MOTION_CLASS:
        return _network(folder, name)
    if name == MOTION_CLASS:
        return Found(folder, MODEL, MOTION, **_weights(folder))
    if (folder / "transformer").is_dir() or (name and not (folder / "unet").is_dir()):
        family = name.removesuffix("Pipeline") or "transformer"
        known = family.startswith("StableDiffusion") and "3" not in family
        # Its UNet is missing, which is told when that is loaded.
        return Found(folder, MODEL, SD if known or name.startswith("IF") else family)
    if not (folder / "unet").is_dir():
        return Found(folder, "")
    if name.startswith("IF"):
        return Found(folder, MODEL, IF, **_weights(folder / "unet"))
    config = _config(folder / "unet")
    others = [folder / part for part in ("text_encoder", "text_encoder_2", "vae")]
    return Found(
        folder,
        MODEL,
        _family(config),
        _variant(config, folder),
        pixels=_pixels(config, _config(folder / "vae")),
        **_weights(folder / "unet", *others),
    )


def _network(folder: Path, name: str) -> Found:
    part, variant = CLASSES.get(name, (name or TEXT, ""))
    config = _config(folder)
    family = _family(config) if part in (UNET, CONTROLNET) else ""
    return Found(folder, part, family, variant, **_weights(folder))


def _config(folder: Path) -> dict[str, Any]:
    path = folder / "config.json"
    return read_object(path) if path.is_file() else {}


def _family(config: dict[str, Any]) -> str:
    if config.get("addition_embed_type") == "text_time":
        return SDXL
    width = config.get("cross_attention_dim")
    return BY_WIDTH.get(width, SD) if isinstance(width, int) else SD


def _variant(config: dict[str, Any], folder: Path) -> str:
    """What a UNet needs beside a state, a timestep and words."""
    index = folder / "model_index.json"
    listed = read_object(index) if index.is_file() else {}
    if _family(config) == SDXL and listed.get("text_encoder", [1]) in (None, [None, None]):
        return "refiner"
    if config.get("time_cond_proj_dim") is not None:
        return "LCM"
    if config.get("_class_name") == "UNetMotionModel":
        return "AnimateDiff"
    if config.get("num_class_embeds") is not None:
        return "upscaler"
    if config.get("encoder_hid_dim_type") or config.get("class_embed_type"):
        return "image-conditioned"
    return BY_CHANNELS.get(config.get("in_channels", 4), "")


def _pixels(unet: dict[str, Any], vae: dict[str, Any]) -> int | None:
    """Side of the pictures that a latent UNet was trained on, if configs tell."""
    side, blocks = unet.get("sample_size"), vae.get("block_out_channels")
    if not isinstance(side, int) or not isinstance(blocks, list) or not 8 <= side <= 256:
        return None
    return side * 2 ** (min(len(blocks), 6) - 1)


def _weights(*folders: Path) -> dict[str, Any]:
    """Precision of the first part, and the bytes of all."""
    headers = []
    for part in folders:
        with missing_weights(part):
            headers += [read_header(file) for file in chosen(part)[0]]
    return {
        "precision": headers[0].precision if headers else "",
        "size": sum(header.size for header in headers),
    }
