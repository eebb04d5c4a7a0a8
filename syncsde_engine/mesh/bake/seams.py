# SPDX-License-Identifier: GPL-3.0-or-later
"""What can be told of a finished texture in numbers: its seams and how fine it is."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..mesh import Mesh, areas
from ..views.render import sample
from .blend import Baked

MOST_SAMPLES = 1 << 16  # along all chart borders
CHUNK = 1 << 20  # texels at once


class Seams(NamedTuple):
    """Mean absolute RGB differences; none of them shows where they are alike."""

    charts: float  # between the two sides of borders of charts, at the same spots of the surface
    views: float  # between neighboring texels of a row that different views have a say in
    elsewhere: float  # between neighboring texels of a row that the same views have a say in


class Density(NamedTuple):
    """Texels per unit of length of the mesh, each quantile of its area."""

    low: float  # a twentieth of the surface has less
    median: float
    high: float  # a twentieth of the surface has more


def seams(mesh: Mesh, baked: Baked, textures: Tensor) -> Seams:
    """Measure finished textures (K, H, W, 3); 0 where there are no such places."""
    views, elsewhere = _between_texels(baked)
    return Seams(_across_charts(mesh, textures), views, elsewhere)


def _between_texels(baked: Baked) -> tuple[float, float]:
    place, views = baked.texels.place, baked.views
    total, count = np.zeros(2), np.zeros(2)
    for start in range(0, len(place) - 1, CHUNK):
        left = slice(start, min(start + CHUNK, len(place) - 1))
        right = slice(left.start + 1, left.stop + 1)
        beside = (place[right] == place[left] + 1) & (place[right] % baked.texels.size > 0)
        beside &= (views[left] != 0) & (views[right] != 0)
        apart = (baked.color[left] - baked.color[right]).abs().mean(1)
        for kind, same in enumerate((views[left] != views[right], views[left] == views[right])):
            total[kind] += float(apart[beside & same].double().sum())
            count[kind] += int((beside & same).sum())
    mean = total / np.maximum(count, 1)
    return float(mean[0]), float(mean[1])


def _across_charts(mesh: Mesh, textures: Tensor) -> float:
    """Sample both sides of all chart borders, evenly along their length."""
    first, second, length = chart_borders(mesh)
    if len(length) == 0:
        return 0.0
    ends = np.cumsum(length)
    count = min(MOST_SAMPLES, 64 * len(length))
    along = (np.arange(count) + 0.5) / count * ends[-1]
    edge = np.minimum(np.searchsorted(ends, along), len(ends) - 1)
    share = ((along - ends[edge] + length[edge]) / np.maximum(length[edge], 1e-30))[:, None]
    assert mesh.uvs is not None
    owners = mesh.owners("texture")
    colors = []
    for face, start, end in (first, second):
        uv = mesh.uvs[start[edge]] * (1 - share) + mesh.uvs[end[edge]] * share
        on = torch.from_numpy(owners[face[edge]])
        uv = torch.from_numpy(uv.astype(np.float32))
        colors.append(sample(textures, on.to(textures.device), uv.to(textures.device)))
    return float((colors[0] - colors[1]).abs().mean())


Side = tuple[NDArray[np.int64], NDArray[np.int32], NDArray[np.int32]]


def chart_borders(mesh: Mesh) -> tuple[Side, Side, NDArray[np.float64]]:
    """Edges between two faces that differ in texture coordinates or texture.

    Both sides as face, start and end in `uvs`, (E,) each and in the same direction; and the length.
    """
    assert mesh.uv_triangles is not None
    corners = mesh.triangles[:, [0, 1, 1, 2, 2, 0]].reshape(-1, 2).astype(np.int64)
    uvs = mesh.uv_triangles[:, [0, 1, 1, 2, 2, 0]].reshape(-1, 2)
    face = np.arange(len(corners)) // 3
    turned = corners[:, 0] > corners[:, 1]
    corners = np.where(turned[:, None], corners[:, ::-1], corners)
    uvs = np.where(turned[:, None], uvs[:, ::-1], uvs)
    key = corners[:, 0] * len(mesh.positions) + corners[:, 1]
    order = np.argsort(key, kind="stable")
    key = key[order]
    a, b = order[:-1], order[1:]
    owners = mesh.owners("texture")
    apart = (key[:-1] == key[1:]) & (
        (uvs[a] != uvs[b]).any(axis=1) | (owners[face[a]] != owners[face[b]])
    )
    a, b = a[apart], b[apart]
    ends = mesh.positions.astype(np.float64)[corners[a]]
    length = np.linalg.norm(ends[:, 0] - ends[:, 1], axis=1)
    sides = [(face[edge], uvs[edge, 0], uvs[edge, 1]) for edge in (a, b)]
    return sides[0], sides[1], length


def density(mesh: Mesh, size: int, unit: float = 1.0) -> Density:
    """How many texels of textures of `size` x `size` lie along a unit of length.

    `unit` is what the mesh's own unit of length is in others, as of the mesh before it was
    normalized. On each face the root of its texels over its area; quantiles are of the area.
    """
    assert mesh.uvs is not None
    assert mesh.uv_triangles is not None
    a, b, c = mesh.uvs.astype(np.float64)[mesh.uv_triangles.T]
    (px, py), (qx, qy) = (b - a).T, (c - a).T
    texels = np.abs(px * qy - py * qx) / 2 * size**2
    area = areas(mesh)
    known = area > 0
    fine = np.sqrt(texels[known] / area[known])
    order = np.argsort(fine)
    reached = np.cumsum(area[known][order])
    places = np.searchsorted(reached, np.array([0.05, 0.5, 0.95]) * reached[-1])
    return Density(*(float(value) / unit for value in fine[order][places]))
