# SPDX-License-Identifier: GPL-3.0-or-later
"""Which pixels of all views look at the same spot.

Geometry and cameras never change during a run, so going from one view through the surface into
another is a fixed list of pixel pairs (section 3.3.5 of the paper without its latent texture).
"""

from __future__ import annotations

import math
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from ...method.coupling import Overlap
from .kernels import lenses, pair_pixels
from .maps import object_of, rays_of, view_maps
from .scene import Scene
from .sight import see, texel


def view_to_view(
    scene: Scene, size: int, sources: Literal["average", "best"] = "average"
) -> Overlap:
    """Pair the (latent) pixels of all views that look at one spot; `size` is the shorter side.

    Pixel p of view i goes with the pixel of view j that its surface point falls into, weighted
    by the cosine under which j sees the point, unless j does not see it or the pixel center of j
    misses the object that the point is on. Every pixel goes with itself. What earlier views paint
    is averaged by these weights, or is that of the best of them alone: the mean of several noisy
    latents has less noise in it than each of them.
    """
    maps = view_maps(scene, size)
    count, pixels = len(scene.cameras), math.prod(scene.frame(size))
    shown = object_of(scene, maps.face)
    view, pixel = (shown >= 0).flatten(1).nonzero(as_tuple=True)
    owner = shown[maps.coverage]
    position = maps.position.movedim(1, -1)[maps.coverage]
    pair = _pair_torch if pair_pixels is None or position.is_cuda else _pair_numba
    target, cosine = pair(scene, position, maps.face[maps.coverage], owner, shown)
    views = torch.arange(count, device=position.device)[:, None]
    # Every pixel goes with itself, whatever the depth test says.
    itself = views == view
    target = torch.where(itself, pixel, target)
    facing = []
    for camera, normal in zip(scene.cameras, maps.normal, strict=True):
        ray = rays_of(camera, size).direction.to(position)
        facing.append(-(ray * normal).sum(0) / ray.norm(dim=0))
    cosine = torch.where(itself, torch.stack(facing)[maps.coverage], cosine)
    j, p = (cosine > 0).nonzero(as_tuple=True)
    looks, source, weight = (view * pixels + pixel)[p], j * pixels + target[j, p], cosine[j, p]
    compose = "blend" if sources == "average" else "best"
    return Overlap(count, pixels, looks, source, weight, compose)


def _pair_torch(
    scene: Scene, position: Tensor, face: Tensor, owner: Tensor, shown: Tensor
) -> tuple[Tensor, Tensor]:
    """The pixel of every view that shows P points, and its cosine, (N, P) each; 0 if unseen."""
    normal = scene.normals.index_select(0, face)
    targets, cosines = [], []
    height, width = shown.shape[1:]
    for camera, depth, owners in zip(scene.cameras, scene.depth, shown, strict=True):
        sight = see(camera, depth, position, normal)
        targets.append(texel(sight.y, height) * width + texel(sight.x, width))
        seen = sight.seen & (owners.flatten()[targets[-1]] == owner)
        cosines.append(sight.cos.where(seen, 0.0))
    return torch.stack(targets), torch.stack(cosines)


def _pair_numba(
    scene: Scene, position: Tensor, face: Tensor, owner: Tensor, shown: Tensor
) -> tuple[Tensor, Tensor]:
    assert pair_pixels is not None
    target = np.zeros((len(shown), len(position)), np.int64)
    cosine = np.zeros(target.shape, np.float32)
    pair_pixels(
        position.cpu().numpy(),
        face.cpu().numpy(),
        owner.cpu().numpy(),
        scene.normals.cpu().numpy(),
        lenses(scene.cameras),
        scene.depth.cpu().numpy(),
        shown.cpu().numpy(),
        target,
        cosine,
    )
    return torch.from_numpy(target).to(position.device), torch.from_numpy(cosine).to(position)
