# SPDX-License-Identifier: GPL-3.0-or-later
"""From finished views to textures: every texel gathers its colour from the views that see it.

Section 7.7's weights: the sixth power of the viewing cosine. A texel samples each view bilinearly
at its own surface point, so there are no holes to close, and the order of sums is fixed.

A mesh has K textures of one size: one for each material, or for each of its tiles.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from ..errors import InvalidMesh
from .cameras import clip_positions
from .compiled import compiled, prange
from .mesh import check_uvs
from .project import (
    BIAS,
    BIAS_PIXELS,
    MIN_COS,
    Scene,
    normal_map,
    object_of,
    rays_of,
    see,
    texel,
    view_depth,
)
from .raster import on_faces, uv_clip
from .rasterize_builtin import BuiltinRasterizer

POWER = 6
GRAZING_COS = 0.3  # seen under a flatter angle only (72 degrees), a texel counts as grazing
JUMP = 0.01  # depth step between neighbours that is a silhouette, beyond the surface's slope
CHUNK = 1 << 18  # texels at once, without numba


class Texels(NamedTuple):
    """The used texels of all textures: those whose centre lies in a face's texture triangle."""

    textures: int  # K
    size: int  # of a texture's side
    place: Tensor  # (T,) int64, (texture * size + row) * size + column, ascending; at least one
    face: Tensor  # (T,) int32; where texture triangles overlap the lowest face
    owner: Tensor  # (T,) int32, the object of the face
    position: Tensor  # (T, 3) float32, in the space of the normalised mesh
    normal: Tensor  # (T, 3) float32, geometric, as in Scene.normals


class Coverage(NamedTuple):
    """Shares of the used texels; they add up to 1."""

    seen: float  # by a view, better than grazing
    grazing: float  # seen, but by no view better than GRAZING_COS
    filled: float  # by no view


@dataclass(frozen=True)
class Baked:
    """Textures with holes where nobody looked."""

    texture: Tensor  # (K, H, W, 3) float32; 0 where nothing was seen
    weight: Tensor  # (K, H, W) float32, sum of the views' weights; 0 where nothing was seen
    texels: Texels
    coverage: Coverage
    disagreement: float  # mean absolute RGB difference of views that see the same texel


def used_texels(scene: Scene, size: int) -> Texels:
    """Rasterise the texture coordinates at `size` x `size` texels, one texture after another.

    Raises InvalidMesh for coordinates outside [0, 1] and for those that cover no texel.
    """
    check_uvs(scene.mesh)
    device = scene.positions.device
    clip = uv_clip(torch.tensor(scene.mesh.uvs))
    corners = torch.tensor(scene.mesh.uv_triangles)
    texture_of = torch.tensor(scene.mesh.owners("texture"))
    rasterizer = BuiltinRasterizer(device)
    count = len(scene.mesh.textures)
    places, faces, barys = [], [], []
    for k in range(count):
        mine = (texture_of == k).nonzero()[:, 0].to(device)
        raster = rasterizer.rasterize(clip, corners[mine.cpu()], (size, size))
        place = (raster.face.flatten() >= 0).nonzero()[:, 0]
        places.append(place + k * size * size)
        faces.append(mine[raster.face.flatten()[place].long()].int())
        barys.append(raster.bary.view(-1, 2)[place])
    place, face, bary = torch.cat(places), torch.cat(faces), torch.cat(barys)
    if len(place) == 0:
        raise InvalidMesh(
            f"The texture coordinates cover no texel of a texture of {size} x {size}.",
            hint="Unwrap the mesh first, or raise texture_size.",
        )
    position = on_faces(scene.positions, scene.triangles, face, bary)
    owner = object_of(scene, face)
    return Texels(count, size, place, face, owner, position, scene.normals.index_select(0, face))


def bake(scene: Scene, images: Tensor, texels: Texels) -> Baked:
    """Blend views (N, 3, H, W) float32 in [0, 1] into the textures that have these texels.

    A pixel counts only where it and its neighbours show the object that the texel belongs to.

    `disagreement` is the mean over all texels and pairs of views a < b that see them of the
    absolute difference of their colours, averaged over the channels, each pair weighted by the
    product of its blending weights; 0 if no texel is seen twice.
    """
    size, count = texels.size, len(texels.place)
    clear = _clear_objects(scene, min(images.shape[-2:]))
    gather = _gather_numba if _gather is not None and not images.is_cuda else _gather_torch
    color, weight, best, difference = gather(scene, texels, images.float(), clear)
    texture = images.new_zeros(texels.textures * size * size, 3, dtype=torch.float32)
    texture[texels.place] = color
    weights = texture.new_zeros(len(texture))
    weights[texels.place] = weight
    seen = int((best >= GRAZING_COS).sum()) / count
    filled = int((weight <= 0).sum()) / count
    pairs = float(difference[1])
    return Baked(
        texture.view(-1, size, size, 3),
        weights.view(-1, size, size),
        texels,
        Coverage(seen, 1 - seen - filled, filled),
        float(difference[0]) / pairs if pairs > 0 else 0.0,
    )


def _clear_objects(scene: Scene, size: int) -> Tensor:
    """The object (N, H, W) int32 that a pixel shows; -1 unless its neighbours show the same.

    At a silhouette they do not, whether another object or another part of this one is behind it.
    """
    clip = clip_positions(scene.positions, scene.cameras)
    clear = []
    for camera, vertices in zip(scene.cameras, clip, strict=True):
        raster = scene.rasterizer.rasterize(vertices[None], scene.triangles, scene.frame(size))
        depth = view_depth((camera,), raster)[0]
        normal = normal_map(scene, raster.face)[0]
        ray = rays_of(camera, size).direction.to(normal)
        cos = -(ray * normal).sum(0) / (ray * ray).sum(0).sqrt()
        cos.clamp_(min=MIN_COS)
        slope = camera.footprint(depth, size) * (1 - cos**2).clamp(min=0).sqrt() / cos
        jump = _largest_of_3x3(depth) + _largest_of_3x3(-depth)
        owner = object_of(scene, raster.face[0])
        same = _largest_of_3x3(owner.float()) == -_largest_of_3x3(-owner.float())
        clear.append(owner.where(same & (jump <= JUMP + 3 * slope), -1))
    return torch.stack(clear)


def _largest_of_3x3(image: Tensor) -> Tensor:
    padded = torch.nn.functional.pad(image[None], (1, 1, 1, 1), mode="replicate")[0]
    rows = torch.maximum(torch.maximum(padded[:-2], padded[1:-1]), padded[2:])
    return torch.maximum(torch.maximum(rows[:, :-2], rows[:, 1:-1]), rows[:, 2:])


Gathered = tuple[Tensor, Tensor, Tensor, Tensor]  # colour, weight, best cosine, differences (2,)


def _gather_torch(scene: Scene, texels: Texels, images: Tensor, clear: Tensor) -> Gathered:
    """Without numba, and on the GPU: a chunk of texels from all views at once."""
    parts = []
    height, width = images.shape[-2:]
    difference = torch.zeros(2, dtype=torch.float64, device=images.device)
    for start in range(0, len(texels.place), CHUNK):
        position = texels.position[start : start + CHUNK]
        normal = texels.normal[start : start + CHUNK]
        owner = texels.owner[start : start + CHUNK]
        colors, weights, cosines = [], [], []
        for camera, depth, image, valid in zip(
            scene.cameras, scene.depth, images, clear, strict=True
        ):
            sight = see(camera, depth, position, normal)
            shown = valid[texel(sight.y, height), texel(sight.x, width)]
            seen = sight.seen & (shown == owner)
            grid = torch.stack([2 * sight.x - 1, 2 * sight.y - 1], dim=-1)[None, None]
            sampled = torch.nn.functional.grid_sample(
                image[None], grid, padding_mode="border", align_corners=False
            )
            colors.append(sampled[0, :, 0].T)
            cosines.append(sight.cos * seen)
            weights.append(cosines[-1] ** POWER)
        color, weight = torch.stack(colors), torch.stack(weights)
        total = weight.sum(0)
        mean = (color * weight[..., None]).sum(0) / total.clamp(min=1e-30)[:, None]
        parts.append((mean, total, torch.stack(cosines).amax(0)))
        for a in range(len(images)):
            for b in range(a + 1, len(images)):
                shared = (weight[a] * weight[b]).double()
                difference[0] += (shared * (color[a] - color[b]).abs().mean(1)).sum()
                difference[1] += shared.sum()
    color, weight, best = (torch.cat(part) for part in zip(*parts, strict=True))
    return color, weight, best, difference


def _gather_numba(scene: Scene, texels: Texels, images: Tensor, clear: Tensor) -> Gathered:
    """The same in one compiled pass over the texels."""
    assert _gather is not None
    count = len(texels.place)
    color = np.zeros((count, 3), np.float32)
    weight, best = np.zeros(count, np.float32), np.zeros(count, np.float32)
    blocks = np.zeros((max(1, min(count, 256)), 2))
    _gather(
        texels.position.cpu().numpy(),
        texels.normal.cpu().numpy(),
        texels.owner.cpu().numpy(),
        np.stack([camera.eye for camera in scene.cameras]),
        np.stack([camera.basis for camera in scene.cameras]),
        np.stack([camera.magnification for camera in scene.cameras]),
        np.array([camera.footprint(1.0, min(scene.depth.shape[1:])) for camera in scene.cameras]),
        np.array([camera.orthographic for camera in scene.cameras]),
        scene.depth.cpu().numpy(),
        clear.cpu().numpy(),
        images.detach().movedim(1, -1).contiguous().cpu().numpy(),
        color,
        weight,
        best,
        blocks,
    )
    results = (color, weight, best, blocks.sum(axis=0))
    color_, weight_, best_, difference = (torch.from_numpy(array) for array in results)
    device = images.device
    return color_.to(device), weight_.to(device), best_.to(device), difference


def _gather_kernel(  # noqa: ANN202
    position,  # noqa: ANN001
    normal,  # noqa: ANN001
    owner,  # noqa: ANN001
    eyes,  # noqa: ANN001
    bases,  # noqa: ANN001
    magnifications,  # noqa: ANN001
    footprints,  # noqa: ANN001
    parallel,  # noqa: ANN001
    depth,  # noqa: ANN001
    clear,  # noqa: ANN001
    images,  # noqa: ANN001
    color,  # noqa: ANN001
    weight,  # noqa: ANN001
    best,  # noqa: ANN001
    blocks,  # noqa: ANN001
):
    views, height, width, _ = images.shape
    rows, columns = depth.shape[1:]
    for block in prange(len(blocks)):
        samples, shares = np.empty((views, 3)), np.empty(views)
        for t in range(
            block * len(position) // len(blocks), (block + 1) * len(position) // len(blocks)
        ):
            found = 0
            for j in range(views):
                dx = position[t, 0] - eyes[j, 0]
                dy = position[t, 1] - eyes[j, 1]
                dz = position[t, 2] - eyes[j, 2]
                w = bases[j, 2, 0] * dx + bases[j, 2, 1] * dy + bases[j, 2, 2] * dz
                if w <= 0:
                    continue
                shrink = 1.0 if parallel[j] else 1 / w
                right = bases[j, 0, 0] * dx + bases[j, 0, 1] * dy + bases[j, 0, 2] * dz
                up = bases[j, 1, 0] * dx + bases[j, 1, 1] * dy + bases[j, 1, 2] * dz
                x = (1 + right * magnifications[j, 0] * shrink) / 2
                y = (1 - up * magnifications[j, 1] * shrink) / 2
                if x < 0 or x >= 1 or y < 0 or y >= 1:
                    continue
                if parallel[j]:  # every ray is the viewing direction
                    dx, dy, dz = bases[j, 2, 0], bases[j, 2, 1], bases[j, 2, 2]
                facing = normal[t, 0] * dx + normal[t, 1] * dy + normal[t, 2] * dz
                cos = -facing / np.sqrt(dx * dx + dy * dy + dz * dz)
                if cos < MIN_COS or clear[j, int(y * height), int(x * width)] != owner[t]:
                    continue
                tangent = np.sqrt(max(1 - cos * cos, 0.0)) / cos
                pixel = footprints[j] if parallel[j] else footprints[j] * w
                bias = BIAS + BIAS_PIXELS * pixel * tangent
                if w > depth[j, int(y * rows), int(x * columns)] + bias:
                    continue
                fx = min(max(x * width - 0.5, 0.0), width - 1.0)
                fy = min(max(y * height - 0.5, 0.0), height - 1.0)
                column, row = int(fx), int(fy)
                sx, sy = fx - column, fy - row
                next_column, next_row = min(column + 1, width - 1), min(row + 1, height - 1)
                for c in range(3):
                    top = images[j, row, column, c] * (1 - sx)
                    top += images[j, row, next_column, c] * sx
                    bottom = images[j, next_row, column, c] * (1 - sx)
                    bottom += images[j, next_row, next_column, c] * sx
                    samples[found, c] = top * (1 - sy) + bottom * sy
                shares[found] = cos**POWER
                weight[t] += shares[found]
                best[t] = max(best[t], cos)
                found += 1
            if found == 0:
                continue
            total = shares[:found].sum()
            for a in range(found):
                for c in range(3):
                    color[t, c] += shares[a] / total * samples[a, c]
                for b in range(a):
                    apart = np.abs(samples[a] - samples[b]).sum() / 3
                    blocks[block, 0] += shares[a] * shares[b] * apart
                    blocks[block, 1] += shares[a] * shares[b]


_gather = compiled(_gather_kernel)
