# SPDX-License-Identifier: GPL-3.0-or-later
"""Where models are, and the settings each of them likes."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from functools import lru_cache
from pathlib import Path
from typing import Any

from pydantic import ConfigDict, ValidationError
from pydantic.dataclasses import dataclass

from ..config import ControlScale, GuidanceScale, ViewSize
from ..errors import MissingWeights
from . import detect
from .folder import class_name
from .headers import chosen

DEFAULT = "mini"  # what paints where AUTO finds no picture
AUTO, EXEMPLAR = "auto", "exemplar"  # no folders: a choice, and pictures in the place of networks
EMBEDDED = {name: Path(__file__).parent / name for name in (DEFAULT, "mime")}
OFFERED: dict[str, Path] = {}  # more names, by whoever runs tasks for others
MOTION = detect.MOTION_CLASS
SETTINGS_FILE = "syncsde.json"
PARTS = ("text_encoder", "vae", "unet")
PIXELS_OF = {"IFPipeline": 64}  # image_size of other models than Stable Diffusion


@dataclass(frozen=True, config=ConfigDict(strict=True, allow_inf_nan=False))
class Settings:
    """A model's own defaults, from its `syncsde.json`; else the paper's (appendix A.5)."""

    guidance_scale: GuidanceScale = 15.5
    control_scale: ControlScale = 0.7
    view_size: ViewSize = 768  # side of a mesh's views, pixels
    image_size: ViewSize = 512  # side at which the image tasks work, pixels
    image_guidance_scale: GuidanceScale | None = None  # of the image tasks; None: each one's own
    prompt_prefix: str = "Best quality, extremely detailed "
    negative_prompt: str = (
        "oversmoothed, blurry, depth of field, out of focus, low quality, bloom, glowing effect."
    )


def locate(model: str, field: str = "model") -> Path:
    """Find a model: an embedded name, a folder or file, or a hub id already downloaded.

    Raises MissingWeights. Nothing is downloaded.
    """
    if model == EXEMPLAR:
        raise MissingWeights(
            f"The model {model!r} paints like a picture, which this task does not take.",
            hint="Leave model at auto, or name another.",
            field=field,
        )
    model = DEFAULT if model == AUTO and field == "model" else model
    folder = (OFFERED | EMBEDDED).get(model, Path(model))
    try:
        folder = folder.expanduser()
        is_there = folder.exists()
    except (OSError, ValueError, RuntimeError):  # too long, or of a user who is not there
        is_there = False
    if is_there:
        return snapshot(folder)
    if model.count("/") == 1 and not Path(model).is_absolute():
        from huggingface_hub import snapshot_download
        from huggingface_hub.errors import HFValidationError, LocalEntryNotFoundError

        try:
            return Path(snapshot_download(model, local_files_only=True))
        except (LocalEntryNotFoundError, HFValidationError):
            pass
    raise MissingWeights(
        f"There is no model {model!r:.200}.",
        hint=f"Give a diffusers folder, a downloaded hub id, or one of: {', '.join(EMBEDDED)}.",
        field=field,
    )


def snapshot(path: Path) -> Path:
    """The model itself, where a path leads to its folder in the hub's cache."""
    snapshots = path / "snapshots"
    if not snapshots.is_dir():
        return path
    main = path / "refs" / "main"
    named = snapshots / main.read_text(encoding="utf-8").strip() if main.is_file() else None
    if named is not None and named.is_dir():
        return named
    return max((each for each in snapshots.iterdir() if each.is_dir()), default=path)


def settings(folder: Path) -> Settings:
    """Read what the model in `folder` likes; the paper's values where it says nothing.

    Raises MissingWeights if the file makes no sense.
    """
    size = PIXELS_OF.get(class_name(folder)) or detect.detect(folder).pixels or Settings.image_size
    values: dict[str, Any] = {"image_size": size, "view_size": max(size, Settings.view_size)}
    path = folder / SETTINGS_FILE
    if not path.is_file():
        return Settings(**values)
    known = {field.name for field in dataclasses.fields(Settings)}
    try:
        given = json.loads(path.read_text(encoding="utf-8"))
        values |= {name: value for name, value in given.items() if name in known}
        return Settings(**values)
    except (ValidationError, ValueError, AttributeError, RecursionError) as error:
        wrong = error.errors()[0]["msg"] if isinstance(error, ValidationError) else error
        raise MissingWeights(f"{str(path)!r} is not valid: {wrong}.", field="model") from None


def vocabulary(folder: Path) -> dict[str, list[str]]:
    """The words that a model was trained on, by kind, if its `syncsde.json` tells them."""
    path = folder / SETTINGS_FILE
    return json.loads(path.read_text("utf-8")).get("vocabulary", {}) if path.is_file() else {}


def makes_motion(folder: Path) -> bool:
    """Whether a folder's model makes motion, not pictures. Raises MissingWeights."""
    return class_name(folder) == MOTION


WeightsFile = tuple[Path, int, int]  # with modification time in nanoseconds and size in bytes


def weights(
    folder: Path, controlnet: Path | None = None, *, control: bool = False
) -> tuple[WeightsFile, ...]:
    """The weights files that a model is loaded from, in a fixed order.

    Only with `control` a ControlNet is among them: that of `controlnet`, or else the folder's own.
    """
    if makes_motion(folder):
        return weights_in(folder, folder / "text_encoder")
    folders = [folder / part for part in (*PARTS, "text_encoder_2")]
    if folder.is_file():
        folders = [folder]
    if control:
        folders.append(controlnet or folder / "controlnet")
    return weights_in(*folders)


def weights_in(*parts: Path) -> tuple[WeightsFile, ...]:
    """The weights files of some parts' folders, or those files themselves."""
    files = [file for part in parts for file in ([part] if part.is_file() else chosen(part)[0])]
    used = [(file, file.stat()) for file in files]
    return tuple((file, stat.st_mtime_ns, stat.st_size) for file, stat in used)


@lru_cache(maxsize=8)
def fingerprint(files: tuple[WeightsFile, ...]) -> str:
    """SHA-256 over the SHA-256 of every file."""
    total = hashlib.sha256()
    for path, _, _ in files:
        with path.open("rb") as file:
            total.update(hashlib.file_digest(file, "sha256").digest())
    return total.hexdigest()
