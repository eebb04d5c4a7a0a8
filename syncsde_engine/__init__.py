# SPDX-License-Identifier: GPL-3.0-or-later
"""SyncSDE: diffusion trajectories synchronised through a shared canvas (CVPR 2025)."""

__version__ = "0.1.0"
