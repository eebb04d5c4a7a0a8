# SPDX-License-Identifier: GPL-3.0-or-later
"""A textured mesh as a binary glTF 2.0 file: objects are nodes, textures are materials."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from ..mesh import UV_TOLERANCE, Mesh, require_uvs
from .glb_file import GlbFile, sampler
from .shading import corner_normals


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
    file = GlbFile()
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
    file.document["samplers"] = [sampler(repeats=leaves)]
    for k in shown:
        own = {name: images[k] for name, images in (maps or {}).items()}
        file.material(mesh.textures[k], textures[k], own, 0)
    file.document["scenes"] = [{"nodes": list(range(len(file.document["nodes"])))}]
    return file.content()


def _add_object(
    file: GlbFile, mesh: Mesh, faces: NDArray[np.int64], name: str, shown: Sequence[int]
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
