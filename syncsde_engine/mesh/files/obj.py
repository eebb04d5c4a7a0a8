# SPDX-License-Identifier: GPL-3.0-or-later
"""A reader for Wavefront OBJ that keeps the order of vertices and faces, separate UV indices,
objects and materials."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from ...errors import InvalidMesh
from ..mesh import Mesh

MOST = 2**31 - 1
LONGEST_NAME = 255
CHUNK = 50_000  # lines at once, which bounds the memory

Int = NDArray[np.int64]
T = TypeVar("T")


@dataclass
class Lines:
    """What the lines of one kind say, and where they are."""

    rows: list[str] = field(default_factory=list)
    numbers: list[int] = field(default_factory=list)

    def add(self, row: str, number: int) -> None:
        self.rows.append(row)
        self.numbers.append(number)


class Runs:
    """Names that hold from a face on, as `usemtl` and `o` give them."""

    def __init__(self, first: str) -> None:
        self.names = [first]
        self.starts = [0]

    def begin(self, name: str, face: int) -> None:
        self.names.append(" ".join(name.split())[:LONGEST_NAME] or self.names[0])
        self.starts.append(face)

    def ids(self, count: int) -> tuple[NDArray[np.int32], tuple[str, ...]]:
        """Numbers (count,) of the faces, and the names that have faces."""
        lengths = np.diff([*self.starts, count])
        used = dict.fromkeys(n for n, length in zip(self.names, lengths, strict=True) if length)
        number = {name: k for k, name in enumerate(used)}
        ids = [number.get(name, 0) for name in self.names]
        return np.repeat(ids, lengths).astype(np.int32), tuple(used)


def read_obj(text: str, name: str) -> Mesh:
    """Read `v`, `vt`, `f`, `usemtl` and `o` (or `g`) lines. Raises InvalidMesh naming the line.

    Polygons are triangulated in place: convex ones as a fan, others by cutting ears. Faces without
    texture coordinates get the texture triangle (-1, -1, -1).
    """
    vertices, uvs, faces = Lines(), Lines(), Lines()
    objects, groups, materials = Runs(name or "mesh"), Runs(name or "mesh"), Runs("material")
    joined = text.replace("\\\n", "  ").replace("\\\r\n", "  ")
    for number, line in enumerate(joined.splitlines(), start=1):
        key, _, rest = line.strip().replace("\t", " ").partition(" ")
        if key == "f":
            if "-" in rest:
                rest = _counted_from_the_start(rest, number, len(vertices.rows), len(uvs.rows))
            faces.add(rest, number)
        elif key == "v":
            vertices.add(rest, number)
        elif key == "vt":
            uvs.add(rest, number)
        elif key == "usemtl":
            materials.begin(rest, len(faces.rows))
        elif key == "o":
            objects.begin(rest, len(faces.rows))
        elif key == "g":
            groups.begin(rest, len(faces.rows))
    points, coordinates = _floats(vertices, 3), _floats(uvs, 2)
    if not faces.rows:
        raise InvalidMesh("The OBJ file has no faces.", hint="Export an object with faces.")
    vertex, uv, sizes = _corners(faces)
    corners = _triangulate(points, vertex, sizes)
    triangle_of = np.repeat(np.arange(len(sizes)), sizes - 2)
    face_object, object_names = (objects if len(objects.names) > 1 else groups).ids(len(sizes))
    face_material, material_names = materials.ids(len(sizes))
    has_uvs = bool((uv >= 0).any())
    flat = np.where(np.all(uv[corners] >= 0, axis=1, keepdims=True), uv[corners], -1)
    with np.errstate(over="ignore"):  # what does not fit becomes infinite, and `sanitise` says so
        positions, coordinates = points.astype(np.float32), coordinates.astype(np.float32)
    return Mesh(
        positions,
        vertex[corners].astype(np.int32),
        coordinates if has_uvs else None,
        flat.astype(np.int32) if has_uvs else None,
        name,
        face_object=face_object[triangle_of],
        face_material=face_material[triangle_of],
        objects=object_names,
        materials=material_names,
    )


def _floats(lines: Lines, columns: int) -> NDArray[np.float64]:
    """The first numbers of every line, (lines, columns) float64; a missing v is 0."""

    def read(row: str) -> list[float]:
        words = row.partition("#")[0].split()
        if columns == 2 and len(words) == 1:
            words.append("0")
        if len(words) < columns:
            raise ValueError("too few entries")
        return [float(word) for word in words[:columns]]

    if not lines.rows:
        return np.zeros((0, columns))
    try:
        return np.loadtxt(lines.rows, usecols=range(columns), ndmin=2)
    except ValueError:  # one by one: to find the bad line, or for what is unusual
        return np.array(_each(lines, read))


def _corners(lines: Lines) -> tuple[Int, Int, Int]:
    """Vertex and texture index (-1: none) of the corners of all faces, and corners per face."""
    parts = [
        _corners_at_once(Lines(lines.rows[k : k + CHUNK], lines.numbers[k : k + CHUNK]))
        for k in range(0, len(lines.rows), CHUNK)
    ]
    vertex, uv, sizes = (np.concatenate(part) for part in zip(*parts, strict=True))
    return vertex, uv, sizes


def _corners_at_once(lines: Lines) -> tuple[Int, Int, Int]:
    """Works on the characters of all lines: a corner is a word, its parts end at slashes."""
    text = "\n".join(lines.rows).replace("//", "/0/")
    characters = np.frombuffer(text.encode("ascii", "replace"), np.uint8)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            numbers = np.fromstring(text.replace("/", " "), np.int64, sep=" ")
        except ValueError:
            numbers = np.zeros(0, np.int64)
    inside = characters > ord(" ")
    begins = inside & ~np.concatenate([[False], inside[:-1]])
    word = np.cumsum(begins) - 1
    count = int(begins.sum())
    parts = 1 + np.bincount(word[characters == ord("/")], minlength=count)[:count]
    row = np.cumsum(characters == ord("\n"))[begins]
    sizes = np.bincount(row, minlength=len(lines.rows))
    if parts.sum() != len(numbers) or (sizes < 3).any() or (numbers < 0).any():
        return _corners_one_by_one(lines)
    first = np.cumsum(parts) - parts
    vertex = numbers[first]
    uv = np.where(parts > 1, numbers[np.minimum(first + 1, len(numbers) - 1)], 0)
    if (vertex == 0).any():
        return _corners_one_by_one(lines)
    return np.minimum(vertex - 1, MOST), np.minimum(uv - 1, MOST), sizes


def _corners_one_by_one(lines: Lines) -> tuple[Int, Int, Int]:
    def read(row: str) -> list[tuple[int, int]]:
        words = row.partition("#")[0].split()
        if len(words) < 3:
            raise ValueError("too few entries")
        corners = []
        for word in words:
            vertex, uv = (int(part or 0) for part in [*word.split("/"), "0"][:2])
            if vertex < 1 or uv < 0:
                raise ValueError(f"index {min(vertex, uv)}")
            corners.append((min(vertex - 1, MOST), min(uv - 1, MOST)))
        return corners

    faces = _each(lines, read)
    flat = np.array([corner for face in faces for corner in face], np.int64)
    return flat[:, 0], flat[:, 1], np.array([len(face) for face in faces])


def _each(lines: Lines, read: Callable[[str], T]) -> list[T]:
    """Read line by line. Raises InvalidMesh naming the first that cannot be read."""
    read_ = []
    for row, number in zip(lines.rows, lines.numbers, strict=True):
        try:
            read_.append(read(row))
        except ValueError as error:
            raise _unreadable(number, row, error) from None
    return read_


def _counted_from_the_start(row: str, number: int, vertices: int, uvs: int) -> str:
    """Make negative indices, which count backwards from the entries above, ordinary ones."""
    words = []
    for word in row.partition("#")[0].split():
        parts = word.split("/")
        for place, count in enumerate((vertices, uvs)):
            if place < len(parts) and parts[place].startswith("-"):
                try:
                    index = int(parts[place])
                    if index < -count:
                        raise ValueError(f"index {index} of {count}")
                except ValueError as error:
                    raise _unreadable(number, row, error) from None
                parts[place] = str(count + 1 + index)
        words.append("/".join(parts[:2]))
    return " ".join(words)


def _unreadable(number: int, row: str, error: ValueError) -> InvalidMesh:
    return InvalidMesh(
        f"Line {number} of the OBJ file, {row.strip()[:60]!r}, cannot be read ({error}).",
        hint="Export the mesh again.",
    )


def _triangulate(points: NDArray[np.float64], flat: Int, sizes: Int) -> Int:
    """Triangles of all polygons in order, (T, 3) places among the corners `flat` of all faces."""
    # What leads nowhere has no shape to respect.
    points = np.concatenate([points, np.zeros((1, 3))])
    flat = np.minimum(flat, len(points) - 1)
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
    return corners


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
