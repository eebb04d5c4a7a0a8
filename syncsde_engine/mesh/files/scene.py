# SPDX-License-Identifier: GPL-3.0-or-later
"""glTF, PLY and STL through trimesh: a scene's nodes are objects of one mesh, materials stay."""

from __future__ import annotations

import json
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ...errors import InvalidMesh
from ..mesh import Mesh

COMPRESSIONS = ("KHR_draco_mesh_compression", "EXT_meshopt_compression")
NAMELESS = (".ply", ".stl")  # formats of one object, which is called as the file is


def read_scene(path: Path) -> Mesh:
    """Read all faces of a scene under its transforms. Raises InvalidMesh.

    Faces without texture coordinates, in a scene where others have some, get (-1, -1, -1).
    """
    import trimesh

    _require_plain(path)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            scene = trimesh.load_scene(path, process=False)
            pieces = [
                _piece(scene, node, path)
                for node in _nodes(scene)
                if isinstance(scene.geometry[scene.graph[node][1]], trimesh.Trimesh)
            ]
    except Exception as error:  # a parser of many formats meeting any bytes
        reason = " ".join(str(error).split())[:120] or type(error).__name__
        raise InvalidMesh(
            f"The mesh file {path.name!r} is not a readable {path.suffix} file ({reason}).",
            hint="Export the mesh again.",
        ) from None
    pieces = [piece for piece in pieces if len(piece.triangles)]
    if not pieces:
        raise InvalidMesh(
            f"The mesh file {path.name!r} has no faces.", hint="Export an object with faces."
        )
    return _joined(pieces, path.stem)


def _require_plain(path: Path) -> None:
    """Raise InvalidMesh for compressed glTF: trimesh would give vertices that are all 0."""
    content = path.read_bytes()
    if content[:4] == b"glTF":
        content = content[20 : 20 + int.from_bytes(content[12:16], "little")]
    elif path.suffix.lower() != ".gltf":
        return
    try:
        required = json.loads(content).get("extensionsRequired", [])
    except (ValueError, AttributeError, RecursionError):
        return  # whatever is wrong with it is told by the parser
    for name in COMPRESSIONS:
        if name in required:
            raise InvalidMesh(
                f"The mesh file {path.name!r} is compressed ({name}).",
                hint="Export it without compression.",
            )


class Piece(NamedTuple):
    """Faces of one object and one material."""

    positions: NDArray  # (V, 3), in the scene
    triangles: NDArray  # (F, 3), wound outwards
    uvs: NDArray | None  # (V, 2)
    object: str
    material: str


def _nodes(scene: Any) -> list[str]:
    """Nodes with geometry, in the file's order of objects and then of their parts.

    trimesh walks a scene from its last node to the first, and numbers the parts at random.
    """
    met = [child for _, child, _ in scene.graph.to_edgelist()][::-1]
    order = {name: place for place, name in enumerate(met)}
    geometry = {name: place for place, name in enumerate(scene.geometry)}
    return sorted(
        scene.graph.nodes_geometry,
        key=lambda node: (
            order.get(_object(scene, node), -1),
            geometry[scene.graph[node][1]],
        ),
    )


def _object(scene: Any, node: str) -> str:
    """The node of the file: parts of several materials hang below it."""
    geometry = scene.geometry[scene.graph[node][1]]
    if geometry.metadata.get("from_gltf_primitive"):
        return scene.graph.transforms.parents[node]
    return node


def _piece(scene: Any, node: str, path: Path) -> Piece:
    matrix, name = scene.graph[node]
    geometry = scene.geometry[name]
    positions = geometry.vertices @ matrix[:3, :3].T + matrix[:3, 3]
    triangles = np.asarray(geometry.faces, np.int64).reshape(-1, 3)
    if np.linalg.det(matrix[:3, :3]) < 0:
        triangles = triangles[:, ::-1]
    uvs = getattr(geometry.visual, "uv", None)
    if uvs is not None and np.shape(uvs) != (len(positions), 2):
        uvs = None
    material = getattr(getattr(geometry.visual, "material", None), "name", None)
    owner = path.stem if path.suffix.lower() in NAMELESS else _object(scene, node)
    return Piece(positions, triangles, uvs, owner, material or Mesh.materials[0])


def _joined(pieces: Sequence[Piece], name: str) -> Mesh:
    objects, materials = (
        tuple(dict.fromkeys(getattr(piece, kind) for piece in pieces))
        for kind in ("object", "material")
    )
    counts = [len(piece.triangles) for piece in pieces]
    offsets = np.cumsum([0] + [len(piece.positions) for piece in pieces])[:-1]
    triangles = np.concatenate(
        [piece.triangles + o for piece, o in zip(pieces, offsets, strict=True)]
    )
    uvs = uv_triangles = None
    if any(piece.uvs is not None for piece in pieces):
        blank = [np.zeros((len(piece.positions), 2)) for piece in pieces]
        known = [b if p.uvs is None else p.uvs for p, b in zip(pieces, blank, strict=True)]
        uvs = np.concatenate(known).astype(np.float32)
        has = np.repeat([piece.uvs is not None for piece in pieces], counts)
        uv_triangles = np.where(has[:, None], triangles, -1).astype(np.int32)
    with np.errstate(over="ignore"):  # what does not fit becomes infinite, and sanitise says so
        positions = np.concatenate([piece.positions for piece in pieces]).astype(np.float32)
    return Mesh(
        positions,
        triangles.astype(np.int32),
        uvs,
        uv_triangles,
        name,
        face_object=_ids(objects, [piece.object for piece in pieces], counts),
        face_material=_ids(materials, [piece.material for piece in pieces], counts),
        objects=objects,
        materials=materials,
    )


def _ids(names: Sequence[str], of: Sequence[str], counts: Sequence[int]) -> NDArray[np.int32]:
    return np.repeat([names.index(name) for name in of], counts).astype(np.int32)
