# SPDX-License-Identifier: GPL-3.0-or-later
"""What is wrong with a mesh, and the part of it that can be painted all the same.

Nothing is repaired: files get the artist's own vertices and faces back, in their order.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ...errors import InvalidMesh
from ..mesh import NO_AREA, Mesh, areas, check_form, weld

FAR = 1e5  # times the median distance from the median vertex: a stray vertex, not a shape
SIZES = (1e-4, 1e5)  # units; beyond them somebody mixed up meters and millimeters
OFFSET = 1e4  # times its size from the origin: single precision rounds off what is small

Bools = NDArray[np.bool_]
Int = NDArray[np.int64]


class Defects(NamedTuple):
    """How many faces, unless said otherwise, have what; a face counts for its first defect only."""

    out_of_range: int  # point to vertices that are not there
    non_finite: int  # have a vertex that is no number
    far_away: int  # have a vertex so far away that the rest of the mesh would be a point
    repeated_index: int  # have a vertex twice
    zero_area: int
    duplicate: int  # have the places of an earlier face; painted, as both may be seen
    non_finite_vertices: int  # used or not
    non_manifold_edges: int  # edges of more than two faces
    inconsistent_winding: int  # edges whose two faces are wound against each other
    absurd_scale: bool  # too small, too large or too far from the origin
    unpainted: int  # faces that are left out of the work


@dataclass(frozen=True)
class Sanitized:
    """The faces that can be painted, and where they were."""

    mesh: Mesh  # all of its vertices are finite, all of its faces have an area
    faces: Int  # (W,) into the triangles of the original
    defects: Defects


def sanitize(mesh: Mesh) -> Sanitized:
    """Find the faces that can be painted and count what is wrong with the others.

    Vertices keep their numbers; those that no such face uses are moved to where they do no harm.
    Raises InvalidMesh if the arrays are malformed or no face is left.
    """
    check_form(mesh)
    triangles = mesh.triangles.astype(np.int64)
    counts, good = {}, np.ones(len(triangles), bool)

    def leave_out(name: str, bad: Bools) -> None:
        counts[name] = int((good & bad).sum())
        good[bad] = False

    count = len(mesh.positions)
    outside = np.any((triangles < 0) | (triangles >= count), axis=1)
    leave_out("out_of_range", outside)
    triangles[outside] = 0
    finite = np.all(np.isfinite(mesh.positions), axis=1)
    leave_out("non_finite", ~np.all(finite[triangles], axis=1))
    leave_out("far_away", np.any(_far(mesh.positions, triangles, good)[triangles], axis=1))
    a, b, c = triangles.T
    leave_out("repeated_index", (a == b) | (b == c) | (c == a))
    positions, extent = _harmless(mesh.positions, triangles[good])
    clean = replace(mesh, positions=positions, triangles=triangles.astype(np.int32))
    leave_out("zero_area", areas(clean) <= NO_AREA * extent**2)
    faces = np.flatnonzero(good)
    if len(faces) == 0:
        found = ", ".join(f"{value} {name}" for name, value in counts.items() if value)
        raise InvalidMesh(
            f"None of the {len(good)} faces of the mesh can be painted ({found}).",
            hint="Repair it, or choose another object.",
        )
    places = weld(positions)[triangles[faces]]
    first = first_alike(places)
    non_manifold, inconsistent = _edges(places[first == np.arange(len(first))])
    reach = float(np.abs(positions.astype(np.float64)).max())
    defects = Defects(
        **counts,
        duplicate=int((first != np.arange(len(first))).sum()),
        non_finite_vertices=int((~finite).sum()),
        non_manifold_edges=non_manifold,
        inconsistent_winding=inconsistent,
        absurd_scale=not SIZES[0] <= extent <= SIZES[1] or reach > OFFSET * extent,
        unpainted=len(good) - len(faces),
    )
    return Sanitized(part(replace(mesh, positions=positions), faces), faces, defects)


def first_alike(corners: Int) -> Int:
    """The first face with the same three corners in any order, (F,) int64."""
    a, b, c = np.sort(corners, axis=1).T
    count = int(corners.max()) + 1
    pair = np.unique(a * count + b, return_inverse=True)[1]  # so that the next product fits
    _, first, number = np.unique(pair * count + c, return_index=True, return_inverse=True)
    return first[number]


def _far(positions: NDArray[np.float32], triangles: Int, good: Bools) -> Bools:
    """Vertices that are nowhere near the others that good faces use, (V,)."""
    far, is_used = np.zeros((2, len(positions)), bool)
    is_used[triangles[good]] = True
    used = np.flatnonzero(is_used)
    if len(used):
        points = positions[used].astype(np.float64)
        distance = np.linalg.norm(points - np.median(points, axis=0), axis=1)
        usual = float(np.median(distance))
        # With half of the vertices in one place there is no telling what is far.
        far[used] = (distance > FAR * usual) & (usual > 0)
    return far


def _harmless(positions: NDArray[np.float32], triangles: Int) -> tuple[NDArray[np.float32], float]:
    """Positions with all unused vertices at a used one, and the largest side of their box."""
    if len(triangles) == 0:
        return np.zeros_like(positions), 0.0
    used = np.zeros(len(positions), bool)
    used[triangles] = True
    moved = np.where(used[:, None], positions, positions[triangles[0, 0]])
    return moved, float(np.ptp(moved.astype(np.float64), axis=0).max())


def _edges(places: Int) -> tuple[int, int]:
    """How many edges have more than two faces, and how many two that run along it alike."""
    start, end = places[:, [0, 1, 2]].ravel(), places[:, [1, 2, 0]].ravel()
    low, high = np.minimum(start, end), np.maximum(start, end)
    key = np.sort((low * (int(places.max()) + 1) + high) * 2 + (start > end))
    _, first, count = np.unique(key >> 1, return_index=True, return_counts=True)
    pair = first[count == 2]
    return int((count > 2).sum()), int((key[pair] == key[pair + 1]).sum())


def part(mesh: Mesh, faces: Int) -> Mesh:
    """A mesh of some of the faces, with all of the vertices."""
    arrays = ("triangles", "uv_triangles", "face_object", "face_material", "face_texture")
    given = {name: getattr(mesh, name) for name in arrays}
    return replace(mesh, **{name: a[faces] for name, a in given.items() if a is not None})
