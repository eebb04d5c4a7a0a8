# SPDX-License-Identifier: GPL-3.0-or-later
"""How trajectories are synchronized: everything between the network and the next state."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Literal, Protocol

from torch import Tensor

from .coupling import Overlap, earlier, everyone
from .schedule import Step
from .sparse import Coupling


class Strategy(Protocol):
    @property
    def shares_noise(self) -> bool:
        """Whether all trajectories are views of one noisy canvas, at the start and ever after."""
        ...

    @property
    def stochastic(self) -> bool:
        """Whether fresh noise belongs to it, whatever the sampler is."""
        ...

    @property
    def bootstraps(self) -> bool:
        """Whether regions are painted before backgrounds of one color in the first steps.

        Without it, a region's trajectory follows one that shows the whole image.
        """
        ...

    @property
    def ramps(self) -> bool:
        """Whether neighbors on a strip weigh less towards their ends, where they overlap."""
        ...

    def couple(self, overlap: Overlap) -> Coupling:
        """Choose who looks at whom."""
        ...

    def advance(
        self, y: Tensor, eps: Tensor, step: Step, coupling: Coupling, fresh: Tensor | None
    ) -> Tensor:
        """Step all trajectories. (N, C, h, w) states, noises, fresh noise -> (N, C, h, w)."""
        ...

    def gain(self, step: Step) -> float:
        """Weight with which a state is pulled towards the others in this step; 0 if it is free."""
        ...


@dataclass(frozen=True)
class Independent:
    """Every trajectory on its own. Eq. 3."""

    shares_noise = stochastic = bootstraps = ramps = False

    def couple(self, overlap: Overlap) -> Coupling:
        return earlier(overlap)

    def advance(
        self, y: Tensor, eps: Tensor, step: Step, coupling: Coupling, fresh: Tensor | None
    ) -> Tensor:
        return step.ddim(y, eps, fresh)

    def gain(self, step: Step) -> float:
        return 0.0


@dataclass(frozen=True)
class SyncSDE:
    """Condition every trajectory on the earlier ones. Eqs. 3, 7 and 8.

        y_prev = DDIM(y, eps) + gamma / lambda * M * (mean - y)

    With p(X~ | y) = N(y, lambda (1 - alpha) M^-1) the factor (1 - alpha) of Eq. 7 cancels.
    """

    inverse_lambda: float = 5.0  # 1/lambda at the reference time; falls linearly with time
    correction: Literal["clamped", "paper"] = "clamped"
    share: float = 1.0  # of the time range that is synchronized; the last steps are free
    reference: Literal["first", "training"] = "first"

    shares_noise = stochastic = bootstraps = ramps = False

    def couple(self, overlap: Overlap) -> Coupling:
        return earlier(overlap)

    def advance(
        self, y: Tensor, eps: Tensor, step: Step, coupling: Coupling, fresh: Tensor | None
    ) -> Tensor:
        free = step.ddim(y, eps, fresh)
        gain = self.gain(step)
        if gain == 0:
            return free
        mean, precision = coupling.gather(y)
        return free + gain * precision * (mean - y)

    def gain(self, step: Step) -> float:
        if is_free(step, self.share):
            return 0.0
        # Paper: T of the decay t / T is not said. The authors take the first sampled timestep, but
        # the training length for meshes.
        strength = self.inverse_lambda * (step.decay if self.reference == "first" else step.time)
        if self.correction == "paper":
            # Paper: the authors keep the deterministic gamma when they sample with fresh noise.
            return dataclasses.replace(step, sigma=0.0).gamma * strength
        # Paper: Eqs. 3 and 7 as printed overshoot the mean where gamma / lambda exceeds rho (cosine
        # schedules, few steps); "clamped" stops there and changes nothing at the paper's settings
        # for Stable Diffusion.
        return min(step.gamma * strength, step.rho)


@dataclass(frozen=True)
class Averaged:
    """Replace one quantity by the weighted mean of what all trajectories say about it.

    - clean: SyncTweedies (arXiv:2403.14370, case 2). The direction is re-derived from the mean.
    - state: MultiDiffusion (arXiv:2302.08113).
    - noise: Visual Anagrams (arXiv:2311.17919).

    SyncMVD (arXiv:2311.12891) is "clean" with fresh noise and weights that sharpen over time.

    Paper: these methods average on the canvas. On a mesh, whose views are not exact, we average for
    each pixel of each view what all views show there, without a texture in between; and what lies
    beside the mesh is each view's own, where SyncMVD composes a random color.
    """

    quantity: Literal["clean", "state", "noise"]
    share: float = 1.0
    sharpening: float = 0.0  # exponent of the weights in the end; 0 keeps them as they are
    stochastic: bool = False
    bootstraps: bool = False
    ramps: bool = False

    shares_noise = True

    def couple(self, overlap: Overlap) -> Coupling:
        return everyone(overlap)

    def advance(
        self, y: Tensor, eps: Tensor, step: Step, coupling: Coupling, fresh: Tensor | None
    ) -> Tensor:
        if is_free(step, self.share):
            return step.ddim(y, eps, fresh)
        if self.sharpening:
            # Paper: SyncMVD's exponent grows from 0 to its last value, but is 1 in the first step.
            grown = self.sharpening * step.index / step.total
            coupling = coupling.sharpen(grown if step.index else 1.0)
        if self.quantity == "noise":
            # All look at the one canvas again. Where views are exact it is what they saw before.
            return step.ddim(coupling.replace(y), coupling.replace(eps), fresh)
        if self.quantity == "state":
            return coupling.replace(step.ddim(y, eps, fresh))
        clean = coupling.replace(step.tweedie(y, eps))
        return step.arrive(clean, step.noise_in(y, clean), fresh)

    def gain(self, step: Step) -> float:
        return 0.0 if is_free(step, self.share) else 1.0


def is_free(step: Step, share: float) -> bool:
    """Whether a step lies in the last part of the time range, which is not synchronized."""
    return share < 1 and step.time + share <= 1 + 1e-9


def strategy(
    name: str,
    inverse_lambda: float = 5.0,
    correction: Literal["clamped", "paper"] = "clamped",
    share: float = 1.0,
    reference: Literal["first", "training"] = "first",
) -> Strategy:
    """Make a strategy by the name it has on the command line.

    Other names are a task's own methods, whose trajectories know nothing of each other.
    """
    known: dict[str, Strategy] = {
        "independent": Independent(),
        "syncsde": SyncSDE(inverse_lambda, correction, share, reference),
        "synctweedies": Averaged("clean", share),
        "multidiffusion": Averaged("state", share, bootstraps=True),
        "visual-anagrams": Averaged("noise", share),
        "syncmvd": Averaged("clean", share, sharpening=6.0, stochastic=True),
        "doubletake": Averaged("state", share, ramps=True),  # its take 1 (arXiv:2303.01418)
    }
    return known.get(name, Independent())
