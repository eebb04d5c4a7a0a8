# SPDX-License-Identifier: GPL-3.0-or-later
"""Counter-based noise: (seed, trajectory, step) gives the same numbers in whatever order.

Batching, chunking and resuming therefore cannot change a result.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

INITIAL = 0  # the step number of y_T


def gaussian(seed: int, trajectory: int, step: int, shape: Sequence[int]) -> Tensor:
    """Draw standard normal numbers on the CPU, float32 of the given shape, from Philox."""
    key = np.array([seed, (trajectory << 32) | step], dtype=np.uint64)
    generator = np.random.Generator(np.random.Philox(key=key))
    return torch.from_numpy(generator.standard_normal(tuple(shape), dtype=np.float32))


def initial(seed: int, trajectories: int, shape: Sequence[int]) -> Tensor:
    """Draw y_T for every trajectory. (N, *shape) float32."""
    return torch.stack([gaussian(seed, i, INITIAL, shape) for i in range(trajectories)])
