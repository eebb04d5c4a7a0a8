# SPDX-License-Identifier: GPL-3.0-or-later
"""Pictures as files: PNG bytes and labelled contact sheets. Images are (3, H, W) in [0, 1]."""

from __future__ import annotations

import io
from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw
from torch import Tensor


def to_bytes(image: Tensor) -> np.ndarray:
    """(3, H, W) in [0, 1] -> (H, W, 3) uint8, row 0 at the top."""
    return (image.clamp(0, 1).movedim(0, -1).cpu().numpy() * 255 + 0.5).astype(np.uint8)


def png(pixels: np.ndarray) -> bytes:
    """Encode (H, W, 3) uint8."""
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, format="PNG", optimize=False)
    return file.getvalue()


def contact_sheet(
    rows: Sequence[Sequence[tuple[str, np.ndarray]]], title: str, cell: int = 192
) -> np.ndarray:
    """Lay labelled (H, W, 3) uint8 pictures out in rows under a title. -> (H, W, 3) uint8."""
    line, gap = 16, 4
    width = max(len(row) for row in rows) * (cell + gap) + gap
    height = line + gap + len(rows) * (cell + line + gap)
    sheet = Image.new("RGB", (width, height), (32, 32, 32))
    draw = ImageDraw.Draw(sheet)
    draw.text((gap, 2), title[: width // 6], fill=(255, 255, 255))
    for y, row in enumerate(rows):
        top = line + gap + y * (cell + line + gap)
        for x, (label, pixels) in enumerate(row):
            left = gap + x * (cell + gap)
            picture = Image.fromarray(pixels)
            filter = Image.Resampling.LANCZOS if max(picture.size) > cell else Image.Resampling.BOX
            scale = cell / max(picture.size)
            size = (round(picture.width * scale), round(picture.height * scale))
            draw.text((left, top), label, fill=(200, 200, 200))
            sheet.paste(picture.resize(size, filter), (left, top + line))
    return np.asarray(sheet)
