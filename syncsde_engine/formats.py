# SPDX-License-Identifier: GPL-3.0-or-later
"""Which picture files are taken, and what others are. Loads no torch."""

from __future__ import annotations

import re
import struct

FORMATS = ("PNG", "JPEG", "WEBP", "TIFF")
NAMES = "PNG, JPEG, WebP or TIFF"
MOST_PIXELS = 2**26  # of a picture that is given to us
UNREADABLE = (OSError, SyntaxError, ValueError, TypeError, struct.error)  # Pillow, on damage
OURS = re.compile(rb"\x89PNG|\xff\xd8\xff|RIFF.{4}WEBP|II\*\x00|MM\x00\*", re.DOTALL)  # beginnings
# How files begin that are none of ours, and what they are: named, so that it is clear what to do.
OTHERS = (
    (rb"GIF8", "a GIF"),
    (rb"BM", "a BMP"),
    (rb"%PDF", "a PDF"),
    (rb"\s*<(\?xml|svg)", "an SVG"),
    (rb"8BPS", "a Photoshop"),
    (rb"v/1\x01", "an OpenEXR"),
    (rb"#\?RADIANCE", "an HDR"),
    (rb".{4}ftyp(heic|heix|mif1|msf1)", "a HEIC"),
    (rb".{4}ftypavi[fs]", "an AVIF"),
)


def kind(content: bytes) -> str:
    """What a file is that cannot be read, as it begins."""
    if not content:
        return "empty"
    found = (name for begin, name in OTHERS if re.match(begin, content, re.DOTALL))
    return next(found, "of an unknown format")


def too_many(error: Exception) -> str:
    """What Pillow's error, or ours, about the size of a picture says, as a sentence's end."""
    pixels = re.search(r"\d+", str(error))
    many = f"{int(pixels[0]) / 1e6:.1f} million" if pixels else "too many"
    return f"has {many} pixels, and no more than {MOST_PIXELS // 10**6} million pixels are taken"
