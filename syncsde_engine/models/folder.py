# SPDX-License-Identifier: GPL-3.0-or-later
"""Reading the parts of a diffusers folder: safetensors only, never pickles, nothing downloaded."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from safetensors import SafetensorError

from ..errors import MissingWeights


def class_name(folder: Path) -> str:
    """The pipeline, or the single network, that a folder says it is for; "" if it does not say.

    Raises MissingWeights.
    """
    for name in ("model_index.json", "config.json"):
        if (folder / name).is_file():
            return _read_object(folder / name).get("_class_name", "")
    return ""


def scheduler_config(folder: Path, part: str = "scheduler") -> dict[str, Any]:
    """Read the noise levels a folder's model was trained on. Raises MissingWeights."""
    return _read_object(folder / part / "scheduler_config.json")


def network(kind: Any, path: Path, **options: Any) -> Any:
    """Load one part. Raises MissingWeights if it is absent, broken or of another class."""
    with missing_weights(path):
        _require_kind(kind, path)
        part, info = kind.from_pretrained(
            path, use_safetensors=True, local_files_only=True, output_loading_info=True, **options
        )
        if info["missing_keys"]:  # which would be filled with random numbers
            raise ValueError(f"it has no {sorted(info['missing_keys'])[0]}")
        return part


def tokenizer(kind: Any, path: Path) -> Any:
    """Load a tokenizer. Raises MissingWeights."""
    with missing_weights(path):
        return kind.from_pretrained(path, local_files_only=True)


@contextmanager
def missing_weights(path: Path) -> Iterator[None]:
    """Turn whatever a loader raises for an absent or broken file into one sentence."""
    try:
        yield
    except (OSError, ValueError, KeyError, AttributeError, SafetensorError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise MissingWeights(
            f"Cannot load {path.name!r} of the model at {str(path.parent)!r}: {reason}",
            hint="It must be a diffusers folder with safetensors weights.",
            field="model",
        ) from None


def _read_object(path: Path) -> dict[str, Any]:
    with missing_weights(path):
        content = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(content, dict):
            raise ValueError("it holds no JSON object")
        return content


def _require_kind(kind: type, path: Path) -> None:
    """Raise ValueError if a diffusers config says that it is of another class."""
    config = json.loads((path / "config.json").read_text(encoding="utf-8"))
    found = config.get("_class_name", kind.__name__)
    if found != kind.__name__:
        raise ValueError(f"it is a {found}, not a {kind.__name__}")
