# SPDX-License-Identifier: GPL-3.0-or-later
"""From the lines of a manifest to assets that are ready to be made, or what is wrong with them."""

from __future__ import annotations

import argparse
import dataclasses
import glob
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from ... import inputs
from ...config import CONFIGS, TaskConfig
from ...errors import InvalidRequest, MissingWeights
from ...hashes import fields, json_sha256
from ...models import catalog
from ...request import build, check_inputs
from ..flags import parameters
from ..input_files import AXES, NUMBERED, input_paths, mesh_options, read_paths
from .folders import folder_of, require_apart
from .manifest import EVERY_ROW, Line, Wrong, rows

OWN = ("task", "id", "output")  # of a line, beside what its task takes
MAGIC = re.compile(r"[*?\[]")


@dataclasses.dataclass(frozen=True)
class Asset:
    """One run of one task."""

    id: str
    line: int
    task: str
    config: TaskConfig
    paths: dict[str, Path]  # of its inputs, by name
    how: dict[str, Any]  # its mesh file is meant
    output: str  # folder below that of the batch, with slashes
    spec: str  # SHA-256 of all that is asked, but for the device and what the inputs hold

    def read(self) -> dict[str, bytes]:
        """Its inputs. Raises InvalidRequest or InvalidMesh."""
        return read_paths(self.paths, **self.how)


def assets_of(lines: Sequence[Line], device: str | None) -> tuple[list[Asset], list[Wrong]]:
    """Check every line and expand its pattern; all that is wrong is told, by its line."""
    assets: list[Asset] = []
    wrong: list[Wrong] = []
    for line in lines:
        try:
            assets += _assets(line, device)
        except (InvalidRequest, MissingWeights) as error:
            told = InvalidRequest(error.message, hint=error.hint, field=error.field)
            wrong.append(Wrong(line.number, told))
    if not wrong:
        wrong = [Wrong(number, error) for number, error in require_apart(assets)]
    return assets, wrong


def _assets(line: Line, device: str | None) -> Iterator[Asset]:
    task = line.get("task")
    if not isinstance(task, str) or task not in CONFIGS:
        raise InvalidRequest(
            "There is no task." if task is None else f"There is no task {task!r}.",
            hint=f"Known: {', '.join(CONFIGS)}.",
            field="task",
        )
    values = {name: line.get(name) for name in line.names() if _is_for(task, name, line)}
    if device is not None:
        values["device"] = device
    for name in [name for name in values if name in input_names(task)]:
        values[name] = _input(name, values[name], line.folder(name))
    patterns = [name for name, value in values.items() if _is_pattern(value)]
    if len(patterns) > 1:
        raise InvalidRequest(
            f"{' and '.join(patterns)} are patterns.", hint="A line may have one.", field="manifest"
        )
    if not patterns:
        main = next((values[name] for name in CONFIGS[task].inputs if name in values), None)
        first = main[0] if isinstance(main, list) and main else main
        stem = first.stem if isinstance(first, Path) else None
        yield _asset(line, task, values, stem or f"line-{line.number:04}", stem or "")
        return
    (name,) = patterns
    for path, stem in _matches(values[name]):
        yield _asset(line, task, {**values, name: path}, stem, path.stem, many=True)


def _asset(
    line: Line, task: str, values: dict[str, Any], default: str, stem: str, many: bool = False
) -> Asset:
    options = argparse.Namespace(task=task, **values)
    known = names_of(task)
    for name in values:
        if name not in known:
            raise InvalidRequest(f"There is no parameter {name!r} of {task}.", field=name)
    config = build(task, parameters(task, options))
    paths, how = input_paths(task, options), mesh_options(options)
    check_inputs(task, config, paths)
    for name, path in paths.items():
        _require_file(name, path)
    _require_model(config)
    words = {"id": _id(line, default, many), "task": task, "seed": str(config.seed), "stem": stem}
    output = folder_of(line.get("output"), words)
    asked = {name: value for name, value in fields(config).items() if name != "device"}
    spec = json_sha256({"task": task, "config": asked, "how": how})
    return Asset(words["id"], line.number, task, config, paths, how, output, spec)


def _id(line: Line, default: str, many: bool) -> str:
    """What the line says, or the name of its file; with both where a pattern names many files."""
    named = line.get("id")
    if named is None:
        return default
    if not isinstance(named, str) or not named.strip() or not named.isprintable():
        raise InvalidRequest(f"id is {named!r}.", hint="Give a text, or leave it out.", field="id")
    return f"{named}/{default}" if many else named


def _is_for(task: str, name: str, line: Line) -> bool:
    """Whether a field is for the task: defaults may be for the tasks of other lines."""
    if name in OWN:
        return False
    own = name in line.said[0].fields or name in names_of(task)
    return own or not any(name in names_of(other) for other in CONFIGS)


def names_of(task: str) -> set[str]:
    """All that a line may say of a task."""
    return {field.name for field in dataclasses.fields(CONFIGS[task])} | input_names(task)


def input_names(task: str) -> set[str]:
    """What a line may name beside the fields of the task's Config."""
    config = CONFIGS[task]
    names = {*config.inputs, *config.optional_inputs}
    names = {name for name in names if not name.startswith(NUMBERED)} | rows(task)
    return names | set(inputs.OF_MESH) if "mesh" in config.inputs else names


def _input(name: str, value: Any, folder: Path) -> Any:
    """An input as the command line has it: paths from where they are named."""
    if name in ("up", "front"):
        if value not in AXES:
            raise InvalidRequest(
                f"{name} is {value!r}.", hint=f"Say one of {', '.join(AXES)}.", field=name
            )
        return value
    if name == "uv_set":
        if type(value) is not int or not 0 <= value < 8:
            raise InvalidRequest(f"uv_set is {value!r}.", hint="Say 0 to 7.", field=name)
        return value
    if name in EVERY_ROW:
        if not isinstance(value, list) or not all(_is_row(row) for row in value):
            raise InvalidRequest(
                f"{name} is not what it should be.", hint="Say [[NAME, FILE], ...].", field=name
            )
        return [[key, str(folder / path)] for key, path in value]
    if name == "mask" and isinstance(value, list):
        return [_path(name, each, folder) for each in value]
    return _path(name, value, folder)


def _is_row(row: Any) -> bool:
    if not isinstance(row, list) or len(row) != 2 or not isinstance(row[1], str):
        return False
    return isinstance(row[0], str | int) and not isinstance(row[0], bool)


def _path(name: str, value: Any, folder: Path) -> Path:
    if not isinstance(value, str) or not value.strip() or "\0" in value:
        raise InvalidRequest(f"{name} is {value!r}.", hint="Name a file.", field=name)
    return folder / Path(value).expanduser()


def _is_pattern(value: Any) -> bool:
    return isinstance(value, Path) and bool(MAGIC.search(str(value))) and not value.exists()


def _matches(pattern: Path) -> list[tuple[Path, str]]:
    """The files that a pattern names, in order, each with its id: its path below the pattern's
    plain beginning, without the suffix."""
    parts = pattern.parts
    plain = next(number for number, part in enumerate(parts) if MAGIC.search(part))
    base, rest = Path(*parts[:plain]), str(Path(*parts[plain:]))
    found = sorted(glob.glob(rest, root_dir=base, recursive=True))
    names = [name for name in found if (base / name).is_file()]
    if not names:
        raise InvalidRequest(f"No file is like {str(pattern)!r}.", hint="Check the pattern.")
    return [(base / name, Path(name).with_suffix("").as_posix()) for name in names]


def _require_file(name: str, path: Path) -> None:
    try:
        path.stat()
    except (OSError, ValueError) as error:
        raise inputs.unreadable(path, error, f"inputs.{name}") from None
    if path.is_dir():
        raise InvalidRequest(
            f"{str(path)!r} is a folder.", hint="Give a file.", field=f"inputs.{name}"
        )


def _require_model(config: TaskConfig) -> None:
    """Raise MissingWeights for networks that are not there."""
    if config.model != catalog.EXEMPLAR:
        catalog.locate(config.model)
    for field in ("controlnet", "upscaler"):
        named = getattr(config, field, None)
        if named:
            catalog.locate(named, field)
