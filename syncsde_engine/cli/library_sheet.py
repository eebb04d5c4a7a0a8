# SPDX-License-Identifier: GPL-3.0-or-later
"""Thumbnails of the library's pictures, and a sheet of them."""

from __future__ import annotations

import io
import warnings

from PIL import Image, ImageDraw, UnidentifiedImageError

from .. import library
from ..errors import InvalidRequest
from ..formats import FORMATS, MOST_PIXELS, NAMES, UNREADABLE, kind, too_many

ACROSS, SIDE, LINE, GAP = 8, 160, 16, 4  # thumbnails of a row; pixels


def sheet(found: list[library.Material]) -> bytes:
    """Thumbnails with names, as PNG. Raises InvalidRequest for a picture that cannot be read."""
    rows = -(-len(found) // ACROSS)
    drawn = Image.new("RGB", (ACROSS * (SIDE + GAP) - GAP, rows * (SIDE + LINE)), (24, 24, 24))
    pen = ImageDraw.Draw(drawn)
    for index, material in enumerate(found):
        left, top = index % ACROSS * (SIDE + GAP), index // ACROSS * (SIDE + LINE)
        drawn.paste(thumbnail(material), (left, top))
        pen.text((left + 2, top + SIDE + 2), shortened(pen, material.name), fill=(230, 230, 230))
    content = io.BytesIO()
    drawn.save(content, "PNG")
    return content.getvalue()


def shortened(pen: ImageDraw.ImageDraw, name: str) -> str:
    """A name that fits under its thumbnail."""
    if pen.textlength(name) <= SIDE - 2:
        return name
    while pen.textlength(f"{name}...") > SIDE - 2:
        name = name[:-1]
    return f"{name}..."


def thumbnail(material: library.Material) -> Image.Image:
    """The middle of a picture, SIDE pixels square. Raises InvalidRequest."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with Image.open(material.path, formats=FORMATS) as file:
                if file.width * file.height > MOST_PIXELS:
                    raise Image.DecompressionBombError(file.width * file.height)
                file.draft("RGB", (SIDE, SIDE))  # reads a large JPEG at a part of its size
                return square(file)
    except Image.DecompressionBombError as error:
        reason, hint = too_many(error), "Scale it down."
    except UnidentifiedImageError:
        reason = f"is {kind(material.path.read_bytes()[:64])}, not a {NAMES} file"
        hint = f"Save it as {NAMES}."
    except UNREADABLE as error:
        reason, hint = f"cannot be read: {str(error) or type(error).__name__}", "Save it anew."
    path = str(material.path)
    raise InvalidRequest(f"The picture {path!r} {reason}.", hint=hint, field="folder")


def square(file: Image.Image) -> Image.Image:
    """The middle of a picture in colors, on gray where it is transparent."""
    if file.mode.startswith("I;16"):
        file = file.point(lambda value: value / 256).convert("L")
    picture = Image.new("RGBA", file.size, (96, 96, 96, 255))
    picture.alpha_composite(file.convert("RGBA"))
    side = min(picture.size)
    left, top = (picture.width - side) // 2, (picture.height - side) // 2
    box = (left, top, left + side, top + side)
    return picture.convert("RGB").resize((SIDE, SIDE), Image.Resampling.LANCZOS, box)
