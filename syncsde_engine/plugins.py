# SPDX-License-Identifier: GPL-3.0-or-later
"""Tasks from elsewhere: a module with a `Config` and a `run`, which everything else then knows.

Packages name theirs by an entry point of the group `syncsde.tasks`; files are named in the variable
SYNCSDE_TASKS, as paths in a PATH. The command line, the engine process and `compare` have them
beside our own. Loads no torch, unless such a module does.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import re
import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path
from types import ModuleType

from .config import CONFIGS, Sampling
from .errors import InvalidRequest
from .tasks import MODULES

GROUP = "syncsde.tasks"
VARIABLE = "SYNCSDE_TASKS"
NAME = re.compile(r"[a-z][a-z0-9_-]{0,40}")


@cache
def load() -> None:
    """Add the tasks from elsewhere to CONFIGS, once in a process.

    Raises InvalidRequest for a module that cannot be loaded or is no task, and for a name that is
    taken.
    """
    for entry in importlib.metadata.entry_points(group=GROUP):
        add(entry.name, _loaded(entry.value, entry.load))
    for text in filter(None, os.environ.get(VARIABLE, "").split(os.pathsep)):
        path = Path(text).expanduser()
        add(path.stem, _loaded(text, lambda path=path: _from_file(path)))


def add(task: str, module: ModuleType) -> None:
    """Let `task` be asked for. Raises InvalidRequest."""
    config = getattr(module, "Config", object)
    if not issubclass(config, Sampling) or not callable(getattr(module, "run", None)):
        raise InvalidRequest(
            f"{module.__name__!r} is no task: it needs a Config, of Sampling's kind, and a run.",
            hint="examples/seamless.py is one.",
            field=VARIABLE,
        )
    if not NAME.fullmatch(task) or task in CONFIGS:
        raise InvalidRequest(
            f"A task from elsewhere cannot be called {task!r}.",
            hint="Take lower-case letters, and no name that there is already.",
            field=VARIABLE,
        )
    CONFIGS[task], MODULES[task] = config, module.__name__


def _loaded(place: str, load: Callable[[], ModuleType]) -> ModuleType:
    try:
        return load()
    except Exception as error:  # whatever the module does while it is imported
        raise InvalidRequest(
            f"The task {place!r} cannot be loaded: {type(error).__name__}: {error}.",
            hint=f"Mend it, or take it out of {VARIABLE}.",
            field=VARIABLE,
        ) from error


def _from_file(path: Path) -> ModuleType:
    name = f"syncsde_task_{path.stem}"
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise ImportError("it is no Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # where dataclasses look up their types
    spec.loader.exec_module(module)
    return module
