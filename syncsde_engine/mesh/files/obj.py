# SPDX-License-Identifier: GPL-3.0-or-later
"""A reader for Wavefront OBJ that keeps the order of vertices and faces, separate UV indices,
objects and materials. A line that cannot be read is left out, counted and told."""

from __future__ import annotations

import codecs
import re
import warnings
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from ...errors import InvalidMesh
from ..mesh import Mesh
from .names import LONGEST, unique
from .polygons import triangulate

MOST = 2**31 - 1
CHUNK = 50_000  # lines at once, which bounds the memory

Bools = NDArray[np.bool_]
Float = NDArray[np.float64]
Int = NDArray[np.int64]


@dataclass
class Lines:
    """What the lines of one kind say, and where they are."""

    rows: list[str] = field(default_factory=list)
    numbers: list[int] = field(default_factory=list)

    def add(self, row: str, number: int) -> None:
        self.rows.append(row)
        self.numbers.append(number)

    def told(self, bad: Bools) -> list[tuple[int, str]]:
        """The bad ones among the lines (L,), each with its number."""
        return [(self.numbers[k], self.rows[k]) for k in np.flatnonzero(bad)]


class Runs:
    """Names that hold from a face on, as `usemtl`, `o` and `g` give them."""

    def __init__(self, first: str) -> None:
        self.names = [first]
        self.starts = [0]

    def begin(self, name: str, face: int) -> None:
        self.names.append(" ".join(name.split())[:LONGEST] or self.names[0])
        self.starts.append(face)

    def ids(self, kept: Bools, *, apart: bool) -> tuple[NDArray[np.int32], tuple[str, ...]]:
        """Numbers (K,) of the kept of the faces (F,), and the names that have such faces.

        What has the same name is one, unless each begins anew: `apart`.
        """
        run = np.repeat(np.arange(len(self.names)), np.diff([*self.starts, len(kept)]))[kept]
        used, number = np.unique(run, return_inverse=True)
        names = [self.names[k] for k in used]
        if apart:
            return number.astype(np.int32), unique(names)
        distinct = {name: k for k, name in enumerate(dict.fromkeys(names))}
        ids = np.array([distinct[name] for name in names], np.int32)
        return ids[number], tuple(distinct)


def decoded(content: bytes) -> str:
    """The text of a file in UTF-8, or in UTF-16 as its first bytes tell."""
    if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return content.decode("utf-16", errors="replace")
    if b"\0" in content[:4]:  # half of the bytes of plain letters in UTF-16
        bare = "utf-16-be" if content[:1] == b"\0" else "utf-16-le"
        return content.decode(bare, errors="replace")
    return content.decode("utf-8-sig", errors="replace")


@dataclass(frozen=True)
class Parsed:
    """What the lines of a file say."""

    points: Float  # (V, 3)
    coordinates: Float  # (T, 2)
    vertex: Int  # (C,) of the corners of all kept faces
    uv: Int  # (C,) -1 where there is none
    sizes: Int  # (L,) corners of each `f` line, 0 if it is left out
    lines: list[int]  # (L,) their numbers in `lines_of`, from 1 on
    corners: Int  # (F, 3) into the corners: the triangles
    polygon: Int  # (F,) of which kept face
    objects: Runs
    groups: Runs
    materials: Runs
    notes: tuple[str, ...]


def lines_of(text: str) -> list[str]:
    """The lines of a file, continued ones joined."""
    return text.replace("\\\n", "  ").replace("\\\r\n", "  ").splitlines()


def key_of(line: str) -> tuple[str, str]:
    """The first word of a line, and the rest."""
    key, _, rest = line.strip().replace("\t", " ").partition(" ")
    return key, rest


def parse(text: str, name: str) -> Parsed:
    """Read the lines of a file. Raises InvalidMesh if no face is left."""
    vertices, uvs, faces = Lines(), Lines(), Lines()
    objects, groups, materials = Runs(name or "mesh"), Runs(name or "mesh"), Runs("material")
    for number, line in enumerate(lines_of(text), start=1):
        key, rest = key_of(line)
        if key == "f":
            if "-" in rest:
                rest = _counted_from_the_start(rest, len(vertices.rows), len(uvs.rows))
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
    if not faces.rows:
        raise InvalidMesh("The OBJ file has no faces.", hint="Export an object with faces.")
    (points, bad), (coordinates, bad_uvs) = _floats(vertices, 3), _floats(uvs, 2)
    vertex, uv, sizes = _corners(faces)
    kept = sizes > 0
    notes = _told(vertices.told(bad) + uvs.told(bad_uvs) + faces.told(~kept))
    if not kept.any():
        raise InvalidMesh(
            f"No face of the OBJ file can be read. {' '.join(notes)}", hint="Export the mesh again."
        )
    corners, polygon = triangulate(points, vertex, sizes[kept])
    return Parsed(
        points,
        coordinates,
        vertex,
        uv,
        sizes,
        faces.numbers,
        corners,
        polygon,
        objects,
        groups,
        materials,
        notes,
    )


def read_obj(text: str, name: str) -> Mesh:
    """Read `v`, `vt`, `f`, `usemtl` and `o` (or `g`) lines. Raises InvalidMesh if no face is left.

    Every `o` begins an object, as in Blender; parts of a group or material are one. Polygons are
    triangulated in place. Faces without texture coordinates get the texture triangle (-1, -1, -1).
    The mesh's notes tell how many lines could not be read: such a face is left out, such a vertex
    or coordinate is not a number, so that the others keep theirs.
    """
    parsed = parse(text, name)
    kept, uv, corners = parsed.sizes > 0, parsed.uv, parsed.corners
    if len(parsed.objects.names) > 1:
        face_object, object_names = parsed.objects.ids(kept, apart=True)
    else:
        face_object, object_names = parsed.groups.ids(kept, apart=False)
    face_material, material_names = parsed.materials.ids(kept, apart=False)
    has_uvs = bool((uv >= 0).any())
    flat = np.where(np.all(uv[corners] >= 0, axis=1, keepdims=True), uv[corners], -1)
    with np.errstate(over="ignore"):  # what does not fit becomes infinite, and `sanitize` says so
        positions = parsed.points.astype(np.float32)
        coordinates = parsed.coordinates.astype(np.float32)
    return Mesh(
        positions,
        parsed.vertex[corners].astype(np.int32),
        coordinates if has_uvs else None,
        flat.astype(np.int32) if has_uvs else None,
        name,
        face_object=face_object[parsed.polygon],
        face_material=face_material[parsed.polygon],
        objects=object_names,
        materials=material_names,
        notes=parsed.notes,
    )


def _told(bad: list[tuple[int, str]]) -> tuple[str, ...]:
    if not bad:
        return ()
    number, row = min(bad)
    count = "1 line" if len(bad) == 1 else f"{len(bad)} lines"
    return (
        f"{count} of the OBJ file cannot be read and left out (first: line {number}, "
        f"{row.strip()[:60]!r}).",
    )


def _floats(lines: Lines, columns: int) -> tuple[Float, Bools]:
    """The first numbers of every line, (L, columns), and which lines (L,) cannot be read.

    Those are not a number; a missing v is 0.
    """
    bad = np.zeros(len(lines.rows), bool)
    if not lines.rows:
        return np.zeros((0, columns)), bad
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of lines without numbers, which it passes over
            numbers = np.loadtxt(lines.rows, usecols=range(columns), ndmin=2)
    except ValueError:
        numbers = np.zeros((0, columns))
    if len(numbers) == len(lines.rows):
        return numbers, bad
    # One by one: to find the bad lines, or for what is unusual.
    numbers = np.full((len(lines.rows), columns), np.nan)
    for k, row in enumerate(lines.rows):
        words = row.partition("#")[0].split()[:columns]
        words += ["0"] * (columns == 2 and len(words) == 1)
        try:
            numbers[k] = np.array([float(word) for word in words]).reshape(columns)
        except ValueError:  # no numbers, or too few of them
            bad[k] = True
    return numbers, bad


def _corners(lines: Lines) -> tuple[Int, Int, Int]:
    """Vertex and texture index (-1: none) of the corners of all faces, and corners per face.

    A face that cannot be read has none.
    """
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
    flat: list[tuple[int, int]] = []
    sizes = np.zeros(len(lines.rows), np.int64)
    for k, row in enumerate(lines.rows):
        words = row.partition("#")[0].split()
        try:
            corners = [[int(part or 0) for part in [*word.split("/"), "0"][:2]] for word in words]
        except ValueError:
            continue
        if len(corners) >= 3 and all(vertex > 0 and uv >= 0 for vertex, uv in corners):
            flat += [(min(vertex - 1, MOST), min(uv - 1, MOST)) for vertex, uv in corners]
            sizes[k] = len(corners)
    pairs = np.array(flat, np.int64).reshape(-1, 2)
    return pairs[:, 0], pairs[:, 1], sizes


def _counted_from_the_start(row: str, vertices: int, uvs: int) -> str:
    """Make negative indices, which count backwards from the entries above, ordinary ones.

    Those that lead nowhere stay as they are.
    """
    words = []
    for word in row.partition("#")[0].split():
        parts = word.split("/")[:2]
        for place, count in enumerate((vertices, uvs)[: len(parts)]):
            if re.fullmatch(r"-\d+", parts[place]) and len(parts[place]) < 20:
                index = int(parts[place])
                parts[place] = str(count + 1 + index if index >= -count else index)
        words.append("/".join(parts))
    return " ".join(words)
