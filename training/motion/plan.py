# SPDX-License-Identifier: GPL-3.0-or-later
"""The sizes of a run. The defaults are those of the model that ships."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class MotionPlan:
    seed: int = 16
    clips: int = 7000
    steps: int = 4400
    batch: int = 32
    rate: float = 1.2e-3
    decay: float = 0.995  # of the running average of weights
    cool_down: float = 0.4  # share of the steps over which the rate falls
    unprompted: float = 0.1  # share of examples without words
    noise_steps: int = 50
    width: int = 160
    layers: int = 4
    heads: int = 4
    feed_forward: int = 480
    together: int = 6
    cleanest: float = 8.0  # logarithm of signal over noise
    noisiest: float = -9.5

    def network(self) -> dict[str, Any]:
        """The arguments of the network, as its config.json has them."""
        names = ("width", "layers", "heads", "feed_forward", "together")
        sizes = {name: getattr(self, name) for name in names}
        return sizes | {"steps": self.noise_steps}


def changed(plan: MotionPlan, changes: list[str]) -> MotionPlan:
    """A plan with fields changed, each as NAME=VALUE. Raises ValueError for an unknown name."""
    kinds = {field.name: type(getattr(plan, field.name)) for field in dataclasses.fields(plan)}
    values = {}
    for change in changes:
        name, _, value = change.partition("=")
        if name not in kinds:
            raise ValueError(f"a plan has no {name!r}; it has {', '.join(kinds)}")
        values[name] = kinds[name](value)
    return dataclasses.replace(plan, **values)
