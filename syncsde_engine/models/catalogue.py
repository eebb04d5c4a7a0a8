# SPDX-License-Identifier: GPL-3.0-or-later
"""Where models are, and the settings each of them likes."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

from ..errors import MissingWeights

EMBEDDED = {"mini": Path(__file__).parent / "mini"}
SETTINGS_FILE = "syncsde.json"


@dataclass(frozen=True)
class Settings:
    """A model's own defaults, from its `syncsde.json`; else the paper's (appendix A.5)."""

    guidance_scale: float = 15.5
    control_scale: float = 0.7
    view_size: int = 768  # pixels
    prompt_prefix: str = "Best quality, extremely detailed "
    negative_prompt: str = (
        "oversmoothed, blurry, depth of field, out of focus, low quality, bloom, glowing effect."
    )


def locate(model: str) -> Path:
    """Find a model's diffusers folder: an embedded name, a folder, or a hub id already downloaded.

    Raises MissingWeights. Nothing is downloaded.
    """
    folder = EMBEDDED.get(model, Path(model).expanduser())
    if folder.is_dir():
        return folder
    if model.count("/") == 1 and not Path(model).is_absolute():
        from huggingface_hub import snapshot_download
        from huggingface_hub.errors import HFValidationError, LocalEntryNotFoundError

        try:
            return Path(snapshot_download(model, local_files_only=True))
        except (LocalEntryNotFoundError, HFValidationError):
            pass
    raise MissingWeights(
        f"There is no model {model!r}.",
        hint=f"Give a diffusers folder, a downloaded hub id, or one of: {', '.join(EMBEDDED)}.",
        field="model",
    )


def settings(folder: Path) -> Settings:
    """Read what the model in `folder` likes; the paper's values where it says nothing."""
    path = folder / SETTINGS_FILE
    if not path.is_file():
        return Settings()
    known = {field.name for field in dataclasses.fields(Settings)}
    given = json.loads(path.read_text(encoding="utf-8"))
    return Settings(**{name: value for name, value in given.items() if name in known})


def fingerprint(*folders: Path) -> str:
    """SHA-256 over every weights file, in the order of their names."""
    total = hashlib.sha256()
    for folder in folders:
        for path in sorted(folder.rglob("*.safetensors")):
            with path.open("rb") as file:
                total.update(hashlib.file_digest(file, "sha256").digest())
    return total.hexdigest()
