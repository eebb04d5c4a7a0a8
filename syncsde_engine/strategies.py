# SPDX-License-Identifier: GPL-3.0-or-later
"""How trajectories are synchronised: everything between the network and the next state."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Protocol

from torch import Tensor

from .coupling import Coupling
from .schedule import Step


class Strategy(Protocol):
    def advance(self, y: Tensor, eps: Tensor, step: Step, coupling: Coupling) -> Tensor:
        """Step all trajectories. (N, C, h, w) states and noises -> (N, C, h, w)."""
        ...

    def gain(self, step: Step) -> float:
        """Weight with which a state is pulled towards the others in this step; 0 if it is free."""
        ...


@dataclass(frozen=True)
class Independent:
    """Every trajectory on its own: plain DDIM. Eq. 3."""

    def advance(self, y: Tensor, eps: Tensor, step: Step, coupling: Coupling) -> Tensor:
        return step.ddim(y, eps)

    def gain(self, step: Step) -> float:
        return 0.0


@dataclass(frozen=True)
class SyncSDE:
    """Condition every trajectory on the earlier ones. Eqs. 3, 7 and 8.

        y_prev = DDIM(y, eps) + gamma / lambda * M * (mean - y)

    With p(X~ | y) = N(y, lambda (1 - alpha) M^-1) the factor (1 - alpha) of Eq. 7 cancels.
    """

    inverse_lambda: float = 5.0  # 1/lambda at the noisiest training step; falls linearly with time
    correction: Literal["clamped", "paper"] = "clamped"
    share: float = 0.8  # of the time range that is synchronised; the last steps are free

    def advance(self, y: Tensor, eps: Tensor, step: Step, coupling: Coupling) -> Tensor:
        free = step.ddim(y, eps)
        gain = self.gain(step)
        if gain == 0:
            return free
        mean, precision = coupling.condition_on_earlier(y)
        return free + gain * precision * (mean - y)

    def gain(self, step: Step) -> float:
        # Paper: Eqs. 3 and 7 as printed overshoot the mean where gamma / lambda exceeds rho (cosine
        # schedules, few steps); "clamped" stops there and changes nothing at the paper's settings.
        if step.time + self.share <= 1 + 1e-9:
            return 0.0
        gain = step.gamma * self.inverse_lambda * step.time
        return min(gain, step.rho) if self.correction == "clamped" else gain
