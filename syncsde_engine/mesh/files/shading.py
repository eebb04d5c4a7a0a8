# SPDX-License-Identifier: GPL-3.0-or-later
"""Normals for viewers: smooth over gentle edges, sharp over others."""

from __future__ import annotations

from math import cos, radians

import numpy as np

from ..mesh import Float32, Mesh, areas, normals, weld

SHARP = 46.0  # degrees between two faces, from which on the edge between them is seen
MOST_FACES = 64  # around a vertex that is smoothed
_PAIRS = 1 << 22  # of faces at once


def corner_normals(mesh: Mesh) -> Float32:
    """Unit normals of the faces' corners, (F, 3, 3) float32.

    A corner has the mean, by area, of the faces around its vertex that it makes no sharp edge with.
    All positions must be finite and all indices within range.
    """
    normal = normals(mesh)
    normal[~normal.any(axis=1)] = 0, 0, 1  # faces without area are not seen, but must have one
    area = areas(mesh)
    weighted = normal * (area / max(area.max(), 1e-300))[:, None].astype(np.float32)
    place = weld(mesh.positions)[mesh.triangles].ravel()
    order = np.argsort(place, kind="stable")  # corners, vertex by vertex
    starts = np.flatnonzero(np.diff(place[order], prepend=-1))
    counts = np.diff(starts, append=len(order))
    smooth = np.repeat(normal, 3, axis=0)
    for count in np.unique(counts[counts <= MOST_FACES]).tolist():
        around = starts[counts == count]
        size = max(1, _PAIRS // count**2)
        for first in range(0, len(around), size):
            corners = order[around[first : first + size, None] + np.arange(count)]  # (P, count)
            faces = corners // 3
            gentle = normal[faces] @ normal[faces].transpose(0, 2, 1) > cos(radians(SHARP))
            smooth[corners] = gentle.astype(np.float32) @ weighted[faces]
    length = np.linalg.norm(smooth, axis=1, keepdims=True)
    smooth = np.where(length > 1e-30, smooth / np.maximum(length, 1e-30), normal.repeat(3, axis=0))
    return smooth.reshape(-1, 3, 3)
