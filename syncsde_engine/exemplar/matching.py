# SPDX-License-Identifier: GPL-3.0-or-later
"""Compiled search: which patches of the picture explain the patch around each site.

The loops stand together because numba's cache knows one file only.
"""

from __future__ import annotations

import numpy as np

from ..compiled import compiled, inlined, prange

NONE = -1e9  # row of a match that is none
FAR = 1e30
STRIPE = 256  # sites that a thread takes in turn
MOST_TRIED = 32  # candidates of one site
SHARPNESS = 2.0  # with which the nearest site prevails when a picture is finished
SAME = 0.02  # pixels of the picture, within which two matches are one
REACH = 1.5  # pixels of the picture within which a site lays down its patch


def _whole_kernel(features, view, searched, level, middles, softness, mean, match, width) -> None:  # noqa: ANN001
    """Compare with all patches: the posterior mean of the middles and the best match.

    `level` (V, M) is the squared length of a patch less its potential, for each trajectory.
    """
    count, dimensions = features.shape
    patches, channels = middles.shape
    for stripe in prange((count + STRIPE - 1) // STRIPE):
        score = np.empty(patches, np.float32)
        total = np.empty(channels, np.float32)
        for p in range(stripe * STRIPE, min(count, (stripe + 1) * STRIPE)):
            score[:] = level[view[p]]
            for d in range(dimensions):
                score += np.float32(-2) * features[p, d] * searched[d]
            best = np.argmin(score)
            least = score[best]
            weight = np.float32(0)
            total[:] = 0
            for j in range(patches):
                if score[j] < least + 8 * softness:
                    share = np.exp((least - score[j]) / softness)
                    weight += share
                    for c in range(channels):
                        total[c] += share * middles[j, c]
            for c in range(channels):
                mean[p, c] = total[c] / weight
            match[p, 0], match[p, 1] = best // width, best % width


search_whole = compiled(_whole_kernel, fast=True)


def _near_kernel(  # noqa: ANN202
    features,  # noqa: ANN001
    view,  # noqa: ANN001
    patches,  # noqa: ANN001
    potential,  # noqa: ANN001
    height,  # noqa: ANN001
    width,  # noqa: ANN001
    guess,  # noqa: ANN001
    near,  # noqa: ANN001
    offset,  # noqa: ANN001
    before,  # noqa: ANN001
    softness,  # noqa: ANN001
    middles,  # noqa: ANN001
    mean,  # noqa: ANN001
    match,  # noqa: ANN001
):
    """Compare with a few: `guess` (n, T, 2), and what continues the matches `before` (n, 2) of
    the sites around.

    None is looked for elsewhere: that finds even patches, which are near to any noisy one.
    """
    count, dimensions = features.shape
    guesses, around = guess.shape[1], near.shape[1] if len(before) else 0
    channels = middles.shape[1]
    for stripe in prange((count + STRIPE - 1) // STRIPE):
        rows = np.empty(MOST_TRIED, np.float32)
        columns = np.empty(MOST_TRIED, np.float32)
        score = np.empty(MOST_TRIED, np.float32)
        patch = np.empty(MOST_TRIED, np.int64)
        total = np.empty(channels, np.float32)
        for p in range(stripe * STRIPE, min(count, (stripe + 1) * STRIPE)):
            tried, least, best = 0, np.float32(FAR), 0
            for t in range(guesses + around):
                if t < guesses:
                    row, column = guess[p, t, 0], guess[p, t, 1]
                    if row <= NONE:
                        continue
                else:
                    q = near[p, t - guesses]
                    if q < 0:
                        continue
                    row = before[q, 0] + offset[p, t - guesses, 0]
                    column = before[q, 1] + offset[p, t - guesses, 1]
                k = int(np.floor(row + 0.5)) % height * width + int(np.floor(column + 0.5)) % width
                known = False
                for u in range(tried):
                    known = known or patch[u] == k
                if known:
                    continue
                distance = np.float32(0)
                for d in range(dimensions):
                    apart = features[p, d] - patches[k, d]
                    distance += apart * apart
                distance -= potential[view[p], k]
                rows[tried], columns[tried] = row, column
                score[tried], patch[tried] = distance, k
                if distance < least:
                    least, best = distance, tried
                tried += 1
            match[p, 0], match[p, 1] = rows[best], columns[best]
            if len(mean):
                weight = np.float32(0)
                total[:] = 0
                for u in range(tried):
                    share = np.exp((least - score[u]) / softness)
                    if share > 1e-3:
                        weight += share
                        for c in range(channels):
                            total[c] += share * middles[patch[u], c]
                for c in range(channels):
                    mean[p, c] = total[c] / weight


search_near = compiled(_near_kernel, fast=True)


def _lay_kernel(near, offset, middles, pixels) -> None:  # noqa: ANN001
    """Every pixel (n, 3) is the mean of what the sites around it lay down there."""
    count, channels = pixels.shape
    for p in prange(count):
        weight = np.float32(0)
        for c in range(channels):
            pixels[p, c] = 0
        for t in range(near.shape[1]):
            q = near[p, t]
            if q < 0:
                continue
            row, column = offset[p, t, 0], offset[p, t, 1]
            if abs(row) > REACH or abs(column) > REACH:
                continue
            row = min(max(row, np.float32(-1)), np.float32(1)) + 1
            column = min(max(column, np.float32(-1)), np.float32(1)) + 1
            i, j = min(int(row), 1), min(int(column), 1)
            down, right = row - i, column - j
            for c in range(channels):
                top = (1 - right) * middles[q, (3 * i + j) * channels + c]
                top += right * middles[q, (3 * i + j + 1) * channels + c]
                low = (1 - right) * middles[q, (3 * i + j + 3) * channels + c]
                low += right * middles[q, (3 * i + j + 4) * channels + c]
                pixels[p, c] += (1 - down) * top + down * low
            weight += 1
        for c in range(channels):
            pixels[p, c] /= weight


lay_down = compiled(_lay_kernel, fast=True)


@inlined
def _add_sample(image, u, w, share, out, p):  # noqa: ANN001, ANN202
    """Add to row p of `out` (T, C) a share of the periodic image (H, W, C) at row u, column w."""
    height, width, channels = image.shape
    top, left = int(np.floor(u)), int(np.floor(w))
    below, right = u - top, w - left
    top, left = top % height, left % width
    low, beside = (top + 1) % height, (left + 1) % width
    for k in range(channels):
        first = (1 - right) * image[top, left, k] + right * image[top, beside, k]
        second = (1 - right) * image[low, left, k] + right * image[low, beside, k]
        out[p, k] += share * ((1 - below) * first + below * second)


def _finish_kernel(  # noqa: ANN202
    number,  # noqa: ANN001
    position,  # noqa: ANN001
    across,  # noqa: ANN001
    down,  # noqa: ANN001
    match,  # noqa: ANN001
    shown,  # noqa: ANN001
    points,  # noqa: ANN001
    size,  # noqa: ANN001
    image,  # noqa: ANN001
    views,  # noqa: ANN001
):
    """Lay the picture down once more where `shown` (N, H, W), with all its detail, in `views`.

    Each point (N, H, W, 3) goes on from the matches of the sites around it, whose `number`
    (N, h, w) is -1 where there is none; `size` is the picture's at which matches count.
    """
    count, tall, wide = shown.shape
    rows, columns = number.shape[1:]
    height, width, channels = image.shape
    pixels = views.reshape(count * tall * wide, channels)
    for line in prange(count * tall):
        v, y = line // tall, line % tall
        for x in range(wide):
            if not shown[v, y, x]:
                continue
            r, c = y * rows // tall, x * columns // wide
            total = np.float32(0)
            for reach in (1, 2):  # farther only where there is nothing near
                if total > 0:
                    break
                for i in range(max(r - reach, 0), min(r + reach + 1, rows)):
                    for j in range(max(c - reach, 0), min(c + reach + 1, columns)):
                        q = number[v, i, j]
                        if q < 0:
                            continue
                        dx = points[v, y, x, 0] - position[q, 0]
                        dy = points[v, y, x, 1] - position[q, 1]
                        dz = points[v, y, x, 2] - position[q, 2]
                        row = down[q, 0] * dx + down[q, 1] * dy + down[q, 2] * dz
                        column = across[q, 0] * dx + across[q, 1] * dy + across[q, 2] * dz
                        share = np.exp(-SHARPNESS * (row * row + column * column)) + 1e-6
                        u = (match[q, 0] + row + 0.5) * height / size[0] - 0.5
                        w = (match[q, 1] + column + 0.5) * width / size[1] - 0.5
                        _add_sample(image, u, w, share, pixels, line * wide + x)
                        total += share
            for k in range(channels):
                pixels[line * wide + x, k] /= max(total, np.float32(1e-9))


finish = compiled(_finish_kernel, fast=True)


def _agree_kernel(  # noqa: ANN202
    features,  # noqa: ANN001
    patches,  # noqa: ANN001
    height,  # noqa: ANN001
    width,  # noqa: ANN001
    near,  # noqa: ANN001
    offset,  # noqa: ANN001
    match,  # noqa: ANN001
    dissent,  # noqa: ANN001
    apart,  # noqa: ANN001
    found,  # noqa: ANN001
):
    """Choose for every site among its match and the neighbors' continued: see `layout.agreed`."""
    count, around = near.shape
    for p in prange(count):
        least = np.float32(FAR)
        for t in range(-1, around):
            if t < 0:
                row, column = match[p, 0], match[p, 1]
            else:
                q = near[p, t]
                if q < 0:
                    continue
                row, column = match[q, 0] + offset[p, t, 0], match[q, 1] + offset[p, t, 1]
                if abs(row - match[p, 0]) + abs(column - match[p, 1]) < SAME:
                    continue
            off, voices = np.float32(0), 0
            for s in range(around):
                q = near[p, s]
                if q < 0:
                    continue
                down = row - match[q, 0] - offset[p, s, 0]
                across = column - match[q, 1] - offset[p, s, 1]
                down -= height * np.round(down / height)
                across -= width * np.round(across / width)
                off += min((down * down + across * across) / (apart * apart), np.float32(1))
                voices += 1
            cost = dissent * off / max(voices, 1)
            if cost >= least:
                continue
            k = int(np.floor(row + 0.5)) % height * width + int(np.floor(column + 0.5)) % width
            for d in range(features.shape[1]):
                difference = features[p, d] - patches[k, d]
                cost += difference * difference
            if cost < least:
                least = cost
                found[p, 0], found[p, 1] = row, column


agree = compiled(_agree_kernel, fast=True)


def _lay_points_kernel(points, near, position, across, down, match, size, image, color) -> None:  # noqa: ANN001
    """Continue the matches of the sites `near` (T, k) each point, -1 for none, and blend."""
    height, width, channels = image.shape
    for p in prange(len(points)):
        total = np.float32(0)
        for t in range(near.shape[1]):
            q = near[p, t]
            if q < 0:
                continue
            row, column = np.float32(0), np.float32(0)
            for axis in range(3):
                step = points[p, axis] - position[q, axis]
                row += down[q, axis] * step
                column += across[q, axis] * step
            share = np.exp(-SHARPNESS * (row * row + column * column)) + 1e-12
            u = (match[q, 0] + row + 0.5) * height / size[0] - 0.5
            w = (match[q, 1] + column + 0.5) * width / size[1] - 0.5
            _add_sample(image, u, w, share, color, p)
            total += share
        for k in range(channels):
            color[p, k] /= max(total, np.float32(1e-20))


lay_points = compiled(_lay_points_kernel, fast=True)
