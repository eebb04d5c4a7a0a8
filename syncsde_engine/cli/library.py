# SPDX-License-Identifier: GPL-3.0-or-later
"""`syncsde library`: the pictures of materials that prompts can name. Loads no torch."""

from __future__ import annotations

import argparse
import io
import warnings
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from PIL import Image, ImageDraw, UnidentifiedImageError

from .. import library, output
from ..errors import InvalidRequest
from ..formats import FORMATS, MOST_PIXELS, NAMES, UNREADABLE, kind, too_many
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
    if options.sheet and options.sheet.suffix.lower() != ".png":
        raise InvalidRequest(
            f"The sheet {str(options.sheet)!r} is not a PNG file.",
            hint="Give it a name that ends in .png.",
            field="sheet",
        )
    folders, troubles = gather([*options.folder, *library.own_folders()])
    found = [material for folder in folders for material in folder.materials]
    if options.sheet:
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
                "folder": str(folder.path),
            }
            for folder in folders
            for material in folder.materials
        ],
        unusable=[error.as_dict() for error in troubles],
    )
    wide = max(len(material.name) for material in found)
    for folder in folders:
        console.say(f"{folder.title}:")
        for material in folder.materials:
            maker = f"{material.author}, {material.license}".strip(", ")
            words = ", ".join(material.words)
            said = f"{material.name:{wide}}  {words}{f'  ({maker})' if maker else ''}"
            console.say(f"  {said.rstrip()}")
    if not console.as_json:
        for error in troubles:
            console.error(error)
    return 0


class Folder(NamedTuple):
    """The usable pictures of a folder."""

    path: Path
    title: str
    materials: list[library.Material]


def gather(own: Iterable[Path]) -> tuple[list[Folder], list[InvalidRequest]]:
    """The folders in the order in which a prompt searches them, and what of them is of no use."""
    found: list[Folder] = []
    troubles: list[InvalidRequest] = []
    for folder in dict.fromkeys(own):
        usable = []
        try:
            for material in library.in_folder(folder):
                try:
                    thumbnail(material)
                    usable.append(material)
                except InvalidRequest as error:
                    troubles.append(error)
        except InvalidRequest as error:
            troubles.append(error)
        if usable:
            found.append(Folder(folder, f"Your folder {folder}", usable))
    packaged = library.materials()
    return [*found, Folder(library.FOLDER, "The engine's own", packaged)], troubles


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
