# SPDX-License-Identifier: GPL-3.0-or-later
"""result.json of an asset: what was asked, whether it was made, and what came out.

It is written together with the files of the asset, last of them. An asset is done if its record
says so of what is asked now: the same spec, inputs, version and model.
"""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import ConfigDict, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass

from ... import __version__, output, tasks
from ...errors import SyncSDEError
from ...hashes import REPORT, json_sha256, sha256
from ...models import catalog
from ..reports import inside
from ..verify import RESULT
from .assets import Asset

State = Literal["started", "done", "failed"]


@dataclass(frozen=True, kw_only=True, config=ConfigDict(strict=True))
class Record:
    id: str
    task: str
    state: State
    spec: str  # of `Asset`
    identity: str | None = None  # SHA-256 of spec, inputs, version, model; None: nothing to read
    tries: int = 1  # that began, those that ended with the program included
    version: str = __version__
    seconds: float = 0.0
    error: dict[str, str | None] | None = None  # code, message, hint, field
    files: dict[str, str] = dataclasses.field(default_factory=dict)  # SHA-256 by name
    seen: float | None = None  # share of the texture
    disagreement: float | None = None
    memory_bytes: int | None = None  # the most that the process used, up to this asset
    warnings: list[str] = dataclasses.field(default_factory=list)
    thumbnail: str = ""  # a data: URL

    def as_json(self) -> bytes:
        return json.dumps(dataclasses.asdict(self), indent=2).encode()

    def is_there(self, folder: Path) -> bool:
        """Whether all its files are; what is in them, `syncsde verify` looks at."""
        paths = [inside(folder, name) for name in self.files]
        return all(path is not None and path.is_file() for path in paths)


ADAPTER = TypeAdapter(Record)


def read(folder: Path) -> Record | None:
    """The record in an asset's folder; None if there is none that can be read."""
    try:
        return ADAPTER.validate_json((folder / RESULT).read_bytes())
    except (OSError, ValidationError):
        return None


def write(folder: Path, record: Record) -> None:
    """Write a record alone, at once. Raises InvalidRequest."""
    output.write_file(folder / RESULT, record.as_json())


def identity(asset: Asset, blobs: Mapping[str, bytes]) -> str:
    """What decides whether a result is still that of an asset. Raises MissingWeights."""
    exemplar = asset.config.model == catalog.EXEMPLAR
    return json_sha256(
        {
            "spec": asset.spec,
            "inputs": {name: sha256(content) for name, content in blobs.items()},
            "version": __version__,
            "model": None if exemplar else tasks.model_sha256(asset.config),
        }
    )


def finished(started: Record, files: Mapping[str, bytes], seconds: float) -> Record:
    """The record of an asset that was made."""
    from .strip import thumbnail

    report: dict[str, Any] = json.loads(files.get(REPORT, b"{}"))
    return dataclasses.replace(
        started,
        state="done",
        seconds=round(seconds, 3),
        files={name: sha256(content) for name, content in files.items()},
        seen=report.get("coverage", {}).get("seen"),
        disagreement=report.get("disagreement"),
        memory_bytes=report.get("peak_memory_bytes"),
        warnings=[str(each) for each in report.get("mesh", {}).get("warnings", [])],
        thumbnail=thumbnail(files),
    )


def failed(started: Record, error: SyncSDEError, seconds: float) -> Record:
    """The record of an asset that could not be made; the files of an earlier one stay."""
    return dataclasses.replace(
        started, state="failed", seconds=round(seconds, 3), error=error.as_dict()
    )


def remove_old(folder: Path, old: Record | None, new: Record) -> None:
    """Remove the files of an earlier result that the new one has no longer."""
    for name in set(old.files if old else ()) - set(new.files):
        path = inside(folder, name)
        if path is not None and path.is_file():
            path.unlink()
            if path.parent != folder and not os.listdir(path.parent):
                path.parent.rmdir()
