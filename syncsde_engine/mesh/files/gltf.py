# SPDX-License-Identifier: GPL-3.0-or-later
"""glTF as a viewer shows it when it is opened: the default scene, with every node in its place,
default morph weights, skins as their joints stand, and instances drawn."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ...errors import InvalidMesh
from ..mesh import MAX_FACES, Mesh
from .gltf_file import (
    MESHOPT,
    Broken,
    Entry,
    GltfFile,
    extensions,
    items,
    member,
    numbers,
    open_gltf,
)
from .gltf_parts import DRACO, TRANSFORM, Part, read_part
from .gltf_places import INSTANCING, drawn, joint_matrices, matrix_of, skinned
from .names import unique
from .refusals import faceless, unreadable

# Extensions that a file may require: they are read, or change neither shape nor coordinates.
KNOWN = (INSTANCING, TRANSFORM, DRACO, *MESHOPT, "KHR_mesh_quantization", "KHR_node_visibility")
HARMLESS = ("KHR_materials_", "KHR_lights_", "KHR_texture_", "KHR_xmp", "KHR_animation_pointer")
HARMLESS += ("EXT_texture_", "EXT_lights_", "MSFT_texture_", "KHR_audio", "KHR_techniques_webgl")
MOVED = "The texture transform of a material is applied to the coordinates."

Float = NDArray[np.float64]
Int = NDArray[np.int64]


class Source(NamedTuple):
    """What an object is of a file: a node, and which of its instances."""

    node: int
    instance: int


class Piece(NamedTuple):
    """Faces of one object and one material in the scene."""

    positions: Float  # (V, 3)
    triangles: Int  # (F, 3), wound outwards
    uvs: Float | None  # (V, 2)
    object: int
    material: int | None
    part: Part
    source: Source
    mirrored: bool  # the corners of the faces are in the reverse order of the part's


@dataclass
class Reader:
    """What was read of a file so far."""

    file: GltfFile
    uv_set: int = 0
    parts: dict[tuple[int, tuple[float, ...]], list[Part]] = field(default_factory=dict)
    pieces: list[Piece] = field(default_factory=list)
    objects: list[str] = field(default_factory=list)
    notes: dict[str, None] = field(default_factory=dict)
    faces: int = 0


def read_gltf(path: Path, content: bytes, uv_set: int = 0) -> tuple[Mesh, Reader]:
    """Read all faces of the default scene with the coordinates TEXCOORD_`uv_set`, and how.

    Every node with a mesh is an object, and every instance of it; materials are told apart by
    their number, whatever they are called. Faces without coordinates, in a scene where others have
    some, get (-1, -1, -1). Raises InvalidMesh.
    """
    with saying_what_is_wrong(path):
        reader = read_scene(open_gltf(path, content), uv_set)
        return joined(reader), reader


@contextlib.contextmanager
def saying_what_is_wrong(path: Path) -> Iterator[None]:
    """Make InvalidMesh of whatever a file's entries lead to."""
    try:
        yield
    except Broken as error:
        raise unreadable(path, str(error)) from None
    except (TypeError, KeyError, IndexError, AttributeError, OverflowError, ValueError):
        raise unreadable(path, "an entry of it is of another type than glTF says") from None


def read_scene(file: GltfFile, uv_set: int) -> Reader:
    """Read the default scene, piece by piece. Raises Broken, InvalidMesh, or any ValueError."""
    reader = Reader(file, uv_set)
    _require_known(file)
    _read_scene(reader)
    return reader


def _require_known(file: GltfFile) -> None:
    for name in file.entries("extensionsRequired"):
        if name not in KNOWN and not str(name).startswith(HARMLESS):
            raise InvalidMesh(
                f"The mesh file {file.path.name!r} requires {str(name)[:60]!r}, which is not read.",
                hint="Export it without that extension.",
            )


def _read_scene(reader: Reader) -> None:
    file = reader.file
    nodes, scenes = file.entries("nodes"), file.entries("scenes")
    child = [c for node in nodes if isinstance(node, dict) for c in items(node, "children")]
    roots = sorted(set(range(len(nodes))) - {c for c in child if isinstance(c, int)})
    shown = roots
    if scenes:
        shown = items(file.entry("scenes", file.document.get("scene", 0)), "nodes")
    worlds = np.tile(np.eye(4), (len(nodes), 1, 1))
    order = _walk(reader, shown, worlds)
    elsewhere = _walk(reader, [root for root in roots if root not in set(order)], worlds, order)
    if any("mesh" in nodes[node] for node in elsewhere):
        reader.notes["Objects outside of the default scene of the file are left out."] = None
    for node in order:
        if "mesh" in nodes[node]:
            _add_node(reader, node, worlds)


def _walk(
    reader: Reader, roots: Iterable[Any], worlds: Float, seen: Iterable[int] = ()
) -> list[int]:
    """The nodes below `roots`, parents first, in the file's order; fills in their `worlds`."""
    order: list[int] = []
    met, waiting = set(seen), [(root, np.eye(4)) for root in reversed(list(roots))]
    while waiting:
        index, above = waiting.pop()
        node = reader.file.entry("nodes", index)
        if index in met:
            raise Broken(f"node {index} has two parents")
        met.add(index)
        if member(extensions(node), "KHR_node_visibility").get("visible") is False:
            reader.notes["Objects that the file hides are left out."] = None
            continue
        worlds[index] = above @ matrix_of(node)
        order.append(index)
        waiting += [(c, worlds[index]) for c in reversed(items(node, "children"))]
    return order


def _add_node(reader: Reader, index: int, worlds: Float) -> None:
    node = reader.file.entry("nodes", index)
    mesh = reader.file.entry("meshes", node["mesh"])
    parts = _parts(reader, node["mesh"], node)
    name = str(node.get("name") or mesh.get("name") or reader.file.path.stem)
    if "skin" in node:
        matrices = joint_matrices(reader.file, node["skin"], worlds)
        reader.objects.append(name)
        for part in parts:
            positions = skinned(part, matrices)
            mirrored = np.linalg.det(matrices[:, :3, :3]).sum() < 0
            _add_piece(reader, part, positions, mirrored, Source(index, 0))
        return
    for number, matrix in enumerate(drawn(reader.file, node, worlds[index])):
        reader.objects.append(name)
        for part in parts:
            positions = part.positions @ matrix[:3, :3].T + matrix[:3, 3]
            mirrored = np.linalg.det(matrix[:3, :3]) < 0
            _add_piece(reader, part, positions, mirrored, Source(index, number))


def _add_piece(
    reader: Reader, part: Part, positions: Float, mirrored: bool, source: Source
) -> None:
    reader.faces += len(part.triangles)
    if reader.faces > MAX_FACES:
        raise InvalidMesh(
            f"The mesh file {reader.file.path.name!r} has more than {MAX_FACES} triangles.",
            hint="Decimate it first.",
        )
    triangles = part.triangles[:, ::-1] if mirrored else part.triangles
    number = len(reader.objects) - 1
    reader.pieces.append(
        Piece(positions, triangles, part.uvs, number, part.material, part, source, mirrored)
    )


def _parts(reader: Reader, index: Any, node: Entry) -> list[Part]:
    """The primitives of a mesh that have faces, morphed as the node or the mesh says."""
    mesh = reader.file.entry("meshes", index)
    weights = items(node, "weights") or items(mesh, "weights")
    weights = numbers({"weights": weights}, "weights", len(weights), [])
    key = index, tuple(weights)
    if key not in reader.parts:
        primitives = items(mesh, "primitives")
        found = [read_part(reader.file, p, weights, reader.uv_set) for p in primitives]
        reader.parts[key] = [
            part._replace(number=number) for number, part in enumerate(found) if part is not None
        ]
        if any(part.transform for part in reader.parts[key]):
            reader.notes[MOVED] = None
    return reader.parts[key]


def joined(reader: Reader) -> Mesh:
    """The faces of all pieces in their order, as one mesh. Raises InvalidMesh if there are none."""
    pieces, path = reader.pieces, reader.file.path
    if not pieces:
        raise faceless(path)
    counts = [len(piece.triangles) for piece in pieces]
    offsets = np.cumsum([0, *(len(piece.positions) for piece in pieces)])[:-1]
    triangles = np.concatenate([piece.triangles for piece in pieces])
    triangles = np.where(triangles < 0, -1, triangles + offsets.repeat(counts)[:, None])
    uvs = uv_triangles = None
    if any(piece.uvs is not None for piece in pieces):
        known = [np.zeros((len(p.positions), 2)) if p.uvs is None else p.uvs for p in pieces]
        uvs = np.concatenate(known).astype(np.float32)
        has = np.repeat([piece.uvs is not None for piece in pieces], counts)
        uv_triangles = np.where(has[:, None], triangles, -1).astype(np.int32)
    elif reader.uv_set:
        raise InvalidMesh(
            f"The mesh file {path.name!r} has no texture coordinates {reader.uv_set}.",
            hint="Leave uv-set out for those of set 0.",
        )
    with np.errstate(over="ignore"):  # what does not fit becomes infinite, and sanitize says so
        positions = np.concatenate([piece.positions for piece in pieces]).astype(np.float32)
    shown = sorted({piece.object for piece in pieces})
    objects = np.repeat(np.searchsorted(shown, [piece.object for piece in pieces]), counts)
    numbers_ = list(dict.fromkeys(piece.material for piece in pieces))
    materials = np.repeat([numbers_.index(piece.material) for piece in pieces], counts)
    return Mesh(
        positions,
        triangles.astype(np.int32),
        uvs,
        uv_triangles,
        path.stem,
        face_object=objects.astype(np.int32),
        face_material=materials.astype(np.int32),
        objects=unique(reader.objects[k] for k in shown),
        materials=unique(_material_names(reader.file, numbers_)),
        notes=tuple(reader.notes),
    )


def _material_names(file: GltfFile, indices: Iterable[int | None]) -> Iterator[str]:
    for index in indices:
        if index is None:
            yield Mesh.materials[0]
        else:
            yield str(file.entry("materials", index).get("name") or f"Material_{index}")
