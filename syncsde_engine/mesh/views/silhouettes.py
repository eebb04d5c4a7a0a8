# SPDX-License-Identifier: GPL-3.0-or-later
"""Where a view shows one object without doubt: away from silhouettes and from other objects.

A painted view does not end exactly where the mesh does, so the last pixels before an edge may show
what is behind it.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from scipy import ndimage
from torch import Tensor

from ...compiled import compiled, prange
from .cameras import Camera
from .kernels import MIN_COS
from .maps import ViewMaps, normal_map, object_of, rays_of
from .scene import Scene

JUMP = 0.01  # depth step between neighbors that is a silhouette, beyond the surface's slope
FADE = 1 / 24  # of a view's side, over which it gains its full say


class Shown(NamedTuple):
    """What the pixels of N views stand for."""

    object: Tensor  # (N, H, W) int32; -1 unless all neighbors show the same piece of one object
    say: Tensor  # (N, H, W) float32 in [0, 1], growing as the distance to such a pixel, squared


def clear_objects(maps: ViewMaps) -> Shown:
    """Look which object the pixels of all views show.

    Of objects too slender to have such pixels, in no view, all pixels are taken.
    """
    scene, size = maps.scene, maps.size
    objects = []
    for camera, face, depth in zip(scene.cameras, maps.face, maps.depth, strict=True):
        clear = _clear_numba if _clear is not None and not depth.is_cuda else _clear_torch
        objects.append(clear(scene, face, depth, camera, size))
    shown = torch.stack(objects)
    met = np.zeros(len(scene.mesh.objects) + 1, bool)
    met[shown.cpu().numpy().ravel()] = True  # the last is that of -1
    slender = np.setdiff1d(scene.mesh.owners("object"), np.flatnonzero(met))
    if len(slender):
        owner = object_of(scene, maps.face)
        shown = owner.where(torch.isin(owner, torch.from_numpy(slender).to(owner)), shown)
    return Shown(shown, torch.stack([_say(image, max(1, round(FADE * size))) for image in shown]))


def _say(shown: Tensor, reach: int) -> Tensor:
    clear = shown.cpu().numpy() >= 0
    edge = np.asarray(ndimage.distance_transform_cdt(clear, metric="chessboard"))
    edge = np.where(edge < 0, reach, np.minimum(edge, reach))  # -1: there is no edge
    return torch.from_numpy(edge.astype(np.float32) / reach).to(shown.device) ** 2


def _clear_torch(scene: Scene, face: Tensor, depth: Tensor, camera: Camera, size: int) -> Tensor:
    rays = rays_of(camera, size).direction.to(depth)
    normal = normal_map(scene, face[None])[0]
    cos = -(rays * normal).sum(0) / (rays * rays).sum(0).sqrt()
    cos.clamp_(min=MIN_COS)
    slope = camera.footprint(depth, size) * (1 - cos**2).clamp(min=0).sqrt() / cos
    jump = _largest_of_3x3(depth) + _largest_of_3x3(-depth)
    owner = object_of(scene, face)
    same = _largest_of_3x3(owner.float()) == -_largest_of_3x3(-owner.float())
    return owner.where(same & (jump <= JUMP + 3 * slope), -1)


def _largest_of_3x3(image: Tensor) -> Tensor:
    padded = torch.nn.functional.pad(image[None], (1, 1, 1, 1), mode="replicate")[0]
    rows = torch.maximum(torch.maximum(padded[:-2], padded[1:-1]), padded[2:])
    return torch.maximum(torch.maximum(rows[:, :-2], rows[:, 1:-1]), rows[:, 2:])


def _clear_numba(scene: Scene, face: Tensor, depth: Tensor, camera: Camera, size: int) -> Tensor:
    assert _clear is not None
    rays = rays_of(camera, size).direction.expand(3, *face.shape).contiguous()
    shown = np.full(face.shape, -1, np.int32)
    _clear(
        face.cpu().numpy(),
        depth.cpu().numpy(),
        rays.numpy(),
        scene.normals.cpu().numpy(),
        scene.mesh.owners("object"),
        camera.footprint(1.0, size),
        camera.orthographic,
        shown,
    )
    return torch.from_numpy(shown).to(face.device)


def _clear_kernel(face, depth, rays, normals, objects, pixel, parallel, shown) -> None:  # noqa: ANN001
    height, width = face.shape
    for row in prange(height):
        for column in range(width):
            f = face[row, column]
            if f < 0:
                continue
            owner, same = objects[f], True
            near = far = depth[row, column]
            for r in range(max(row - 1, 0), min(row + 2, height)):
                for c in range(max(column - 1, 0), min(column + 2, width)):
                    g = face[r, c]
                    same = same and g >= 0 and objects[g] == owner
                    near, far = min(near, depth[r, c]), max(far, depth[r, c])
            if not same:
                continue
            x, y, z = rays[0, row, column], rays[1, row, column], rays[2, row, column]
            facing = -(x * normals[f, 0] + y * normals[f, 1] + z * normals[f, 2])
            cos = max(facing / np.sqrt(x * x + y * y + z * z), MIN_COS)
            scale = 1.0 if parallel else depth[row, column]
            slope = scale * pixel * np.sqrt(max(1 - cos * cos, 0.0)) / cos
            if far - near <= JUMP + 3 * slope:
                shown[row, column] = owner


_clear = compiled(_clear_kernel)
