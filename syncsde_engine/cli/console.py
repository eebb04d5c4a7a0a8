# SPDX-License-Identifier: GPL-3.0-or-later
"""What a terminal, or a program that reads JSON lines, sees of a run."""

from __future__ import annotations

import contextlib
import json
import sys
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from ..errors import SyncSDEError
from ..tasks import Progress

if TYPE_CHECKING:
    from tqdm import tqdm

Watcher = Callable[[Progress], None]


class Console:
    """A bar on a terminal, or on request one JSON object a line."""

    def __init__(self, as_json: bool) -> None:
        self.as_json = as_json

    def event(self, name: str, **content: Any) -> None:
        """Print an event where a program reads along."""
        if self.as_json:
            print(json.dumps({"event": name, **content}), flush=True)

    def say(self, text: str) -> None:
        """Print a result where people read along; what cannot be printed is escaped."""
        if not self.as_json:
            encoding = getattr(sys.stdout, "encoding", None) or "utf-8"
            print(text.encode(encoding, "backslashreplace").decode(encoding), flush=True)

    def complain(self, text: str) -> None:
        """Print what is wrong where people read along, without ending."""
        if not self.as_json:
            print(f"syncsde: {text}", file=sys.stderr, flush=True)

    def error(self, error: SyncSDEError) -> None:
        if self.as_json:
            self.event("error", **error.as_dict())
        else:
            print(f"syncsde: {error}", file=sys.stderr)

    def cancelled(self) -> None:
        self.event("cancelled")
        print("syncsde: cancelled, nothing written", file=sys.stderr)

    @contextlib.contextmanager
    def showing(self, **label: Any) -> Iterator[Watcher]:
        """Yield what shows the steps of one run; `label` tells it from other runs."""
        if self.as_json:
            yield lambda progress: self.event(
                "progress",
                **label,
                stage=progress.stage,
                step=progress.step,
                total=progress.total,
            )
        elif sys.stderr.isatty():
            bar = Bar(" ".join(f"{name} {value}" for name, value in label.items()))
            try:
                yield bar.show
            finally:
                bar.close()
        else:
            yield lambda progress: None


class Bar:
    """One bar for each stage, gone when it is over."""

    def __init__(self, label: str) -> None:
        self.label = label
        self.stage = ""
        self.bar: tqdm[Any] | None = None

    def show(self, progress: Progress) -> None:
        if self.bar is None or progress.stage != self.stage:
            from tqdm import tqdm

            self.close()
            self.stage = progress.stage
            countdown = "  {elapsed}, {remaining} left" if progress.total > 1 else ""
            self.bar = tqdm(
                total=progress.total,
                initial=progress.step,
                desc=f"{self.label}  {self.stage}".strip(),
                leave=False,
                dynamic_ncols=True,
                bar_format="{desc} |{bar:30}| {n_fmt}/{total_fmt}" + countdown,
            )
        else:
            self.bar.update(progress.step - self.bar.n)

    def close(self) -> None:
        if self.bar is not None:
            self.bar.close()
            self.bar = None
