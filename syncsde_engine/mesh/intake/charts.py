# SPDX-License-Identifier: GPL-3.0-or-later
"""The fast unwrap: charts of faces that look along the same axis, flattened and packed.

Takes a second where xatlas takes a minute, for any input; less even texel density is the price.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from scipy.sparse.csgraph import connected_components

from ..mesh import Mesh, normals, weld
from .uvs import owners_of_texels

SMOOTHING = 3  # rounds of averaging normals with the neighbors', for fewer charts
MIN_FORESHORTENING = 0.3  # a face may be flattened along a neighbor's axis down to this cosine
OVERLAP_ROUNDS = 4

Int = NDArray[np.int64]
Float = NDArray[np.float64]


def chart_unwrap(mesh: Mesh, size: int, padding: int) -> Mesh:
    """Give a mesh texture coordinates with about `padding` texels between charts at `size`."""
    triangles = weld(mesh.positions)[mesh.triangles]
    edges = _neighbors(triangles)
    normal = normals(mesh).astype(np.float64)
    axis = _axes(normal, edges)
    corners = mesh.positions.astype(np.float64)[mesh.triangles]
    flat = _flatten(corners - corners.reshape(-1, 3).min(axis=0), axis)
    label = axis.copy()
    rounds = 0
    while True:
        chart = _charts(edges, label)
        unwrapped = _with_corners(mesh, _pack(flat, chart, size, padding), chart)
        covered = _covered(unwrapped)
        rounds += 1
        if rounds == OVERLAP_ROUNDS or not covered.any():
            return unwrapped
        label[covered] += 6  # a layer of its own


def _neighbors(triangles: Int) -> Int:
    """Pairs of faces with a common edge, (E, 2); edges of more than two faces join none."""
    edges = np.sort(triangles[:, [0, 1, 1, 2, 2, 0]].reshape(-1, 2), axis=1)
    face = np.repeat(np.arange(len(triangles)), 3)
    key = edges[:, 0] * (triangles.max() + 1) + edges[:, 1]
    order = np.argsort(key, kind="stable")
    _, first, count = np.unique(key[order], return_index=True, return_counts=True)
    shared = first[count == 2]
    return np.stack([face[order[shared]], face[order[shared + 1]]], axis=1)


def _axes(normal: Float, edges: Int) -> Int:
    """The axis of each face, 0 to 5 for +x, +y, +z, -x, -y, -z, smoothed over the surface."""
    count = len(normal)
    ones = np.ones(len(edges))
    links = sparse.coo_matrix((ones, (edges[:, 0], edges[:, 1])), (count, count)).tocsr()
    mean = links + links.T + sparse.identity(count, format="csr")
    smooth = normal
    for _ in range(SMOOTHING):
        smooth = mean @ smooth
    along, own = np.hstack([smooth, -smooth]), np.hstack([normal, -normal])
    axis = along.argmax(axis=1)
    steep = np.take_along_axis(own, axis[:, None], axis=1)[:, 0] < MIN_FORESHORTENING
    return np.where(steep, own.argmax(axis=1), axis)


def _flatten(corners: Float, axis: Int) -> Float:
    """Drop the coordinate of each face's axis, (F, 3, 2), seen from outside so none is mirrored."""
    u = np.array([1, 2, 0, 2, 0, 1])[axis]
    v = np.array([2, 0, 1, 1, 2, 0])[axis]
    planes = np.stack([u, v], axis=1)[:, None, :].repeat(3, axis=1)
    return np.take_along_axis(corners, planes, axis=2)


def _charts(edges: Int, label: Int) -> Int:
    """Connected faces with one label, numbered from 0, (F,)."""
    joined = edges[label[edges[:, 0]] == label[edges[:, 1]]]
    count = len(label)
    graph = sparse.coo_matrix((np.ones(len(joined)), (joined[:, 0], joined[:, 1])), (count, count))
    return connected_components(graph, directed=False)[1].astype(np.int64)


def _pack(flat: Float, chart: Int, size: int, padding: int) -> Float:
    """Move the charts' boxes onto shelves in the unit square, all at one scale."""
    count = int(chart.max()) + 1
    low, high = np.full((count, 2), np.inf), np.full((count, 2), -np.inf)
    np.minimum.at(low, chart, flat.min(axis=1))
    np.maximum.at(high, chart, flat.max(axis=1))
    box = high - low
    gap = min(padding / size, 0.25 / np.sqrt(count))
    order = np.argsort(-box[:, 1], kind="stable")
    small, large = 0.0, 1.0 / max(box.max(), 1e-30)
    place = np.zeros((count, 2))
    for _ in range(16):
        scale = (small + large) / 2
        trial = _shelves(box[order] * scale, gap)
        if trial is None:
            large = scale
        else:
            small, place[order] = scale, trial
    moved = (flat - low[chart][:, None]) * small + place[chart][:, None]
    return np.clip(moved, 0, 1)


def _shelves(boxes: Float, gap: float) -> Float | None:
    """Corners of boxes sorted by falling height, row by row with gaps; None if they do not fit."""
    place = []
    x = y = gap
    shelf = 0.0
    for width, height in boxes.tolist():
        if x + width + gap > 1 and x > gap:
            x, y, shelf = gap, y + shelf + gap, 0.0
        shelf = max(shelf, height)
        if x + width + gap > 1 or y + shelf + gap > 1:
            return None
        place.append((x, y))
        x += width + gap
    return np.array(place)


def _with_corners(mesh: Mesh, uvs: Float, chart: Int) -> Mesh:
    """Join the corners (F, 3, 2) of a chart that belong to one vertex."""
    key = chart[:, None] * len(mesh.positions) + mesh.triangles
    _, first, corner = np.unique(key, return_index=True, return_inverse=True)
    return replace(
        mesh,
        uvs=uvs.reshape(-1, 2)[first].astype(np.float32),
        uv_triangles=corner.reshape(-1, 3).astype(np.int32),
    )


def _covered(mesh: Mesh) -> NDArray[np.bool_]:
    """Faces that share a texel with an earlier face, (F,)."""
    assert mesh.uvs is not None
    assert mesh.uv_triangles is not None
    count = len(mesh.triangles)
    lowest, highest = owners_of_texels(mesh.uvs, mesh.uv_triangles, np.arange(count))
    covered = np.zeros(count, bool)
    covered[highest[highest != lowest]] = True
    return covered
