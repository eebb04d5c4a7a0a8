# SPDX-License-Identifier: GPL-3.0-or-later
"""The devices that are there. Loads no networks' classes."""

from __future__ import annotations

import torch

from ..errors import DeviceUnavailable


def pick_device(name: str) -> torch.device:
    """Resolve "auto" and check that a device that was asked for is there."""
    if name == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError:  # a number that is too large for it
        device = None
    there = {
        "cpu": True,
        "mps": torch.backends.mps.is_available(),
        "cuda": device is not None and (device.index or 0) < torch.cuda.device_count(),
    }
    if device is None or not there.get(device.type, False):
        raise DeviceUnavailable(
            f"Device {name!r:.80} is not available.",
            hint="Use cpu, or install the torch build for it.",
            field="device",
        )
    return device


def devices() -> list[str]:
    """The devices that are there, the best first."""
    cuda = [f"cuda:{index}" for index in range(torch.cuda.device_count())]
    return [*cuda, *(["mps"] if torch.backends.mps.is_available() else []), "cpu"]
