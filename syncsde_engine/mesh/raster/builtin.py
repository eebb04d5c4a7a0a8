# SPDX-License-Identifier: GPL-3.0-or-later
"""The exact rasterizer of every machine: integer edge functions on the CPU.

Vertices snap to 1/256 of a pixel, and from there on coverage is integer arithmetic with the
top-left rule, so triangles that share an edge cover each pixel center exactly once. Who owns a
pixel is decided on snapped vertices; where on the face it lies comes from the exact clip-space
vertices (2-D homogeneous coordinates), so it is perspective-correct and the same for any backend.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ...compiled import compiled, prange
from .buffers import Raster
from .builtin_numpy import cover_numpy, shade_numpy

SUBPIXEL_BITS = 8
GUARD = 2.0**29  # sub-pixels from the center: products of two spans stay within int64
BANDS = 16  # of rows, shared out among the cores
USABLE, OUTSIDE, BROKEN = 0, 1, 2  # vertices: outside they must be cut off, broken left out

Int = NDArray[np.int64]
Index = NDArray[np.int32]
Float = NDArray[np.float64]


class BuiltinRasterizer:
    """Integer rasterizer; `use_numba=False` gives the same ids through numpy, slower."""

    name = "builtin"
    subpixel_bits = SUBPIXEL_BITS

    def __init__(self, device: torch.device | str = "cpu", *, use_numba: bool = True) -> None:
        self.device = torch.device(device)
        self._project = (use_numba and _project_numba) or _project_numpy
        self._cover = (use_numba and _cover_numba) or cover_numpy
        self._shade = (use_numba and _shade_numba) or shade_numpy

    def rasterize(self, clip: Tensor, triangles: Tensor, size: tuple[int, int]) -> Raster:
        """See `Rasterizer.rasterize`. Faces with vertices that are not finite are left out."""
        return self._shaded(clip, triangles, self.cover(clip, triangles, size).numpy())

    def peel(self, clip: Tensor, triangles: Tensor, size: tuple[int, int]) -> Iterator[Raster]:
        """The first, second, third ... surface along the rays of every pixel, (1, H, W) each.

        `clip` is one image's, (1, V, 4). Depth peeling: each layer is what is nearest behind the
        one before, and of faces at equal depth the lower ids come first, so that every face that
        covers a pixel is in exactly one layer of it. Ends before the first empty layer.
        """
        (vertices,), faces = _arrays(clip, triangles)
        screen = self._to_screen(vertices, faces, size)
        behind, ahead = np.full(size, -np.inf), np.full(size, -1, np.int32)
        while True:
            face, nearest = np.full(size, -1, np.int32), np.full(size, np.inf)
            self._cover(*screen, face, nearest, behind, ahead, True)
            if (face < 0).all():
                return
            yield self._shaded(clip, triangles, face[None])
            behind, ahead = nearest, face  # infinite where it ended

    def _shaded(self, clip: Tensor, triangles: Tensor, face: Index) -> Raster:
        bary = np.zeros((*face.shape, 2), np.float32)
        z = np.ones(face.shape, np.float32)
        w = np.full(face.shape, np.inf, np.float32)
        vertices, faces = _arrays(clip, triangles)
        for b in range(len(vertices)):
            self._shade(vertices[b], faces, face[b], bary[b], z[b], w[b])
        images = (torch.from_numpy(array).to(self.device) for array in (face, bary, z, w))
        return Raster(*images)

    def cover(self, clip: Tensor, triangles: Tensor, size: tuple[int, int]) -> Tensor:
        """The faces of `rasterize` alone, (B, H, W) int32 on the CPU."""
        vertices, faces = _arrays(clip, triangles)
        face = np.full((len(vertices), *size), -1, np.int32)
        nearest = np.empty(size, np.float64)
        nothing = np.empty((0, 0)), np.empty((0, 0), np.int32)
        for image, points in zip(face, vertices, strict=True):
            nearest.fill(np.inf)
            self._cover(*self._to_screen(points, faces, size), image, nearest, *nothing, False)
        return torch.from_numpy(face)

    def _to_screen(self, clip: NDArray[np.float32], faces: Index, size: tuple[int, int]) -> _Screen:
        """Project and snap; cut faces at the near and far planes and at the guard band."""
        half = np.array(size[::-1]) * 2.0 ** (SUBPIXEL_BITS - 1)
        guard = GUARD / float(half.max())
        xy, z, state = self._project(clip, half, guard)
        if not state.any():
            return _Screen(xy, z, faces, np.arange(len(faces), dtype=np.int32))
        worst = state[faces].max(axis=1)
        whole, crossing = np.flatnonzero(worst == USABLE), np.flatnonzero(worst == OUTSIDE)
        corners, parts = clip[faces[crossing]].astype(np.float64), crossing.astype(np.int32)
        for plane in range(6):
            corners, parts = _cut(corners, parts, plane, guard)
        cut = corners.reshape(-1, 4)
        added = np.arange(len(cut)).reshape(-1, 3) + len(clip)
        # Rounding may leave a cut corner just outside of the plane that it was cut at.
        cut_xy, cut_z = _snap(cut, cut[:, 3] > 0, half)
        added, parts = (part[(cut[:, 3] > 0).reshape(-1, 3).all(axis=1)] for part in (added, parts))
        return _Screen(
            np.concatenate([xy, cut_xy]),
            np.concatenate([z, cut_z]),
            np.concatenate([faces[whole], added]).astype(np.int32),
            np.concatenate([whole, parts]).astype(np.int32),
        )


def _arrays(clip: Tensor, triangles: Tensor) -> tuple[NDArray[np.float32], Index]:
    return (
        np.ascontiguousarray(clip.detach().cpu().numpy(), np.float32),
        np.ascontiguousarray(triangles.cpu().numpy(), np.int32),
    )


class _Screen(NamedTuple):
    xy: Int  # (V, 2) sub-pixels, y down
    z: Float  # (V,) z / w
    triangles: Index  # (T, 3)
    face: Index  # (T,) the face each triangle is a part of


def _project_kernel(clip, half, guard):  # noqa: ANN001, ANN202
    xy = np.zeros((len(clip), 2), np.int64)
    z, state = np.zeros(len(clip)), np.zeros(len(clip), np.uint8)
    for v in prange(len(clip)):
        px, py = np.float64(clip[v, 0]), np.float64(clip[v, 1])
        pz, pw = np.float64(clip[v, 2]), np.float64(clip[v, 3])
        if not (np.isfinite(px) and np.isfinite(py) and np.isfinite(pz) and np.isfinite(pw)):
            state[v] = 2
        elif abs(pz) > pw or abs(px) > guard * pw or abs(py) > guard * pw:
            state[v] = 1
        elif pw <= 0:
            state[v] = 2
        else:
            xy[v, 0] = np.int64(np.floor(half[0] + px / pw * half[0] + 0.5))
            xy[v, 1] = np.int64(np.floor(half[1] - py / pw * half[1] + 0.5))
            z[v] = pz / pw
    return xy, z, state


_project_numba = compiled(_project_kernel)


def _project_numpy(
    clip: NDArray[np.float32], half: Float, guard: float
) -> tuple[Int, Float, NDArray[np.uint8]]:
    """`_project_kernel` for all vertices at once: sub-pixels (V, 2), z / w (V,), state (V,)."""
    points = clip.astype(np.float64)
    finite = np.isfinite(points).all(axis=1)
    points[~finite] = 0.0
    outside = np.min(_planes(points, guard), axis=0) < 0
    broken = ~finite | (~outside & (points[:, 3] <= 0))
    state = np.where(broken, BROKEN, np.where(outside, OUTSIDE, USABLE)).astype(np.uint8)
    return *_snap(points, state == USABLE, half), state


def _snap(points: Float, usable: NDArray[np.bool_], half: Float) -> tuple[Int, Float]:
    """Sub-pixels (V, 2) and z / w (V,) of clip-space points (V, 4); 0 for those not usable."""
    ndc = points[:, :3] / np.where(usable, points[:, 3], 1.0)[:, None]
    ndc[~usable] = 0.0
    return np.floor(half + ndc[:, :2] * [1, -1] * half + 0.5).astype(np.int64), ndc[:, 2].copy()


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
    """Where an edge meets the plane; always from the inside, so neighbors get the same point."""
    share = inner_d / (inner_d - outer_d)
    return inner + share[:, None] * (outer - inner)


def _cover_kernel(  # noqa: ANN202
    xy,  # noqa: ANN001
    z,  # noqa: ANN001
    triangles,  # noqa: ANN001
    faces,  # noqa: ANN001
    face,  # noqa: ANN001
    nearest,  # noqa: ANN001
    behind,  # noqa: ANN001
    ahead,  # noqa: ANN001
    peels,  # noqa: ANN001
):
    """What is nearest; if it `peels`, of what is behind the depths and faces of a layer before."""
    height, width = face.shape
    rows = np.zeros((len(triangles), 2), np.int32)  # that a triangle may cover: first, end
    for t in prange(len(triangles)):
        a, b, c = triangles[t, 0], triangles[t, 1], triangles[t, 2]
        (xa, ya), (xb, yb), (xc, yc) = xy[a], xy[b], xy[c]
        first = max(0, (min(xa, xb, xc) + 127) >> 8)
        last = min(width - 1, (max(xa, xb, xc) - 128) >> 8)
        if first <= last and (xb - xa) * (yc - ya) != (yb - ya) * (xc - xa):
            rows[t, 0] = max(0, (min(ya, yb, yc) + 127) >> 8)
            rows[t, 1] = min(height - 1, (max(ya, yb, yc) - 128) >> 8) + 1
    bands = min(height, BANDS)
    for band in prange(bands):
        top, end = band * height // bands, (band + 1) * height // bands
        for t in range(len(triangles)):
            row0, row1 = max(top, rows[t, 0]), min(end, rows[t, 1])
            if row0 >= row1:
                continue
            a, b, c = triangles[t, 0], triangles[t, 1], triangles[t, 2]
            xa, ya, xb, yb, xc, yc = xy[a, 0], xy[a, 1], xy[b, 0], xy[b, 1], xy[c, 0], xy[c, 1]
            first = max(0, (min(xa, xb, xc) + 127) >> 8)
            last = min(width - 1, (max(xa, xb, xc) - 128) >> 8)
            area = (xb - xa) * (yc - ya) - (yb - ya) * (xc - xa)
            if area < 0:  # walk clockwise on the screen, y down
                area, b, c = -area, c, b
                xb, yb, xc, yc = xc, yc, xb, yb
            # Edge functions grow inwards; those that are not top or left exclude their zero.
            rule_a = 0 if yc < yb or (yc == yb and xc > xb) else 1
            rule_b = 0 if ya < yc or (ya == yc and xa > xc) else 1
            rule_c = 0 if yb < ya or (yb == ya and xb > xa) else 1
            step_a, step_b, step_c = (yb - yc) << 8, (yc - ya) << 8, (ya - yb) << 8
            za, zb, zc, scale = z[a], z[b], z[c], 1 / float(area)
            slope = (float(step_a) * za + float(step_b) * zb + float(step_c) * zc) * scale
            px = (first << 8) + 128
            for row in range(row0, row1):
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
                    if edge < 0 and step > 0:
                        start = max(start, -(edge // step))
                    elif step < 0:
                        stop = min(stop, edge // -step)
                    elif edge < 0:
                        stop = -1
                if start > stop:
                    continue
                base = (float(edge_a) * za + float(edge_b) * zb + float(edge_c) * zc) * scale
                for k in range(start, stop + 1):
                    depth = base + float(k) * slope
                    column = first + k
                    if peels and (
                        depth < behind[row, column]
                        or (depth == behind[row, column] and faces[t] <= ahead[row, column])
                    ):
                        continue
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
            # A center that only the snapped face covers belongs to the nearest edge.
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
