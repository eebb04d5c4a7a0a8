# SPDX-License-Identifier: GPL-3.0-or-later
"""How a picture lies on a surface: upright, in one size, the same for all views.

At every point the picture's columns run along a horizontal tangent and its rows down the steepest
one, so that what is slanted towards a camera shows slanted bricks. Where the surface is level and
nothing is steep, rows run from the back to the front.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from ..compiled import compiled, prange
from ..exemplar.sites import NEAR, PATCH, SHRINK, Ground, Index, Sites, quadrants
from .cameras import Camera
from .project import ViewMaps, object_of

LEVEL = (0.85, 0.97)  # height of the normal from which on a surface counts as level, and fully
APART = 0.5  # of a distance: how far a surface may bend away from the plane it is looked up in
SLACK = 1.0  # pixels of the picture, beyond that

Floats = NDArray[np.float32]


def tangents(normal: Floats) -> tuple[Floats, Floats]:
    """The picture's right and up on surfaces of unit normals (n, 3): orthogonal unit vectors."""
    height = normal[:, 1]
    rise = np.clip((np.abs(height) - LEVEL[0]) / (LEVEL[1] - LEVEL[0]), 0, 1)
    level = (rise * rise * (3 - 2 * rise))[:, None]
    back = np.zeros_like(normal)
    back[:, 2] = np.where(height < 0, 1, -1)
    up = (1 - level) * np.array([0, 1, 0], np.float32) + level * back
    up = up - (up * normal).sum(1, keepdims=True) * normal
    # Somewhere behind the top the two directions cancel; any tangent will do there.
    length = np.linalg.norm(up, axis=1, keepdims=True)
    up = np.where(length > 1e-3, up, np.cross(normal, np.array([1, 0, 0], np.float32)))
    up /= np.maximum(np.linalg.norm(up, axis=1, keepdims=True), 1e-6)
    return np.cross(up, normal).astype(np.float32), up.astype(np.float32)


def surface_ground(maps: ViewMaps, chosen: Tensor, unit: float, levels: int) -> Ground:
    """Sites of the chosen (N, h, w) pixels of all views; `unit` is the width of a picture's pixel.

    In the space of the normalized mesh.
    """
    number = np.full(chosen.shape, -1, np.int32)
    cells = np.flatnonzero(chosen.cpu().numpy())
    number.reshape(-1)[cells] = np.arange(len(cells))
    position = maps.position.movedim(1, -1)[chosen].cpu().numpy()
    normal = maps.normal.movedim(1, -1)[chosen].cpu().numpy()
    finest = (number, position, *tangents(normal))
    found = []
    for level in range(levels):
        size = unit * 2**level
        right, up = tangents(normal)
        sites = _listed(maps.scene.cameras, number, cells, position, right, up, size)
        if level == levels - 1:
            found.append(sites)
            break
        number, cells, parent = _halved(number, cells)
        count = np.bincount(parent)[:, None]
        above, normal = (_summed(parent, values) for values in (position, normal))
        above = (above / count).astype(np.float32)
        length = np.maximum(np.linalg.norm(normal, axis=1, keepdims=True), 1e-6)
        normal = (normal / length).astype(np.float32)
        apart = position - above[parent]
        inside = np.stack([-(apart * up).sum(1), (apart * right).sum(1)], axis=1) / size
        found.append(replace(sites, parent=parent, inside=inside.astype(np.float32)))
        position = above
    number, position, right, up = finest
    objects = object_of(maps.scene, maps.face[chosen]).cpu().numpy()
    size = np.float32(unit)
    return Ground(found, number, position, right / size, -up / size, objects)


def _summed(group: Index, values: Floats) -> NDArray[np.float64]:
    """Sums (m, 3) of values (n, 3) by group."""
    return np.stack([np.bincount(group, column).astype(float) for column in values.T], axis=1)


def _halved(number: Index, cells: NDArray[np.int64]) -> tuple[Index, NDArray[np.int64], Index]:
    """The grid of half the size, its cells, and the place among them that each cell goes to."""
    count, rows, columns = number.shape
    tall, wide = -(-rows // 2), -(-columns // 2)
    view, row, column = np.unravel_index(cells, number.shape)
    above, parent = np.unique((view * tall + row // 2) * wide + column // 2, return_inverse=True)
    halved = np.full((count, tall, wide), -1, np.int32)
    halved.reshape(-1)[above] = np.arange(len(above))
    return halved, above, parent.reshape(-1).astype(np.int32)


def _listed(
    cameras: tuple[Camera, ...],
    number: Index,
    cells: NDArray[np.int64],
    position: Floats,
    right: Floats,
    up: Floats,
    unit: float,
) -> Sites:
    """Look up the patch and the neighbors of each site of one scale."""
    view, row, column = (part.astype(np.int32) for part in np.unravel_index(cells, number.shape))
    steps = _steps(cameras, number.shape, view, position, right, up) * np.float32(unit)
    patch = np.empty((len(cells), len(PATCH)), np.int32)
    near = np.empty((len(cells), len(NEAR)), np.int32)
    offset = np.zeros((len(cells), len(NEAR), 2), np.float32)
    _look_up(
        number,
        view,
        row,
        column,
        position,
        right,
        up,
        steps,
        unit,
        np.array(PATCH, np.float32),
        np.array(NEAR, np.int64),
        np.array(SHRINK, np.float32),
        patch,
        near,
        offset,
    )
    middle = np.stack([row % 2 - 0.5, column % 2 - 0.5], axis=1)
    nothing = np.empty(0, np.int32)
    empty = np.empty((0, 2), np.float32)
    return Sites(view, cells, patch, near, offset, nothing, empty, quadrants(middle))


def _steps(
    cameras: tuple[Camera, ...],
    shape: tuple[int, ...],
    view: Index,
    position: Floats,
    right: Floats,
    up: Floats,
) -> Floats:
    """Pixels, (row, column), that one unit of length along right and down goes on, (n, 2, 2)."""
    steps = np.empty((len(view), 2, 2), np.float32)
    bounds = np.searchsorted(view, np.arange(len(cameras) + 1))
    for number, camera in enumerate(cameras):
        some = slice(bounds[number], bounds[number + 1])
        seen = (position[some] - camera.eye) @ camera.basis.T  # right, up, depth
        half = np.array(shape[1:][::-1]) / 2 * camera.magnification * [1, -1]
        depth = np.ones(len(seen)) if camera.orthographic else np.maximum(seen[:, 2], 1e-6)
        for place, tangent in enumerate((right[some], -up[some])):
            moved = tangent @ camera.basis.T
            straight = moved[:, :2] / depth[:, None]
            if not camera.orthographic:
                straight -= seen[:, :2] * (moved[:, 2] / depth**2)[:, None]
            steps[some, place] = (straight * half)[:, ::-1]
    return steps


def _look_up_kernel(  # noqa: ANN202
    number,  # noqa: ANN001
    view,  # noqa: ANN001
    rows,  # noqa: ANN001
    columns,  # noqa: ANN001
    position,  # noqa: ANN001
    right,  # noqa: ANN001
    up,  # noqa: ANN001
    steps,  # noqa: ANN001
    unit,  # noqa: ANN001
    offsets,  # noqa: ANN001
    around,  # noqa: ANN001
    shrink,  # noqa: ANN001
    patch,  # noqa: ANN001
    near,  # noqa: ANN001
    offset,  # noqa: ANN001
):
    _, height, width = number.shape
    for p in prange(len(view)):
        v = view[p]
        for k in range(len(offsets)):
            patch[p, k] = p
            for share in shrink:
                down, across = share * offsets[k, 0], share * offsets[k, 1]
                i = int(np.floor(rows[p] + 0.5 + across * steps[p, 0, 0] + down * steps[p, 1, 0]))
                j = int(
                    np.floor(columns[p] + 0.5 + across * steps[p, 0, 1] + down * steps[p, 1, 1])
                )
                if i < 0 or j < 0 or i >= height or j >= width:
                    continue
                q = number[v, i, j]
                if q < 0:
                    continue
                off = np.float32(0)
                for axis in range(3):
                    plane = unit * (across * right[p, axis] - down * up[p, axis])
                    away = position[q, axis] - position[p, axis] - plane
                    off += away * away
                if np.sqrt(off) < unit * (APART * np.sqrt(down * down + across * across) + SLACK):
                    patch[p, k] = q
                    break
        for k in range(len(around)):
            near[p, k] = -1
            i, j = rows[p] + around[k, 0], columns[p] + around[k, 1]
            if i < 0 or j < 0 or i >= height or j >= width:
                continue
            q = number[v, i, j]
            if q < 0:
                continue
            down, across, long = np.float32(0), np.float32(0), np.float32(0)
            for axis in range(3):
                away = position[p, axis] - position[q, axis]
                down -= away * up[q, axis]
                across += away * right[q, axis]
                long += away * away
            bent = np.sqrt(max(long - down * down - across * across, np.float32(0)))
            if bent < APART * np.sqrt(long) + SLACK * unit:
                near[p, k] = q
                offset[p, k, 0], offset[p, k, 1] = down / unit, across / unit


_look_up_compiled = compiled(_look_up_kernel)


def _look_up(*arguments: object) -> None:
    (_look_up_compiled or _look_up_kernel)(*arguments)
