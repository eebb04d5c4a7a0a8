# SPDX-License-Identifier: GPL-3.0-or-later
"""report.json: what was asked, what it cost, what came out."""

from __future__ import annotations

import dataclasses
import json
import platform
from typing import Any

import torch

from . import __version__
from .config import TaskConfig
from .usage import Clock, Usage, peak_memory

NETWORKS = (
    "unet",
    "upscaler",
    "controlnet",
    "vae_encoder",
    "vae_decoder",
    "text_encoder",
    "exemplar",
    "motion",
)


def report(
    task: str,
    config: TaskConfig,
    clock: Clock,
    device: torch.device,
    usage: Usage,
    **results: Any,
) -> bytes:
    """Encode the report of a finished run. `results` are the task's own entries."""
    timings = clock.timings() | {"network": usage.seconds}
    entries = {
        "task": task,
        "version": __version__,
        "torch": torch.__version__,
        "machine": platform.machine(),
        "threads": torch.get_num_threads(),  # on a CPU they decide how sums are rounded
        "parameters": dataclasses.asdict(config),
        "seed": config.seed,
        "model": config.model,
        "strategy": config.strategy,
        "device": str(device),
        **results,
        "network_evaluations": {name: usage.evaluations[name] for name in NETWORKS},
        "timings": {stage: round(seconds, 4) for stage, seconds in timings.items()},
        "peak_memory_bytes": peak_memory(device),
    }
    return json.dumps(entries, indent=2).encode()
