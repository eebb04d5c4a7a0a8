# SPDX-License-Identifier: GPL-3.0-or-later
"""A denoiser of motion without weights: normal distributions, whose posterior mean is closed."""

from dataclasses import dataclass

import torch
from torch import Tensor

from syncsde_engine.method.schedule import Step


@dataclass(frozen=True)
class Normal:
    """N(mean, U diag(spread) U^T + rest I) over flattened states."""

    mean: Tensor  # (D,)
    directions: Tensor  # (D, K), orthonormal columns
    spread: Tensor  # (K,) variances along them
    rest: float  # variance in every direction

    @classmethod
    def fitted(cls, samples: Tensor, directions: int, rest: float) -> "Normal":
        """To samples (N, D): their mean and strongest directions."""
        mean = samples.mean(0)
        _, values, vectors = torch.linalg.svd(samples - mean, full_matrices=False)
        variances = values[:directions] ** 2 / (len(samples) - 1)
        return cls(mean, vectors[:directions].T.contiguous(), variances, rest)

    def posterior_mean(self, y: Tensor, alpha: float) -> Tensor:
        """E[x_0 | y] of states (N, D): a Wiener filter in the distribution's own directions."""
        off = y - alpha**0.5 * self.mean
        along = off @ self.directions
        total = self.spread + self.rest
        wide = alpha**0.5 * total / (alpha * total + 1 - alpha)
        narrow = alpha**0.5 * self.rest / (alpha * self.rest + 1 - alpha)
        return self.mean + narrow * off + (along * (wide - narrow)) @ self.directions.T


@dataclass(frozen=True)
class GaussianMotion:
    """Each trajectory has a distribution of its own."""

    of: tuple[Normal, ...]

    def predict_noise(self, y: Tensor, step: Step) -> Tensor:
        clean = torch.cat(
            [
                normal.posterior_mean(state.flatten()[None], step.alpha).view_as(state)[None]
                for normal, state in zip(self.of, y, strict=True)
            ]
        )
        return step.noise_in(y, clean)
