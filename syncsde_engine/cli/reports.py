# SPDX-License-Identifier: GPL-3.0-or-later
"""Reading report.json, of whoever wrote it."""

from __future__ import annotations

from pathlib import Path, PurePosixPath
from typing import Any

from ..errors import InvalidRequest
from ..hashes import REPORT
from .input_files import read_json

NEEDED = {"task": str, "version": str, "parameters": dict, "asked": dict} | {
    "inputs": dict,
    "files": dict,
}


def read_report(path: Path) -> dict[str, Any]:
    """A report with all that proves and repeats a run; of a folder, that in it.

    Raises InvalidRequest for a file that is none, or of a version that wrote no hashes.
    """
    path = path / REPORT if path.is_dir() else path
    report = read_json(path, "report")
    if not isinstance(report, dict) or "version" not in report:
        raise InvalidRequest(f"{str(path)!r} is no report of a run.", field="report")
    wrong = [name for name, kind in NEEDED.items() if not isinstance(report.get(name), kind)]
    if wrong:
        raise InvalidRequest(
            f"{str(path)!r} has no {wrong[0]!r}: it was written by a version without hashes.",
            hint="Make the result again with this version.",
            field="report",
        )
    return report


def inside(folder: Path, name: str) -> Path | None:
    """Where a file of a report lies; None for a name that leads out of the folder."""
    plain = PurePosixPath(name)
    if plain.is_absolute() or ".." in plain.parts or "\\" in name or ":" in name or "\0" in name:
        return None
    return folder / plain
