# SPDX-License-Identifier: GPL-3.0-or-later
"""The OBJ file that a mesh was read from, with new materials and, where they are new, coordinates.

Its vertices, normals, faces, objects, groups and comments stay, line by line.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from ...errors import InvalidMesh
from ..mesh import Mesh
from .names import unique
from .obj import Parsed, key_of, lines_of, parse

LIBRARY = "textured.mtl"
SAME = 1e-5  # of a texture: coordinates that are one
MAPS = {"normal": "norm", "roughness": "map_Pr", "metallic": "map_Pm"}

Float = NDArray[np.float64]
Int = NDArray[np.int64]


def obj_back(mesh: Mesh) -> str:
    """The text of `mesh.origin` with the mesh's texture coordinates and a material of each texture.

    Coordinates that differ from the file's by whole tiles are the file's own. A polygon whose
    triangles lie apart in the texture is written as triangles. Raises InvalidMesh if the mesh is
    not of this file.
    """
    assert mesh.origin is not None
    assert mesh.uvs is not None
    assert mesh.uv_triangles is not None
    text = mesh.origin.content.decode(errors="replace")
    parsed = parse(text, mesh.name)
    if not np.array_equal(parsed.vertex[parsed.corners], mesh.triangles):
        raise InvalidMesh("The OBJ file has other faces than the mesh.", hint="Read it again.")
    uvs = mesh.uvs.astype(np.float64)[mesh.uv_triangles]  # (F, 3, 2)
    free = np.logical_and.reduce(uvs == 0, axis=(1, 2))
    texture = mesh.owners("texture")
    first_of = np.unique(parsed.polygon, return_index=True)[1]
    names = material_names(mesh)
    rows: list[str] = [f"mtllib {LIBRARY}"]
    faces = None if _keeps(parsed, uvs, free) else Faces(parsed, uvs, free)
    number, begun, current = -1, False, -1
    kept = {line: k for k, line in enumerate(parsed.lines)}
    for place, line in enumerate(lines_of(text), start=1):
        key, rest = key_of(line)
        if key in ("mtllib", "usemtl") or (key == "vt" and faces):
            continue
        if place not in kept:
            rows.append(line)
            continue
        if faces and not begun:
            rows += [f"vt {u:.9g} {v:.9g}" for u, v in faces.coordinates.tolist()]
            begun = True
        if parsed.sizes[kept[place]] == 0:
            rows += [] if faces else [line]
            continue
        number += 1
        triangles = first_of[number] if number < len(first_of) else 0
        if not free[triangles] and texture[triangles] != current:
            current = int(texture[triangles])
            rows.append(f"usemtl {names[current]}")
        rows += faces.lines(number, rest) if faces else [line]
    return "\n".join(rows) + "\n"


def material_file(mesh: Mesh, files: Sequence[str], maps: Mapping[str, Sequence[str]]) -> str:
    """The text of the .mtl file beside it: a matte material of each texture and its maps.

    `files` are those of the textures, `maps` those of each map of each texture.
    """
    blocks = []
    for k, (name, file) in enumerate(zip(material_names(mesh), files, strict=True)):
        rows = [f"newmtl {name}", "Kd 1 1 1", "Ks 0 0 0", "illum 1", f"map_Kd {file}"]
        rows += [f"{MAPS[kind]} {of[k]}" for kind, of in maps.items() if kind in MAPS]
        blocks.append("\n".join(rows) + "\n")
    return "\n".join(blocks)


def material_names(mesh: Mesh) -> tuple[str, ...]:
    """Those of the textures, each in one line."""
    return unique(" ".join(name.split()) or "texture" for name in mesh.textures)


class Faces:
    """Writes polygons with new coordinates."""

    def __init__(self, parsed: Parsed, uvs: Float, free: NDArray[np.bool_]) -> None:
        single = uvs.reshape(-1, 2).astype(np.float32)
        self.coordinates, number = np.unique(single, axis=0, return_inverse=True)
        number = number.reshape(-1, 3)
        sizes = parsed.sizes[parsed.sizes > 0]
        self.ends = np.cumsum(sizes)
        self.starts = self.ends - sizes
        self.corners, self.free = parsed.corners, free
        self.number = number
        self.of_corner = np.full(int(sizes.sum()), -1)
        self.of_corner[parsed.corners] = number
        whole = (self.of_corner[parsed.corners] == number).all(axis=1)
        self.split = np.zeros(len(sizes), bool)
        self.split[parsed.polygon[~whole]] = True
        self.last = np.searchsorted(parsed.polygon, np.arange(len(sizes) + 1))

    def lines(self, polygon: int, rest: str) -> list[str]:
        """The `f` lines of a polygon, of which `rest` is what followed the `f` of the old one."""
        words = [word.split("/") for word in rest.partition("#")[0].split()]
        start = self.starts[polygon]
        triangles = range(self.last[polygon], self.last[polygon + 1])
        corners = [np.arange(start, self.ends[polygon])]
        numbers = [self.of_corner[corners[0]]]
        if self.split[polygon] or (numbers[0] < 0).any():
            corners = [self.corners[triangle] for triangle in triangles]
            numbers = [self.number[triangle] for triangle in triangles]
        if all(self.free[triangle] for triangle in triangles):
            numbers = [np.full(len(each), -1) for each in corners]
        return [
            "f "
            + " ".join(
                _word(words[corner - start], uv)
                for corner, uv in zip(each.tolist(), of.tolist(), strict=True)
            )
            for each, of in zip(corners, numbers, strict=True)
        ]


def _word(parts: list[str], uv: int) -> str:
    """A corner as v, v/vt, v//vn or v/vt/vn, its numbers but vt as they were written."""
    normal = parts[2] if len(parts) > 2 else ""
    coordinate = str(uv + 1) if uv >= 0 else ""
    return "/".join([parts[0], coordinate, normal]).rstrip("/")


def _keeps(parsed: Parsed, uvs: Float, free: NDArray[np.bool_]) -> bool:
    """Whether the file's own coordinates are those of the mesh, but for whole tiles."""
    index = parsed.uv[parsed.corners]
    there = ((index >= 0) & (index < len(parsed.coordinates))).all(axis=1)
    if not (there | free).all():
        return False
    painted = there & ~free
    apart = uvs[painted] - parsed.coordinates[index[painted]]
    apart -= np.rint(apart.mean(axis=1, keepdims=True))
    return bool((np.abs(apart) < SAME).all())
