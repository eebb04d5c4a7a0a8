# SPDX-License-Identifier: GPL-3.0-or-later
"""What the runs of a comparison cost and how well they agree, as a table."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean
from typing import Any, NamedTuple

NETWORKS = {
    "unet": "UNet",
    "upscaler": "upscaler",
    "controlnet": "ControlNet",
    "vae_encoder": "VAE encoder",
    "vae_decoder": "VAE decoder",
    "motion": "motion network",
}


class Result(NamedTuple):
    """One run, or why there is none."""

    variant: str
    seed: int
    folder: str | None
    report: dict[str, Any] | None
    failed_at: int | None  # step after which the state was not finite

    @property
    def failure(self) -> str:
        return f"not finite at step {self.failed_at}"


def entries(results: Sequence[Result]) -> dict[str, Any]:
    """All that is known, for programs."""
    return {"variants": means(results), "runs": [told(result) for result in results]}


def told(result: Result) -> dict[str, Any]:
    """What a run cost. Seconds leave out loading, which is done once for all runs."""
    run = {"variant": result.variant, "seed": result.seed}
    if result.report is None:
        return {**run, "error": result.failure}
    timings = result.report["timings"]
    return {
        **run,
        "folder": result.folder,
        "disagreement": result.report.get("disagreement"),
        "network_evaluations": result.report["network_evaluations"],
        "seconds": round(timings["total"] - timings.get("load", 0.0), 4),
        "network_seconds": timings["network"],
    }


def means(results: Sequence[Result]) -> list[dict[str, Any]]:
    """Every variant's mean over its seeds."""
    rows = []
    for variant in dict.fromkeys(result.variant for result in results):
        runs = [told(result) for result in results if result.variant == variant]
        done = [run for run in runs if "error" not in run]
        row: dict[str, Any] = {"variant": variant, "runs": len(done)}
        for name in ("disagreement", "seconds", "network_seconds"):
            values = [run[name] for run in done if run[name] is not None]
            row[name] = fmean(values) if values else None
        row["network_evaluations"] = {
            name: round(fmean(run["network_evaluations"].get(name, 0) for run in done))
            for name in NETWORKS
            if done
        }
        row["failures"] = [f"seed {run['seed']}: {run['error']}" for run in runs if "error" in run]
        rows.append(row)
    return rows


def markdown(results: Sequence[Result]) -> str:
    """One row for each variant, in columns that are also readable as they are."""
    rows = means(results)
    used = [name for name in NETWORKS if any(row["network_evaluations"].get(name) for row in rows)]
    head = ["variant", "disagreement", *(NETWORKS[name] for name in used), "seconds", "in networks"]
    lines = [
        [
            row["variant"],
            shown(row["disagreement"], ".4f"),
            *(shown(row["network_evaluations"].get(name), "d") for name in used),
            shown(row["seconds"], ".1f"),
            shown(row["network_seconds"], ".1f"),
            "; ".join(row["failures"]),
        ]
        for row in rows
    ]
    if any(row["failures"] for row in rows):
        head.append("failed")
    else:
        lines = [line[:-1] for line in lines]
    return aligned(head, lines)


def shown(value: float | None, form: str) -> str:
    return "-" if value is None else format(value, form)


def aligned(head: Sequence[str], lines: Sequence[Sequence[str]], left: int = 1) -> str:
    """A Markdown table: the first `left` columns to the left, all others to the right."""
    widths = [max(len(line[i]) for line in (head, *lines)) for i in range(len(head))]
    rule = ["-" * (width - 1) + ("-" if i < left else ":") for i, width in enumerate(widths)]
    return "\n".join(
        "| "
        + " | ".join(
            cell.ljust(width) if i < left else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(line, widths, strict=True))
        )
        + " |"
        for line in (head, rule, *lines)
    )
