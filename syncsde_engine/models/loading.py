# SPDX-License-Identifier: GPL-3.0-or-later
"""From a folder to a model on a device; the one loaded last is kept."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import torch

from ..errors import DeviceUnavailable
from . import catalog, detect
from .deepfloyd import DeepFloyd
from .lora import Lora
from .stable_diffusion import Precision, StableDiffusion

Model = StableDiffusion | DeepFloyd
FAMILIES: dict[str, type[Model]] = {detect.IF: DeepFloyd}  # all others are Stable Diffusion's

log = logging.getLogger(__name__)


class Loaded(NamedTuple):
    asked: tuple[object, ...]
    files: tuple[catalog.WeightsFile, ...]
    control_files: tuple[catalog.WeightsFile, ...]
    model: Model


_last: list[Loaded] = []


def load(
    folder: Path,
    device: torch.device,
    *,
    controlnet: Path | None = None,
    control: bool = False,
    precision: Precision = "auto",
    compile: bool = False,
    loras: tuple[Lora, ...] = (),
) -> Model:
    """Load a model, or return the one loaded last if it serves and its files have not changed.

    Args:
        control: whether the ControlNet is needed; without it its weights need not be there.
        controlnet: folder of the ControlNet, for models whose own folder has none.
        loras: are added to the model's weights.

    Raises MissingWeights, InvalidRequest for a ControlNet or LoRA of a model that can have none, or
    DeviceUnavailable if there is nothing to compile with.
    """
    asked = (folder, device, precision, compile, loras, catalog.weights_in(*paths(loras)))
    files = catalog.weights(folder)
    control_files = catalog.weights(folder, controlnet, control=True)[len(files) :]
    for last in _last:
        same = last.asked == asked and last.files == files
        controlled = control_files and last.control_files == control_files
        if same and (controlled or not control):
            return last.model
    _last.clear()  # before loading: memory may not hold two
    found = detect.detect(folder)
    detect.require_model(found)
    if control and controlnet is not None:
        detect.require_controlnet(detect.detect(controlnet), found.family)
    if compile:
        require_compiler(device)
    warn_of_slow(device, precision, compile)
    family = FAMILIES.get(found.family, StableDiffusion)
    model = family.load(
        folder,
        device,
        controlnet=controlnet,
        control=control,
        precision=precision,
        compile=compile,
        loras=loras,
    )
    _last.append(Loaded(asked, files, control_files if control else (), model))
    return model


def paths(loras: Sequence[Lora]) -> list[Path]:
    return [lora.path for lora in loras]


def warn_of_slow(device: torch.device, precision: Precision, compile: bool) -> None:
    """Say what makes a CPU slower than it is."""
    if device.type != "cpu":
        return
    if precision == "float16":
        log.warning(
            "float16 is many times slower than float32 on a CPU: set precision to auto, or bfloat16"
        )
    if compile:
        log.warning("compile is meant for CUDA: on a CPU it may cost more than it saves")


def require_compiler(device: torch.device) -> None:
    """Raise DeviceUnavailable if torch cannot compile for a device, by compiling one addition."""
    try:
        torch.compile(lambda x: x + 1)(torch.zeros(2, device=device))
    except Exception as error:  # its backends raise anything
        reason = str(error).strip().splitlines()[0] if str(error) else type(error).__name__
        raise DeviceUnavailable(
            f"torch cannot compile networks for {str(device)!r} here: {reason}",
            hint="Install a C++ compiler (and Triton for CUDA), or leave compile off.",
            field="compile",
        ) from None
