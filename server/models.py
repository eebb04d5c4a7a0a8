# SPDX-License-Identifier: GPL-3.0-or-later
"""Models by name: over HTTP nobody gives a path; the engine says which there are."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from pathlib import Path

from syncsde_client.protocol import JobRequest
from syncsde_engine import config
from syncsde_engine.errors import InvalidRequest, MissingWeights

NAME_PATTERN = r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}"
FIELDS = ("model", "controlnet", "upscaler")  # of a task's parameters
SIGNS = ("model_index.json", "config.json")  # of a model's folder and of a single network's
FILE = ".safetensors"  # of a model that is one file
ENGINE = Path(config.__file__).parent
EMBEDDED = {name: ENGINE / "models" / name for name in ("mini", "mime")}
CHOICES = {"auto": EMBEDDED["mini"], "exemplar": ENGINE / "library"}  # names without weights


class Models:
    """What jobs may name: the embedded models, and folders and files inside of given folders."""

    def __init__(self, folders: Sequence[Path] = ()) -> None:
        self._folders = folders

    def folders(self) -> dict[str, Path]:
        """Each name's folder or file, as they are now; of two with one name, the first."""
        return self.offered() | EMBEDDED

    def offered(self) -> dict[str, Path]:
        """The same without the embedded models."""
        found: dict[str, Path] = {}
        for parent in self._folders:
            for path in sorted(parent.iterdir()) if parent.is_dir() else ():
                is_model = any((path / sign).is_file() for sign in SIGNS) or (
                    path.suffix == FILE and path.is_file()
                )
                if is_model and re.fullmatch(NAME_PATTERN, path.name):
                    found.setdefault(path.name, path)
        return found

    def check(self, request: JobRequest) -> None:
        """Raise MissingWeights if the request names what is not there."""
        for field, name in _named(request):
            known = self.folders() | (CHOICES if field == "model" else {})
            if name not in known:
                raise MissingWeights(
                    f"There is no model {str(name)[:100]!r}.",
                    hint=f"Known: {', '.join(known)}. The engine takes names, not paths: put the "
                    "folder or file of another into the engine's models folder, or start it with "
                    "--models-dir.",
                    field=field,
                )

    def recipe(self, request: JobRequest, *more: str) -> str:
        """SHA-256 of all that makes the result: what is asked, and the files of the models."""
        known = self.folders() | CHOICES
        default = getattr(config.CONFIGS[request.task], "model", None)
        given = [name for _, name in _named(request)]
        names = given if request.parameters.get("model") or default is None else [default, *given]
        parts = [repr(sorted(request.parameters.items())), repr(sorted(request.inputs.items()))]
        parts += [request.task, *more]
        parts += [_signature(known[name]) for name in names]
        return hashlib.sha256("\0".join(parts).encode()).hexdigest()


def _named(request: JobRequest) -> list[tuple[str, str]]:
    """The models that a valid request names, each with the field that does."""
    given = [(field, request.parameters.get(field)) for field in FIELDS]
    loras = config.loras(request.parameters.get("lora"))
    return [(field, name) for field, name in given if name] + [("lora", name) for name, _ in loras]


def _signature(model: Path) -> str:
    """A model's files by name, time and size: cheap, and another whenever one is replaced."""
    files = sorted(path for path in (model, *model.rglob("*")) if path.is_file())
    stats = [(path.relative_to(model).as_posix(), path.stat()) for path in files]
    return repr([(name, stat.st_mtime_ns, stat.st_size) for name, stat in stats])


def check_folders(folders: Sequence[Path]) -> None:
    """Raise InvalidRequest for a folder of models that is not there."""
    for folder in folders:
        if not folder.is_dir():
            raise InvalidRequest(
                f"There is no folder {str(folder)!r}.",
                hint="Name one that holds the folders of models.",
                field="models_dir",
            )
