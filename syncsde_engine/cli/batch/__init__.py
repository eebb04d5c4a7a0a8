# SPDX-License-Identifier: GPL-3.0-or-later
"""`syncsde batch`: many assets from one manifest, here or as one task of many on a farm."""

from __future__ import annotations

import argparse
import re
from pathlib import Path

from ..console import Console

PART = re.compile(r"(\d+)/(\d+)")
RANGES = re.compile(r"\d+(-\d+)?(,\d+(-\d+)?)*")


def add_to(commands: argparse._SubParsersAction) -> None:
    command = commands.add_parser("batch", help="make every asset that a manifest lists")
    command.add_argument(
        "manifest", type=Path, help="JSON Lines or CSV: what each command would say, one a line"
    )
    command.add_argument(
        "--output", type=Path, required=True, metavar="DIR", help="has a folder for each asset"
    )
    command.add_argument(
        "--job", type=Path, metavar="FILE.json", help="fields for all lines, which go before it"
    )
    command.add_argument(
        "--resume",
        action="store_true",
        default=False,
        help="skip what is there and is as it is asked now: the same line, inputs, version, model",
    )
    command.add_argument(
        "--retry-failed",
        action="store_true",
        default=False,
        help="as --resume, but what has failed is tried again",
    )
    command.add_argument(
        "--dry-run", action="store_true", default=False, help="check, and list what would be made"
    )
    command.add_argument(
        "--report",
        action="store_true",
        default=False,
        help="only write report.html, as after the last chunk",
    )
    command.add_argument(
        "--chunk",
        type=chunk,
        metavar="I/N|A-B",
        help="of all assets, the I-th of N parts, or those with the numbers A to B, from 1",
    )
    command.add_argument(
        "--only", action="append", metavar="ID", help="only this asset; may be repeated"
    )
    command.add_argument("--device", help="in place of what the manifest says, such as cuda:1")
    command.add_argument(
        "--executor",
        choices=["local", "ray"],
        default="local",
        help="local: one after another, in this process; ray: on a Ray cluster (default: local)",
    )
    command.add_argument("--json", action="store_true", help="one JSON object a line as progress")
    command.set_defaults(command=batch)


def batch(options: argparse.Namespace, console: Console) -> int:
    """Run the command. Raises what `command.batch` raises."""
    from . import command  # takes time that other commands do not have

    return command.batch(options, console)


def chunk(text: str) -> str:
    part = PART.fullmatch(text)
    if part and 1 <= int(part[1]) <= int(part[2]):
        return text
    if not RANGES.fullmatch(text):
        raise argparse.ArgumentTypeError(f"{text!r} is neither I/N nor A-B")
    return text
