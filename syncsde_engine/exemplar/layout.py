# SPDX-License-Identifier: GPL-3.0-or-later
"""Where in a picture each spot of a surface lies, and the surface's colors at any resolution.

What views have come to show is only a draft of the picture. The draft says which part of the
picture belongs where; the picture itself, with all its detail, is then laid down from there.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from scipy.sparse.csgraph import connected_components, dijkstra
from scipy.spatial import KDTree

from . import matching
from .picture import Floats, Scale
from .sites import Index

ROUNDS = 8  # of agreeing with the neighbors
DISSENT = 30.0  # squared distance of patches that is worth agreeing with all neighbors
APART = 0.5  # pixels of the picture, from which on two matches do not continue each other
NEIGHBORS = 8
LAID = (6, 48)  # spots that a point takes its color from; more where all face away
FACING = 0.2  # cosine between two normals from which on both lie on one side
REACH = 4.0  # pixels of the picture, over which spots are linked when a layout grows
BEND = 2.0  # how much farther a link counts that bends by 90 degrees
CHUNK = 1 << 17  # points at once


@dataclass(frozen=True)
class Layout:
    """Spots of a surface and what each shows of one picture. Lengths are those of the surface."""

    position: Floats  # (n, 3)
    across: Floats  # (n, 3) how far the picture's columns go on along each axis, in its pixels
    down: Floats  # (n, 3) and its rows; orthogonal to `across` and as long
    match: Floats  # (n, 2) row and column in the picture

    @cached_property
    def normal(self) -> Floats:
        """Unit normals, (n, 3)."""
        normal = np.cross(self.down, self.across)
        return (normal / np.linalg.norm(normal, axis=1, keepdims=True)).astype(np.float32)

    @cached_property
    def tree(self) -> KDTree:
        return KDTree(self.position)

    @property
    def unit(self) -> float:
        """The width of a pixel of the picture."""
        return float(1 / np.linalg.norm(self.across[0]))

    def neighbors(self) -> tuple[Index, Floats]:
        """The spots around each on its own side, -1 for none, and the offsets from there to here.

        (n, k) and (n, k, 2) rows and columns of the picture.
        """
        among = min(NEIGHBORS + 1, len(self.position))
        _, near = self.tree.query(self.position, k=among, workers=-1)
        near = near.reshape(len(self.position), -1)[:, 1:]
        facing = np.einsum("nkc,nc->nk", self.normal[near], self.normal) > FACING
        here = np.arange(len(near))[:, None]
        return np.where(facing, near, -1).astype(np.int32), self.offsets(near, here)

    def offsets(self, start: NDArray[np.integer], end: NDArray[np.integer]) -> Floats:
        """Rows and columns, (..., 2), that the picture goes on between spots."""
        step = self.position[end] - self.position[start]
        down, across = (
            ((part[start] + part[end]) / 2 * step).sum(-1) for part in (self.down, self.across)
        )
        return np.stack([down, across], axis=-1).astype(np.float32)


def agreed(match: Floats, near: Index, offset: Floats, features: Floats, scale: Scale) -> Floats:
    """Matches (n, 2) that continue each other over large areas, as a copy of the picture would.

    Every spot takes over the continuation of a neighbor's match if its own patch `features` (n, D)
    is nearly as near to the one there, for ROUNDS rounds: the iterated conditional modes of a Potts
    model (Besag 1986), all spots at once.

    Args:
        near: (n, k) neighbors, -1 for none.
        offset: (n, k, 2) from there to here.
    """
    assert matching.agree is not None
    for _ in range(ROUNDS):
        found = np.empty_like(match)
        matching.agree(
            features,
            scale.patches,
            *scale.size,
            near,
            offset,
            match,
            np.float32(DISSENT),
            np.float32(APART),
            found,
        )
        match = found
    return match


def grown(layout: Layout, position: Floats, across: Floats, down: Floats) -> Layout:
    """The layout with more spots, whose matches continue those that are nearest along the surface.

    Spots with no way to any other take the nearest match through space; in an empty layout the
    picture begins at the first of them.
    """
    count = len(layout.position)
    if len(position) == 0:
        return layout
    match = np.concatenate([layout.match, np.zeros((len(position), 2), np.float32)])
    whole = Layout(
        np.concatenate([layout.position, position]),
        np.concatenate([layout.across, across]),
        np.concatenate([layout.down, down]),
        match,
    )
    known = np.arange(len(match)) < max(count, 1)
    graph = _linked(whole, np.arange(count, len(match)))
    _continue(whole, graph, known)
    lost = np.flatnonzero(~known)
    if len(lost):  # islands: each begins where it is nearest to what is known
        donors = np.flatnonzero(known)
        away, nearest = KDTree(whole.position[donors]).query(whole.position[lost])
        _, island = connected_components(graph, directed=False)
        island = island[lost]
        order = np.lexsort((away, island))
        first = np.diff(island[order], prepend=-1) > 0
        begins, start = lost[order[first]], donors[np.asarray(nearest)[order[first]]]
        match[begins] = match[start] + whole.offsets(start, begins)
        known[begins] = True
        _continue(whole, graph, known)
    return whole


def _continue(whole: Layout, graph: sparse.csr_array, known: NDArray[np.bool_]) -> None:
    """Continue the matches of `known` (n,) spots to all that are linked to one, in place."""
    away, before, _ = dijkstra(
        graph,
        directed=False,
        indices=np.flatnonzero(known),
        min_only=True,
        return_predecessors=True,
    )
    order = np.argsort(away, kind="stable")
    reached = order[np.isfinite(away[order]) & ~known[order]]
    step = whole.offsets(before[reached], reached)
    for spot, start, offset in zip(reached, before[reached], step, strict=True):
        whole.match[spot] = whole.match[start] + offset
    known[reached] = True


def _linked(whole: Layout, fresh: NDArray[np.integer]) -> sparse.csr_array:
    """Lengths of the ways between the fresh spots and those around them on the same side."""
    among = min(NEIGHBORS + 5, len(whole.position))
    away, near = whole.tree.query(whole.position[fresh], k=among, workers=-1)
    away, near = away.reshape(len(fresh), -1), near.reshape(len(fresh), -1)
    facing = np.einsum("nkc,nc->nk", whole.normal[near], whole.normal[fresh])
    good = (facing > FACING) & (away < REACH * whole.unit) & (near != fresh[:, None])
    length = (away + 1e-9) * (1 + BEND * (1 - facing))
    here = np.broadcast_to(fresh[:, None], near.shape)
    shape = (len(whole.position),) * 2
    return sparse.coo_array((length[good], (here[good], near[good])), shape).tocsr()


def laid(layout: Layout, points: Floats, normals: Floats, image: Floats, size: Floats) -> Floats:
    """Colors (T, C) of points (T, 3) with unit normals: the picture, laid down from the layout.

    Args:
        image: (H, W, C), at any resolution.
        size: (2,) rows and columns of the picture at which matches count.
    """
    color = np.zeros((len(points), image.shape[2]), np.float32)
    for start in range(0, len(points), CHUNK):
        some = np.arange(start, min(start + CHUNK, len(points)))
        for last, among in ((False, LAID[0]), (True, LAID[1])):
            among = min(among, len(layout.position))
            _, near = layout.tree.query(points[some], k=among, workers=-1)
            near = near.reshape(len(some), -1)
            facing = np.einsum("tkc,tc->tk", layout.normal[near], normals[some]) > FACING
            done = facing.any(axis=1) | last
            if last:
                facing |= ~facing.any(axis=1)[:, None]
            near = np.where(facing, near, -1).astype(np.int32)
            _lay(layout, points, some[done], near[done], image, size, color)
            some = some[~done]
            if len(some) == 0:
                break
    return color


def _lay(
    layout: Layout,
    points: Floats,
    some: NDArray[np.integer],
    near: Index,
    image: Floats,
    size: Floats,
    color: Floats,
) -> None:
    assert matching.lay_points is not None
    found = np.zeros((len(some), image.shape[2]), np.float32)
    matching.lay_points(
        points[some],
        near,
        layout.position,
        layout.across,
        layout.down,
        layout.match,
        size,
        image,
        found,
    )
    color[some] = found
