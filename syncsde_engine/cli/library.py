# SPDX-License-Identifier: GPL-3.0-or-later
"""`syncsde library`: the pictures of materials that prompts can name. Loads no torch."""

from __future__ import annotations

import argparse
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from .. import library, output
from ..errors import InvalidRequest
from .console import Console


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
        from .library_sheet import sheet

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
    from .library_sheet import thumbnail

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
