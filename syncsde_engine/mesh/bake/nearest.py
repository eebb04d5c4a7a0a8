# SPDX-License-Identifier: GPL-3.0-or-later
"""For every pixel of an image the nearest chosen one: exact, and small in memory.

Two passes, as by Felzenszwalb and Huttenlocher (Distance Transforms of Sampled Functions, 2012):
along the columns, then along the rows as the lower envelope of the parabolas that the columns give.
scipy's transform, the plain way beside it, needs six times the memory.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from ...compiled import compiled, prange

LARGEST_SIDE = np.iinfo(np.int16).max
_STRIPES = 64  # of columns, and of rows, that threads take in turn


def nearest_chosen(chosen: NDArray[np.bool_]) -> NDArray[np.int16]:
    """Row and column, (2, H, W), of the chosen pixel nearest to each; at least one must be chosen.

    Raises ValueError for images of more than 32767 pixels a side, or without a chosen one.
    """
    if not chosen.any() or max(chosen.shape) > LARGEST_SIDE:
        raise ValueError(f"nothing chosen, or too large: {chosen.shape}")
    if _nearest is None:
        found = ndimage.distance_transform_edt(~chosen, return_distances=False, return_indices=True)
        return np.asarray(found, np.int16)
    nearest = np.empty((2, *chosen.shape), np.int16)
    _nearest(chosen, nearest[0], nearest[1])
    return nearest


def _nearest_kernel(chosen, row, column) -> None:  # noqa: ANN001
    height, width = chosen.shape
    for stripe in prange(_STRIPES):
        first, end = stripe * width // _STRIPES, (stripe + 1) * width // _STRIPES
        for c in range(first, end):
            row[0, c] = 0 if chosen[0, c] else -1
        for r in range(1, height):
            for c in range(first, end):
                row[r, c] = r if chosen[r, c] else row[r - 1, c]
        for r in range(height - 2, -1, -1):
            for c in range(first, end):
                below = row[r + 1, c]
                if row[r, c] < 0 or (below >= 0 and below - r < r - row[r, c]):
                    row[r, c] = below
    for stripe in prange(_STRIPES):
        owners, starts = np.empty(width, np.int64), np.empty(width + 1)
        rows = np.empty(width, np.int16)
        for r in range(stripe * height // _STRIPES, (stripe + 1) * height // _STRIPES):
            count = 0
            for c in range(width):
                if row[r, c] < 0:
                    continue
                apart = float(r - row[r, c])
                start = -np.inf
                while count > 0:
                    other = owners[count - 1]
                    apart_other = float(r - row[r, other])
                    # From here on the parabola of c lies below that of the other.
                    start = (apart**2 + c * c - apart_other**2 - other * other) / (
                        2.0 * (c - other)
                    )
                    if start > starts[count - 1]:
                        break
                    count -= 1
                    start = -np.inf
                owners[count], starts[count] = c, start
                count += 1
            starts[count] = np.inf
            envelope = 0
            for c in range(width):
                while starts[envelope + 1] < c:
                    envelope += 1
                column[r, c] = owners[envelope]
                rows[c] = row[r, owners[envelope]]
            row[r] = rows


_nearest = compiled(_nearest_kernel)
