# SPDX-License-Identifier: GPL-3.0-or-later
"""SyncSDE: diffusion trajectories synchronized through a shared canvas (CVPR 2025)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .api import Result, run

__version__ = "0.1.0"
__all__ = ["Result", "__version__", "run"]


def __getattr__(name: str) -> Any:
    """Import `api` when it is asked for: programs that only start take no time for it."""
    if name not in ("Result", "run"):
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from . import api

    return getattr(api, name)
