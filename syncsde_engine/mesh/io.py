# SPDX-License-Identifier: GPL-3.0-or-later
"""Meshes from files and from the wire, and back; whatever is wrong becomes one sentence."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import safetensors
import safetensors.numpy
from safetensors import SafetensorError

from ..errors import InvalidMesh, InvalidRequest
from .glb import textured_glb
from .mesh import Mesh, check
from .obj import read_obj

__all__ = ["SUFFIXES", "from_safetensors", "load", "textured_glb", "to_safetensors"]

SUFFIXES = (".obj", ".glb", ".gltf", ".ply", ".stl")
TENSORS = {  # name -> dtype on the wire, columns
    "positions": ("F32", 3),
    "triangles": ("I32", 3),
    "uvs": ("F32", 2),
    "uv_triangles": ("I32", 3),
}
DTYPES = {"F32": np.dtype("<f4"), "I32": np.dtype("<i4")}


def load(path: str | Path) -> Mesh:
    """Read a mesh file; a scene's meshes are put together under its transforms.

    Raises InvalidRequest for a path that cannot be read, InvalidMesh for what is in it.
    """
    path = Path(path)
    suffix = path.suffix.lower()
    if suffix not in SUFFIXES:
        raise InvalidRequest(
            f"{path.name!r} is not a mesh file that can be read.",
            hint=f"Known: {', '.join(SUFFIXES)}.",
            field="mesh",
        )
    try:
        content = path.read_bytes()
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise InvalidRequest(
            f"The mesh file {str(path)!r} cannot be read ({reason}).",
            hint="Check the path.",
            field="mesh",
        ) from None
    if suffix == ".obj":
        mesh = read_obj(content.decode("utf-8", errors="replace"), path.stem)
    else:
        mesh = _load_with_trimesh(path)
    check(mesh)
    return mesh


def to_safetensors(mesh: Mesh) -> bytes:
    """The arrays of a mesh by their names in `Mesh`; the name itself is not kept."""
    arrays = {name: getattr(mesh, name) for name in TENSORS}
    present = {name: np.ascontiguousarray(a) for name, a in arrays.items() if a is not None}
    return safetensors.numpy.save(present)


def from_safetensors(content: bytes, name: str = "mesh") -> Mesh:
    """Read and check a mesh from an untrusted blob. Raises InvalidMesh."""
    try:
        tensors = dict(safetensors.deserialize(content))
    except (SafetensorError, ValueError, OverflowError) as error:
        raise InvalidMesh(
            f"The mesh is not a safetensors blob ({error}).", hint="Send the mesh again."
        ) from None
    unknown = sorted(tensors.keys() - TENSORS.keys())
    if unknown:
        raise InvalidMesh(
            f"The mesh has an unknown tensor {unknown[0][:60]!r}.",
            hint=f"Known: {', '.join(TENSORS)}.",
        )
    arrays = {}
    for key, (dtype, columns) in TENSORS.items():
        tensor = tensors.get(key)
        if tensor is None:
            if key in ("positions", "triangles"):
                raise InvalidMesh(f"The mesh has no tensor {key!r}.", hint="Send the mesh again.")
            continue
        shape = tuple(tensor["shape"])
        if tensor["dtype"] != dtype or len(shape) != 2 or shape[1] != columns:
            raise InvalidMesh(
                f"The tensor {key!r} is {tensor['dtype']} of shape {shape}.",
                hint=f"It must be {dtype} of shape (count, {columns}).",
            )
        flat = np.frombuffer(bytes(tensor["data"]), DTYPES[dtype])
        arrays[key] = flat.reshape(shape).astype(DTYPES[dtype].newbyteorder("="))
    mesh = Mesh(name=name, **arrays)
    check(mesh)
    return mesh


def _load_with_trimesh(path: Path) -> Mesh:
    import trimesh

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            scene = trimesh.load_scene(path, process=False)
            parts = [
                (scene.geometry[scene.graph[node][1]], np.asarray(scene.graph[node][0]))
                for node in scene.graph.nodes_geometry
            ]
            pieces = [
                _piece(geometry, matrix)
                for geometry, matrix in parts
                if isinstance(geometry, trimesh.Trimesh) and len(geometry.faces)
            ]
    except Exception as error:  # a parser of many formats meeting any bytes
        reason = " ".join(str(error).split())[:120] or type(error).__name__
        raise InvalidMesh(
            f"The mesh file {path.name!r} is not a readable {path.suffix} file ({reason}).",
            hint="Export the mesh again.",
        ) from None
    if not pieces:
        raise InvalidMesh(
            f"The mesh file {path.name!r} has no faces.", hint="Export an object with faces."
        )
    offsets = np.cumsum([0] + [len(positions) for positions, _, _ in pieces])
    triangles = np.concatenate([t + o for (_, t, _), o in zip(pieces, offsets, strict=False)])
    uvs = [uv for _, _, uv in pieces if uv is not None]
    textured = len(uvs) == len(pieces)
    return Mesh(
        np.concatenate([positions for positions, _, _ in pieces]).astype(np.float32),
        triangles.astype(np.int32),
        np.concatenate(uvs).astype(np.float32) if textured else None,
        triangles.astype(np.int32) if textured else None,
        path.stem,
    )


def _piece(geometry, matrix):  # noqa: ANN001, ANN202 - trimesh has no types
    """Positions in the scene, triangles with outward winding, and uvs by vertex or None."""
    positions = geometry.vertices @ matrix[:3, :3].T + matrix[:3, 3]
    triangles = np.asarray(geometry.faces, np.int64)
    if np.linalg.det(matrix[:3, :3]) < 0:
        triangles = triangles[:, ::-1]
    uvs = getattr(geometry.visual, "uv", None)
    if uvs is not None and np.shape(uvs) != (len(positions), 2):
        uvs = None
    return positions, triangles, uvs
