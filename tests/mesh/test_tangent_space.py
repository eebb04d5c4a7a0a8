# SPDX-License-Identifier: GPL-3.0-or-later
"""Normals in the tangent space of texture coordinates, against closed forms.

tests/addon/in_blender/test_tangents.py compares the tangents with Blender's own.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from syncsde_engine.mesh import texels as texel_module
from syncsde_engine.mesh.cameras import Camera
from syncsde_engine.mesh.charts import chart_unwrap
from syncsde_engine.mesh.frames import tangents
from syncsde_engine.mesh.mesh import Mesh
from syncsde_engine.mesh.project import observe
from syncsde_engine.mesh.rasterize import rasterizer
from syncsde_engine.mesh.shading import corner_normals
from syncsde_engine.mesh.tangent_space import corner_tangents, in_tangent_space
from syncsde_engine.mesh.texels import Texels, used_texels
from syncsde_engine.tasks.texture_maps import encoded
from tests.mesh.shapes import lumpy, quad

FRONT = (Camera(0, 0),)


def texels_of(mesh: Mesh, size: int = 64) -> Texels:
    return used_texels(observe(mesh, FRONT, rasterizer("builtin")), size)


def smooth_normals(texels: Texels) -> torch.Tensor:
    every = np.arange(3 * len(texels.mesh.triangles), dtype=np.int32).reshape(-1, 3)
    normals = texels.between(corner_normals(texels.mesh).reshape(-1, 3), every)
    return torch.nn.functional.normalize(normals, dim=1)


def random_vectors(count: int) -> torch.Tensor:
    found = torch.randn(count, 3, generator=torch.Generator().manual_seed(0)) * 0.4
    found[:, 2] = 1
    return torch.nn.functional.normalize(found, dim=1)


def turned(mesh: Mesh, degrees: float, mirrored: bool = False) -> Mesh:
    """With texture coordinates turned about the middle, on a smaller part of the texture."""
    cos, sin = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    assert mesh.uvs is not None
    uvs = (mesh.uvs - 0.5) * 0.6 * [-1 if mirrored else 1, 1]
    return replace(mesh, uvs=(uvs @ [[cos, sin], [-sin, cos]] + 0.5).astype(np.float32))


@pytest.mark.parametrize("unwrapped", [False, True])
def test_flat_stays_flat_to_the_last_bit(unwrapped, monkeypatch):
    mesh = chart_unwrap(lumpy(3), 64, 2) if unwrapped else turned(quad(1.0), 33)
    texels = texels_of(mesh)
    monkeypatch.setattr("syncsde_engine.mesh.tangent_space.CHUNK", 1000)
    flat = torch.tensor([0.0, 0.0, 1.0]).expand(len(texels.place), 3)
    found = in_tangent_space(texels, smooth_normals(texels), flat)
    assert torch.equal(found, flat)
    assert np.unique(encoded("normal", found[None].numpy()), axis=1).tolist() == [[[128, 128, 255]]]


@pytest.mark.parametrize("mirrored", [False, True])
@pytest.mark.parametrize("degrees", [0, 30, 90, 200])
def test_a_bump_on_a_turned_chart_is_the_same_in_space(degrees, mirrored):
    """On a quad that faces +z: u runs along (cos, sin) of the turn, so that all is known."""
    texels = texels_of(turned(quad(1.0), degrees, mirrored))
    given = random_vectors(len(texels.place))
    normals = torch.tensor([0.0, 0.0, 1.0]).expand(len(given), 3)
    found = in_tangent_space(texels, normals, given).numpy()
    # Points go to uvs by p @ turn, and back, so right in space is a row of it in the texture.
    cos, sin = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    right, up = np.array([cos, sin]) * (-1 if mirrored else 1), np.array([-sin, cos])
    flat = given.numpy()
    wanted = np.column_stack([flat[:, :1] * right + flat[:, 1:2] * up, flat[:, 2:]])
    np.testing.assert_allclose(found, wanted, atol=1e-6)


@pytest.mark.parametrize("compiled", [True, False])
def test_a_renderer_gets_the_normal_back(compiled, monkeypatch):
    """Interpolated tangents and normals of the corners, as renderers do it, on a curved mesh."""
    if not compiled:
        monkeypatch.setattr(texel_module, "place_texels", None)
    mesh = chart_unwrap(lumpy(3), 64, 2)
    texels = texels_of(mesh)
    normals, given = smooth_normals(texels), random_vectors(len(texels.place))
    local = in_tangent_space(texels, normals, given)
    right, up = (torch.from_numpy(axis) for axis in tangents(normals.numpy()))
    wanted = given[:, :1] * right + given[:, 1:2] * up + given[:, 2:] * normals

    corner = corner_normals(texels.mesh)
    along, sign = corner_tangents(texels.mesh, corner)
    every = np.arange(3 * len(mesh.triangles), dtype=np.int32).reshape(-1, 3)
    normal = texels.between(corner.reshape(-1, 3), every)
    tangent = texels.between(along.reshape(-1, 3), every)
    bitangent = torch.tensor(sign)[texels.face.long()][:, None] * torch.linalg.cross(
        normal, tangent
    )
    seen = local[:, :1] * tangent + local[:, 1:2] * bitangent + local[:, 2:] * normal
    seen = torch.nn.functional.normalize(seen, dim=1)
    cosines = (seen * wanted).sum(1)
    assert float(cosines.quantile(0.001)) > 0.9999
    assert float((cosines > 0.999).float().mean()) > 0.999


def test_tangents_run_along_u():
    """On a cylinder whose u goes around: closed form at every corner, both hands."""
    angle, height = np.meshgrid(np.linspace(0, 2 * np.pi, 33), np.linspace(0, 1, 5))
    points = np.stack([np.sin(angle), height, np.cos(angle)], axis=-1).reshape(-1, 3)
    uvs = np.stack([angle / (2 * np.pi), height], axis=-1).reshape(-1, 2)
    row, column = np.indices((4, 32)).reshape(2, -1)
    a = row * 33 + column
    faces = np.concatenate([np.stack(f, 1) for f in ((a, a + 1, a + 34), (a, a + 34, a + 33))])
    faces = faces.astype(np.int32)
    normals = points[faces] * [1, 0, 1]
    wanted = np.stack([normals[..., 2], 0 * normals[..., 0], -normals[..., 0]], axis=-1)
    for hand in (1, -1):
        mesh = Mesh(points.astype(np.float32), faces, (uvs * [hand, 1]).astype(np.float32), faces)
        found, sign = corner_tangents(mesh, normals.astype(np.float32))
        assert (sign == hand).all()
        inner = (uvs[faces][..., 0] > 0) & (uvs[faces][..., 0] < 1)  # beyond the seam is no face
        np.testing.assert_allclose(found[inner], hand * wanted[inner], atol=1e-3)
        np.testing.assert_allclose(found, hand * wanted, atol=0.11)


def test_faces_without_area_in_the_texture_have_some_tangent():
    mesh = quad(1.0)
    assert mesh.uvs is not None
    flat = replace(mesh, uvs=np.zeros_like(mesh.uvs))
    found, _ = corner_tangents(flat, corner_normals(flat))
    np.testing.assert_allclose(np.linalg.norm(found, axis=2), 1)
    np.testing.assert_allclose(found[..., 2], 0, atol=1e-6)
