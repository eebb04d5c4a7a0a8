# SPDX-License-Identifier: GPL-3.0-or-later
"""Where in a cell of a lattice each spot of a surface lies, the same in all views.

A surface has no rows and columns to count. What it has is a direction and a size at every spot, so
that the phase of one spot tells that of the next; around an object they need not add up. The phases
that contradict each other least are the smallest eigenvector of the connection Laplacian (stripe
patterns: Knoeppel et al. 2015).
"""

from __future__ import annotations

import numpy as np
import scipy.sparse as sparse
from numpy.typing import NDArray
from scipy.sparse.csgraph import connected_components
from scipy.sparse.linalg import splu
from scipy.spatial import KDTree

from ..exemplar.lattice import Lattice, periods_of, phases
from ..exemplar.picture import Floats, Picture
from ..exemplar.sites import Ground

NODES = 1.5  # across a period: between them the surface counts as flat
MOST_NODES = 60_000
REACH = 1.6  # from node to node, in their distance
ALIKE = 0.5  # least cosine between normals of neighbors
DAMPED = 1e-6
ROUNDS = 12  # of inverse iteration


def surface_lattice(picture: Picture, size: tuple[int, int], ground: Ground) -> Lattice | None:
    """The lattice of a picture of `size` on a surface, if it has one that is not too fine."""
    periods = periods_of(picture)
    if periods is None:
        return None
    cell = np.array(size) / np.array(periods)  # pixels of the picture
    unit = 1 / float(np.linalg.norm(ground.across[0]))
    step = float(cell.min()) * unit / NODES
    normal = np.cross(ground.across, ground.down)
    normal /= np.maximum(np.linalg.norm(normal, axis=1, keepdims=True), 1e-9)
    node = _clustered(ground.position, normal, step)
    if node.max() >= MOST_NODES:
        return None
    middle, facing, across, down = (
        _means(node, part) for part in (ground.position, normal, ground.across, ground.down)
    )
    first, second = KDTree(middle).query_pairs(REACH * step, output_type="ndarray").T
    kept = (facing[first] * facing[second]).sum(1) > ALIKE
    first, second = first[kept], second[kept]
    apart = middle[second] - middle[first]
    away = ground.position - middle[node]
    turns = np.empty((len(node), 2))
    for axis, (own, field) in enumerate(((ground.down, down), (ground.across, across))):
        onwards = (apart * (field[first] + field[second])).sum(1) / (2 * cell[axis])
        angle = _synchronized(len(middle), first, second, onwards)
        turns[:, axis] = angle[node] + (away * own).sum(1) / cell[axis]
    return Lattice(periods, phases(turns))


def _clustered(position: Floats, normal: Floats, step: float) -> NDArray[np.intp]:
    """Which node each site belongs to: those of a cube of space that face the same way, (n,)."""
    place = np.floor(position / step).astype(np.int64)
    side = (normal > 0) @ np.array([1, 2, 4])
    rows = np.concatenate([place, side[:, None]], axis=1)
    rows -= rows.min(0)
    extent = rows.max(0) + 1
    return np.unique(np.ravel_multi_index(rows.T, extent), return_inverse=True)[1].reshape(-1)


def _means(group: NDArray[np.intp], values: Floats) -> NDArray[np.float64]:
    total = np.stack([np.bincount(group, column) for column in values.T], axis=1)
    return total / np.bincount(group)[:, None]


def _synchronized(
    count: int, first: NDArray[np.intp], second: NDArray[np.intp], onwards: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Turns of nodes so that the second of each pair is about `onwards` turns on from the first."""
    link = np.exp(2j * np.pi * onwards)
    rows, columns = np.concatenate([second, first]), np.concatenate([first, second])
    links = sparse.csc_matrix(
        (np.concatenate([link, link.conj()]), (rows, columns)), (count, count)
    )
    degree = np.bincount(rows, minlength=count) + DAMPED
    laplacian = (sparse.diags(degree) - links).tocsc()
    # Positive definite: without pivots its factors stay sparse.
    solve = splu(
        laplacian,
        permc_spec="MMD_AT_PLUS_A",
        diag_pivot_thresh=0.0,
        options={"SymmetricMode": True},
    ).solve
    piece = connected_components(abs(links), directed=False)[1]
    found = np.ones(count, np.complex128)
    for _ in range(ROUNDS):
        found = solve(found)
        length = np.sqrt(np.bincount(piece, np.abs(found) ** 2))
        found /= length[piece]
    return np.angle(found) / (2 * np.pi)
