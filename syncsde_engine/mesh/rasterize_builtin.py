# SPDX-License-Identifier: GPL-3.0-or-later
"""The exact rasteriser of every machine: integer edge functions on the CPU.

Vertices snap to 1/256 of a pixel, and from there on coverage is integer arithmetic with the
top-left rule, so triangles that share an edge cover each pixel centre exactly once. Who owns a
pixel is decided on snapped vertices; where on the face it lies comes from the exact clip-space
vertices (2-D homogeneous coordinates), so it is perspective-correct and the same for any backend.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from .compiled import compiled, prange
from .raster import Raster

SUBPIXEL_BITS = 8
GUARD = 2.0**29  # sub-pixels from the centre: products of two spans stay within int64
BANDS = 8  # of rows, shared out among the cores
BATCH = 1 << 21  # pixels of bounding boxes at once, without numba

Int = NDArray[np.int64]
Index = NDArray[np.int32]
Float = NDArray[np.float64]


class BuiltinRasterizer:
    """Integer rasteriser; `use_numba=False` gives the same ids through numpy, slower."""

    name = "builtin"
    subpixel_bits = SUBPIXEL_BITS

    def __init__(self, device: torch.device | str = "cpu", *, use_numba: bool = True) -> None:
        self.device = torch.device(device)
        self._cover = (use_numba and _cover_numba) or _cover_numpy
        self._shade = (use_numba and _shade_numba) or _shade_numpy

    def rasterize(self, clip: Tensor, triangles: Tensor, size: tuple[int, int]) -> Raster:
        """See `Rasterizer.rasterize`. Faces with vertices that are not finite are left out."""
        vertices = np.ascontiguousarray(clip.detach().cpu().numpy(), np.float32)
        faces = np.ascontiguousarray(triangles.cpu().numpy(), np.int32)
        shape = (len(vertices), *size)
        face = np.full(shape, -1, np.int32)
        bary = np.zeros((*shape, 2), np.float32)
        z = np.ones(shape, np.float32)
        w = np.full(shape, np.inf, np.float32)
        nearest = np.empty(size, np.float64)
        for b in range(len(vertices)):
            nearest.fill(np.inf)
            self._cover(*_to_screen(vertices[b], faces, size), face[b], nearest)
            self._shade(vertices[b], faces, face[b], bary[b], z[b], w[b])
        images = (torch.from_numpy(array).to(self.device) for array in (face, bary, z, w))
        return Raster(*images)


class _Screen(NamedTuple):
    xy: Int  # (V, 2) sub-pixels, y down
    z: Float  # (V,) z / w
    triangles: Index  # (T, 3)
    face: Index  # (T,) the face each triangle is a part of


def _to_screen(
    clip: NDArray[np.float32], faces: NDArray[np.int32], size: tuple[int, int]
) -> _Screen:
    """Cut faces at the frustum's near and far planes and the guard band, project and snap."""
    vertices = clip.astype(np.float64)
    finite = np.logical_and.reduce(np.isfinite(vertices), axis=1)
    vertices[~finite] = 0.0
    height, width = size
    half = np.array([width, height]) * 2.0 ** (SUBPIXEL_BITS - 1)
    guard = GUARD / half.max()
    outside = np.min(_planes(vertices, guard), axis=0) < 0
    triangles, face = faces, np.arange(len(faces), dtype=np.int32)
    if outside.any() or not finite.all():
        whole = ~np.logical_or(outside, ~finite)[faces].any(axis=1)
        crossing = ~whole & finite[faces].all(axis=1)
        corners, parts = vertices[faces[crossing]], face[crossing]
        for plane in range(6):
            corners, parts = _cut(corners, parts, plane, guard)
        added = np.arange(3 * len(parts), dtype=np.int32).reshape(-1, 3) + len(vertices)
        vertices = np.concatenate([vertices, corners.reshape(-1, 4)])
        triangles = np.concatenate([faces[whole], added])
        face = np.concatenate([face[whole], parts])
    positive = vertices[:, 3] > 0
    ndc = vertices[:, :3] / np.where(positive, vertices[:, 3], 1.0)[:, None]
    snapped = np.floor(half + ndc[:, :2] * [1, -1] * half + 0.5)
    xy = np.where(np.abs(snapped) <= 4 * GUARD, snapped, 0.0).astype(np.int64)
    if not positive.all():
        usable = positive[triangles].all(axis=1)
        triangles, face = triangles[usable], face[usable]
    return _Screen(xy, np.ascontiguousarray(ndc[:, 2]), triangles, face)


def _planes(points: Float, guard: float) -> list[Float]:
    """How far clip-space points (..., 4) are inside the six planes."""
    x, y, z, w = np.moveaxis(points, -1, 0)
    return [z + w, w - z, guard * w - x, guard * w + x, guard * w - y, guard * w + y]


def _cut(corners: Float, face: Index, plane: int, guard: float) -> tuple[Float, Index]:
    """Keep what of triangles (T, 3, 4) lies inside one plane, as triangles again."""
    inside = _planes(corners, guard)[plane]
    count = (inside >= 0).sum(axis=1)
    kept, kept_face = [corners[count == 3]], [face[count == 3]]
    for left in (1, 2):
        chosen = np.flatnonzero(count == left)
        odd = np.argmax((inside[chosen] >= 0) == (left == 1), axis=1)  # the corner on its own side
        turn = (odd[:, None] + np.arange(3)) % 3
        a, b, c = np.moveaxis(corners[chosen[:, None], turn], 1, 0)
        da, db, dc = inside[chosen[:, None], turn].T
        if left == 1:
            ab, ac = _between(a, b, da, db), _between(a, c, da, dc)
            parts = [(a, ab, ac)]
        else:
            ab, ac = _between(b, a, db, da), _between(c, a, dc, da)
            parts = [(ab, b, c), (ab, c, ac)]
        kept += [np.stack(part, axis=1) for part in parts]
        kept_face += [face[chosen]] * len(parts)
    return np.concatenate(kept), np.concatenate(kept_face)


def _between(inner: Float, outer: Float, inner_d: Float, outer_d: Float) -> Float:
    """Where an edge meets the plane; always from the inside, so neighbours get the same point."""
    share = inner_d / (inner_d - outer_d)
    return inner + share[:, None] * (outer - inner)


def _cover_kernel(xy, z, triangles, faces, face, nearest) -> None:  # noqa: ANN001
    height, width = face.shape
    bands = min(height, BANDS)
    for band in prange(bands):
        top, bottom = band * height // bands, (band + 1) * height // bands - 1
        for t in range(len(triangles)):
            a, b, c = triangles[t, 0], triangles[t, 1], triangles[t, 2]
            ya, yb, yc = xy[a, 1], xy[b, 1], xy[c, 1]
            row0 = max(top, (min(ya, yb, yc) + 127) >> 8)
            row1 = min(bottom, (max(ya, yb, yc) - 128) >> 8)
            if row0 > row1:
                continue
            xa, xb, xc = xy[a, 0], xy[b, 0], xy[c, 0]
            first = max(0, (min(xa, xb, xc) + 127) >> 8)
            last = min(width - 1, (max(xa, xb, xc) - 128) >> 8)
            area = (xb - xa) * (yc - ya) - (yb - ya) * (xc - xa)
            if first > last or area == 0:
                continue
            if area < 0:  # walk clockwise on the screen, y down
                area, b, c = -area, c, b
                xb, yb, xc, yc = xc, yc, xb, yb
            za, zb, zc = z[a], z[b], z[c]
            # Edge functions grow inwards; those that are not top or left exclude their zero.
            rule_a = 0 if yc < yb or (yc == yb and xc > xb) else 1
            rule_b = 0 if ya < yc or (ya == yc and xa > xc) else 1
            rule_c = 0 if yb < ya or (yb == ya and xb > xa) else 1
            step_a, step_b, step_c = (yb - yc) << 8, (yc - ya) << 8, (ya - yb) << 8
            px = (first << 8) + 128
            for row in range(row0, row1 + 1):
                py = (row << 8) + 128
                edge_a = (xc - xb) * (py - yb) - (yc - yb) * (px - xb)
                edge_b = (xa - xc) * (py - yc) - (ya - yc) * (px - xc)
                edge_c = (xb - xa) * (py - ya) - (yb - ya) * (px - xa)
                start, stop = 0, last - first
                for edge, step in (
                    (edge_a - rule_a, step_a),
                    (edge_b - rule_b, step_b),
                    (edge_c - rule_c, step_c),
                ):
                    if step > 0:
                        start = max(start, -(edge // step))
                    elif step < 0:
                        stop = min(stop, edge // -step)
                    elif edge < 0:
                        stop = -1
                for k in range(start, stop + 1):
                    depth = (
                        float(edge_a + k * step_a) * za
                        + float(edge_b + k * step_b) * zb
                        + float(edge_c + k * step_c) * zc
                    ) / float(area)
                    column = first + k
                    if depth < nearest[row, column] or (
                        depth == nearest[row, column] and faces[t] < face[row, column]
                    ):
                        nearest[row, column] = depth
                        face[row, column] = faces[t]


def _shade_kernel(clip, triangles, face, bary, z, w) -> None:  # noqa: ANN001
    height, width = face.shape
    for row in prange(height):
        y = 1.0 - 2.0 * (row + 0.5) / height
        for column in range(width):
            f = face[row, column]
            if f < 0:
                continue
            x = 2.0 * (column + 0.5) / width - 1.0
            a, b, c = clip[triangles[f, 0]], clip[triangles[f, 1]], clip[triangles[f, 2]]
            aw, bw, cw = float(a[3]), float(b[3]), float(c[3])
            ax, ay = a[0] - x * aw, a[1] - y * aw
            bx, by = b[0] - x * bw, b[1] - y * bw
            cx, cy = c[0] - x * cw, c[1] - y * cw
            wa, wb, wc = bx * cy - by * cx, cx * ay - cy * ax, ax * by - ay * bx
            if wa + wb + wc < 0:
                wa, wb, wc = -wa, -wb, -wc
            # A centre that only the snapped face covers belongs to the nearest edge.
            wa, wb, wc = max(wa, 0.0), max(wb, 0.0), max(wc, 0.0)
            total = wa + wb + wc
            if total <= 0.0:
                wa = wb = wc = total = 1.0
                total = 3.0
            wa, wb, wc = wa / total, wb / total, wc / total
            depth = wa * aw + wb * bw + wc * cw
            bary[row, column, 0], bary[row, column, 1] = wa, wb
            z[row, column] = (wa * a[2] + wb * b[2] + wc * c[2]) / depth
            w[row, column] = depth


_cover_numba = compiled(_cover_kernel)
_shade_numba = compiled(_shade_kernel)


def _cover_numpy(
    xy: Int,
    z: Float,
    triangles: Index,
    faces: Index,
    face: Index,
    nearest: Float,
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
        edges = []
        inside = np.ones(len(t), bool)
        for i in range(3):
            p, q = corners[t, (i + 1) % 3], corners[t, (i + 2) % 3]
            (dx, dy), (ex, ey) = (q - p).T, (point - p).T
            edges.append(dx * ey - dy * ex)
            inside &= edges[-1] >= np.where((dy < 0) | ((dy == 0) & (dx > 0)), 0, 1)
        t, pixel = t[inside], (row * width + column)[inside]
        ea, eb, ec = (edge[inside].astype(np.float64) for edge in edges)
        depth = (ea * depths[t, 0] + eb * depths[t, 1] + ec * depths[t, 2]) / area[t]
        best = np.lexsort((faces[t], depth, pixel))
        best = best[np.diff(pixel[best], prepend=-1) > 0]
        t, pixel, depth = t[best], pixel[best], depth[best]
        seen, seen_depth = face.reshape(-1), nearest.reshape(-1)
        closer = (depth < seen_depth[pixel]) | (
            (depth == seen_depth[pixel]) & (faces[t] < seen[pixel])
        )
        seen[pixel[closer]], seen_depth[pixel[closer]] = faces[t[closer]], depth[closer]


def _shade_numpy(
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
