# SPDX-License-Identifier: GPL-3.0-or-later
"""From a run to the folder that the engine loads: averaged weights in half precision."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import safetensors.torch
import torch

from syncsde_engine.models import catalog
from syncsde_engine.models.motion import MEAN, STD, WEIGHTS
from syncsde_engine.models.motion_networks import Mime

from ..loop import Stage
from .plan import MotionPlan
from .train import make_clips, scheduler_config
from .wording import forms

LARGEST_BYTES, MOST_PARAMETERS = 12_000_000, 3_000_000
CARD = Path(__file__).with_name("card.md")
VERSION = "0.1"


def describe(plan: MotionPlan) -> dict[str, object]:
    """The config.json of mime."""
    return {
        "_class_name": catalog.MOTION,
        "network": "mime",
        "version": VERSION,
        **plan.network(),
        "scheduler": scheduler_config(plan),
        "words": forms(),
        "heading": "body",
        "procedural": True,
        "data": "procedural motion, made by training/motion; no recorded motion",
        "license": "CC0-1.0",
        "commercial": True,
    }


def export(plan: MotionPlan, folder: Path, stage: Stage, out: Path) -> int:
    """Write the model of a run to `out`, which appears whole. Returns its size in bytes."""
    clips = make_clips(plan, folder)
    stage.average.swap()
    network = stage.modules["network"]
    assert isinstance(network, Mime)
    weights = {
        name: value.detach().to(torch.float16) for name, value in network.state_dict().items()
    }
    stage.average.swap()
    parameters = sum(value.numel() for value in weights.values())
    if parameters > MOST_PARAMETERS:
        raise ValueError(f"the network has {parameters} parameters, more than {MOST_PARAMETERS}")
    temporary = out.with_name(out.name + ".partial")
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir(parents=True)
    safetensors.torch.save_file(weights, temporary / WEIGHTS)
    (temporary / "config.json").write_text(json.dumps(describe(plan), indent=2) + "\n")
    np.save(temporary / MEAN, clips.mean.numpy())
    np.save(temporary / STD, clips.std.numpy())
    shutil.copy(CARD, temporary / "README.md")
    for file in temporary.iterdir():
        file.chmod(0o644)
    total = sum(file.stat().st_size for file in temporary.iterdir())
    if total > LARGEST_BYTES:
        raise ValueError(f"the model has {total} bytes, more than {LARGEST_BYTES}")
    shutil.rmtree(out, ignore_errors=True)
    temporary.rename(out)
    return total
