# SPDX-License-Identifier: GPL-3.0-or-later
"""The folder of each asset: named by a pattern, on every system, and apart from all others."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from pathlib import PurePosixPath
from typing import Any, Protocol

from ...errors import InvalidRequest

WORD = re.compile(r"\{(\w*)\}")
FORBIDDEN = re.compile(r'[\x00-\x1f\x7f<>:"|?*\\]')  # on Windows; control characters anywhere
RESERVED = re.compile(r"(con|prn|aux|nul|com[0-9¹²³]|lpt[0-9¹²³])(\.|$)", re.IGNORECASE)
MOST_BYTES = 200  # of a name, which leaves room for ours beside it


class Placed(Protocol):
    @property
    def id(self) -> str: ...
    @property
    def line(self) -> int: ...
    @property
    def output(self) -> str: ...


def folder_of(pattern: Any, words: Mapping[str, str]) -> str:
    """Put words into a pattern like "props/{id}", by default the id. Raises InvalidRequest."""
    if pattern is not None and not (isinstance(pattern, str) and pattern.strip()):
        raise InvalidRequest(
            f"output is {pattern!r}.", hint="Name a folder, as props/{id}.", field="output"
        )
    for name in WORD.findall(pattern or ""):
        if name not in words:
            known = ", ".join(f"{{{word}}}" for word in words)
            raise InvalidRequest(
                f"output has {{{name}}}, which means nothing.", hint=f"Say {known}.", field="output"
            )
    folder = WORD.sub(lambda found: words[found[1]], pattern or "{id}")
    for part in folder.split("/"):
        bad = not part or part.strip() != part or part.endswith(".") or part.startswith(".")
        bad = bad or bool(FORBIDDEN.search(part) or RESERVED.match(part))
        if bad or len(part.encode(errors="replace")) > MOST_BYTES:
            raise InvalidRequest(
                f"{folder!r:.300} is no folder that every system takes.",
                hint="Give the line another output, below that of the batch.",
                field="output",
            )
    return folder


def alike(folder: str) -> str:
    """Equal for folders that some file system takes to be one."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFKC", folder).casefold())


def require_apart(assets: Sequence[Placed]) -> Iterator[tuple[int, InvalidRequest]]:
    """The lines of assets whose id, or whose folder, is not theirs alone."""
    ids: dict[str, Placed] = {}
    folders: dict[str, Placed] = {}
    for asset in assets:
        other = ids.setdefault(asset.id, asset)
        if other is not asset:
            yield (
                asset.line,
                InvalidRequest(
                    f"The id {asset.id!r} is that of line {other.line}, too.",
                    hint="Give one of them another id.",
                    field="id",
                ),
            )
            continue
        other = folders.setdefault(alike(asset.output), asset)
        if other is not asset:
            yield asset.line, _shared(asset, other)
    for asset in assets:
        for above in PurePosixPath(alike(asset.output)).parents:
            other = folders.get(above.as_posix())
            if other is not None:
                yield asset.line, _shared(asset, other)


def _shared(asset: Placed, other: Placed) -> InvalidRequest:
    return InvalidRequest(
        f"The folder {asset.output!r} is, or lies in, {other.output!r} of line {other.line}.",
        hint="Give one of them another output.",
        field="output",
    )
