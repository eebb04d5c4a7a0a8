# SPDX-License-Identifier: GPL-3.0-or-later
"""A reader for the geometry of Wavefront OBJ that keeps vertex order and separate UV indices."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ..errors import InvalidMesh
from .mesh import Mesh

Int = NDArray[np.int64]


def read_obj(text: str, name: str) -> Mesh:
    """Read `v`, `vt` and `f` lines; all else is skipped. Raises InvalidMesh naming the line.

    Polygons are triangulated in place: convex ones as a fan, others by cutting ears. The texture
    coordinates are kept only if every face has them.
    """
    positions: list[list[float]] = []
    uvs: list[list[float]] = []
    faces: list[list[int]] = []
    uv_faces: list[list[int]] = []
    for number, line in enumerate(text.replace("\\\n", "  ").splitlines(), start=1):
        words = line.partition("#")[0].split()
        try:
            match words:
                case ["v", x, y, z, *_]:
                    positions.append([float(x), float(y), float(z)])
                case ["vt", u, v, *_]:
                    uvs.append([float(u), float(v)])
                case ["vt", u]:
                    uvs.append([float(u), 0.0])
                case ["f", *corners] if len(corners) >= 3:
                    parts = [corner.split("/") for corner in corners]
                    faces.append([_absolute(part[0], len(positions)) for part in parts])
                    textured = all(len(part) > 1 and part[1] for part in parts)
                    uv_faces.append([_absolute(part[1], len(uvs)) for part in parts if textured])
                case ["v" | "vt" | "f", *_]:
                    raise ValueError("too few entries")
        except ValueError as error:
            raise InvalidMesh(
                f"Line {number} of the OBJ file, {line.strip()[:60]!r}, cannot be read ({error}).",
                hint="Export the mesh again.",
            ) from None
    if not faces:
        raise InvalidMesh("The OBJ file has no faces.", hint="Export an object with faces.")
    points = np.array(positions, np.float64).reshape(-1, 3)
    triangles, corners = _triangulate(points, faces)
    textured = all(uv_faces)
    flat = np.concatenate([np.array(face, np.int64) for face in uv_faces])
    with np.errstate(over="ignore"):  # what does not fit becomes infinite, and `check` says so
        points = points.astype(np.float32)
    return Mesh(
        points,
        triangles.astype(np.int32),
        np.array(uvs, np.float32).reshape(-1, 2) if textured else None,
        flat[corners].astype(np.int32) if textured else None,
        name,
    )


def _absolute(index: str, count: int) -> int:
    """OBJ counts from 1, and backwards from the entries read so far when negative."""
    value = int(index)
    if value == 0 or value < -count:
        raise ValueError(f"index {value} of {count}")
    return min(value - 1 if value > 0 else count + value, 2**31 - 1)


def _triangulate(points: NDArray[np.float64], faces: list[list[int]]) -> tuple[Int, Int]:
    """Triangles of all polygons in order, as vertices and as places among all face corners."""
    sizes = np.array([len(face) for face in faces])
    flat = np.concatenate([np.array(face, np.int64) for face in faces])
    if flat.max() >= len(points):
        face = int(np.searchsorted(np.cumsum(sizes), int(flat.argmax()), side="right"))
        raise InvalidMesh(
            f"Face {face + 1} of the OBJ file uses vertex {flat.max() + 1} of {len(points)}.",
            hint="Export the mesh again.",
        )
    starts = np.cumsum(sizes) - sizes
    first = np.cumsum(sizes - 2) - (sizes - 2)  # triangle at which each polygon starts
    corners = np.empty((int((sizes - 2).sum()), 3), np.int64)
    for size in np.unique(sizes):
        chosen = np.flatnonzero(sizes == size)
        polygons = points[flat[starts[chosen, None] + np.arange(size)]]  # (P, size, 3)
        fan = np.stack([np.zeros(size - 2, int), np.arange(1, size - 1), np.arange(2, size)], 1)
        local = np.repeat(fan[None], len(chosen), axis=0)
        if size > 3:
            normal, turns = _turns(polygons)
            for p in np.flatnonzero((turns < 0).any(axis=1)):
                local[p] = _cut_ears(polygons[p], normal[p])
        rows = first[chosen, None] + np.arange(size - 2)
        corners[rows] = starts[chosen, None, None] + local
    return flat[corners], corners


def _turns(polygons: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Newell normals (P, 3) and at every corner how far it turns left about them (P, size)."""
    with np.errstate(over="ignore", invalid="ignore"):
        following, before = np.roll(polygons, -1, axis=1), np.roll(polygons, 1, axis=1)
        origin = polygons[:, :1]
        normal = np.cross(polygons - origin, following - origin).sum(axis=1)
        turn = np.cross(polygons - before, following - polygons)
        return normal, np.einsum("pkc,pc->pk", turn, normal)


def _cut_ears(polygon: NDArray[np.float64], normal: NDArray[np.float64]) -> list[list[int]]:
    """Triangulate one simple polygon (size, 3) that is not convex."""
    axis = int(np.abs(normal).argmax())
    flat = np.delete(polygon, axis, axis=1) * [1, 1 if (normal[axis] > 0) == (axis != 1) else -1]
    left = list(range(len(flat)))
    triangles = []
    while len(left) > 3:
        ear = next((k for k in range(len(left)) if _is_ear(flat, left, k)), 0)
        triangles.append([left[ear - 1], left[ear], left[(ear + 1) % len(left)]])
        del left[ear]
    return [*triangles, left]


def _is_ear(flat: NDArray[np.float64], left: list[int], k: int) -> bool:
    corners = [left[k - 1], left[k], left[(k + 1) % len(left)]]
    a, b, c = flat[corners]
    if _side(a, b, c) <= 0:
        return False
    others = flat[[i for i in left if i not in corners]]
    inside = (_side(a, b, others) >= 0) & (_side(b, c, others) >= 0) & (_side(c, a, others) >= 0)
    return not inside.any()


def _side(a: NDArray, b: NDArray, p: NDArray) -> NDArray:
    return (b[0] - a[0]) * (p[..., 1] - a[1]) - (b[1] - a[1]) * (p[..., 0] - a[0])
