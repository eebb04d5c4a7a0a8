# SPDX-License-Identifier: GPL-3.0-or-later
"""From a downloaded MDM checkpoint to a folder of ours: read once, never as code.

Supported are the encoders with CLIP, trained on HumanML3D, of 50 or 1000 steps.
"""

from __future__ import annotations

import io
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.torch
from torch import Tensor

from ..errors import InvalidRequest
from . import catalog
from .convert import read_pickle
from .motion import MEAN, STD, WEIGHTS, build, require_parameters

CHANNELS = 263
CLIP = "openai/clip-vit-base-patch32"
CONTACTS = slice(259, 263)
# Contacts are 0 or 1: their deviation is about a third. The evaluator's is 25 times smaller.
LEAST_CONTACT = 0.1
LICENSE = (
    "weights trained on HumanML3D, whose motion (AMASS) may be used for non-commercial purposes "
    "only"
)


def convert(
    file: Path, args: Path, mean: Path, std: Path, text_encoder: Path | None = None
) -> dict[str, bytes]:
    """Make the files of a model's folder of a checkpoint.

    Args:
        file: the state dict, plain or with a running average, which is preferred.
        args: JSON of its training.
        mean, std: HumanML3D's own Mean.npy and Std.npy, (263,).
        text_encoder: folder of CLIP ViT-B/32 to be put beside it.

    Raises InvalidRequest for whatever is not that.
    """
    weights = state_dict(file)
    config = describe(weights, _arguments(args), file)
    network = build(config)
    try:
        require_parameters(network, weights)
    except ValueError as error:
        raise InvalidRequest(
            f"{str(file)!r} does not fit: {error}.",
            hint="It must be an MDM encoder, with the args.json of its own training.",
            field="file",
        ) from None
    statistics = {"mean": _statistics(mean, "mean"), "std": _statistics(std, "std")}
    if (statistics["std"] <= 0).any() or statistics["std"][CONTACTS].mean() < LEAST_CONTACT:
        raise InvalidRequest(
            f"{str(std)!r} is the deviation for the evaluator, with which figures hardly move.",
            hint="Give Std.npy of HumanML3D itself, not t2m_std.npy.",
            field="std",
        )
    files = {
        WEIGHTS: safetensors.torch.save(weights),
        "config.json": (json.dumps(config, indent=2) + "\n").encode(),
        MEAN: _npy(statistics["mean"]),
        STD: _npy(statistics["std"]),
    }
    return files | (_clip(text_encoder) if text_encoder else {})


def state_dict(file: Path) -> dict[str, Tensor]:
    """The network's tensors of a file, float32; positions and CLIP's are left out.

    Raises InvalidRequest.
    """
    content = read_pickle(file)
    if isinstance(content, Mapping):
        content = content.get("model_avg", content.get("model", content))
    if not isinstance(content, Mapping) or not all(
        isinstance(value, Tensor) for value in content.values()
    ):
        raise InvalidRequest(f"{str(file)!r} holds no parameters of a network.", field="file")
    return {
        name: value.float().contiguous()
        for name, value in content.items()
        if not name.endswith(".pe") and not name.startswith("clip_model.")
    }


def describe(weights: Mapping[str, Tensor], given: Mapping[str, Any], file: Path) -> dict[str, Any]:
    """The config.json of a checkpoint. Raises InvalidRequest for kinds that are not supported."""
    wanted = {"arch": "trans_enc", "dataset": "humanml", "noise_schedule": "cosine"}
    for name, value in wanted.items():
        if given.get(name, value) != value:
            raise InvalidRequest(
                f"{str(file)!r} has {name} {given[name]!r}, and only {value!r} is supported.",
                field="file",
            )
    text = given.get("text_encoder_type", "clip")
    if text != "clip":
        raise InvalidRequest(
            f"{str(file)!r} was trained with the text encoder {text!r}, and only 'clip' is "
            "supported.",
            field="file",
        )
    pose = weights.get("input_process.poseEmbedding.weight")
    if pose is None:
        raise InvalidRequest(
            f"{str(file)!r} has no input_process.poseEmbedding.weight: it is no MDM checkpoint.",
            field="file",
        )
    if pose.shape[-1] != CHANNELS:
        raise InvalidRequest(
            f"{str(file)!r} makes motion of {pose.shape[-1]} features, and HumanML3D has "
            f"{CHANNELS}.",
            field="file",
        )
    layers = {
        int(found.group(1))
        for name in weights
        if (found := re.match(r"seqTransEncoder\.layers\.(\d+)\.", name))
    }
    return {
        "_class_name": catalog.MOTION,
        "network": "mdm",
        "channels": CHANNELS,
        "width": given.get("latent_dim", pose.shape[0]),
        "layers": given.get("layers", max(layers, default=-1) + 1),
        "text_width": 512,
        "scheduler": {
            "num_train_timesteps": given.get("diffusion_steps", 1000),
            "beta_schedule": "squaredcos_cap_v2",
            "clip_sample": False,
            "set_alpha_to_one": True,
        },
        "text_encoder": CLIP,
        "heading": "humanml3d",
        "data": "HumanML3D",
        "license": LICENSE,
        "commercial": False,
    }


def _arguments(path: Path) -> dict[str, Any]:
    try:
        given = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InvalidRequest(
            f"There is no {str(path)!r}.",
            hint="Give args.json of the download: it says how many steps the model has.",
            field="args",
        ) from None
    except (OSError, ValueError, RecursionError) as error:
        raise InvalidRequest(f"{str(path)!r} is not JSON: {error}.", field="args") from None
    if not isinstance(given, dict):
        raise InvalidRequest(f"{str(path)!r} holds no JSON object.", field="args")
    return given


def _statistics(path: Path, field: str) -> np.ndarray:
    """(263,) float32. Raises InvalidRequest."""
    try:
        values = np.load(path, allow_pickle=False)
    except FileNotFoundError:
        raise InvalidRequest(
            f"There is no {str(path)!r}.",
            hint=f"Name HumanML3D's {field.capitalize()}.npy with --{field}.",
            field=field,
        ) from None
    except (OSError, ValueError, EOFError) as error:
        raise InvalidRequest(f"Cannot read {str(path)!r}: {error}.", field=field) from None
    if values.shape != (CHANNELS,) or not np.isfinite(values).all():
        raise InvalidRequest(
            f"{str(path)!r} has the shape {values.shape}, not {CHANNELS} finite numbers.",
            field=field,
        )
    return values.astype(np.float32)


def _npy(values: np.ndarray) -> bytes:
    content = io.BytesIO()
    np.save(content, values)
    return content.getvalue()


def _clip(folder: Path) -> dict[str, bytes]:
    """CLIP's text encoder and tokenizer as files of the model's folder. Raises InvalidRequest."""
    import tempfile

    from transformers import CLIPTextModelWithProjection, CLIPTokenizer

    with tempfile.TemporaryDirectory() as temporary:
        place = Path(temporary)
        inside = (folder / "text_encoder").is_dir()
        parts = ("text_encoder", "tokenizer") if inside else ("", "")
        try:
            encoder = CLIPTextModelWithProjection.from_pretrained(
                folder / parts[0], local_files_only=True
            )
            tokenizer = CLIPTokenizer.from_pretrained(folder / parts[1], local_files_only=True)
        except (OSError, ValueError, KeyError) as error:
            raise InvalidRequest(
                f"{str(folder)!r} is no folder of CLIP: {str(error).splitlines()[0]}",
                field="text_encoder",
            ) from None
        encoder.save_pretrained(place / "text_encoder", safe_serialization=True)  # pyright: ignore[reportAttributeAccessIssue]
        tokenizer.save_pretrained(place / "tokenizer")
        return {
            path.relative_to(place).as_posix(): path.read_bytes()
            for path in sorted(place.rglob("*"))
            if path.is_file()
        }
