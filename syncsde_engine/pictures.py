# SPDX-License-Identifier: GPL-3.0-or-later
"""Pictures as files: PNG bytes and labelled contact sheets. Images are (3, H, W) in [0, 1]."""

from __future__ import annotations

import io
from collections.abc import Sequence

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageOps, UnidentifiedImageError
from torch import Tensor

from .errors import InvalidRequest

FORMATS = ("PNG", "JPEG", "WEBP", "TIFF")
MOST_PIXELS = 2**26  # of a picture that is given to us
RESAMPLING = Image.Resampling


def read(content: bytes, field: str) -> Tensor:
    """Decode a picture to (3, H, W) float32 in [0, 1], turned as its camera says.

    What is transparent becomes white. Raises InvalidRequest naming `field` for another format, a
    damaged file, and, before decoding, for more than MOST_PIXELS.
    """
    try:
        picture = Image.open(io.BytesIO(content), formats=FORMATS)
        if picture.width * picture.height > MOST_PIXELS:
            raise InvalidRequest(
                f"The picture has {picture.width} x {picture.height} pixels.",
                hint=f"At most {MOST_PIXELS} are taken: scale it down.",
                field=field,
            )
        picture = ImageOps.exif_transpose(picture)
        if picture.mode.startswith("I;16"):
            pixels = np.repeat(np.asarray(picture, dtype=np.float32)[:, :, None] / 65535, 3, axis=2)
        else:
            if picture.has_transparency_data:
                layer = picture.convert("RGBA")
                picture = Image.new("RGBA", layer.size, "white")
                picture.alpha_composite(layer)
            pixels = np.asarray(picture.convert("RGB"), dtype=np.float32) / 255
    except (
        UnidentifiedImageError,
        Image.DecompressionBombError,
        OSError,
        SyntaxError,
        ValueError,
    ) as error:
        raise InvalidRequest(
            f"The picture cannot be read: {str(error).split(' <')[0]}.",
            hint=f"Give a {', '.join(FORMATS)} file.",
            field=field,
        ) from None
    return torch.from_numpy(pixels).movedim(-1, 0)


def resize(image: Tensor, height: int, width: int) -> Tensor:
    """Scale (3, H, W) in [0, 1] with Lanczos."""
    if image.shape[1:] == (height, width):
        return image
    planes = [
        np.asarray(Image.fromarray(plane.cpu().numpy()).resize((width, height), RESAMPLING.LANCZOS))
        for plane in image.float()
    ]
    return torch.from_numpy(np.stack(planes)).clamp(0, 1)


def fit(height: int, width: int, short: int, multiple: int) -> tuple[int, int]:
    """Scale (height, width) so that the shorter side is about `short`, both multiples."""
    scale = short / min(height, width)
    return (
        max(multiple, round(height * scale / multiple) * multiple),
        max(multiple, round(width * scale / multiple) * multiple),
    )


def to_bytes(image: Tensor) -> np.ndarray:
    """(3, H, W) in [0, 1] -> (H, W, 3) uint8, row 0 at the top."""
    return (image.clamp(0, 1).movedim(0, -1).cpu().numpy() * 255 + 0.5).astype(np.uint8)


def png(pixels: np.ndarray) -> bytes:
    """Encode (H, W, 3) or (H, W) uint8."""
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
