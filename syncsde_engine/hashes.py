# SPDX-License-Identifier: GPL-3.0-or-later
"""SHA-256 of what went into a run and of what came out, in its report.json. Loads no torch."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from .config import TaskConfig

REPORT = "report.json"


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def file_sha256(path: Path) -> str:
    """Of a file of any size. Raises OSError."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def json_sha256(content: Any) -> str:
    """Of a value that JSON can hold, whatever the order of its names."""
    return sha256(json.dumps(content, sort_keys=True, separators=(",", ":")).encode())


def fields(config: TaskConfig) -> dict[str, Any]:
    """A config as JSON has it: lists, not tuples."""
    return json.loads(json.dumps(dataclasses.asdict(config)))


def add_hashes(
    files: Mapping[str, bytes], config: TaskConfig, inputs: Mapping[str, bytes]
) -> dict[str, bytes]:
    """Add to report.json, where there is one, what makes a run repeatable and its files provable.

    `asked` has the parameters that were left to the model, as they were asked; `inputs` the SHA-256
    of each blob, `files` that of each other file.
    """
    if REPORT not in files:  # of a task from elsewhere
        return dict(files)
    resolved = json.loads(files[REPORT]).get("parameters", {})
    asked = {name: value for name, value in fields(config).items() if resolved.get(name) != value}
    report = changed(
        files[REPORT],
        asked=asked,
        inputs={name: sha256(content) for name, content in inputs.items()},
        files={name: sha256(content) for name, content in files.items() if name != REPORT},
    )
    return {**files, REPORT: report}


def add_sources(
    files: Mapping[str, bytes], paths: Mapping[str, Path], folder: Path, **how: Any
) -> dict[str, bytes]:
    """Add to report.json where the inputs were, seen from the folder that the report goes to."""
    if REPORT not in files:
        return dict(files)
    sources = {name: seen_from(folder, path) for name, path in paths.items()}
    return {**files, REPORT: changed(files[REPORT], sources=sources, **how)}


def changed(report: bytes, **entries: Any) -> bytes:
    return json.dumps(json.loads(report) | entries, indent=2).encode()


def seen_from(folder: Path, path: Path) -> str:
    """A relative path with slashes; absolute between drives of Windows.

    Links are followed first: ".." leads up from where a folder really is.
    """
    path = Path(os.path.realpath(path.parent), path.name)
    try:
        return Path(os.path.relpath(path, os.path.realpath(folder))).as_posix()
    except ValueError:
        return path.absolute().as_posix()
