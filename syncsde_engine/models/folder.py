# SPDX-License-Identifier: GPL-3.0-or-later
"""Reading the parts of a diffusers folder: safetensors only, never pickles, nothing downloaded."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from safetensors import SafetensorError

from ..errors import MissingWeights
from .headers import chosen, require_weights

log = logging.getLogger(__name__)

CODE = ("auto_map", "quantization_config", "attn_implementation", "custom_pipelines")
HINT = "It must be a diffusers folder with safetensors weights."
USELESS = ("position_ids",)  # counted, not learned: old files have them
MOST = 1e9  # of any number in a network's config
MOST_LAYERS = 200
OTHER_LEVELS = ("use_karras_sigmas", "use_exponential_sigmas", "use_beta_sigmas")
NOISE_LEVELS = {  # of a scheduler's config: kind, least, most
    "num_train_timesteps": (int, 1, 100_000),
    "beta_start": ((int, float), 0.0, 1.0),
    "beta_end": ((int, float), 0.0, 1.0),
}


def class_name(folder: Path) -> str:
    """The pipeline, or the single network, that a folder says it is for; "" if it does not say.

    Raises MissingWeights.
    """
    for name in ("model_index.json", "config.json"):
        if (folder / name).is_file():
            found = read_object(folder / name).get("_class_name", "")
            with missing_weights(folder / name):
                if not isinstance(found, str):
                    raise ValueError(f"its _class_name is {found!r:.80}, no name")
            return found
    return ""


def scheduler_config(folder: Path, part: str = "scheduler") -> dict[str, Any]:
    """Read the noise levels a folder's model was trained on. Raises MissingWeights."""
    path = folder / part / "scheduler_config.json"
    content = read_object(path)
    with missing_weights(path):
        for name, (kind, least, most) in NOISE_LEVELS.items():
            value = content.get(name, least)
            if isinstance(value, bool) or not isinstance(value, kind) or not least <= value <= most:
                raise ValueError(f"its {name} is {value!r:.80}, not within {least} and {most}")
    return content


def warn_of_levels(scheduler: dict[str, Any]) -> None:
    """Say which noise levels are walked where a scheduler's config asks for others."""
    for name in OTHER_LEVELS:
        if scheduler.get(name):
            log.warning(
                "the model's scheduler has %s on: walked are the timesteps that it was trained on, "
                "with %s spacing",
                name,
                scheduler.get("timestep_spacing", "leading"),
            )


def network(kind: Any, path: Path, **options: Any) -> Any:
    """Load one part. Raises MissingWeights if it is absent, broken or of another class."""
    with missing_weights(path):
        _require_kind(kind, path)
        _refuse_strange_fields(json.loads((path / "config.json").read_text(encoding="utf-8")))
        require_weights(path)
        part, info = _from_pretrained(kind, path, variant=chosen(path)[1], **options)
        if info["missing_keys"]:  # which would be filled with random numbers
            raise ValueError(f"it has no {sorted(info['missing_keys'])[0]}")
        beyond = [name for name in sorted(info["unexpected_keys"]) if not name.endswith(USELESS)]
        if beyond:
            raise ValueError(
                f"it has {len(beyond)} weights that its config has no place for, like {beyond[0]}"
            )
        require_finite(part)
        return part


def require_finite(network: Any) -> None:
    """Raise ValueError if weights are not finite, which would only show in the first picture."""
    for name, weight in network.named_parameters():
        if not weight.isfinite().all():
            kind = str(weight.dtype).removeprefix("torch.")
            raise ValueError(
                f"its weight {name} is not finite in {kind}; download it again, or set precision "
                "to float32"
            )


def _from_pretrained(kind: Any, path: Path, **options: Any) -> Any:
    from torch import OutOfMemoryError

    try:
        return kind.from_pretrained(
            path, use_safetensors=True, local_files_only=True, output_loading_info=True, **options
        )
    except OutOfMemoryError:
        raise
    except RuntimeError as error:  # shapes that are not those of the config
        raise ValueError(str(error).strip()) from None


def tokenizer(kind: Any, path: Path) -> Any:
    """Load a tokenizer. Raises MissingWeights."""
    with missing_weights(path):
        return kind.from_pretrained(path, local_files_only=True)


@contextmanager
def missing_weights(path: Path, field: str = "model", hint: str = HINT) -> Iterator[None]:
    """Turn whatever a loader raises for an absent or broken file into one sentence."""
    try:
        yield
    except (
        OSError,
        ValueError,
        KeyError,
        AttributeError,
        TypeError,
        OverflowError,
        RecursionError,
        SafetensorError,
    ) as error:
        reason = str(error).splitlines()[0].rstrip(".") if str(error) else type(error).__name__
        raise MissingWeights(
            f"Cannot load {path.name!r} of the model at {str(path.parent)!r}: {reason}.",
            hint=hint,
            field=field,
        ) from None


def read_object(path: Path) -> dict[str, Any]:
    with missing_weights(path):
        content = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(content, dict):
            raise ValueError("it holds no JSON object")
        return content


def _refuse_strange_fields(config: dict[str, Any]) -> None:
    """Raise ValueError for what no network of ours has: other people's code, and endless sizes."""
    for name, value in config.items():
        if value is not None and any(part in name for part in CODE):
            raise ValueError(f"its {name} asks for code from elsewhere")
        for number in value if isinstance(value, list) else [value]:
            if isinstance(number, int | float) and not abs(number) <= MOST:
                raise ValueError(f"its {name} is {number!r:.40}")
            if "layers" in name and isinstance(number, int) and number > MOST_LAYERS:
                raise ValueError(f"it has {number} of {name}, and at most {MOST_LAYERS} are taken")


def _require_kind(kind: type, path: Path) -> None:
    """Raise ValueError if a diffusers config says that it is of another class."""
    config = json.loads((path / "config.json").read_text(encoding="utf-8"))
    found = config.get("_class_name", kind.__name__)
    if found != kind.__name__:
        raise ValueError(f"it is a {found}, not a {kind.__name__}")
