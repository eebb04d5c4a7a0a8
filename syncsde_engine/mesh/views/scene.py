# SPDX-License-Identifier: GPL-3.0-or-later
"""A mesh under its cameras: what decides who sees what."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from .. import mesh as meshes
from ..mesh import Mesh
from ..raster.buffers import Raster, Rasterizer
from ..raster.layers import each_layer
from .cameras import Camera, clip_positions

CLEAR = 0.5  # of the pixels that show a face: a majority that says more than its winding
DEPTH_SIZE = 1536  # side of the depth maps that decide visibility, whatever the size of the views


@dataclass(frozen=True)
class Scene:
    """A normalized mesh under its cameras, with what decides who sees what."""

    mesh: Mesh
    cameras: tuple[Camera, ...]
    rasterizer: Rasterizer
    positions: Tensor  # (V, 3) float32
    triangles: Tensor  # (F, 3) int32
    normals: Tensor  # (F, 3) float32, geometric, on the side that the cameras see more of
    depth: Tensor  # (N, D, E) float32, view depth; +inf where empty

    def frame(self, size: int) -> tuple[int, int]:
        """Rows and columns of views whose shorter side has `size` pixels: all have one aspect."""
        return self.cameras[0].frame(size)

    def taken(self, numbers: Sequence[int]) -> Scene:
        """The scene under some of its cameras, in this order."""
        cameras = tuple(self.cameras[number] for number in numbers)
        return replace(self, cameras=cameras, depth=self.depth[list(numbers)])


def observe(
    mesh: Mesh, cameras: tuple[Camera, ...], rasterizer: Rasterizer, size: int = DEPTH_SIZE
) -> Scene:
    """Look at a normalized mesh once from everywhere: depth maps of shorter side `size`, outsides.

    Winding is not trusted: a face whose back is what views see is turned around. Faces that nobody
    sees, or both sides about equally, as those of a sheet, keep their winding; what lies behind
    other surfaces has no vote.
    """
    assert len({camera.aspect for camera in cameras}) == 1
    device = rasterizer.device
    positions = torch.tensor(mesh.positions, device=device)
    triangles = torch.tensor(mesh.triangles, device=device)
    normals = torch.tensor(meshes.normals(mesh), device=device)
    centers = positions[triangles.long()].mean(1)
    votes, shown = torch.zeros(2, len(triangles), dtype=torch.int64, device=device)
    depth = []
    layers = [camera.layer for camera in cameras]
    if any(layers):  # may be very many, one place of several layers after another
        clip = (clip_positions(positions, (camera,))[0] for camera in cameras)
    else:
        clip = clip_positions(positions, cameras)
    images = each_layer(rasterizer, clip, triangles, cameras[0].frame(size), layers)
    for camera, raster in zip(cameras, images, strict=True):
        depth.append(view_depth((camera,), raster)[0])
        if camera.layer:
            continue
        pixels = torch.bincount(raster.face.flatten() + 1, minlength=len(triangles) + 1)[1:]
        toward = torch.tensor(camera.toward if camera.orthographic else camera.eye).to(positions)
        offset = 0.0 if camera.orthographic else centers
        shown += pixels
        votes += pixels * ((toward - offset) * normals).sum(1).sign().long()
    outside = torch.where(votes[:, None] < -CLEAR * shown[:, None], -normals, normals)
    return Scene(mesh, cameras, rasterizer, positions, triangles, outside, torch.stack(depth))


def view_depth(cameras: tuple[Camera, ...], raster: Raster) -> Tensor:
    """How far before its camera each pixel's surface is, (N, H, W) float32; +inf where empty."""
    if not any(camera.orthographic for camera in cameras):
        return raster.w
    depth = raster.w.clone()
    for camera, image, z, face in zip(cameras, depth, raster.z, raster.face, strict=True):
        if camera.orthographic:
            near, far = camera.depths()
            image.copy_(((z + 1) * ((far - near) / 2) + near).where(face >= 0, torch.inf))
    return depth
