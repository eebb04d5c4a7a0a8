# SPDX-License-Identifier: GPL-3.0-or-later
"""A process of its own for xatlas, which can be neither interrupted nor trusted to end.

Arguments: IN OUT SIZE PADDING SECONDS. IN.npz has positions and triangles, OUT.npz gets uvs and
uv_triangles.
"""

from __future__ import annotations

import math
import signal
import sys

import numpy as np


def main(source: str, target: str, size: int, padding: int, seconds: float) -> None:
    """Unwrap in one atlas of about `size` texels with `padding` texels around every chart."""
    if hasattr(signal, "alarm"):  # so that it also ends if the parent was killed
        signal.alarm(math.ceil(seconds) + 1)
    import xatlas

    with np.load(source, allow_pickle=False) as arrays:
        positions, triangles = arrays["positions"], arrays["triangles"]
    atlas = xatlas.Atlas()
    atlas.add_mesh(positions, triangles.astype(np.uint32))
    options = xatlas.PackOptions()
    options.resolution, options.padding, options.bilinear = size, padding, True
    options.rotate_charts = False  # it turns by swapping u and v, which mirrors
    atlas.generate(pack_options=options)
    _, uv_triangles, uvs = atlas.get_mesh(0)
    (ax, ay), (bx, by), (cx, cy) = uvs[uv_triangles].transpose(1, 2, 0)
    if ((bx - ax) * (cy - ay) - (by - ay) * (cx - ax)).sum() < 0:  # most are mirrored
        uvs[:, 1] = 1 - uvs[:, 1]
    np.savez(target, uvs=uvs.astype(np.float32), uv_triangles=uv_triangles.astype(np.int32))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4]), float(sys.argv[5]))
