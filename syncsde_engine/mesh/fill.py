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

from .bake import Baked, Texels

NEIGHBORS = (4, 32)  # candidates; the second number for points that are refused all of the first
GRAY = 0.5  # of a surface that nobody saw at all


def fill(baked: Baked) -> Tensor:
    """Complete baked textures, (K, H, W, 3) float32: unseen surface first, then all gutters."""
    texels = baked.texels
    color = fill_surface(baked.color.cpu().numpy(), baked.weight.cpu().numpy() > 0, texels)
    texture = texels.spread(torch.from_numpy(color).to(baked.color.device))
    used = texels.spread(torch.ones_like(texels.place, dtype=torch.bool))
    for image, chart in zip(texture, used, strict=True):
        fill_gutters(image.numpy(), chart.numpy())
    return texture


def fill_surface(
    color: NDArray[np.float32], painted: NDArray[np.bool_], texels: Texels
) -> NDArray[np.float32]:
    """Colours (T, 3) of all texels, of which those in `painted` (T,) have one.

    Donors are of the same object, whatever the texture, and only the painted texels beside one
    that is not: the nearest point of a painted region lies on its rim (the donor is 0.06 % farther
    than among all of them). What nobody saw of an object that nobody saw at all becomes gray.
    """
    color = color.copy()
    image = texels.spread(torch.from_numpy(painted)).numpy()
    inner = np.asarray(ndimage.binary_erosion(image, np.ones((1, 3, 3))), bool)
    rim = (image & ~inner).reshape(-1)[texels.place.numpy()]
    owner = texels.owner().numpy()
    wanted = np.flatnonzero(~painted)
    for number in np.unique(owner[wanted]):
        mine, own = np.flatnonzero(rim & (owner == number)), wanted[owner[wanted] == number]
        color[own] = GRAY if len(mine) == 0 else color[nearest_donors(mine, own, texels)]
    return color


def nearest_donors(
    donors: NDArray[np.int64], wanted: NDArray[np.int64], texels: Texels
) -> NDArray[np.int64]:
    """For each wanted texel the nearest donor that faces the same way; if there is none near, one
    that does not."""
    position, normal = texels.position.numpy(), texels.normal().numpy()
    tree = KDTree(position[donors], compact_nodes=False, balanced_tree=False)
    chosen = np.empty_like(wanted)
    rest = np.arange(len(wanted))
    for candidates in NEIGHBORS:
        texel = wanted[rest]
        _, nearest = tree.query(position[texel], k=min(candidates, len(donors)), workers=-1)
        nearest = donors[np.reshape(nearest, (len(texel), -1))]
        same_side = np.einsum("tkc,tc->tk", normal[nearest], normal[texel]) > 0
        best = same_side.argmax(axis=1)[:, None]
        chosen[rest] = np.take_along_axis(nearest, best, axis=1)[:, 0]
        rest = rest[~same_side.any(axis=1)]
        if len(rest) == 0:
            break
    return chosen


def fill_gutters(texture: NDArray[np.float32], used: NDArray[np.bool_]) -> None:
    """Extend the charts over an image (H, W, 3), in place, so that filtering shows no seams."""
    if not used.any():
        return
    nearest = ndimage.distance_transform_edt(~used, return_distances=False, return_indices=True)
    assert nearest is not None
    texture[...] = texture[nearest[0], nearest[1]]
