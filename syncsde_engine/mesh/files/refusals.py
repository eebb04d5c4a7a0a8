# SPDX-License-Identifier: GPL-3.0-or-later
"""What readers of all formats say of a file that they cannot take."""

from __future__ import annotations

from pathlib import Path

from ...errors import InvalidMesh


def unreadable(path: Path, reason: str) -> InvalidMesh:
    """Of a file that is not what its name says."""
    return InvalidMesh(
        f"The mesh file {path.name!r} is not a readable {path.suffix.lower()} file ({reason}).",
        hint="Export the mesh again.",
    )


def faceless(path: Path) -> InvalidMesh:
    """Of a file without anything to paint on."""
    return InvalidMesh(
        f"The mesh file {path.name!r} has no faces.", hint="Export an object with faces."
    )
