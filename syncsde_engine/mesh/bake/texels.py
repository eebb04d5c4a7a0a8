# SPDX-License-Identifier: GPL-3.0-or-later
"""The texels of a mesh's textures: which there are, and where on the surface each lies.

A mesh has K textures of one size: one for each material, or for each of its tiles.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ...errors import InvalidMesh
from ..mesh import Float32, Int32, Mesh, check_uvs
from ..raster.buffers import uv_clip
from ..raster.builtin import BuiltinRasterizer
from ..views.kernels import place_texels
from ..views.scene import Scene

CHUNK = 1 << 18  # texels at once, without numba


@dataclass(frozen=True)
class Texels:
    """The used texels of all textures: those whose center lies in a face's texture triangle."""

    textures: int  # K
    size: int  # of a texture's side
    place: Tensor  # (T,) integer, (texture * size + row) * size + column, ascending; at least one
    face: Tensor  # (T,) int32; where texture triangles overlap the lowest face
    mesh: Mesh  # normalized
    normals: Tensor  # (F, 3) float32 of the faces, geometric, as in Scene.normals
    objects: Tensor  # (F,) int32 of the faces

    def position(self, texels: Tensor | slice = slice(None)) -> Tensor:
        """Where on the surface the centers of some texels are, (., 3) float32.

        Made anew each time: those of all texels of a large texture would take 134 MB all the time.
        """
        return self.between(self.mesh.positions, self.mesh.triangles, texels)

    def between(
        self, values: Float32, corners: Int32, texels: Tensor | slice = slice(None)
    ) -> Tensor:
        """Values (V, 3) of the faces' corners (F, 3) at the centers of some texels, (., 3)."""
        place, face = self.place[texels].cpu(), self.face[texels].cpu()
        found = _between(self.mesh, self.size, place, face, values, corners)
        return found.to(self.place.device)

    def normal(self, texels: Tensor | slice = slice(None)) -> Tensor:
        """Normals (., 3) of some texels."""
        return self.normals.index_select(0, self.face[texels])

    def owner(self, texels: Tensor | slice = slice(None)) -> Tensor:
        """Objects (.,) int32 that some texels belong to."""
        return self.objects.index_select(0, self.face[texels])

    def spread(self, values: Tensor) -> Tensor:
        """Texture images (K, H, W, ...) of values (T, ...); 0 elsewhere."""
        images = values.new_zeros(self.textures * self.size**2, *values.shape[1:])
        images[self.place] = values
        return images.view(self.textures, self.size, self.size, *values.shape[1:])


def used_texels(scene: Scene, size: int) -> Texels:
    """Rasterize the texture coordinates at `size` x `size` texels, one texture after another.

    Raises InvalidMesh for coordinates outside [0, 1] and for those that cover no texel.
    """
    check_uvs(scene.mesh)
    device = scene.positions.device
    clip = uv_clip(torch.tensor(scene.mesh.uvs))
    corners = torch.tensor(scene.mesh.uv_triangles)
    texture_of = torch.tensor(scene.mesh.owners("texture"))
    rasterizer = BuiltinRasterizer(device)
    places, faces = [], []
    fits = len(scene.mesh.textures) * size**2 < 2**31  # nearly always, and half as large
    kind = torch.int32 if fits else torch.int64
    for k in range(len(scene.mesh.textures)):
        mine = (texture_of == k).nonzero()[:, 0]
        face = rasterizer.cover(clip, corners[mine], (size, size)).flatten()
        place = (face >= 0).nonzero()[:, 0]
        faces.append(mine.int()[face[place]])
        places.append(place.add_(k * size * size).to(kind))
    place, face = torch.cat(places), torch.cat(faces)
    if len(place) == 0:
        raise InvalidMesh(
            f"The texture coordinates cover no texel of a texture of {size} x {size}.",
            hint="Unwrap the mesh first, or raise texture_size.",
        )
    objects = torch.tensor(scene.mesh.owners("object"), device=device)
    return Texels(
        len(scene.mesh.textures),
        size,
        place.to(device),
        face.to(device),
        scene.mesh,
        scene.normals,
        objects,
    )


def _between(
    mesh: Mesh, size: int, place: Tensor, face: Tensor, values: Float32, corners: Int32
) -> Tensor:
    """Barycentric at texel centers, (T, 3) float32 on the CPU."""
    position = torch.empty(len(place), 3)
    arrays = (mesh.uvs, mesh.uv_triangles, values, corners)
    if place_texels is not None:
        place_texels(place.numpy(), face.numpy(), size, *arrays, position.numpy())
        return position
    uvs, uv_corners, points, triangles = (torch.tensor(array) for array in arrays)
    for start in range(0, len(place), CHUNK):
        chunk = slice(start, start + CHUNK)
        row, column = place[chunk] % size**2 // size, place[chunk] % size
        center = torch.stack([column + 0.5, size - row - 0.5], dim=1).double() / size
        a, b, c = (uvs[uv_corners[face[chunk], i]].double() - center for i in range(3))
        weight = torch.stack(
            [p[:, 0] * q[:, 1] - p[:, 1] * q[:, 0] for p, q in ((b, c), (c, a), (a, b))], dim=1
        )
        weight *= torch.where(weight.sum(1, keepdim=True) < 0, -1, 1)
        weight.clamp_(min=0)  # a center that only the snapped triangle covers is at its edge
        weight /= weight.sum(1, keepdim=True).clamp(min=1e-30)
        corner = points[triangles[face[chunk]].long()].double()  # (., 3, 3)
        position[chunk] = (weight[..., None] * corner).sum(1).float()
    return position
