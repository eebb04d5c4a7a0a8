# SPDX-License-Identifier: GPL-3.0-or-later
"""`syncsde verify`: whether delivered files are still those that were made. Loads no torch.

Hashes show what was damaged or mixed up, not who meant to: whoever can change a file can change
the report beside it.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path

from ..errors import InvalidRequest
from ..hashes import REPORT, file_sha256
from .console import Console
from .input_files import read_json
from .reports import inside, read_report

RESULT = "result.json"  # of an asset of a batch: has the hash of report.json, too


def add_to(commands: argparse._SubParsersAction) -> None:
    command = commands.add_parser(
        "verify", help="check the files of results by the hashes in their reports"
    )
    command.add_argument("folder", type=Path, metavar="DIR", help="results, at any depth below it")
    command.add_argument("--json", action="store_true", help="one JSON object a line")
    command.set_defaults(command=verify)


def verify(options: argparse.Namespace, console: Console) -> int:
    """Check every report below the folder. Raises InvalidRequest if a file is not as it was."""
    folder: Path = options.folder
    reports = sorted(folder.rglob(REPORT)) if folder.is_dir() else []
    if not reports:
        raise InvalidRequest(
            f"There is no {REPORT} in {str(folder)!r}.",
            hint="Name the folder of a result, or one above several.",
            field="folder",
        )
    checked, wrong = 0, 0
    for report in reports:
        for name, trouble in differences(report):
            checked += 1
            if trouble:
                wrong += 1
                place = (report.parent / name).as_posix()
                console.event("wrong", file=place, what=trouble)
                console.say(f"{place}: {trouble}")
    if wrong:
        raise InvalidRequest(
            f"{wrong} of {checked} files are not as they were made.",
            hint="Fetch them again, or make them again with syncsde replay.",
            field="folder",
        )
    console.event("done", reports=len(reports), files=checked)
    console.say(f"{checked} files of {len(reports)} results are as they were made")
    return 0


def differences(report: Path) -> Iterator[tuple[str, str]]:
    """Each file of a result, and what is wrong with it, or nothing."""
    files = dict(read_report(report)["files"])
    record = report.with_name(RESULT)
    if record.is_file():
        known = read_json(record, "report")
        own = known.get("files", {}).get(REPORT) if isinstance(known, dict) else None
        if own is not None:
            files[REPORT] = own
    for name, expected in files.items():
        path = inside(report.parent, name)
        if path is None:
            yield name, "its name leads out of the folder"
        elif not path.is_file():
            yield name, "is missing"
        elif file_sha256(path) != expected:
            yield name, "has changed"
        else:
            yield name, ""
