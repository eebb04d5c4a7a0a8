# SPDX-License-Identifier: GPL-3.0-or-later
import io
from dataclasses import replace

import numpy as np
import pytest
import trimesh

from syncsde_engine.mesh.files.glb import textured_glb
from syncsde_engine.mesh.files.shading import corner_normals
from syncsde_engine.mesh.mesh import Mesh, normals
from syncsde_engine.pictures import png
from tests.mesh.shapes import icosphere


def mesh_of(solid: trimesh.Trimesh) -> Mesh:
    return Mesh(solid.vertices.astype(np.float32), solid.faces.astype(np.int32))


def test_a_sphere_is_smooth():
    mesh = icosphere(3)
    found = corner_normals(mesh)
    np.testing.assert_allclose((found * mesh.positions[mesh.triangles]).sum(2), 1, atol=1e-3)
    np.testing.assert_allclose(np.linalg.norm(found, axis=2), 1, atol=1e-6)


def test_a_box_is_sharp():
    mesh = mesh_of(trimesh.creation.box((1, 2, 3)))
    np.testing.assert_allclose(corner_normals(mesh), normals(mesh)[:, None].repeat(3, 1), atol=1e-6)


def test_a_cylinder_is_round_and_its_rim_is_sharp():
    mesh = mesh_of(trimesh.creation.cylinder(1, 1, sections=12))
    found, flat = corner_normals(mesh), normals(mesh)
    caps = np.abs(flat[:, 2]) > 0.9
    np.testing.assert_allclose(found[caps], flat[caps][:, None].repeat(3, 1), atol=1e-6)
    around = mesh.positions[mesh.triangles][~caps] * [1, 1, 0]
    assert (found[~caps] * around).sum(2).min() > 0.99  # nearly radial, though by area only


def test_seams_do_not_show():
    """Vertices that lie in one place are one."""
    mesh = icosphere(2)
    apart = Mesh(
        mesh.positions[mesh.triangles].reshape(-1, 3),
        np.arange(3 * len(mesh.triangles), dtype=np.int32).reshape(-1, 3),
    )
    np.testing.assert_allclose(corner_normals(apart), corner_normals(mesh), atol=1e-6)


@pytest.mark.parametrize("scale", [1e-12, 1.0, 1e12])
def test_faces_without_area_and_odd_scales_have_normals_of_length_1(scale):
    mesh = icosphere(1)
    triangles = np.concatenate([mesh.triangles, [[0, 0, 1], [2, 2, 2]]]).astype(np.int32)
    found = corner_normals(Mesh((mesh.positions * scale).astype(np.float32), triangles))
    np.testing.assert_allclose(np.linalg.norm(found, axis=2), 1, atol=1e-5)


def test_a_fan_of_thousands_of_faces_takes_no_time():
    count = 20_000
    angle = np.linspace(0, 2 * np.pi, count, endpoint=False)
    rim = np.stack([np.cos(angle), np.sin(angle), 0 * angle], axis=1)
    number = np.arange(count)
    triangles = np.stack([0 * number, 1 + number, 1 + (number + 1) % count], axis=1)
    mesh = Mesh(np.concatenate([[[0, 0, 1]], rim]).astype(np.float32), triangles.astype(np.int32))
    assert np.isfinite(corner_normals(mesh)).all()


def test_a_glb_has_its_vertices_split_only_where_it_must_be():
    solids = (icosphere(3), mesh_of(trimesh.creation.box()))
    sphere, box = (
        replace(mesh, uvs=mesh.positions[:, :2] / 4 + 0.5, uv_triangles=mesh.triangles)
        for mesh in solids
    )
    texture = [png(np.zeros((4, 4, 3), np.uint8))]
    for mesh, at_most in ((sphere, len(sphere.positions)), (box, 24)):
        back = trimesh.load_scene(io.BytesIO(textured_glb(mesh, texture)), file_type="glb")
        (read,) = back.geometry.values()
        assert len(read.vertices) <= at_most
        assert np.abs(np.linalg.norm(read.vertex_normals, axis=1) - 1).max() < 1e-5
