# SPDX-License-Identifier: GPL-3.0-or-later
"""New texture coordinates for a glTF primitive: vertices are split along their seams, and all that
vertices have goes with them: joints, weights, colors, morph targets, other coordinates."""

from __future__ import annotations

import re
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from .glb_file import GlbFile
from .gltf_file import WIDTHS, Entry, GltfFile, items, member
from .gltf_parts import DRACO

TANGENTS = "TANGENT"  # of the old coordinates: viewers make those of the new ones

Float32 = NDArray[np.float32]
Int = NDArray[np.int64]


class Split(NamedTuple):
    """The vertices of a primitive anew."""

    source: Int  # (W,) the old vertex of each, of which the first keep their order
    uvs: Float32  # (W, 2)
    triangles: Int  # (F, 3)


class Rewritten(NamedTuple):
    """A primitive with new coordinates."""

    entry: Entry
    uv_set: int
    triangles: Int  # (F, 3) into its vertices
    same_indices: bool  # those that it had still lead to its faces


def split(triangles: Int, uvs: Float32, free: NDArray[np.bool_]) -> Split:
    """Give the corners of faces (F, 3) coordinates (F, 3, 2): a vertex for each pair of both.

    Faces that are `free` (F,) take any coordinates of their vertices.
    """
    used, corner = np.unique(triangles, return_inverse=True)
    corner = corner.reshape(-1)
    bound = np.repeat(~free, 3)
    flat = (uvs + np.float32(0)).reshape(-1, 2)  # + 0: -0 is 0
    key = np.column_stack([corner, np.ascontiguousarray(flat).view(np.uint32).astype(np.int64)])
    pairs, first, pair = np.unique(key[bound], axis=0, return_index=True, return_inverse=True)
    number = np.full(len(pairs), -1)
    leads = np.unique(pairs[:, 0], return_index=True)[1]  # the first pair of each vertex
    number[leads] = pairs[leads, 0]
    others = np.flatnonzero(number < 0)
    number[others] = len(used) + np.arange(len(others))
    made = corner.copy()  # the first of each vertex has the vertex's place
    made[bound] = number[pair.reshape(-1)]
    source = np.concatenate([used, used[pairs[others, 0]]])
    coordinates = np.zeros((len(source), 2), np.float32)
    coordinates[number] = flat[bound][first]
    return Split(source, coordinates, made.reshape(-1, 3))


class Writer:
    """Writes primitives with new coordinates to a file that is in the making."""

    def __init__(self, file: GltfFile, out: GlbFile) -> None:
        self.file = file
        self.out = out
        self._moved: dict[tuple[int, bytes], int] = {}
        self._white: dict[int, int] = {}  # accessors, by count

    def primitive(self, primitive: Entry, found: Split, uv_set: int) -> Rewritten:
        """A primitive with new coordinates.

        They are in the set `uv_set`, whose old ones become its last set, or in a new one where it
        has no such. Raises Broken.
        """
        attributes = dict(member(primitive, "attributes"))
        attributes.pop(TANGENTS, None)
        sets = 0
        while f"TEXCOORD_{sets}" in attributes:
            sets += 1
        place = min(uv_set, sets)
        targets = [dict(target) for target in items(primitive, "targets")]
        for names in (attributes, *targets):
            names.pop(TANGENTS, None)
            if f"TEXCOORD_{place}" in names:
                names[f"TEXCOORD_{sets}"] = names.pop(f"TEXCOORD_{place}")
        uvs, triangles = found.uvs, found.triangles
        whole = bool((np.diff(found.source) > 0).all())
        if whole:  # no vertex is split: whatever they have can stay where it is
            count = self.file.entry("accessors", attributes["POSITION"])["count"]
            uvs = np.zeros((count, 2), np.float32)
            uvs[found.source] = found.uvs
            triangles = found.source[triangles]
        else:
            for names in (attributes, *targets):
                names |= {name: self._carried(names[name], found.source) for name in names}
        attributes[f"TEXCOORD_{place}"] = self.out.accessor(uvs, "VEC2")
        made = {**primitive, "attributes": attributes, **({"targets": targets} if targets else {})}
        kept = {k: v for k, v in member(primitive, "extensions").items() if k != DRACO}
        made.pop("extensions", None)
        made |= {"extensions": kept} if kept else {}
        return Rewritten(made, place, triangles, whole)

    def untinted(self, primitive: Entry) -> Entry:
        """The primitive with white vertex colors before those that it has."""
        attributes = member(primitive, "attributes")
        count = self.file.entry("accessors", attributes["POSITION"])["count"]
        if count not in self._white:
            like = {"componentType": 5121, "normalized": True, "type": "VEC4"}
            self._white[count] = self.out.rows(np.full((count, 4), 255, np.uint8), like)
        targets = [_later_colors(target) for target in items(primitive, "targets")]
        made = {
            **primitive,
            "attributes": _later_colors(attributes) | {"COLOR_0": self._white[count]},
        }
        return {**made, **({"targets": targets} if targets else {})}

    def with_triangles(self, primitive: Entry, triangles: Int) -> Entry:
        """The primitive with these faces (F, 3), whatever it had."""
        kind = "<u2" if triangles.max(initial=0) < 65535 else "<u4"  # 65535 itself is reserved
        indices = self.out.indices(triangles.ravel().astype(kind))
        kept = {key: value for key, value in primitive.items() if key != "mode"}
        return {**kept, "indices": indices}

    def _carried(self, accessor: int, source: Int) -> int:
        """A vertex attribute for new vertices (W,), each with that of its old one."""
        key = accessor, source.tobytes()
        if key not in self._moved:
            entry = self.file.entry("accessors", accessor)
            rows = self.file.stored(accessor, tuple(WIDTHS))[source]
            self._moved[key] = self.out.rows(rows, entry)
        return self._moved[key]


def _later_colors(attributes: Entry) -> Entry:
    """Attributes of which COLOR_0 is COLOR_1 now, and so on."""
    colors = re.compile(r"COLOR_(\d+)")
    found = ((colors.fullmatch(name), name, accessor) for name, accessor in attributes.items())
    return {f"COLOR_{int(m[1]) + 1}" if m else name: accessor for m, name, accessor in found}
