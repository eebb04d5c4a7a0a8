# SPDX-License-Identifier: GPL-3.0-or-later
"""Normals of a surface in the tangent space of its texture coordinates, as renderers read them.

Tangents are those of MikkTSpace (Mikkelsen, "Simulation of Wrinkled Surfaces Revisited", 2008),
which glTF and Blender take: per corner, along growing u, averaged by angle over the fan of faces
that share vertex, normal, texture coordinate and handedness. Green is up, along growing v, as in
OpenGL.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from torch import Tensor

from .frames import tangents
from .mesh import Float32, Mesh, weld
from .shading import corner_normals
from .texels import Texels

CHUNK = 1 << 18  # texels at once


def corner_tangents(mesh: Mesh, normals: Float32) -> tuple[Float32, Float32]:
    """Unit tangents of the faces' corners (F, 3, 3), and which way bitangents go, (F,) of -1 and 1.

    `normals` (F, 3, 3) are the corners'. A bitangent is sign * cross(normal, tangent). A face
    without area in the texture has the tangents of its neighbors, or any.
    """
    assert mesh.uvs is not None
    assert mesh.uv_triangles is not None
    points = mesh.positions[mesh.triangles].astype(np.float64)  # (F, 3, 3)
    uvs = mesh.uvs[mesh.uv_triangles].astype(np.float64)
    (a, b), (first, second) = _edges(uvs), _edges(points)
    area = a[:, 0] * b[:, 1] - a[:, 1] * b[:, 0]
    sign = np.where(area < 0, -1.0, 1.0)
    along = sign[:, None] * (b[:, 1:] * first - a[:, 1:] * second)
    along[np.abs(area) < 1e-20] = 0
    normal = normals.astype(np.float64)
    flat = _unit(_upright(np.repeat(along[:, None], 3, axis=1), normal))
    weight = _angles(points, normal)[..., None]
    group = _fans(_alike(mesh, normals, sign))
    columns = (weight * flat).reshape(-1, 3).T
    summed = np.stack([np.bincount(group, column).astype(float) for column in columns], axis=1)
    found = _unit(summed[group].reshape(-1, 3, 3))
    any_right, _ = tangents(normals.reshape(-1, 3))
    nothing = ~found.any(axis=2, keepdims=True)
    found = np.where(nothing, any_right.reshape(-1, 3, 3), found)
    return found.astype(np.float32), sign.astype(np.float32)


def in_tangent_space(texels: Texels, normals: Tensor, vectors: Tensor) -> Tensor:
    """Turn vectors of the surface's upright frame into the texture's, (T, 3) float32 unit vectors.

    `vectors` (T, 3) are (right, up, out) in the frames of `mesh.frames.tangents` of the unit
    `normals` (T, 3). (0, 0, 1) stays exactly that.
    """
    mesh = texels.mesh
    corner = corner_normals(mesh)
    along, sign = corner_tangents(mesh, corner)
    every = np.arange(3 * len(mesh.triangles), dtype=np.int32).reshape(-1, 3)
    signs = torch.from_numpy(sign).to(texels.place.device)
    found = torch.empty_like(vectors, dtype=torch.float32)
    for start in range(0, len(texels.place), CHUNK):
        part = slice(start, start + CHUNK)
        normal = texels.between(corner.reshape(-1, 3), every, part).double()
        tangent = texels.between(along.reshape(-1, 3), every, part).double()
        hand = signs.index_select(0, texels.face[part])[:, None]
        bitangent = hand * torch.linalg.cross(normal, tangent)
        given = vectors[part].double()
        turned = torch.zeros_like(given)
        turned[:, 2] = given[:, 2] / normal.norm(dim=1).clamp(min=1e-9)
        frame = tangents(normals[part].cpu().numpy())
        for number, axis in enumerate(frame):
            direction = torch.from_numpy(axis).to(normal)
            turned += given[:, number, None] * _solved(tangent, bitangent, normal, direction)
        found[part] = torch.nn.functional.normalize(turned, dim=1).float()
    return found


def _solved(tangent: Tensor, bitangent: Tensor, normal: Tensor, vector: Tensor) -> Tensor:
    """The coordinates of a vector, made upright to the normal, in a basis; all (T, 3)."""
    square = (normal * normal).sum(1, keepdim=True).clamp(min=1e-18)
    vector = vector - normal * (normal * vector).sum(1, keepdim=True) / square
    planes = [
        torch.linalg.cross(bitangent, normal),
        torch.linalg.cross(normal, tangent),
        torch.linalg.cross(tangent, bitangent),
    ]
    volume = (tangent * planes[0]).sum(1, keepdim=True)
    volume = torch.where(volume.abs() < 1e-12, 1e-12, volume)
    return torch.cat([(vector * plane).sum(1, keepdim=True) for plane in planes], dim=1) / volume


def _edges(corners: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    return corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]


def _upright(vectors: NDArray[np.float64], normal: NDArray[np.float64]) -> NDArray[np.float64]:
    return vectors - (vectors * normal).sum(-1, keepdims=True) * normal


def _unit(vectors: NDArray[np.float64]) -> NDArray[np.float64]:
    length = np.linalg.norm(vectors, axis=-1, keepdims=True)
    return np.where(length > 1e-30, vectors / np.maximum(length, 1e-30), 0)


def _angles(points: NDArray[np.float64], normal: NDArray[np.float64]) -> NDArray[np.float64]:
    """Of each corner (F, 3), between its edges as they are seen along its normal."""
    ahead = _unit(_upright(np.roll(points, -1, axis=1) - points, normal))
    back = _unit(_upright(np.roll(points, 1, axis=1) - points, normal))
    return np.arccos(np.clip((ahead * back).sum(-1), -1, 1))


def _fans(alike: NDArray[np.int64]) -> NDArray[np.int32]:
    """Number corners (3F,) that are alike and whose faces hang together by edges of such corners.

    A chart that touches itself in a corner only has a tangent for each of its sides there.
    """
    corner = np.arange(len(alike)).reshape(-1, 3)
    ends = np.stack([corner, np.roll(corner, -1, axis=1)], axis=2).reshape(-1, 2)
    ends = np.take_along_axis(ends, np.argsort(alike[ends], axis=1, kind="stable"), axis=1)
    low, high = alike[ends].T
    order = np.lexsort((high, low))
    ends, low, high = ends[order], low[order], high[order]
    shared = (low[1:] == low[:-1]) & (high[1:] == high[:-1])
    ahead, behind = ends[1:][shared].ravel(), ends[:-1][shared].ravel()
    count = len(alike)
    joined = coo_array((np.ones(len(ahead), np.int8), (ahead, behind)), (count, count))
    return connected_components(joined, directed=False)[1]


def _alike(mesh: Mesh, normals: Float32, sign: NDArray[np.float64]) -> NDArray[np.int64]:
    """Number corners (3F,) that share place, normal, texture coordinate and handedness."""
    assert mesh.uvs is not None
    assert mesh.uv_triangles is not None
    place = weld(mesh.positions)[mesh.triangles].ravel()
    flat = np.zeros((len(mesh.uvs), 3), np.float32)
    flat[:, :2] = mesh.uvs
    spot = weld(flat)[mesh.uv_triangles].ravel()
    facing = weld(np.rint(normals.reshape(-1, 3) * 500).astype(np.float32))  # as in GLB files
    keys = np.stack([place, spot, facing, np.repeat(sign > 0, 3)], axis=1)
    return np.unique(keys, axis=0, return_inverse=True)[1].reshape(-1)
