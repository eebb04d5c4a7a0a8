# SPDX-License-Identifier: GPL-3.0-or-later
"""PLY through plyfile: polygons of any length, strips of triangles, coordinates of vertices or of
corners."""

from __future__ import annotations

import re
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import plyfile
from numpy.typing import NDArray

from ..mesh import Mesh
from .polygons import strip_corners, triangulate
from .refusals import faceless, unreadable

INDICES = ("vertex_indices", "vertex_index")
UVS = (("s", "t"), ("u", "v"), ("texture_u", "texture_v"), ("texture_s", "texture_t"))
CORNER_UVS = "texcoord"  # of a face: two for each of its corners
HEADER = 1 << 20  # bytes at most

Int = NDArray[np.int64]


def read_ply(path: Path, content: bytes) -> Mesh:
    """Read the faces of a PLY file, in its own axes, as one object. Raises InvalidMesh."""
    elements = {element.name: element.data for element in _parsed(path, content).elements}
    vertices, faces = elements.get("vertex"), elements.get("face")
    names = () if vertices is None else vertices.dtype.names or ()
    if vertices is None or not {"x", "y", "z"} <= set(names):
        raise unreadable(path, "it has no vertices x, y, z")
    points = np.stack([vertices[axis] for axis in "xyz"], axis=1).astype(np.float64)
    vertex, sizes = _lists(faces, INDICES)
    strips = _of_strips(*_lists(elements.get("tristrips"), INDICES))
    kept = sizes > 2  # Blender, too, leaves out what has no area
    vertex = np.concatenate([vertex[np.repeat(kept, sizes)], strips.ravel()])
    lengths = np.concatenate([sizes[kept], np.full(len(strips), 3)])
    if len(lengths) == 0:
        raise faceless(path)
    corners, _ = triangulate(points, vertex, lengths)
    triangles = np.clip(vertex[corners], -1, len(points)).astype(np.int32)
    wedges, of_wedges = _lists(faces, (CORNER_UVS,))
    pair = next((pair for pair in UVS if set(pair) <= set(names)), None)
    uvs = uv_triangles = None
    if len(of_wedges) and (of_wedges == 2 * sizes).all():
        uvs = wedges.reshape(-1, 2)[np.repeat(kept, sizes)]
        uv_triangles = np.where(corners < len(uvs), corners, -1).astype(np.int32)
    elif pair is not None:
        uvs, uv_triangles = np.stack([vertices[axis] for axis in pair], axis=1), triangles
    with np.errstate(over="ignore"):  # what does not fit becomes infinite, and sanitize says so
        return Mesh(
            points.astype(np.float32),
            triangles,
            None if uvs is None else uvs.astype(np.float32),
            uv_triangles,
            path.stem,
            objects=(path.stem,),
        )


def _parsed(path: Path, content: bytes) -> plyfile.PlyData:
    header, end, _ = content[:HEADER].partition(b"end_header")
    text = header.decode("ascii", "replace").replace("\r", "\n")
    counts = [int(count) for count in re.findall(r"^element +\S+ +(\d{1,18}) *$", text, re.M)]
    if not end or max(counts, default=0) > len(content):
        raise unreadable(path, "its header is cut off, or promises more than there is")
    of_faces = text.partition("element face")[2].partition("element")[0]
    lists = re.findall(r"^property +list +\S+ +\S+ +(\S+)", of_faces, re.M)
    triangular = {"face": {key: 6 if key == CORNER_UVS else 3 for key in lists}}
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:  # mapped into memory, which takes a path, and faces that are all triangles
                return plyfile.PlyData.read(str(path), known_list_len=triangular)
            except plyfile.PlyElementParseError:
                return plyfile.PlyData.read(str(path))
    except plyfile.PlyParseError as error:
        raise unreadable(path, str(error)[:120]) from None
    except (ValueError, TypeError, KeyError, OverflowError, MemoryError):
        raise unreadable(path, "it is not what its header says") from None


def _lists(element: Any, names: tuple[str, ...]) -> tuple[NDArray, Int]:
    """What the rows of an element list under one of the names, (C,), and how much each, (P,)."""
    known = () if element is None or len(element) == 0 else element.dtype.names
    name = next((name for name in names if name in known), None)
    if element is None or name is None:
        return np.zeros(0, np.int64), np.zeros(0, np.int64)
    rows = element[name]
    wanted = np.float64 if name == CORNER_UVS else np.int64
    if rows.dtype == object:
        sizes = np.fromiter(map(len, rows), np.int64, len(rows))
        return np.concatenate(list(rows)).astype(wanted), sizes
    return rows.astype(wanted).ravel(), np.full(len(rows), rows[0].size, np.int64)


def _of_strips(strip: Int, sizes: Int) -> Int:
    """The triangles (T, 3) of strips; within one, -1 begins another."""
    if len(strip) < 3:
        return np.zeros((0, 3), np.int64)
    place = np.arange(len(strip))
    begins = np.union1d(np.cumsum(sizes) - sizes, np.flatnonzero(strip < 0) + 1)
    start = begins[np.searchsorted(begins, place, side="right") - 1]
    first = place[:-2][start[:-2] == start[2:]]
    triangles = strip[strip_corners(first, first - start[first])]
    return triangles[(triangles >= 0).all(axis=1)]
