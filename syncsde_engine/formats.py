# SPDX-License-Identifier: GPL-3.0-or-later
"""Which picture files are taken, and what others are. Loads no torch."""

from __future__ import annotations

import re
import struct
import zlib

FORMATS = ("PNG", "JPEG", "WEBP", "TIFF")
NAMES = "PNG, JPEG, WebP or TIFF"
MOST_PIXELS = 2**26  # of a picture that is given to us
MOST_ASPECT = 1024  # of its sides
MOST_PROFILE = 2**24  # bytes of a color profile
PNG = b"\x89PNG\r\n\x1a\n"
COMMENTS = (b"tEXt", b"zTXt", b"iTXt")
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


def without_comments(content: bytes) -> tuple[bytes, bytes | None]:
    """A PNG without comments and color profile, whose size Pillow limits, and the profile.

    Other files, and damaged ones, come back as they are.
    """
    if not content.startswith(PNG):
        return content, None
    kept, profile, place = [PNG], None, len(PNG)
    while place + 12 <= len(content):
        size = int.from_bytes(content[place : place + 4], "big")
        name, end = content[place + 4 : place + 8], place + 12 + size
        if name == b"iCCP":
            profile = _inflated(content[place + 8 : end - 4].partition(b"\0")[2][1:])
        elif name not in COMMENTS:
            kept.append(content[place:end])
        place = end
    return b"".join([*kept, content[place:]]), profile


def _inflated(packed: bytes) -> bytes | None:
    """A profile; None if it is damaged or absurdly large."""
    inflater = zlib.decompressobj()
    try:
        profile = inflater.decompress(packed, MOST_PROFILE)
    except zlib.error:
        return None
    return profile if inflater.eof else None


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
