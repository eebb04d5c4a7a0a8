# SPDX-License-Identifier: GPL-3.0-or-later
"""Meshes to test on, and colors that are known everywhere on them."""

from dataclasses import replace

import numpy as np
import torch
import trimesh
from torch import Tensor

from syncsde_engine.mesh.intake.charts import chart_unwrap
from syncsde_engine.mesh.mesh import Mesh, normalize


def icosphere(subdivisions: int) -> Mesh:
    sphere = trimesh.creation.icosphere(subdivisions=subdivisions)
    return Mesh(sphere.vertices.astype(np.float32), sphere.faces.astype(np.int32))


def lumpy(subdivisions: int) -> Mesh:
    """A sphere with knobs that hide parts of it and each other."""
    sphere = icosphere(subdivisions)
    x, y, _ = sphere.positions.T
    bumps = 1 + 0.25 * np.sin(5 * x) * np.cos(4 * y + 1)
    return normalize(replace(sphere, positions=sphere.positions * bumps[:, None]))[0]


def quad(half: float, uv: tuple[float, float, float, float] = (0, 0, 1, 1)) -> Mesh:
    """A square in the plane z = 0 that faces the front camera, on a box of the texture."""
    corners = np.array([[-1, -1, 0], [1, -1, 0], [1, 1, 0], [-1, 1, 0]], np.float32)
    triangles = np.array([[0, 1, 2], [0, 2, 3]], np.int32)
    u0, v0, u1, v1 = uv
    uvs = np.array([[u0, v0], [u1, v0], [u1, v1], [u0, v1]], np.float32)
    return Mesh(corners * np.float32(half), triangles, uvs, triangles)


def join(*meshes: Mesh) -> Mesh:
    """One mesh of several that all have uvs."""
    vertices = np.cumsum([0] + [len(mesh.positions) for mesh in meshes])
    corners = np.cumsum([0] + [len(mesh.uvs) for mesh in meshes])
    pairs = list(zip(meshes, vertices, corners, strict=False))
    return Mesh(
        np.concatenate([mesh.positions for mesh in meshes]),
        np.concatenate([mesh.triangles + v for mesh, v, _ in pairs]).astype(np.int32),
        np.concatenate([mesh.uvs for mesh in meshes]),
        np.concatenate([mesh.uv_triangles + c for mesh, _, c in pairs]).astype(np.int32),
    )


def touching() -> Mesh:
    """Two boxes that share a side and a thin plate on one of them: three objects, two textures.

    The first box is on the first texture, the second box and the plate on the other.
    """
    parts = []
    for extents, center in [
        ((0.6, 0.8, 0.6), (-0.3, 0, 0)),
        ((0.6, 0.5, 0.6), (0.3, 0, 0)),
        ((0.3, 0.3, 0.0005), (0.3, 0, 0.30025)),
    ]:
        box = trimesh.creation.box(extents)
        box = box.subdivide().subdivide()
        parts.append(Mesh((box.vertices + center).astype(np.float32), box.faces.astype(np.int32)))
    parts[0] = chart_unwrap(parts[0], 128, 4)
    both = chart_unwrap(join(*(plain_uvs(part) for part in parts[1:])), 128, 4)
    mesh = join(parts[0], both)
    counts = [len(part.triangles) for part in parts]
    return replace(
        mesh,
        face_object=np.repeat(np.arange(3, dtype=np.int32), counts),
        face_texture=np.repeat(np.array([0, 1, 1], np.int32), counts),
        objects=("box", "other", "plate"),
        textures=("wood", "metal"),
    )


def plain_uvs(mesh: Mesh) -> Mesh:
    """With texture coordinates that mean nothing, for `join`."""
    return replace(mesh, uvs=mesh.positions[:, :2].copy(), uv_triangles=mesh.triangles)


def color(position: Tensor) -> Tensor:
    """A smooth color in [0, 1] of every point in space, (..., 3) -> (..., 3)."""
    x, y, z = position.unbind(-1)
    return torch.stack([(3 * x + 1).sin(), (4 * y).sin(), (3 * z + x).cos()], -1) / 2 + 0.5
