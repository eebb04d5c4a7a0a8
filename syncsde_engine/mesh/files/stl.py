# SPDX-License-Identifier: GPL-3.0-or-later
"""STL, binary and as text: triangles whose corners are joined where they are the same."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ...errors import InvalidMesh
from ..mesh import MAX_FACES, Mesh, weld
from .refusals import faceless, unreadable

HEAD = 84  # bytes: a comment of 80, and the number of triangles
FACET = np.dtype([("normal", "<f4", 3), ("corners", "<f4", (3, 3)), ("attribute", "<u2")])
WORD = rb"\s+(\S+)"
VERTEX = re.compile(rb"\bvertex" + WORD * 3, re.IGNORECASE)


def read_stl(path: Path, content: bytes) -> Mesh:
    """Read all triangles of an STL file, in its own axes, as one object. Raises InvalidMesh."""
    count = int.from_bytes(content[80:HEAD], "little")
    whole = len(content) >= HEAD + FACET.itemsize * count
    if content.lstrip()[:5].lower() == b"solid" and b"facet" in content[:4096].lower():
        corners = _of_text(path, content)
    elif len(content) < HEAD or not whole:
        raise unreadable(path, f"it promises {count} triangles and has fewer")
    elif count > MAX_FACES:
        raise InvalidMesh(
            f"The mesh file {path.name!r} has {count} triangles, more than {MAX_FACES}.",
            hint="Decimate it first.",
        )
    else:
        corners = np.frombuffer(content, FACET, count, HEAD)["corners"]
    if len(corners) == 0:
        raise faceless(path)
    points = np.ascontiguousarray(corners.reshape(-1, 3), np.float32)
    place = weld(points)
    _, first = np.unique(place, return_index=True)
    order = np.argsort(first, kind="stable")  # as they come in the file
    rank = np.empty(len(order), np.int32)
    rank[order] = np.arange(len(order))
    return Mesh(
        points[first[order]],
        rank[place].reshape(-1, 3).astype(np.int32),
        name=path.stem,
        objects=(path.stem,),
    )


def _of_text(path: Path, content: bytes) -> NDArray[np.float32]:
    """The corners (F, 3, 3) of a file of text."""
    found = VERTEX.findall(content)
    if len(found) != 3 * len(re.findall(rb"\bendfacet\b", content, re.IGNORECASE)):
        raise unreadable(path, "it is cut off, or has facets that are no triangles")
    try:
        with np.errstate(over="ignore"):
            return np.array(found, np.float64).astype(np.float32).reshape(-1, 3, 3)
    except ValueError:
        raise unreadable(path, "a vertex is not three numbers") from None
