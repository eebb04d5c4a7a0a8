# SPDX-License-Identifier: GPL-3.0-or-later
"""The glTF file that a mesh was read from, with the textures that were painted on it.

Only what is concerned changes: materials of painted primitives, and where the mesh has other
texture coordinates than the file, those. Nodes, skins, animations, morph targets, colors, further
coordinates, cameras, lights and extras keep their entries, their numbers and their values.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..mesh import UV_TOLERANCE, Mesh, Origin
from .glb_file import GlbFile, sampler
from .gltf import Reader, joined, read_scene, saying_what_is_wrong
from .gltf_file import Broken, Entry, extensions, items, member, open_gltf
from .gltf_pack import painted_primitives
from .gltf_parts import TRANSFORM, Part
from .gltf_places import INSTANCING, PLACES, instances_of
from .gltf_split import Writer, split
from .gltf_unused import unused, without_unused_names

MOVED_COLORS = (
    "Vertex colors tint textures in glTF: in textured.glb those of the file are COLOR_1, behind a "
    "white COLOR_0."
)
MOST = 1e30  # of a coordinate
SAME = 1e-5  # of a texture: coordinates that are one

Maps = Mapping[str, Sequence[bytes]]
Float = NDArray[np.float64]
Ints = NDArray[np.int64]


class Painted(NamedTuple):
    """What was painted on the faces of a primitive, as one of its objects has it."""

    part: Part
    uvs: NDArray[np.float32]  # (F, 3, 2), v upwards
    texture: Ints  # (F,)

    @property
    def free(self) -> NDArray[np.bool_]:
        """Faces (F,) that could not be painted: all of their corners are at 0."""
        return np.logical_and.reduce(self.uvs == 0, axis=(1, 2))


def gltf_back(
    mesh: Mesh, textures: Sequence[bytes], maps: Maps | None = None
) -> tuple[bytes, list[str]]:
    """The file of `mesh.origin` with K textures, and as many of each map, as GLB; what to tell.

    `mesh` is what was read from it, with the coordinates and textures that it has now. Coordinates
    that differ from the file's by whole tiles are the file's own: the texture repeats. Otherwise
    they take the place of the set that was read, whose old ones become the last set. Vertex colors,
    which would tint textures, come after white ones. Raises InvalidMesh if the mesh is not of this
    file.
    """
    assert mesh.origin is not None
    path = Path("original.glb")
    with saying_what_is_wrong(path):
        origin: Origin = mesh.origin
        reader = read_scene(open_gltf(path, origin.content, alone=True), origin.uv_set)
        if not np.array_equal(joined(reader).triangles, mesh.triangles):
            raise Broken("it has other faces than the mesh")
        back = _Back(reader, mesh, textures, maps or {})
        return back.content(), list(back.notes)


class _Back:
    def __init__(self, reader: Reader, mesh: Mesh, textures: Sequence[bytes], maps: Maps) -> None:
        file = reader.file
        free = unused(file, painted_primitives(reader))
        self.reader, self.file, self.mesh = reader, file, mesh
        self.textures, self.maps = textures, maps
        self.out = GlbFile(file.document, file.binary or b"", free)
        self.writer = Writer(file, self.out)
        shown = {piece.source.node for piece in reader.pieces}
        nodes = file.entries("nodes")
        # Meshes that keep an entry as it is: that other nodes show, or whose place is taken.
        self.kept = {node.get("mesh") for k, node in enumerate(nodes) if k not in shown}
        self.notes: dict[str, None] = {}
        self.meshes: dict[tuple[int, str], int] = {}  # by what their primitives are now
        self.primitives: dict[Any, list[Entry]] = {}
        self.materials: dict[tuple[int, str], int] = {}
        self.samplers: dict[bool, int] = {}
        self.painted = list(self._painted())  # of each piece
        self.repeats = self._repeats()

    def content(self) -> bytes:
        # All materials and coordinates are looked up in the document as it was.
        nodes: dict[int, dict[int, list[Painted]]] = {}
        for piece, painted in zip(self.reader.pieces, self.painted, strict=True):
            of_node = nodes.setdefault(piece.source.node, {})
            of_node.setdefault(piece.source.instance, []).append(painted)
        made = {
            (node, instance): self._primitives(node, painted)
            for node, instances in nodes.items()
            for instance, painted in instances.items()
        }
        for node, instances in nodes.items():
            self._put(node, [made[node, instance] for instance in sorted(instances)])
        without_unused_names(self.out.document)
        return self.out.content()

    def _painted(self) -> Iterator[Painted]:
        assert self.mesh.uvs is not None
        assert self.mesh.uv_triangles is not None
        owners, first = self.mesh.owners("texture"), 0
        for piece in self.reader.pieces:
            faces = slice(first, first + len(piece.triangles))
            first = faces.stop
            uvs = self.mesh.uvs[self.mesh.uv_triangles[faces]]
            texture = owners[faces].astype(np.int64)
            yield Painted(piece.part, uvs[:, ::-1] if piece.mirrored else uvs, texture)

    def _primitives(self, node: int, painted: list[Painted]) -> list[Entry]:
        """The primitives of a node's mesh with what is painted on them."""
        number = self.file.entry("nodes", node)["mesh"]
        by_part = {each.part.number: each for each in painted}
        made = []
        for place, primitive in enumerate(items(self.file.entry("meshes", number), "primitives")):
            if place not in by_part:
                made.append(primitive)
                continue
            one = by_part[place]
            key = number, place, one.uvs.tobytes(), one.texture.tobytes()
            if key not in self.primitives:
                self.primitives[key] = self._repainted(primitive, one)
            made += self.primitives[key]
        return made

    def _repainted(self, primitive: Entry, painted: Painted) -> list[Entry]:
        part, free = painted.part, painted.free
        there = np.logical_and.reduce(part.triangles >= 0, axis=1)
        triangles = part.vertices[np.where(there[:, None], part.triangles, 0)]
        place: Entry = {}
        if self._keeps(painted):
            entry, same = primitive, True
            uv_set = 0 if part.uvs is None else self.reader.uv_set
            if part.transform:
                moved = {key: part.transform[key] for key in part.transform if key != "texCoord"}
                place["extensions"] = {TRANSFORM: moved}
        else:
            uvs = painted.uvs * np.array([1, -1], np.float32) + np.array([0, 1], np.float32)
            found = split(triangles, uvs, free | ~there)
            entry, uv_set, triangles, same = self.writer.primitive(
                primitive, found, self.reader.uv_set
            )
        if self._tints(primitive):
            entry = self.writer.untinted(entry)
            self.notes[MOVED_COLORS] = None
        if uv_set:
            place["texCoord"] = uv_set
        texture = np.where(free, _usual(painted), painted.texture)
        owners = np.unique(texture[there])
        if same and len(owners) == 1 and there.all():
            return [{**entry, "material": self._material(int(owners[0]), place)}]
        return [
            {
                **self.writer.with_triangles(entry, triangles[there & (texture == k)]),
                "material": self._material(k, place),
            }
            for k in owners.tolist()
        ]

    def _keeps(self, painted: Painted) -> bool:
        """Whether the primitive's own coordinates are those of the mesh, but for whole tiles."""
        if painted.part.uvs is None:
            return bool(painted.free.all())
        apart = painted.uvs - painted.part.uvs[painted.part.triangles]
        apart -= np.rint(apart.mean(axis=1, keepdims=True))
        return bool((np.abs(apart[~painted.free]) < SAME).all())

    def _tints(self, primitive: Entry) -> bool:
        """Whether its vertex colors, which viewers multiply textures with, are not all white."""
        color = member(primitive, "attributes").get("COLOR_0")
        return color is not None and bool((self.file.array(color, ("VEC3", "VEC4")) != 1).any())

    def _put(self, node: int, variants: list[list[Entry]]) -> None:
        """Let a node show its mesh as painted; of instances that differ, each has its own node."""
        entry = self.file.entry("nodes", node)
        numbers = [self._mesh(node, variant) for variant in variants]
        if len(set(numbers)) == 1:
            entry["mesh"] = numbers[0]
            return
        for animation in self.file.entries("animations"):
            targets = [member(channel, "target") for channel in items(animation, "channels")]
            if any(t.get("node") == node and t.get("path") == "weights" for t in targets):
                raise Broken("instances of animated shape were painted, each in its own way")
        given = instances_of(self.file, entry) or {}
        if not all((np.abs(array) < MOST).all() for array in given.values()):
            raise Broken("an instance in it is nowhere")
        weights = {"weights": entry["weights"]} if "weights" in entry else {}
        kept = {k: v for k, v in extensions(entry).items() if k != INSTANCING}
        for gone in ("mesh", "weights", "extensions"):
            entry.pop(gone, None)
        entry |= {"extensions": kept} if kept else {}
        children = list(items(entry, "children"))
        for instance, number in enumerate(numbers):
            where = {
                kind.lower(): given[kind][instance].tolist() for kind in PLACES if kind in given
            }
            name = {"name": f"{entry['name']}.{instance + 1:03}"} if "name" in entry else {}
            self.out.document["nodes"].append({**name, "mesh": number, **weights, **where})
            children.append(len(self.out.document["nodes"]) - 1)
        entry["children"] = children

    def _mesh(self, node: int, primitives: list[Entry]) -> int:
        """The number of the node's mesh with these primitives.

        It is the old one's for the first that are all that nodes show of it.
        """
        number = self.file.entry("nodes", node)["mesh"]
        key = number, json.dumps(primitives)
        if key not in self.meshes:
            entry = {**self.file.entry("meshes", number), "primitives": primitives}
            if number in self.kept:
                self.meshes[key] = self.out.add("meshes", entry)
            else:
                self.file.entries("meshes")[number] = entry
                self.kept.add(number)
                self.meshes[key] = number
        return self.meshes[key]

    def _material(self, k: int, place: Entry) -> int:
        """The number of the material of texture k on coordinates at `place`."""
        key = k, json.dumps(place)
        if key not in self.materials:
            own = {name: images[k] for name, images in self.maps.items()}
            repeats = bool(self.repeats[k])
            if repeats not in self.samplers:
                self.samplers[repeats] = self._sampler(sampler(repeats=repeats))
            name = self.mesh.textures[k]
            self.materials[key] = self.out.material(
                name, self.textures[k], own, self.samplers[repeats], **place
            )
            if "extensions" in place:
                self._use(TRANSFORM)
        return self.materials[key]

    def _sampler(self, wanted: Entry) -> int:
        known = items(self.out.document, "samplers")
        return known.index(wanted) if wanted in known else self.out.add("samplers", wanted)

    def _use(self, name: str) -> None:
        used = self.out.document.setdefault("extensionsUsed", [])
        if name not in used:
            used.append(name)

    def _repeats(self) -> NDArray[np.bool_]:
        """Which textures (K,) are on coordinates beyond the unit square, of file or mesh."""
        found = np.zeros(len(self.textures), bool)
        for painted in self.painted:
            uvs = painted.uvs.astype(np.float64)
            if painted.part.uvs is not None and self._keeps(painted):
                uvs = painted.part.uvs[painted.part.triangles]
            leaves = (np.abs(uvs - 0.5) > 0.5 + UV_TOLERANCE).any(axis=(1, 2)) & ~painted.free
            found[painted.texture[leaves]] = True
        return found


def _usual(painted: Painted) -> int:
    """The texture that most of the painted faces have; of none of them, any."""
    some = painted.texture[~painted.free] if not painted.free.all() else painted.texture
    return int(np.bincount(some).argmax())
