# SPDX-License-Identifier: GPL-3.0-or-later
"""What all views say of every texel: project it, test it, sample it, weigh it.

A texel samples each view bilinearly at its own surface point, so there are no holes to close, and
the order of sums is fixed. Where a view is finer than the texels, it samples a grid of points
spread over the texel, so that details below its size average instead of aliasing.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from ..views.kernels import FLAT, FREE, MOST_TAPS, POWER, SHARE, gather_texels, lenses
from ..views.scene import Scene
from ..views.sight import see, texel
from ..views.silhouettes import Shown
from .texels import Texels

CHUNK = 1 << 18  # texels at once
BLOCKS = 256  # of a chunk, that threads take in turn


class Gathered(NamedTuple):
    color: Tensor  # (T, 3) float32, the weighted mean
    weight: Tensor  # (T,) float32, sum
    best: Tensor  # (T,) float32, largest cosine of those that see it; 0 if none does
    trust: Tensor  # (T,) float32, the largest say of those that do not see it too flat
    views: Tensor  # (T,) int32, bit j % 32 for every view with at least SHARE of the weight
    difference: Tensor  # (2,) float64: weighted sum over pairs of views, and of the weights


def gather(scene: Scene, texels: Texels, images: Tensor, shown: Shown) -> Gathered:
    """Blend views (N, 3, H, W) at every texel."""
    sides = _sides(scene, texels.size)
    if gather_texels is None or images.is_cuda:
        return _gather_torch(scene, texels, images, shown, sides)
    return _gather_numba(scene, texels, images, shown, sides)


def _sides(scene: Scene, size: int) -> Tensor:
    """The two sides of a texel on each face, (F, 2, 3) float32, in the space of the mesh."""
    mesh = scene.mesh
    assert mesh.uvs is not None
    assert mesh.uv_triangles is not None
    corners = torch.from_numpy(mesh.uvs)[torch.from_numpy(mesh.uv_triangles).long()].double()
    points = scene.positions.cpu()[scene.triangles.cpu().long()].double()
    (du, dv), (eu, ev) = ((corners[:, i] - corners[:, 2]).T * size for i in range(2))
    p, q = points[:, 0] - points[:, 2], points[:, 1] - points[:, 2]
    area = (du * ev - dv * eu)[:, None]
    area = torch.where(area.abs() < 1e-12, torch.inf, area)
    along_u = (p * ev[:, None] - q * dv[:, None]) / area
    along_v = (q * du[:, None] - p * eu[:, None]) / area
    return torch.stack([along_u, along_v], dim=1).float().to(scene.positions.device)


def _gather_torch(
    scene: Scene, texels: Texels, images: Tensor, shown: Shown, sides: Tensor
) -> Gathered:
    """Without numba, and on the GPU: a chunk of texels from all views at once."""
    parts = []
    difference = torch.zeros(2, dtype=torch.float64, device=images.device)
    for start in range(0, len(texels.place), CHUNK):
        chunk = slice(start, start + CHUNK)
        position = texels.position(chunk)
        looks = [
            _look(scene, texels, chunk, position, images, shown, sides, j)
            for j in range(len(images))
        ]
        color, cos, say = (torch.stack(part) for part in zip(*looks, strict=True))
        weight = cos**POWER * say
        total = weight.sum(0)
        mean = (color * weight[..., None]).sum(0) / total.clamp(min=1e-30)[:, None]
        bits = torch.zeros_like(texels.face[chunk])
        for j in range(len(images)):
            bits |= (weight[j] > SHARE * total).int() << (j % 32)
        trust = (cos**POWER / FLAT).clamp(max=1) * say
        parts.append((mean, total, cos.amax(0), trust.amax(0), bits))
        for a in range(len(images)):
            for b in range(a + 1, len(images)):
                shared = (weight[a] * weight[b]).double()
                difference[0] += (shared * (color[a] - color[b]).abs().mean(1)).sum()
                difference[1] += shared.sum()
    color, weight, best, trust, views = (torch.cat(part) for part in zip(*parts, strict=True))
    return Gathered(color, weight, best, trust, views, difference)


def _look(
    scene: Scene,
    texels: Texels,
    chunk: slice,
    position: Tensor,
    images: Tensor,
    shown: Shown,
    sides: Tensor,
    j: int,
) -> tuple[Tensor, Tensor, Tensor]:
    """Color (P, 3), cosine (P,) and say (P,) that view j has for a chunk of texels."""
    camera, normal, owner = scene.cameras[j], texels.normal(chunk), texels.owner(chunk)
    sides = sides.index_select(0, texels.face[chunk])

    def at(points: Tensor, some: Tensor | slice) -> tuple[Tensor, Tensor, Tensor]:
        sight = see(camera, scene.depth[j], points, normal[some])
        row = texel(sight.y, images.shape[2])
        column = texel(sight.x, images.shape[3])
        cos = sight.cos * (sight.seen & (shown.object[j, row, column] == owner[some]))
        grid = torch.stack([2 * sight.x - 1, 2 * sight.y - 1], dim=-1)[None, None]
        sampled = torch.nn.functional.grid_sample(
            images[j][None], grid, padding_mode="border", align_corners=False
        )
        return sampled[0, :, 0].T, cos, shown.say[j, row, column]

    color, cos, say = at(position, slice(None))
    eye, forward = (
        torch.tensor(row, dtype=torch.float32, device=position.device)
        for row in (camera.eye, camera.basis[2])
    )
    pixel = camera.footprint((position - eye) @ forward, min(images.shape[2:]))
    span = sides.norm(dim=2).amax(1) / pixel
    taps = torch.where((span > FREE) & (cos > 0), span.ceil().clamp(max=MOST_TAPS), 1)
    for side in range(2, MOST_TAPS + 1):
        many = (taps == side).nonzero()[:, 0]
        total, count = torch.zeros_like(color[many]), torch.zeros_like(cos[many])
        for tap in range(side * side):
            across, down = ((k + 0.5) / side - 0.5 for k in divmod(tap, side))
            moved = across * sides[many, 0] + down * sides[many, 1]
            sample, seen, _ = at(position[many] + moved, many)
            total += sample * (seen > 0)[:, None]
            count += seen > 0
        mean = total / count.clamp(min=1)[:, None]
        color[many] = torch.where(count[:, None] > 0, mean, color[many])
    return color, cos, say


def _gather_numba(
    scene: Scene, texels: Texels, images: Tensor, shown: Shown, sides: Tensor
) -> Gathered:
    """The same in one compiled pass over the texels."""
    assert gather_texels is not None
    count = len(texels.place)
    color = np.zeros((count, 3), np.float32)
    weight, best, trust = (np.zeros(count, np.float32) for _ in range(3))
    views = np.zeros(count, np.int32)
    face = texels.face.cpu().numpy()
    seen_with = (
        texels.normals.cpu().numpy(),
        texels.objects.cpu().numpy(),
        sides.cpu().numpy(),
        sides.norm(dim=2).amax(1).cpu().numpy(),
        lenses(scene.cameras),
        scene.depth.cpu().numpy(),
        shown.object.cpu().numpy(),
        shown.say.cpu().numpy(),
        images.detach().movedim(1, -1).contiguous().cpu().numpy(),
    )
    results = (color, weight, best, trust, views)
    difference = np.zeros(2)
    for start in range(0, count, CHUNK):
        chunk = slice(start, start + CHUNK)
        position, blocks = texels.position(chunk).cpu().numpy(), np.zeros((BLOCKS, 2))
        parts = [array[chunk] for array in results]
        gather_texels(position, face[chunk], *seen_with, *parts, blocks)
        difference += blocks.sum(axis=0)
    gathered = (torch.from_numpy(array) for array in (*results, difference))
    return Gathered(*(part.to(images.device) for part in gathered))
