# SPDX-License-Identifier: GPL-3.0-or-later
"""The lines of a manifest, JSON Lines or CSV, with their defaults. Loads no torch.

A line says what a command would: the names are those of a task's flags, with underscores. A JSON
object with the one name "defaults", in the first line, is for all lines; so is a job file. Paths
are relative to the file that names them.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple, get_args, get_origin, get_type_hints

from ... import inputs
from ...config import CONFIGS
from ...errors import InvalidRequest
from ...request import check_budget, without_duplicates
from ..flags import FILES_FOR, READERS, plain
from ..input_files import read_job

JSON_LINES = (".jsonl", ".ndjson", ".json")
TRUE, FALSE = ("true", "yes", "1", "on"), ("false", "no", "0", "off")


def rows(task: str) -> set[str]:
    """Inputs of a task that are lists of [NAME, FILE], such as like_for."""
    return {name.replace("-", "_") for name, *_ in FILES_FOR.get(task, ())}


EVERY_ROW = {name for task in FILES_FOR for name in rows(task)}
LISTED = {"mask", *EVERY_ROW}  # inputs that may be several


class Said(NamedTuple):
    """Fields, and the folder that their paths are relative to."""

    fields: Mapping[str, Any]
    folder: Path


class Line(NamedTuple):
    number: int  # from 1, as editors count
    said: tuple[Said, ...]  # what goes before comes first: its own, the header's, the job's

    def get(self, name: str) -> Any:
        """What is said of a field; None where nothing is, or null goes before all else."""
        return next((said.fields[name] for said in self.said if name in said.fields), None)

    def folder(self, name: str) -> Path:
        return next(said.folder for said in self.said if name in said.fields)

    def names(self) -> list[str]:
        """All fields that have a value."""
        found = dict.fromkeys(name for said in self.said for name in said.fields)
        return [name for name in found if self.get(name) is not None]


class Wrong(NamedTuple):
    """A line that cannot be taken, and why."""

    number: int
    error: InvalidRequest


def read(path: Path, job: Path | None) -> tuple[list[Line], list[Wrong]]:
    """Read all lines; those that are none are told of. Raises InvalidRequest for the whole."""
    common = () if job is None else (Said(read_job(job), job.parent),)
    suffix = path.suffix.lower()
    if suffix not in (*JSON_LINES, ".csv"):
        raise InvalidRequest(
            f"{str(path)!r} is no manifest.",
            hint="Give JSON Lines (.jsonl) or CSV (.csv).",
            field="manifest",
        )
    try:
        text = inputs.read_file(path, "manifest").decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InvalidRequest(
            f"{str(path)!r} is not UTF-8: {error.reason} at byte {error.start}.",
            hint="Save it as UTF-8.",
            field="manifest",
        ) from None
    read_lines = _csv if suffix == ".csv" else _json_lines
    lines: list[Line] = []
    wrong: list[Wrong] = []
    for found in read_lines(text, path.parent, common):
        if isinstance(found, Line):
            lines.append(found)
        else:
            wrong.append(found)
    if not lines and not wrong:
        raise InvalidRequest(f"{str(path)!r} names no asset.", field="manifest")
    return lines, wrong


def _json_lines(text: str, folder: Path, common: tuple[Said, ...]) -> Iterator[Line | Wrong]:
    is_first = True
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        try:
            fields = json.loads(line, object_pairs_hook=without_duplicates)
            check_budget(fields)
        except (ValueError, RecursionError) as error:
            yield Wrong(number, InvalidRequest(f"This is not JSON: {error}."))
            continue
        if is_first and isinstance(fields, dict) and list(fields) == ["defaults"]:
            fields = fields["defaults"]
            if isinstance(fields, dict):
                common = (Said(fields, folder), *common)
            else:
                yield Wrong(number, InvalidRequest("The defaults must be one JSON object."))
        elif isinstance(fields, dict):
            yield Line(number, (Said(fields, folder), *common))
        else:
            yield Wrong(number, InvalidRequest("A line must hold one JSON object."))
        is_first = False


def _csv(text: str, folder: Path, common: tuple[Said, ...]) -> Iterator[Line | Wrong]:
    rows = csv.reader(io.StringIO(text, newline=""), strict=True)
    head: list[str] | None = None
    while True:
        number = rows.line_num + 1
        try:
            row = next(rows)
        except StopIteration:
            return
        except csv.Error as error:
            yield Wrong(number, InvalidRequest(f"This is not CSV: {error}."))
            return  # what follows has no beginning
        if not any(cell.strip() for cell in row):
            continue
        if head is None:
            head = [cell.strip() for cell in row]
            if len(set(head)) < len(head) or not all(head):
                yield Wrong(
                    number,
                    InvalidRequest("A column has no name, or two have the same.", field="manifest"),
                )
                return
            continue
        if len(row) != len(head):
            yield Wrong(
                number,
                InvalidRequest(f"There are {len(row)} cells, and the header has {len(head)}."),
            )
            continue
        cells = {name: cell for name, cell in zip(head, row, strict=True) if cell.strip()}
        line = Line(number, (Said(cells, folder), *common))
        try:
            task = str(line.get("task"))
            fields = {name: value_of(task, name, cell) for name, cell in cells.items()}
        except InvalidRequest as error:
            yield Wrong(number, error)
        else:
            yield Line(number, (Said(fields, folder), *common))


def value_of(task: str, name: str, cell: str) -> Any:
    """What a cell of CSV says in JSON. Several values are a JSON list. Raises InvalidRequest."""
    config = CONFIGS.get(task)
    hints = get_type_hints(config, include_extras=True) if config else {}
    kind = plain(hints[name]) if name in hints else int if name == "uv_set" else str
    several = get_origin(kind) is tuple or name in LISTED
    if several and cell.lstrip().startswith("["):
        try:
            value = json.loads(cell, object_pairs_hook=without_duplicates)
            check_budget(value)
            return value
        except (ValueError, RecursionError) as error:
            raise InvalidRequest(f"{name} is no JSON list: {error}.", field=name) from None
    if several and name not in EVERY_ROW:
        kind = plain(get_args(kind)[0]) if get_origin(kind) is tuple else str
        return [_single(kind, name, cell)]
    return _single(kind, name, cell)


def _single(kind: Any, name: str, cell: str) -> Any:
    if kind is bool:
        if cell.strip().lower() not in (*TRUE, *FALSE):
            raise InvalidRequest(f"{name} is {cell!r}.", hint="Say true or false.", field=name)
        return cell.strip().lower() in TRUE
    if kind in (int, float):
        try:
            return READERS[kind](cell.strip())
        except Exception as error:  # ArgumentTypeError
            raise InvalidRequest(f"{name}: {error}.", field=name) from None
    return cell
