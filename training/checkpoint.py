# SPDX-License-Identifier: GPL-3.0-or-later
"""Files that are either whole or absent, and running averages of weights."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn


def replace_file(path: Path, write: Callable[[Path], Any]) -> None:
    """Write through a temporary name, so that a killed process never leaves half a file."""
    temporary = path.with_name(path.name + ".partial")
    write(temporary)
    os.replace(temporary, path)


def save_checkpoint(path: Path, state: dict[str, Any]) -> None:
    replace_file(path, lambda temporary: torch.save(state, temporary))


def load_checkpoint(path: Path) -> dict[str, Any] | None:
    """Load what `save_checkpoint` wrote (tensors and plain values), or None if there is none."""
    return torch.load(path, weights_only=True, map_location="cpu") if path.exists() else None


class Average:
    """Exponential moving average of all parameters, quick at first and `decay` in the long run."""

    def __init__(self, modules: Iterable[nn.Module], decay: float) -> None:
        self._parameters = [p for module in modules for p in module.parameters()]
        self._decay = decay
        self.values = [p.detach().clone() for p in self._parameters]
        self.updates = 0

    @torch.no_grad()
    def update(self) -> None:
        self.updates += 1
        decay = min(self._decay, (1 + self.updates) / (10 + self.updates))
        for value, parameter in zip(self.values, self._parameters, strict=True):
            value.lerp_(parameter, 1 - decay)

    def add(self, module: nn.Module) -> None:
        """Follow one more module from its present weights."""
        self._parameters += module.parameters()
        self.values += [p.detach().clone() for p in module.parameters()]

    @torch.no_grad()
    def swap(self) -> None:
        """Exchange averaged and live weights; call again to go back."""
        for parameter, value in zip(self._parameters, self.values, strict=True):
            live = parameter.detach().clone()
            parameter.copy_(value)
            value.copy_(live)

    def state(self) -> dict[str, Any]:
        return {"values": self.values, "updates": self.updates}

    def load(self, state: dict[str, Any]) -> None:
        self.updates = state["updates"]
        with torch.no_grad():
            for mine, saved in zip(self.values, state["values"], strict=True):
                mine.copy_(saved)


def parameter_count(tensors: Iterable[Tensor]) -> int:
    return sum(tensor.numel() for tensor in tensors)
