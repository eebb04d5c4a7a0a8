# SPDX-License-Identifier: GPL-3.0-or-later
"""A textured mesh as a binary glTF 2.0 file: objects are nodes, textures are materials."""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..mesh import UV_TOLERANCE, Mesh, require_uvs
from .shading import corner_normals

FLOAT, UNSIGNED_INT = 5126, 5125
VERTICES, INDICES = 34962, 34963
LINEAR, MIPMAPPED, CLAMP, REPEAT = 9729, 9987, 33071, 10497


def textured_glb(
    mesh: Mesh, textures: Sequence[bytes], maps: Mapping[str, Sequence[bytes]] | None = None
) -> bytes:
    """Write a mesh with uvs and its K textures, PNG files whose top row is at v = 1, as a GLB file.

    `maps` has as many PNG files of each that there is: "normal", in the tangent space of the
    uvs, which viewers find by MikkTSpace as we do; and "surface", whose red, green and blue are
    occlusion, roughness and metallic.

    Positions stay as they are (glTF is y up, too). glTF has one index for all, so vertices are
    split along seams and sharp edges here, and its v runs down from the top row. Materials are
    matte where no map says more: roughness 1, metallic 0. An object is a mesh with a primitive for
    each of its textures.
    Faces that glTF cannot hold, of missing or infinite vertices, are left out.
    """
    require_uvs(mesh)
    assert mesh.uvs is not None
    assert mesh.uv_triangles is not None
    file = _File()
    objects, owners = mesh.owners("object"), mesh.owners("texture")
    finite = np.append(np.all(np.isfinite(mesh.positions), axis=1), False)
    outside = (mesh.triangles < 0) | (mesh.triangles >= len(mesh.positions))
    valid = np.all(finite[np.where(outside, -1, mesh.triangles)], axis=1)
    # A texture without faces has no material.
    shown = [k for k in range(len(textures)) if (valid & (owners == k)).any()]
    by_object = np.argsort(objects, kind="stable")
    for number in np.unique(objects[valid]).tolist():
        first, last = np.searchsorted(objects[by_object], [number, number + 1])
        faces = by_object[first:last]
        faces = faces[valid[faces]]
        _add_object(file, mesh, faces, mesh.objects[number], shown)
    leaves = np.abs(mesh.uvs[mesh.uv_triangles[valid]] - 0.5).max() > 0.5 + UV_TOLERANCE
    wrap = REPEAT if leaves else CLAMP
    sampler = {"magFilter": LINEAR, "minFilter": MIPMAPPED, "wrapS": wrap, "wrapT": wrap}
    file.document["samplers"] = [sampler]
    for k in shown:
        own = {name: images[k] for name, images in (maps or {}).items()}
        _add_material(file, mesh.textures[k], textures[k], own)
    return file.content()


def _add_object(
    file: _File, mesh: Mesh, faces: NDArray[np.int64], name: str, shown: Sequence[int]
) -> None:
    assert mesh.uvs is not None
    assert mesh.uv_triangles is not None
    triangles, uv_triangles = mesh.triangles[faces], mesh.uv_triangles[faces]
    normals = corner_normals(replace(mesh, triangles=triangles)).reshape(-1, 3)
    vertex = (triangles.astype(np.int64) * len(mesh.uvs) + uv_triangles).ravel()
    # Two keys of 64 bits, because one does not hold both: normals alike to 1/500 are one.
    _, split = np.unique(vertex, return_inverse=True)
    steps = np.rint(normals * 500 + 512).astype(np.int64) @ [1, 1 << 10, 1 << 20]
    _, first, index = np.unique(split * (1 << 30) + steps, return_index=True, return_inverse=True)
    index = index.reshape(-1, 3)
    uvs = mesh.uvs[uv_triangles.ravel()[first]]
    uvs[:, 1] = 1 - uvs[:, 1]
    attributes = {
        "POSITION": file.accessor(mesh.positions[triangles.ravel()[first]], "VEC3"),
        "NORMAL": file.accessor(normals[first], "VEC3"),
        "TEXCOORD_0": file.accessor(uvs, "VEC2"),
    }
    owners = mesh.owners("texture")[faces]
    primitives = [
        {
            "attributes": attributes,
            "indices": file.accessor(index[owners == k].ravel(), "SCALAR"),
            "material": material,
        }
        for material, k in enumerate(shown)
        if (owners == k).any()
    ]
    shape = file.add("meshes", {"name": name, "primitives": primitives})
    file.add("nodes", {"mesh": shape, "name": name})


def _add_material(file: _File, name: str, png: bytes, maps: Mapping[str, bytes]) -> None:
    surface: dict[str, Any] = {
        "baseColorTexture": {"index": _add_texture(file, name, png)},
        "metallicFactor": 0.0,
        "roughnessFactor": 1.0,
    }
    material = {"name": name, "doubleSided": True, "pbrMetallicRoughness": surface}
    if "normal" in maps:
        material["normalTexture"] = {"index": _add_texture(file, f"{name} normal", maps["normal"])}
    if "surface" in maps:
        packed = {"index": _add_texture(file, f"{name} surface", maps["surface"])}
        surface |= {"metallicRoughnessTexture": packed, "metallicFactor": 1.0}
        material["occlusionTexture"] = packed
    file.add("materials", material)


def _add_texture(file: _File, name: str, png: bytes) -> int:
    entry = {"bufferView": file.view(png), "mimeType": "image/png", "name": name}
    return file.add("textures", {"sampler": 0, "source": file.add("images", entry)})


class _File:
    """A GLB file in the making: its JSON document and its one buffer."""

    def __init__(self) -> None:
        self.document: dict[str, Any] = {
            "asset": {"version": "2.0", "generator": "SyncSDE"},
            "scene": 0,
        }
        self.body = bytearray()

    def add(self, kind: str, entry: dict[str, Any]) -> int:
        """Append to one of the document's lists; returns the number of the entry."""
        entries = self.document.setdefault(kind, [])
        entries.append(entry)
        return len(entries) - 1

    def view(self, blob: bytes, **options: int) -> int:
        view = {"buffer": 0, "byteOffset": len(self.body), "byteLength": len(blob), **options}
        self.body += blob + b"\0" * (-len(blob) % 4)
        return self.add("bufferViews", view)

    def accessor(self, array: NDArray, kind: str) -> int:
        """Store indices (SCALAR) or rows of floats; positions need their box."""
        of_indices = kind == "SCALAR"
        blob = array.astype("<u4" if of_indices else "<f4").tobytes()
        view = self.view(blob, target=INDICES if of_indices else VERTICES)
        component = UNSIGNED_INT if of_indices else FLOAT
        entry = {"bufferView": view, "componentType": component, "count": len(array), "type": kind}
        if kind == "VEC3":
            entry |= {"min": array.min(axis=0).tolist(), "max": array.max(axis=0).tolist()}
        return self.add("accessors", entry)

    def content(self) -> bytes:
        self.document["scenes"] = [{"nodes": list(range(len(self.document["nodes"])))}]
        self.document["buffers"] = [{"byteLength": len(self.body)}]
        header = json.dumps(self.document).encode()
        header += b" " * (-len(header) % 4)
        chunks = struct.pack("<I4s", len(header), b"JSON") + header
        chunks += struct.pack("<I4s", len(self.body), b"BIN\0") + self.body
        return struct.pack("<4sII", b"glTF", 2, 12 + len(chunks)) + chunks
