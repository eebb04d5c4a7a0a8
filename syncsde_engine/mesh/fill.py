# SPDX-License-Identifier: GPL-3.0-or-later
"""Colours for what no view saw: the nearest painted texel on the surface, then gutters.

Paper: fills by nearest texel in texture space (Voronoi, section 7.7), which takes colours from
unrelated charts that happen to lie beside; nearest in space on the same side does not.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage
from scipy.spatial import KDTree
from torch import Tensor

from .bake import Baked

NEIGHBORS = (4, 32)  # candidates; the second number for points that are refused all of the first
GRAY = 0.5  # of a surface that nobody saw at all


def fill(baked: Baked) -> Tensor:
    """Complete a baked texture, (H, W, 3) float32: unseen surface first, then all gutters."""
    texture = baked.texture.cpu().numpy().copy()
    painted = baked.weight.cpu().numpy() > 0
    fill_surface(
        texture,
        painted,
        baked.texels.place.cpu().numpy(),
        baked.texels.position.cpu().numpy(),
        baked.texels.normal.cpu().numpy(),
    )
    used = np.zeros(painted.size, bool)
    used[baked.texels.place.cpu().numpy()] = True
    fill_gutters(texture, used.reshape(painted.shape))
    return torch.from_numpy(texture).to(baked.texture.device)


def fill_surface(
    texture: NDArray[np.float32],
    painted: NDArray[np.bool_],
    place: NDArray[np.int64],
    position: NDArray[np.float32],
    normal: NDArray[np.float32],
) -> None:
    """Colour used texels that are not painted, in place; arguments as in `Texels`.

    Donors are only the painted texels beside one that is not: the nearest point of a painted
    region lies on its rim (the donor is 0.06 % farther than among all of them).
    """
    pixels = texture.reshape(-1, 3)
    is_painted = painted.reshape(-1)[place]
    if not is_painted.any():
        pixels[place] = GRAY
        return
    if is_painted.all():
        return
    inner = np.asarray(ndimage.binary_erosion(painted, np.ones((3, 3))), bool)
    rim = painted & ~inner
    donors = np.flatnonzero(rim.reshape(-1)[place])
    wanted = np.flatnonzero(~is_painted)
    tree = KDTree(position[donors], compact_nodes=False, balanced_tree=False)
    for candidates in NEIGHBORS:
        _, nearest = tree.query(position[wanted], k=min(candidates, len(donors)), workers=-1)
        nearest = donors[np.reshape(nearest, (len(wanted), -1))]
        same_side = np.einsum("tkc,tc->tk", normal[nearest], normal[wanted]) > 0
        chosen = np.take_along_axis(nearest, same_side.argmax(axis=1)[:, None], axis=1)[:, 0]
        pixels[place[wanted]] = pixels[place[chosen]]
        wanted = wanted[~same_side.any(axis=1)]
        if len(wanted) == 0:
            break


def fill_gutters(texture: NDArray[np.float32], used: NDArray[np.bool_]) -> None:
    """Extend the charts over the whole image, in place, so that filtering shows no seams."""
    if not used.any():
        return
    nearest = ndimage.distance_transform_edt(~used, return_distances=False, return_indices=True)
    assert nearest is not None
    texture[...] = texture[nearest[0], nearest[1]]
