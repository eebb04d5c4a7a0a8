# SPDX-License-Identifier: GPL-3.0-or-later
"""What a run's report.json says of the model that painted or moved, in one line for the panel."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

FILE = "report.json"
MOST = 3  # pictures that are named


def painted_by(folder: Path, images: Mapping[str, str]) -> str:
    """Such as "Painted by exemplar: stone brick"; nothing if the report does not say.

    Of a motion it is also what the model was trained on.

    `images` has the names of Blender's images, by the engine's names of inputs.
    """
    try:
        report = json.loads((folder / FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return ""
    if not isinstance(report, Mapping) or not (model := name_of(report.get("model"))):
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
