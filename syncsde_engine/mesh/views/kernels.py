# SPDX-License-Identifier: GPL-3.0-or-later
"""What cameras see of points, compiled: the loops of the coupling and of the bake.

Both have a plain way in torch beside them (`sight.see` and all that calls it), which goes by the
same numbers. The loops stand together because numba's cache knows one file only.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ...compiled import compiled, inlined, prange
from .cameras import Camera

MIN_COS = 0.1  # flatter than this (84 degrees) a face is not seen
BIAS = 1e-3  # of the unit radius
BIAS_PIXELS = 1.5  # of a depth map, along the slope of the surface
GRAZING_COS = 0.3  # seen under a flatter angle only (72 degrees), a spot counts as grazing
POWER = 6  # of the cosine: the weight of a view in the bake
FLAT = 4.8e-4  # weight at 0.28 (74 degrees), from which on a view is trusted as far as it has a say
MOST_TAPS = 4  # along each side of a texel
FREE = 1.25  # pixels that a texel may span before it takes more than one tap
SHARE = 0.05  # of the weight, from which on a view has a say

Lens = tuple[
    NDArray[np.float64],
    NDArray[np.float64],
    NDArray[np.float64],
    NDArray[np.float64],
    NDArray[np.bool_],
    NDArray[np.bool_],
]


def lenses(cameras: Sequence[Camera]) -> Lens:
    """What `see_point` knows of cameras.

    Eyes (N, 3), bases (N, 3, 3), magnifications (N, 2), focal lengths (N,), orthographic (N,), and
    whether they look behind the nearest surface (N,).
    """
    return (
        np.stack([camera.eye for camera in cameras]),
        np.stack([camera.basis for camera in cameras]),
        np.stack([camera.magnification for camera in cameras]),
        np.array([camera.focal for camera in cameras]),
        np.array([camera.orthographic for camera in cameras]),
        np.array([camera.layer > 0 for camera in cameras]),
    )


# Whole arrays and indices into them: a slice would be counted as a reference, by all threads.
@inlined
def see_point(x, y, z, normals, f, owner, lens, j, depth, shown):  # noqa: ANN001, ANN201
    """How view j sees a point on face f of an object: fractions of the image, cosine and depth.

    The cosine is 0 unless the point passes the depth test and the pixel of `shown` (N, H, W) that
    it falls into shows its object.
    """
    eyes, bases, magnifications, focals, parallel, peels = lens
    dx, dy, dz = x - eyes[j, 0], y - eyes[j, 1], z - eyes[j, 2]
    w = bases[j, 2, 0] * dx + bases[j, 2, 1] * dy + bases[j, 2, 2] * dz
    if parallel[j]:
        rx, ry, rz, scale = bases[j, 2, 0], bases[j, 2, 1], bases[j, 2, 2], 1.0
    else:
        rx, ry, rz, scale = dx, dy, dz, w
    facing = -(normals[f, 0] * rx + normals[f, 1] * ry + normals[f, 2] * rz)
    if facing <= 0 or w <= 0:
        return 0.0, 0.0, 0.0, w
    cos = facing / np.sqrt(rx * rx + ry * ry + rz * rz)
    right = bases[j, 0, 0] * dx + bases[j, 0, 1] * dy + bases[j, 0, 2] * dz
    up = bases[j, 1, 0] * dx + bases[j, 1, 1] * dy + bases[j, 1, 2] * dz
    across = (1 + right * magnifications[j, 0] / scale) / 2
    down = (1 - up * magnifications[j, 1] / scale) / 2
    if cos < MIN_COS or across < 0 or across >= 1 or down < 0 or down >= 1:
        return 0.0, 0.0, 0.0, w
    if shown[j, int(down * shown.shape[1]), int(across * shown.shape[2])] != owner:
        return 0.0, 0.0, 0.0, w
    rows, columns = depth.shape[1:]
    tangent = np.sqrt(max(1 - cos * cos, 0.0)) / cos
    bias = BIAS + BIAS_PIXELS * 2 * scale / (focals[j] * min(rows, columns)) * tangent
    front = depth[j, int(down * rows), int(across * columns)]
    if w > front + bias or (peels[j] and w < front - bias):
        return 0.0, 0.0, 0.0, w
    return across, down, cos, w


def _pairs_kernel(position, face, owner, normals, lens, depth, shown, target, cosine) -> None:  # noqa: ANN001
    """The pixel of every view j that shows each point, and the cosine; 0 where it is unseen."""
    count, height, width = shown.shape
    for p in prange(len(position)):
        for j in range(count):
            x, y, cos, _ = see_point(
                position[p, 0],
                position[p, 1],
                position[p, 2],
                normals,
                face[p],
                owner[p],
                lens,
                j,
                depth,
                shown,
            )
            target[j, p] = int(y * height) * width + int(x * width)
            cosine[j, p] = cos


pair_pixels = compiled(_pairs_kernel)


def _place_kernel(place, face, size, uvs, corners, points, triangles, position) -> None:  # noqa: ANN001
    """Where on the surface the center of each texel is, (T, 3)."""
    for t in prange(len(place)):
        pixel, f = place[t] % (size * size), face[t]
        u, v = (pixel % size + 0.5) / size, 1 - (pixel // size + 0.5) / size
        a, b, c = corners[f, 0], corners[f, 1], corners[f, 2]
        au, av = uvs[a, 0] - u, uvs[a, 1] - v
        bu, bv = uvs[b, 0] - u, uvs[b, 1] - v
        cu, cv = uvs[c, 0] - u, uvs[c, 1] - v
        wa, wb, wc = bu * cv - bv * cu, cu * av - cv * au, au * bv - av * bu
        sign = -1.0 if wa + wb + wc < 0 else 1.0
        # A center that only the snapped triangle covers is at its edge.
        wa, wb, wc = max(sign * wa, 0.0), max(sign * wb, 0.0), max(sign * wc, 0.0)
        total = max(wa + wb + wc, 1e-30)
        i, j, k = triangles[f, 0], triangles[f, 1], triangles[f, 2]
        for axis in range(3):
            position[t, axis] = (
                wa * points[i, axis] + wb * points[j, axis] + wc * points[k, axis]
            ) / total


place_texels = compiled(_place_kernel)


@inlined
def _sample(images, j, x, y):  # noqa: ANN001, ANN202
    """Bilinear, at a fraction of image j of (N, H, W, 3)."""
    _, height, width, _ = images.shape
    fx = min(max(x * width - 0.5, 0.0), width - 1.0)
    fy = min(max(y * height - 0.5, 0.0), height - 1.0)
    column, row = int(fx), int(fy)
    sx, sy = fx - column, fy - row
    next_column, next_row = min(column + 1, width - 1), min(row + 1, height - 1)
    red = green = blue = 0.0
    for r, c, share in (
        (row, column, (1 - sx) * (1 - sy)),
        (row, next_column, sx * (1 - sy)),
        (next_row, column, (1 - sx) * sy),
        (next_row, next_column, sx * sy),
    ):
        red += share * images[j, r, c, 0]
        green += share * images[j, r, c, 1]
        blue += share * images[j, r, c, 2]
    return red, green, blue


def _gather_kernel(  # noqa: ANN202
    position,  # noqa: ANN001
    face,  # noqa: ANN001
    normals,  # noqa: ANN001
    objects,  # noqa: ANN001
    sides,  # noqa: ANN001
    spans,  # noqa: ANN001
    lens,  # noqa: ANN001
    depth,  # noqa: ANN001
    shown,  # noqa: ANN001
    say,  # noqa: ANN001
    images,  # noqa: ANN001
    color,  # noqa: ANN001
    weight,  # noqa: ANN001
    best,  # noqa: ANN001
    trust,  # noqa: ANN001
    views,  # noqa: ANN001
    blocks,  # noqa: ANN001
):
    count, height, width, _ = images.shape
    for block in prange(len(blocks)):
        samples, shares = np.empty((count, 3)), np.empty(count)
        painters = np.empty(count, np.int32)
        first = block * len(position) // len(blocks)
        for t in range(first, (block + 1) * len(position) // len(blocks)):
            x, y, z, f = position[t, 0], position[t, 1], position[t, 2], face[t]
            owner, span = objects[f], spans[f]
            found, total = 0, 0.0
            for j in range(count):
                px, py, cos, w = see_point(x, y, z, normals, f, owner, lens, j, depth, shown)
                if cos == 0:
                    continue
                red, green, blue = _sample(images, j, px, py)
                pixels = span * lens[3][j] * min(height, width) / (2 * (1.0 if lens[4][j] else w))
                if pixels > FREE:
                    taps = min(int(np.ceil(pixels)), MOST_TAPS)
                    good, reds, greens, blues = 0, 0.0, 0.0, 0.0
                    for tap in range(taps * taps):
                        a = (tap // taps + 0.5) / taps - 0.5
                        b = (tap % taps + 0.5) / taps - 0.5
                        qx, qy, seen, _ = see_point(
                            x + a * sides[f, 0, 0] + b * sides[f, 1, 0],
                            y + a * sides[f, 0, 1] + b * sides[f, 1, 1],
                            z + a * sides[f, 0, 2] + b * sides[f, 1, 2],
                            normals,
                            f,
                            owner,
                            lens,
                            j,
                            depth,
                            shown,
                        )
                        if seen > 0:
                            r, g, b = _sample(images, j, qx, qy)
                            reds, greens, blues = reds + r, greens + g, blues + b
                            good += 1
                    if good > 0:
                        red, green, blue = reds / good, greens / good, blues / good
                samples[found, 0], samples[found, 1], samples[found, 2] = red, green, blue
                voice = say[j, int(py * height), int(px * width)]
                shares[found] = cos**POWER * voice
                trust[t] = max(trust[t], min(cos**POWER / FLAT, 1.0) * voice)
                painters[found] = j
                total += shares[found]
                best[t] = max(best[t], cos)
                found += 1
            weight[t] = total
            for a in range(found):
                for c in range(3):
                    color[t, c] += shares[a] / total * samples[a, c]
                if shares[a] > SHARE * total:
                    views[t] |= np.int32(1) << np.int32(painters[a] % 32)
                for b in range(a):
                    apart = np.abs(samples[a] - samples[b]).sum() / 3
                    blocks[block, 0] += shares[a] * shares[b] * apart
                    blocks[block, 1] += shares[a] * shares[b]


gather_texels = compiled(_gather_kernel)
