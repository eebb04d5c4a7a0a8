# SPDX-License-Identifier: GPL-3.0-or-later
"""Files and pictures that a task is given, as the blobs that it takes. Loads no torch."""

from __future__ import annotations

import io
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .errors import InvalidRequest

if TYPE_CHECKING:
    from PIL import Image

MOST_BYTES = 2**31  # of one input file
OF_MESH = ("up", "front", "uv_set")  # how a mesh file is meant: see `mesh.files.io.load`


def read(name: str, value: str | Path | bytes | Image.Image, **how: Any) -> bytes:
    """The blob of the input `name`; `how` a mesh file is read, as `mesh.files.io.load` takes it.

    Raises InvalidRequest or InvalidMesh.
    """
    if isinstance(value, bytes):
        return value
    if isinstance(value, str | Path):
        path = Path(value)
        return read_mesh(path, **how) if name == "mesh" else read_file(path, f"inputs.{name}")
    if not callable(getattr(value, "save", None)):
        raise InvalidRequest(
            f"An input is a path, bytes or an image of Pillow's, not a {type(value).__name__}.",
            field=f"inputs.{name}",
        )
    content = io.BytesIO()
    value.save(content, "PNG")
    return content.getvalue()


def read_mesh(path: Path, **how: Any) -> bytes:
    """A mesh file as the safetensors blob that runs take. Raises InvalidRequest or InvalidMesh."""
    try:
        path.stat()
    except (OSError, ValueError) as error:
        raise unreadable(path, error, "inputs.mesh") from None
    # Imports numba: whatever else is wrong is said sooner.
    from .mesh.files import io as meshes

    return meshes.to_safetensors(meshes.load(path, **how))


def read_file(path: Path, field: str | None) -> bytes:
    """Read a file that is named by `field`. Raises InvalidRequest."""
    try:
        if path.is_dir():
            raise InvalidRequest(f"{str(path)!r} is a folder.", hint="Give a file.", field=field)
        with path.open("rb") as file:
            content = file.read(MOST_BYTES + 1)
    except (OSError, ValueError) as error:
        raise unreadable(path, error, field) from None
    if len(content) > MOST_BYTES:
        raise InvalidRequest(f"{str(path)!r} has more than {MOST_BYTES / 1e9:.0f} GB.", field=field)
    return content


def unreadable(path: Path, error: Exception, field: str | None) -> InvalidRequest:
    """What to tell of a file that the system does not give."""
    reason = getattr(error, "strerror", None) or str(error)
    return InvalidRequest(
        f"Cannot read {str(path)!r}: {reason}.", hint="Check the path.", field=field
    )
