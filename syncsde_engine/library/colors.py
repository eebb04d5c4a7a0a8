# SPDX-License-Identifier: GPL-3.0-or-later
"""The colors that prompts name, and what they mean. Mini is trained with the same table."""

from __future__ import annotations

COLORS: dict[str, tuple[float, float, float]] = {
    "red": (0.80, 0.10, 0.10),
    "green": (0.12, 0.58, 0.18),
    "blue": (0.12, 0.25, 0.80),
    "yellow": (0.93, 0.82, 0.12),
    "orange": (0.95, 0.50, 0.08),
    "purple": (0.50, 0.14, 0.66),
    "pink": (0.95, 0.52, 0.70),
    "white": (0.93, 0.93, 0.92),
    "black": (0.07, 0.07, 0.08),
    "gray": (0.48, 0.48, 0.50),
    "brown": (0.42, 0.25, 0.12),
    "teal": (0.08, 0.55, 0.55),
}
# Other words for them.
SHADES = {"grey": "gray", "crimson": "red", "violet": "purple", "turquoise": "teal"}
