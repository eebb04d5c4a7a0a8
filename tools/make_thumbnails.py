# SPDX-License-Identifier: GPL-3.0-or-later
"""Draw the library's pictures small, for the extension: python tools/make_thumbnails.py.

The results are committed, so that building the extension needs the standard library alone and gives
the same bytes everywhere. To be run after a change of the library: a test tells if it was not.
"""

from __future__ import annotations

import json
from pathlib import Path

from PIL import Image

ROOT = Path(__file__).resolve().parent.parent
LIBRARY = ROOT / "syncsde_engine" / "library"
THUMBNAILS = ROOT / "blender_addon" / "library" / "thumbnails"
SIDE = 128  # pixels
QUALITY = 70


def thumbnail(picture: Path) -> Image.Image:
    """The whole picture, which tiles, as a small square."""
    with Image.open(picture) as image:
        return image.convert("RGB").resize((SIDE, SIDE), Image.Resampling.LANCZOS)


def main() -> None:
    THUMBNAILS.mkdir(exist_ok=True)
    for old in THUMBNAILS.glob("*.webp"):
        old.unlink()
    for entry in json.loads((LIBRARY / "library.json").read_text("utf-8")):
        picture = LIBRARY / entry["file"]
        thumbnail(picture).save(THUMBNAILS / picture.name, quality=QUALITY, method=6)


if __name__ == "__main__":
    main()
