# SPDX-License-Identifier: GPL-3.0-or-later
"""What `syncsde batch` does: check every line, choose, then plan, report or make."""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean

from ...errors import InvalidRequest
from .. import table
from ..console import Console
from . import PART, page, records
from . import manifest as manifests
from .assets import Asset, assets_of
from .manifest import Wrong
from .page import Row
from .work import Work, span

CANCELLED, PARTLY_DONE = 5, 6  # as cli's, which imports this


def batch(options: argparse.Namespace, console: Console) -> int:
    """Check all lines, then make what is asked. Raises InvalidRequest if a line is wrong."""
    given = vars(options)
    device: str | None = given.get("device")
    lines, unread = manifests.read(options.manifest, given.get("job"))
    assets, wrong = assets_of(lines, device)
    refuse(sorted([*unread, *wrong]), options.manifest, console)
    if device is not None:
        from ...models.devices import pick_device

        pick_device(device)
    chosen = part_of(assets, given.get("chunk"), given.get("only", []))
    if options.dry_run:
        return plan(options, chosen, console)
    if options.report:
        write_page(options, assets)
        console.say(f"{options.output / page.PAGE}")
        return 0
    resume = options.resume or options.retry_failed
    if not resume:
        require_new(chosen, options.output)
    ordered = sorted(chosen, key=lambda asset: asset.config.model)  # none is loaded twice
    work = Work(ordered, options.output, console, resume, options.retry_failed)
    try:
        if options.executor == "ray":
            from . import cluster

            cluster.run(work)
        else:
            work.run()
    except KeyboardInterrupt:
        return left_off(work, console)
    if "chunk" not in given:  # others work beside it: the page is written when all have ended
        write_page(options, assets)
    return finish(options, chosen, work, console)


def write_page(options: argparse.Namespace, assets: Sequence[Asset]) -> None:
    """The page of all assets of the manifest, whoever made them."""
    given = vars(options)
    more = [f"--{name}={given[name]}" for name in ("job", "device") if name in given]
    page.write(page.rows_of(assets, options.output), options.output, options.manifest, more)


def refuse(wrong: Sequence[Wrong], path: Path, console: Console) -> None:
    """Tell of each wrong line. Raises InvalidRequest if there is one."""
    for number, error in wrong:
        console.event("wrong", line=number, **error.as_dict())
        console.complain(f"{path.name}, line {number}: {error}")
    if wrong:
        lines = len({number for number, _ in wrong})
        raise InvalidRequest(
            f"{lines} line{'s' * (lines > 1)} of {str(path)!r} cannot be taken, and nothing was "
            "made.",
            field="manifest",
        )


def part_of(assets: Sequence[Asset], chunk: str | None, only: Sequence[str]) -> list[Asset]:
    """The assets that are asked for. Raises InvalidRequest for numbers and ids of none."""
    ids = {asset.id for asset in assets}
    for each in only:
        if each not in ids:
            raise InvalidRequest(f"The manifest has no asset {each!r}.", field="only")
    chosen = [asset for asset in assets if not only or asset.id in only]
    if chunk is None:
        return chosen
    part = PART.fullmatch(chunk)
    if part:
        return chosen[int(part[1]) - 1 :: int(part[2])]
    numbers: set[int] = set()
    for piece in chunk.split(","):
        first, _, last = piece.partition("-")
        low, high = int(first), int(last or first)
        if not 1 <= low <= high <= len(chosen):
            raise InvalidRequest(
                f"There are {len(chosen)} assets, and the chunk is {piece}.",
                hint="Numbers begin at 1.",
                field="chunk",
            )
        numbers.update(range(low, high + 1))
    return [asset for number, asset in enumerate(chosen, start=1) if number in numbers]


def require_new(assets: Sequence[Asset], folder: Path) -> None:
    """Raise InvalidRequest if the folder has results of these assets."""
    found = sum(records.read(folder / asset.output) is not None for asset in assets)
    if found:
        raise InvalidRequest(
            f"{str(folder)!r} has results of {found} of these assets.",
            hint="Say --resume to keep those that are as they are asked now, or name another "
            "folder.",
            field="output",
        )


def plan(options: argparse.Namespace, assets: Sequence[Asset], console: Console) -> int:
    """List what would be made, with what such assets took here before. Makes nothing."""
    work = Work(assets, options.output, console, True, options.retry_failed)
    rows = page.rows_of(assets, options.output)
    ahead = [row for row in rows if not work.stays(row.asset, row.record)]
    todo = {row.asset.id for row in ahead}
    for row in rows:
        state = "make" if row.asset.id in todo else row.state
        asset = row.asset
        console.event(
            "asset", id=asset.id, line=asset.line, state=state, task=asset.task, output=asset.output
        )
        console.say(f"{state:7} {asset.task:10} {asset.id}")
    seconds, memory = estimate(rows, ahead)
    console.event("plan", assets=len(rows), make=len(ahead), seconds=seconds, memory_bytes=memory)
    told = f"{len(ahead)} of {len(rows)} to make"
    if seconds is not None:
        told += f", about {span(seconds)}, by what such assets took here"
    if memory is not None:
        told += f"; the most memory so far was {memory / 1e9:.1f} GB"
    console.say(told)
    return 0


def estimate(rows: Sequence[Row], ahead: Sequence[Row]) -> tuple[float | None, int | None]:
    """Seconds for what is ahead, and bytes, as measured; None where nothing like it was made."""
    done = [row.record for row in rows if row.record and row.record.state == "done"]
    took: dict[str, list[float]] = {}
    for record in done:
        took.setdefault(record.task, []).append(record.seconds)
    known = all(row.asset.task in took for row in ahead)
    seconds = sum(fmean(took[row.asset.task]) for row in ahead) if known else None
    memory = [record.memory_bytes for record in done if record.memory_bytes]
    return seconds, max(memory, default=None)


def left_off(work: Work, console: Console) -> int:
    """Stopped at once: the page is not written, what is finished stays."""
    console.event("cancelled", counts=dict(Counter(work.states.values())))
    done = sum(state == "done" for state in work.states.values())
    console.complain(f"stopped; {done} assets were made. Go on with --resume")
    return CANCELLED


def finish(
    options: argparse.Namespace, assets: Sequence[Asset], work: Work, console: Console
) -> int:
    """Say what has become of the assets; a table of those that failed."""
    counts = Counter(work.states.values())
    failed = [row for row in page.rows_of(assets, options.output) if row.state == "failed"]
    lines = [
        [row.asset.id, f"line {row.asset.line}", row.record.error["message"] or ""]
        for row in failed
        if row.record and row.record.error
    ]
    if lines:
        console.say(table.aligned(["failed", "asked in", "why"], lines, left=3))
    left = len(assets) - len(work.states)
    place = options.output if "chunk" in options else options.output / page.PAGE
    console.event("done", output=str(options.output), counts=dict(counts), left=left)
    told = [f"{counts['done']} made", f"{counts['skipped']} skipped", f"{len(failed)} failed"]
    console.say(f"{', '.join(told)}{f', {left} left' if left else ''}: {place}")
    if left:
        return CANCELLED
    return PARTLY_DONE if failed else 0
