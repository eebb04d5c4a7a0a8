# SPDX-License-Identifier: GPL-3.0-or-later
"""The loops of the builtin rasterizer where there is no numba: the same ids, slower."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

BATCH = 1 << 21  # pixels of bounding boxes at once

Int = NDArray[np.int64]
Index = NDArray[np.int32]
Float = NDArray[np.float64]


def cover_numpy(
    xy: Int,
    z: Float,
    triangles: Index,
    faces: Index,
    face: Index,
    nearest: Float,
    behind: Float,
    ahead: Index,
    peels: bool,
) -> None:
    """`_cover_kernel` by whole bounding boxes: the same integers, the same order of rounding."""
    height, width = face.shape
    corners = xy[triangles]  # (T, 3, 2)
    first = np.maximum((corners.min(axis=1) + 127) >> 8, 0)
    last = np.minimum((corners.max(axis=1) - 128) >> 8, [width - 1, height - 1])
    extent = np.maximum(last - first + 1, 0)
    (ax, ay), (bx, by), (cx, cy) = np.moveaxis(corners, 0, -1)
    area = (bx - ax) * (cy - ay) - (by - ay) * (cx - ax)
    pixels = extent.prod(axis=1) * (area != 0)
    drawn = np.flatnonzero(pixels)
    flipped = area < 0
    order = np.where(flipped[:, None], [0, 2, 1], [0, 1, 2])
    corners = np.take_along_axis(corners, order[:, :, None], axis=1)
    depths = np.take_along_axis(z[triangles], order, axis=1)
    area = np.abs(area)
    start = 0
    ends = np.cumsum(pixels[drawn])
    while start < len(drawn):
        done = ends[start - 1] if start else 0
        stop = max(start + 1, int(np.searchsorted(ends, done + BATCH, side="right")))
        t = np.repeat(drawn[start:stop], pixels[drawn[start:stop]])
        k = np.arange(len(t)) - np.repeat(
            ends[start:stop] - pixels[drawn[start:stop]] - done, pixels[drawn[start:stop]]
        )
        start = stop
        column = first[t, 0] + k % extent[t, 0]
        row = first[t, 1] + k // extent[t, 0]
        point = np.stack([column, row], axis=1) * 256 + 128
        inside = np.ones(len(t), bool)
        base, slope = np.zeros(len(t)), np.zeros(len(t))  # of the depth, along the row
        for i in range(3):
            p, q = corners[t, (i + 1) % 3], corners[t, (i + 2) % 3]
            (dx, dy), (ex, ey) = (q - p).T, (point - p).T
            edge, step = dx * ey - dy * ex, -dy << 8
            inside &= edge >= np.where((dy < 0) | ((dy == 0) & (dx > 0)), 0, 1)
            base += (edge - (column - first[t, 0]) * step).astype(np.float64) * depths[t, i]
            slope += step.astype(np.float64) * depths[t, i]
        scale = 1 / area[t]
        depth = base * scale + (column - first[t, 0]) * (slope * scale)
        t, pixel, depth = t[inside], (row * width + column)[inside], depth[inside]
        if peels:
            before, there = behind.reshape(-1)[pixel], ahead.reshape(-1)[pixel]
            left = (depth > before) | ((depth == before) & (faces[t] > there))
            t, pixel, depth = t[left], pixel[left], depth[left]
        best = np.lexsort((faces[t], depth, pixel))
        best = best[np.diff(pixel[best], prepend=-1) > 0]
        t, pixel, depth = t[best], pixel[best], depth[best]
        seen, seen_depth = face.reshape(-1), nearest.reshape(-1)
        closer = (depth < seen_depth[pixel]) | (
            (depth == seen_depth[pixel]) & (faces[t] < seen[pixel])
        )
        seen[pixel[closer]], seen_depth[pixel[closer]] = faces[t[closer]], depth[closer]


def shade_numpy(
    clip: NDArray[np.float32],
    triangles: Index,
    face: Index,
    bary: NDArray[np.float32],
    z: NDArray[np.float32],
    w: NDArray[np.float32],
) -> None:
    """`_shade_kernel` for all pixels at once."""
    height, width = face.shape
    row, column = np.nonzero(face >= 0)
    point = np.stack([2 * (column + 0.5) / width - 1, 1 - 2 * (row + 0.5) / height], axis=1)
    corners = clip.astype(np.float64)[triangles[face[row, column]]]  # (P, 3, 4)
    xy = corners[:, :, :2] - point[:, None] * corners[:, :, 3:]
    (ax, ay), (bx, by), (cx, cy) = np.moveaxis(xy, 0, -1)
    weight = np.stack([bx * cy - by * cx, cx * ay - cy * ax, ax * by - ay * bx], axis=1)
    weight *= np.where(weight.sum(axis=1, keepdims=True) < 0, -1, 1)
    weight = np.maximum(weight, 0)
    total = weight.sum(axis=1, keepdims=True)
    weight = np.where(total > 0, weight / np.where(total > 0, total, 1), 1 / 3)
    depth = (weight * corners[:, :, 3]).sum(axis=1)
    bary[row, column] = weight[:, :2]
    z[row, column] = (weight * corners[:, :, 2]).sum(axis=1) / depth
    w[row, column] = depth
