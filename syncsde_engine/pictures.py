# SPDX-License-Identifier: GPL-3.0-or-later
"""Pictures as files: PNG bytes and labelled contact sheets. Images are (3, H, W) in [0, 1]."""

from __future__ import annotations

import io
import warnings
from collections.abc import Callable, Sequence

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageOps, UnidentifiedImageError
from torch import Tensor

from .errors import InvalidRequest
from .formats import FORMATS, MOST_PIXELS, NAMES, OURS, UNREADABLE, kind, too_many

RESAMPLING = Image.Resampling


def read(content: bytes, field: str) -> Tensor:
    """Decode a picture to (3, H, W) float32 in [0, 1], turned as its camera says.

    What is transparent becomes white; of an animation the first picture counts. Raises
    InvalidRequest naming `field` for another format, a damaged file, and, before decoding, for
    more than MOST_PIXELS.
    """
    return _read(content, field, _decoded)


def read_layer(content: bytes, field: str) -> Tensor:
    """Decode a picture to (4, H, W) float32 in [0, 1]; the last channel is its opacity.

    Raises InvalidRequest as `read` does.
    """
    return _read(content, field, _decoded_layer)


def _read(content: bytes, field: str, decoded: Callable[[Image.Image], np.ndarray]) -> Tensor:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of what is wrong we say the part that matters
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        try:
            picture = Image.open(io.BytesIO(content), formats=FORMATS)
            if picture.width * picture.height > MOST_PIXELS:
                raise Image.DecompressionBombError(picture.width * picture.height)
            pixels = decoded(ImageOps.exif_transpose(picture))
        except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
            raise InvalidRequest(
                f"The picture {too_many(error)}.", hint="Scale it down.", field=field
            ) from None
        except UNREADABLE as error:
            if isinstance(error, UnidentifiedImageError) and not OURS.match(content):
                raise InvalidRequest(
                    f"The picture is {kind(content)}, not a {NAMES} file.",
                    hint=f"Save it as {NAMES}.",
                    field=field,
                ) from None
            said = "" if isinstance(error, UnidentifiedImageError) else str(error)
            raise InvalidRequest(
                f"The picture cannot be read: {said or 'nothing of it is whole'}.",
                hint="The file is damaged; save it anew.",
                field=field,
            ) from None
    return torch.from_numpy(pixels).movedim(-1, 0)


def _decoded(picture: Image.Image) -> np.ndarray:
    """(H, W, 3) float32 in [0, 1]."""
    if picture.mode.startswith("I;16"):
        gray = np.asarray(picture).astype(np.float32) / 65535
        return np.repeat(gray[:, :, None], 3, axis=2)
    if picture.mode in ("I", "F"):
        raise ValueError("it has 32 bits a channel, and only 8 and 16 are taken")
    if picture.has_transparency_data:
        layer = picture.convert("RGBA")
        picture = Image.new("RGBA", layer.size, "white")
        picture.alpha_composite(layer)
    return np.asarray(picture.convert("RGB"), dtype=np.float32) / 255


def _decoded_layer(picture: Image.Image) -> np.ndarray:
    """(H, W, 4) float32 in [0, 1]; colours are not premultiplied."""
    if picture.has_transparency_data:
        return np.asarray(picture.convert("RGBA"), dtype=np.float32) / 255
    pixels = _decoded(picture)
    return np.concatenate([pixels, np.ones_like(pixels[:, :, :1])], axis=2)


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
    """Encode (H, W, 3) uint8, or (H, W) uint8 or uint16."""
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, format="PNG", optimize=False)
    return file.getvalue()


def contact_sheet(
    rows: Sequence[Sequence[tuple[str, np.ndarray]]], title: str, cell: int = 192
) -> np.ndarray:
    """Lay labelled (H, W, 3) uint8 pictures out in rows under a title. -> (H, W, 3) uint8.

    Each one's longer side is `cell` pixels.
    """
    line, gap = 16, 4
    scaled = [[(label, _scaled(pixels, cell)) for label, pixels in row] for row in rows]
    column = max(160, *(picture.width for row in scaled for _, picture in row))  # room for a label
    heights = [max(picture.height for _, picture in row) + line + gap for row in scaled]
    width = max(len(row) for row in rows) * (column + gap) + gap
    sheet = Image.new("RGB", (width, line + gap + sum(heights)), (32, 32, 32))
    draw = ImageDraw.Draw(sheet)
    draw.text((gap, 2), title[: width // 6], fill=(255, 255, 255))
    top = line + gap
    for row, height in zip(scaled, heights, strict=True):
        for x, (label, picture) in enumerate(row):
            left = gap + x * (column + gap)
            draw.text((left, top), label[: column // 6], fill=(200, 200, 200))
            sheet.paste(picture, (left, top + line))
        top += height
    return np.asarray(sheet)


def _scaled(pixels: np.ndarray, longest: int) -> Image.Image:
    picture = Image.fromarray(pixels)
    scale = longest / max(picture.size)
    size = (max(1, round(picture.width * scale)), max(1, round(picture.height * scale)))
    return picture.resize(size, RESAMPLING.LANCZOS if scale < 1 else RESAMPLING.BOX)
