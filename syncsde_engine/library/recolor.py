# SPDX-License-Identifier: GPL-3.0-or-later
"""Give a picture another color and keep what it shows."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .colors import COLORS

if TYPE_CHECKING:
    import numpy as np

LUMINANCE = (0.299, 0.587, 0.114)
OWN_CHROMA = 0.2  # of the picture's own colors stays, so that it is not a monochrome


def recolor(pixels: np.ndarray, color: str) -> np.ndarray:
    """Multiply luminance by a named color. Returns (H, W, 3) float32 in [0, 1].

    `pixels` are (H, W, 3), float in [0, 1] or uint8. Luminance counts relative to its mean, so
    that dark and light pictures become the same color; its contrast is kept. Raises
    InvalidRequest for a color that has no name here.
    """
    import numpy as np  # only here: the library's words are looked up without it

    if color not in COLORS:
        from ..errors import InvalidRequest  # only here: the extension has this file without it

        raise InvalidRequest(
            f"There is no color {color!r}.", hint=f"Take one of {', '.join(COLORS)}.", field="color"
        )
    scale = 255 if pixels.dtype == np.uint8 else 1
    picture = pixels.astype(np.float32) / scale
    luminance = picture @ np.array(LUMINANCE, np.float32)
    chroma = picture - luminance[..., None]
    relative = luminance / max(float(luminance.mean()), 1e-3)
    painted = relative[..., None] * np.array(COLORS[color], np.float32)
    return np.clip(painted + OWN_CHROMA * chroma, 0, 1).astype(np.float32)
