# SPDX-License-Identifier: GPL-3.0-or-later
"""Room on the disk for what a run will write."""

from __future__ import annotations

from pathlib import Path

from .. import output
from ..config import TaskConfig, TextureConfig


def require_space(folder: Path, config: TaskConfig, runs: int = 1) -> None:
    """Raise InvalidRequest if the textures of so many runs would not fit; images are small."""
    if isinstance(config, TextureConfig):
        from ..tasks import texture  # imports torch

        output.require_space(folder, runs * texture.output_bytes(config))
