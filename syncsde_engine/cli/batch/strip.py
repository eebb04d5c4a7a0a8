# SPDX-License-Identifier: GPL-3.0-or-later
"""A small picture of a result: its texture and first views, its image, or its contact sheet."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping

from PIL import Image

HEIGHT, WIDEST = 64, 320  # pixels
VIEWS = 3  # beside a texture
QUALITY = 60
PICTURES = ("image.png", "contact_sheet.png")  # the first that there is, where there are no views


def thumbnail(files: Mapping[str, bytes]) -> str:
    """WebP as a data: URL, about three kilobytes; empty if the files have no picture."""
    views = sorted(name for name in files if name.startswith("views/"))[:VIEWS]
    names = [*(["texture.png"] if "texture.png" in files else []), *views]
    names = names or [name for name in PICTURES if name in files][:1]
    if not names:
        return ""
    try:
        parts = [_small(files[name]) for name in names]
    except (OSError, ValueError):  # of a task from elsewhere, which may write anything
        return ""
    strip = Image.new("RGB", (sum(part.width for part in parts), HEIGHT), "white")
    left = 0
    for part in parts:
        strip.paste(part, (left, 0))
        left += part.width
    written = io.BytesIO()
    strip.crop((0, 0, min(strip.width, WIDEST), HEIGHT)).save(written, "WEBP", quality=QUALITY)
    return f"data:image/webp;base64,{base64.b64encode(written.getvalue()).decode()}"


def _small(content: bytes) -> Image.Image:
    image = Image.open(io.BytesIO(content))
    image.draft("RGB", (WIDEST, HEIGHT))
    width = max(1, round(image.width * HEIGHT / image.height))
    return image.convert("RGB").resize((width, HEIGHT), Image.Resampling.BOX)
