# SPDX-License-Identifier: GPL-3.0-or-later
"""report.html of a batch: all in one file, which loads nothing and trusts no name."""

from __future__ import annotations

import base64
import hashlib
import html
import re
import shlex
import subprocess
import sys
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple
from urllib.parse import quote

from ... import __version__, output
from . import records
from .assets import Asset
from .records import Record

PAGE = "report.html"
TEMPLATE = Path(__file__).with_name("page.html")
PICTURE = re.compile(r"data:image/webp;base64,[A-Za-z0-9+/=]*")


class Row(NamedTuple):
    asset: Asset
    state: str  # "done", "failed", or "waiting", which it also is when its line has changed
    record: Record | None


def rows_of(assets: Iterable[Asset], folder: Path) -> list[Row]:
    """What has become of each asset, whoever made it."""
    rows = []
    for asset in assets:
        record = records.read(folder / asset.output)
        if record is not None and record.spec != asset.spec:
            record = None
        ended = record is not None and record.state in ("done", "failed")
        rows.append(Row(asset, record.state if record and ended else "waiting", record))
    return rows


def write(rows: Sequence[Row], folder: Path, manifest: Path, more: Sequence[str] = ()) -> None:
    """Write the page into the folder of the batch. Raises InvalidRequest.

    `more` are words of the command that all assets share, such as a job file.
    """
    text = draw(rows, folder, manifest, more)
    output.write_file(folder / PAGE, text.encode("utf-8", "replace"))


def draw(rows: Sequence[Row], folder: Path, manifest: Path, more: Sequence[str] = ()) -> str:
    counts = Counter(row.state for row in rows)
    told = ", ".join(f"{counts[state]} {state}" for state in ("done", "failed", "waiting"))
    spent = sum(row.record.seconds for row in rows if row.record)
    texts = {
        "title": f"{manifest.name}: {told}",
        "summary": f"{len(rows)} assets: {told}; {spent:.0f} s of work; SyncSDE {__version__}",
    }
    page = TEMPLATE.read_text(encoding="utf-8")
    script = re.search(r"<script>(.*?)</script>", page, re.DOTALL)
    assert script is not None
    digest = base64.b64encode(hashlib.sha256(script[1].encode()).digest()).decode()
    for name, text in texts.items():
        page = page.replace(f"[[{name}]]", html.escape(text))
    page = page.replace("[[script]]", digest)
    body = "\n".join(_row(row, rerun(row.asset, folder, manifest, more)) for row in rows)
    return page.replace("[[rows]]", body)


def rerun(asset: Asset, folder: Path, manifest: Path, more: Sequence[str]) -> str:
    """The command that makes one asset again."""
    words = ["syncsde", "batch", str(manifest), "--output", str(folder)]
    words += [*more, "--retry-failed", f"--only={asset.id}"]
    return subprocess.list2cmdline(words) if sys.platform == "win32" else shlex.join(words)


def _row(row: Row, command: str) -> str:
    asset, record = row.asset, row.record
    picture = record.thumbnail if record and PICTURE.fullmatch(record.thumbnail) else ""
    image = f'<img src="{picture}" height="64" alt="" loading="lazy">' if picture else ""
    link = f'<a href="{html.escape(quote(asset.output))}/">{html.escape(asset.id)}</a>'
    cells = [
        f"<td>{image}</td>",
        f"<td>{link if row.state == 'done' else html.escape(asset.id)}</td>",
        f"<td>{html.escape(asset.task)}</td>",
        f'<td class="{row.state}">{row.state}</td>',
        _number(record and record.seen, ".1%"),
        _number(record and record.disagreement, ".4f"),
        _number(record.seconds if record and row.state != "waiting" else None, ".1f"),
        f"<td>{_told(record, command)}</td>",
    ]
    return f'<tr data-state="{row.state}">{"".join(cells)}</tr>'


def _number(value: float | None, form: str) -> str:
    if value is None:
        return "<td></td>"
    return f'<td class="number" data-value="{float(value)!r}">{format(value, form)}</td>'


def _told(record: Record | None, command: str) -> str:
    """Error or warnings, and for an error the command that tries again."""
    if record is None:
        return ""
    if record.state == "failed":
        error = record.error or {}
        sentence = " ".join(filter(None, (error.get("message"), error.get("hint"))))
        return (
            f'<p class="failed">{html.escape(sentence)}</p><p><button>Copy</button> '
            f"<code>{html.escape(command)}</code></p>"
        )
    return "".join(f"<p>{html.escape(warning)}</p>" for warning in record.warnings)
