# SPDX-License-Identifier: GPL-3.0-or-later
"""`syncsde library`: the pictures of materials that prompts can name. Loads no torch."""

from __future__ import annotations

import argparse
import io
from pathlib import Path

from PIL import Image, ImageDraw, UnidentifiedImageError

from .. import library, output
from ..errors import InvalidRequest
from .console import Console

ACROSS, SIDE, LINE, GAP = 8, 160, 16, 4  # thumbnails of a row; pixels


def add_to(commands: argparse._SubParsersAction) -> None:
    command = commands.add_parser("library", help="list the materials that prompts can name")
    command.add_argument(
        "--folder",
        type=Path,
        action="append",
        default=[],
        metavar="DIR",
        help="also the pictures of this folder; may be given again",
    )
    command.add_argument(
        "--sheet",
        type=Path,
        default=None,
        metavar="FILE.png",
        help="draw all of them, with their names",
    )
    command.add_argument("--json", action="store_true", help="as one JSON object")
    command.set_defaults(command=list_library)


def list_library(options: argparse.Namespace, console: Console) -> int:
    found = library.materials(options.folder)
    if options.sheet:
        if options.sheet.suffix.lower() != ".png":
            raise InvalidRequest(
                f"The sheet {str(options.sheet)!r} is not a PNG file.",
                hint="Give it a name that ends in .png.",
                field="sheet",
            )
        with output.staging(options.sheet.parent, "sheet") as stage:
            stage.add(options.sheet.name, sheet(found))
            output.publish([stage])
    console.event(
        "library",
        materials=[
            {
                "name": material.name,
                "words": material.words,
                "author": material.author,
                "license": material.license,
                "path": str(material.path),
            }
            for material in found
        ],
    )
    wide = max(len(material.name) for material in found)
    for material in found:
        maker = f"{material.author}, {material.license}".strip(", ") or "your own"
        console.say(f"{material.name:{wide}}  {', '.join(material.words)}  ({maker})")
    return 0


def sheet(found: list[library.Material]) -> bytes:
    """Thumbnails with names, as PNG. Raises InvalidRequest for a picture that cannot be read."""
    rows = -(-len(found) // ACROSS)
    drawn = Image.new("RGB", (ACROSS * (SIDE + GAP) - GAP, rows * (SIDE + LINE)), (24, 24, 24))
    pen = ImageDraw.Draw(drawn)
    for index, material in enumerate(found):
        left, top = index % ACROSS * (SIDE + GAP), index // ACROSS * (SIDE + LINE)
        drawn.paste(thumbnail(material), (left, top))
        pen.text((left + 2, top + SIDE + 2), material.name, fill=(230, 230, 230))
    content = io.BytesIO()
    drawn.save(content, "PNG")
    return content.getvalue()


def thumbnail(material: library.Material) -> Image.Image:
    """The middle of a picture, SIDE pixels square."""
    try:
        with Image.open(material.path) as file:
            picture = file.convert("RGB")
    except (OSError, ValueError, SyntaxError, UnidentifiedImageError):
        raise InvalidRequest(
            f"The picture {str(material.path)!r} cannot be read.",
            hint="Save it anew as PNG, JPEG or WebP.",
            field="folder",
        ) from None
    side = min(picture.size)
    left, top = (picture.width - side) // 2, (picture.height - side) // 2
    box = (left, top, left + side, top + side)
    return picture.resize((SIDE, SIDE), Image.Resampling.LANCZOS, box)
