# SPDX-License-Identifier: GPL-3.0-or-later
"""What a run's report.json says of the model that painted or moved, in one line for the panel."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

FILE = "report.json"
MOST = 3  # pictures that are named


def warnings_of(folder: Path) -> list[str]:
    """What a run's report warns of, of the mesh or of its own."""
    report = _read(folder)
    mesh = report.get("mesh")
    found = [*(mesh.get("warnings") or () if isinstance(mesh, Mapping) else ())]
    return [str(each) for each in (*found, *(report.get("warnings") or ()))]


def seen(folder: Path) -> float | None:
    """Which share of a texture some view has seen, if the report says."""
    coverage = _read(folder).get("coverage")
    if not isinstance(coverage, Mapping):
        return None
    share = coverage.get("seen")
    return float(share) if isinstance(share, int | float) else None


def _read(folder: Path) -> Mapping[str, Any]:
    try:
        report = json.loads((folder / FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return report if isinstance(report, Mapping) else {}


def painted_by(folder: Path, images: Mapping[str, str]) -> str:
    """Such as "Painted by exemplar: stone brick"; nothing if the report does not say.

    Of a motion it is also what the model was trained on.

    `images` has the names of Blender's images, by the engine's names of inputs.
    """
    report = _read(folder)
    if not (model := name_of(report.get("model"))):
        return ""
    if report.get("task") == "motion":
        data = name_of(report.get("model_data"))
        return f"Moved by {model}" + (f": {data}" if data else "")
    materials = report.get("materials")
    named = [name_of(each) for each in materials.values()] if isinstance(materials, Mapping) else []
    pictures = [images.get(name, name) for name in dict.fromkeys(named) if name]
    shown = ", ".join(pictures[:MOST]) + (", ..." if len(pictures) > MOST else "")
    return f"Painted by {model}" + (f": {shown}" if shown else "")


def name_of(said: Any) -> str:
    """A name, or what stands for it in an entry that says more."""
    if isinstance(said, Mapping):
        said = said.get("name") or said.get("id") or said.get("material")
    return said.strip() if isinstance(said, str) else ""
