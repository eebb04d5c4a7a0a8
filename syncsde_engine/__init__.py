# SPDX-License-Identifier: GPL-3.0-or-later
"""SyncSDE: diffusion trajectories synchronized through a shared canvas (CVPR 2025)."""

__version__ = "0.1.0"

from .api import Result, run

__all__ = ["Result", "__version__", "run"]
