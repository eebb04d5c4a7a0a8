# SPDX-License-Identifier: GPL-3.0-or-later
"""Give a picture another color and keep what it shows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .colors import COLORS

if TYPE_CHECKING:
    import numpy as np

LUMINANCE = (0.299, 0.587, 0.114)
OWN_CHROMA = 0.2  # of the picture's own colors stays, so that it is not a monochrome
SATURATION = 0.72  # of the named color: materials are duller than paint
OWN_LIGHT = 0.4  # how far a dark picture stays dark under a vivid color, as an exponent
COLORED = (0.12, 0.24)  # chroma over luminance, from which on a picture has a color of its own
SHARED = (0.2, 0.6)  # how much of that color a pixel has to have to be recolored


def recolor(pixels: np.ndarray, color: str) -> np.ndarray:
    """Give a named color to what has the picture's own. Returns (H, W, 3) float32 in [0, 1].

    `pixels` are (H, W, 3), float in [0, 1] or uint8. Luminance and its contrast are kept, relative
    to its mean. Where a picture has a color of its own, what lacks it stays as it is, such as the
    joints between bricks. Raises InvalidRequest for a color that has no name here.
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
    light = max(float(luminance.mean()), 1e-3)
    tone = chroma / np.maximum(luminance, 0.02)[..., None]
    own = np.median(tone.reshape(-1, 3), axis=0)
    colored = _between(np.linalg.norm(own), *COLORED)
    share = _between(tone @ own / max(float(own @ own), 1e-9), *SHARED)
    share = (1 - colored * (1 - share))[..., None]
    named = np.array(COLORS[color], np.float32)
    gray = float(named @ np.array(LUMINANCE, np.float32))
    paint = gray + SATURATION * (named - gray)
    paint *= (light / gray) ** (OWN_LIGHT * np.ptp(named))
    painted = luminance[..., None] / light * paint + OWN_CHROMA * chroma
    return np.clip(share * painted + (1 - share) * picture, 0, 1).astype(np.float32)


def _between(value: Any, low: float, high: float) -> Any:
    """0 below `low`, 1 above `high`, smooth between them."""
    there = ((value - low) / (high - low)).clip(0, 1)
    return there * there * (3 - 2 * there)
