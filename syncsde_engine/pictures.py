# SPDX-License-Identifier: GPL-3.0-or-later
"""Pictures as files: PNG bytes and labeled contact sheets. Images are (3, H, W) in [0, 1]."""

from __future__ import annotations

import io
import warnings
from collections.abc import Sequence

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageOps, UnidentifiedImageError
from torch import Tensor

from .errors import InvalidRequest
from .formats import (
    FORMATS,
    MOST_ASPECT,
    MOST_PIXELS,
    NAMES,
    OURS,
    UNREADABLE,
    kind,
    too_many,
    without_comments,
)
from .profiles import in_srgb

RESAMPLING = Image.Resampling
LONGEST_ASPECT = 200  # of what a network makes or changes
PLAIN = 0.02  # by which the colors of a mask may differ and are one


def read(content: bytes, field: str) -> Tensor:
    """Decode a picture to (3, H, W) float32 in [0, 1], turned as its camera says.

    Colors of another space than sRGB become sRGB, what is transparent becomes white; of an
    animation the first picture counts. Raises InvalidRequest naming `field` for another format, a
    damaged file, and, before decoding, for more than MOST_PIXELS or MOST_ASPECT.
    """
    layer = _read(content, field)
    return layer[:3] * layer[3:] + (1 - layer[3:])


def read_layer(content: bytes, field: str, *, is_color: bool = True) -> Tensor:
    """Decode a picture to (4, H, W) float32 in [0, 1]; the last channel is its opacity.

    What is no color, such as normals, stays as it is. Raises InvalidRequest as `read` does.
    """
    return _read(content, field, is_color=is_color)


def read_mask(content: bytes, field: str) -> Tensor:
    """Decode a mask to (H, W) float32 in [0, 1]: how white it is, times how opaque.

    One that is drawn in a single color on a transparent ground is its opacity alone, whatever the
    color: it has no luminance that could tell anything. Raises InvalidRequest as `read` does.
    """
    layer = _read(content, field, is_color=False)
    seen = layer[:3, layer[3] > 0.5]
    is_plain = seen.shape[1] > 0 and bool((seen.amax(1) - seen.amin(1) < PLAIN).all())
    if is_plain and (layer[3] < 0.5).any():
        return layer[3]
    return layer[:3].mean(0) * layer[3]


def require_aspect(image: Tensor, field: str, what: str) -> None:
    """Raise InvalidRequest for an image (..., H, W) that is too long for a network."""
    tall, across = image.shape[-2:]
    if max(tall, across) > LONGEST_ASPECT * min(tall, across):
        raise InvalidRequest(
            f"The {what} has {across} x {tall} pixels, and the image would have that shape: one "
            f"side is more than {LONGEST_ASPECT} times the other.",
            hint=f"Cut the {what}.",
            field=field,
        )


def _read(content: bytes, field: str, *, is_color: bool = True) -> Tensor:
    """(4, H, W) float32 in [0, 1]; colors are not premultiplied."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of what is wrong we say the part that matters
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        try:
            plain, profile = without_comments(content)
            picture = Image.open(io.BytesIO(plain), formats=FORMATS)
            width, height = picture.size
            if width * height > MOST_PIXELS:
                raise Image.DecompressionBombError(width * height)
            if max(width, height) > MOST_ASPECT * min(width, height):
                raise InvalidRequest(
                    f"The picture has {width} x {height} pixels: one side is more than "
                    f"{MOST_ASPECT} times the other.",
                    hint="Cut it.",
                    field=field,
                )
            if picture.mode in ("I", "F"):
                raise InvalidRequest(
                    "The picture has 32 bits a channel, and only 8 and 16 are taken.",
                    hint="Save it with 8 or 16 bits.",
                    field=field,
                )
            profile = profile or picture.info.get("icc_profile")
            picture = ImageOps.exif_transpose(picture)
            pixels = _decoded(picture, profile if is_color else None)
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


def _decoded(picture: Image.Image, profile: bytes | None) -> np.ndarray:
    """(H, W, 4) float32 in [0, 1]."""
    if picture.mode.startswith("I;16"):
        gray = np.asarray(picture).astype(np.float32) / 65535
        return np.stack([gray, gray, gray, np.ones_like(gray)], axis=2)
    alpha = None
    if picture.has_transparency_data:
        picture = picture.convert("RGBA")
        alpha = picture.getchannel("A")
    elif picture.mode == "P":
        picture = picture.convert("RGB")
    color = picture if alpha is None else picture.convert("RGB")
    if profile is not None:
        color = in_srgb(color, profile)
    colors = np.asarray(color.convert("RGB"), dtype=np.float32) / 255
    opacity = np.ones(colors.shape[:2], np.float32)
    if alpha is not None:
        opacity = np.asarray(alpha, dtype=np.float32) / 255
    return np.concatenate([colors, opacity[:, :, None]], axis=2)


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
    """Lay labeled (H, W, 3) uint8 pictures out in rows under a title. -> (H, W, 3) uint8.

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
