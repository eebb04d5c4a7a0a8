# SPDX-License-Identifier: GPL-3.0-or-later
"""A triangle mesh as plain arrays, what makes one unusable, and the paper's normalization."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..errors import InvalidMesh

MAX_FACES = 2_000_000
UV_TOLERANCE = 1e-4  # rounding of exporters, far below a texel
NO_AREA = 1e-12  # of the squared extent
MOST_CORE = 32  # points that decide on the ball around a mesh; about ten are enough

Float32 = NDArray[np.float32]
Int32 = NDArray[np.int32]


class Origin(NamedTuple):
    """The file that a mesh was read from, in one piece, for results that are that file again."""

    kind: Literal["glb", "obj"]
    content: bytes
    uv_set: int = 0  # which of its texture coordinates were read


@dataclass(frozen=True)
class Mesh:
    """Triangles over vertices, and optionally over texture coordinates of their own.

    Seams never split vertices: positions and texture coordinates have separate index arrays. A
    scene of several objects and materials is one mesh whose faces tell what they belong to.
    """

    positions: Float32  # (V, 3)
    triangles: Int32  # (F, 3) into positions, counter-clockwise from outside
    uvs: Float32 | None = None  # (T, 2), v = 1 at the texture's top row
    uv_triangles: Int32 | None = None  # (F, 3) into uvs
    name: str = "mesh"
    face_object: Int32 | None = None  # (F,) into objects; None: all belong to the first
    face_material: Int32 | None = None  # (F,) into materials
    face_texture: Int32 | None = None  # (F,) into textures: of a material, or of one of its tiles
    objects: tuple[str, ...] = ("mesh",)
    materials: tuple[str, ...] = ("material",)
    textures: tuple[str, ...] = ("texture",)
    notes: tuple[str, ...] = ()  # sentences on what a file has and the mesh has not, for the report
    origin: Origin | None = None

    def owners(self, of: Literal["object", "material", "texture"]) -> Int32:
        """Which object, material or texture each face belongs to, (F,) int32."""
        owners = getattr(self, f"face_{of}")
        return np.zeros(len(self.triangles), np.int32) if owners is None else owners


class Normalization(NamedTuple):
    """What `normalize` did: normalized = (original - center) / scale."""

    center: NDArray[np.float64]  # (3,)
    scale: float


def check_form(mesh: Mesh) -> None:
    """Raise InvalidMesh unless the arrays have their shapes and types and there are faces.

    What is in them may be anything: `sanitize` finds out what can be painted.
    """
    _check_array("vertices", mesh.positions, np.float32, 3)
    _check_array("triangles", mesh.triangles, np.int32, 3)
    if len(mesh.positions) == 0 or len(mesh.triangles) == 0:
        raise InvalidMesh(
            f"The mesh is empty ({len(mesh.positions)} vertices, {len(mesh.triangles)} faces).",
            hint="Choose an object with faces.",
        )
    if len(mesh.triangles) > MAX_FACES:
        raise InvalidMesh(
            f"The mesh has {len(mesh.triangles)} triangles, more than {MAX_FACES}.",
            hint="Decimate it first.",
        )
    for of in ("object", "material", "texture"):
        _check_owners(of, mesh)
    if mesh.uvs is None and mesh.uv_triangles is None:
        return
    if mesh.uvs is None or mesh.uv_triangles is None:
        raise InvalidMesh(
            "Texture coordinates and their triangles must come together.", hint="Send both or none."
        )
    _check_array("texture coordinates", mesh.uvs, np.float32, 2)
    _check_array("texture triangles", mesh.uv_triangles, np.int32, 3)
    if len(mesh.uv_triangles) != len(mesh.triangles):
        raise InvalidMesh(
            f"The mesh has {len(mesh.triangles)} triangles but {len(mesh.uv_triangles)} "
            "texture triangles.",
            hint="Send one texture triangle for each triangle.",
        )


def check(mesh: Mesh) -> None:
    """Raise InvalidMesh in one sentence unless every face can be looked at and painted.

    That is what `sanitize` makes of any mesh with a surface.
    """
    check_form(mesh)
    _check_finite("vertices", mesh.positions)
    _check_range("triangles", mesh.triangles, len(mesh.positions))
    extent = float(np.ptp(mesh.positions.astype(np.float64), axis=0).max())
    if float(areas(mesh).sum()) <= NO_AREA * extent**2:
        raise InvalidMesh(
            "All faces of the mesh have zero area.", hint="Check its scale and its faces."
        )
    if mesh.uvs is not None and mesh.uv_triangles is not None:
        _check_finite("texture coordinates", mesh.uvs)
        _check_range("texture triangles", mesh.uv_triangles, len(mesh.uvs))


def require_uvs(mesh: Mesh) -> None:
    """Raise InvalidMesh unless the mesh has texture coordinates."""
    if mesh.uvs is None or mesh.uv_triangles is None:
        raise InvalidMesh("The mesh has no texture coordinates.", hint="Unwrap it first.")


def check_uvs(mesh: Mesh) -> None:
    """Raise InvalidMesh unless the mesh can be painted on one texture over [0, 1] x [0, 1]."""
    require_uvs(mesh)
    assert mesh.uvs is not None
    assert mesh.uv_triangles is not None
    corners = mesh.uvs.astype(np.float64)[mesh.uv_triangles]  # (F, 3, 2)
    low, high = corners.min(axis=1), corners.max(axis=1)
    outside = (low < -UV_TOLERANCE).any(axis=1) | (high > 1 + UV_TOLERANCE).any(axis=1)
    if outside.any():
        tile = np.floor(low + UV_TOLERANCE)
        in_one_tile = bool((high <= tile + 1 + UV_TOLERANCE).all() and (tile >= 0).all())
        kind = "UDIM tiles" if in_one_tile and tile[:, 0].max() < 10 else "a tiling texture"
        raise InvalidMesh(
            f"{int(outside.sum())} of {len(corners)} faces have texture coordinates outside "
            f"[0, 1] (laid out for {kind}).",
            hint="Unwrap the mesh into one tile first.",
        )
    first, second = corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]
    if np.abs(first[:, 0] * second[:, 1] - first[:, 1] * second[:, 0]).sum() <= NO_AREA:
        raise InvalidMesh(
            "The texture coordinates cover no area of the texture.", hint="Unwrap the mesh first."
        )


def normalize(mesh: Mesh) -> tuple[Mesh, Normalization]:
    """Scale the smallest ball around the used vertices to the unit ball (section 3.3.5).

    Loose vertices do not count. Computed in float64.
    Paper: not said; the authors center the mean of the vertices, so that a dense part pulls all out
    of the middle of the views and makes it small.
    """
    positions = mesh.positions.astype(np.float64)
    used = positions[np.unique(mesh.triangles)]
    center = _center_of_ball(used)
    scale = float(np.linalg.norm(used - center, axis=1).max())
    moved = ((positions - center) / scale).astype(np.float32)
    return replace(mesh, positions=moved), Normalization(center, scale)


def _center_of_ball(points: NDArray[np.float64]) -> NDArray[np.float64]:
    """The center (3,) of the smallest ball around points (P, 3), to a thousandth of its radius.

    Few points lie on its surface: those are collected, and the center walks towards the farthest of
    them in ever smaller steps (Badoiu and Clarkson, Smaller Core-Sets for Balls, 2003).
    """
    center, radius = (points.min(axis=0) + points.max(axis=0)) / 2, 0.0
    core: list[NDArray[np.float64]] = []
    for _ in range(MOST_CORE):
        away = np.linalg.norm(points - center, axis=1)
        if away.max() <= 1.001 * radius:
            break
        core.append(points[away.argmax()])
        center = np.mean(core, axis=0)
        for step in range(2, 1000):
            apart = np.linalg.norm(core - center, axis=1)
            center = center + (core[apart.argmax()] - center) / step
        radius = np.linalg.norm(core - center, axis=1).max()
    return center


def normals(mesh: Mesh) -> Float32:
    """Geometric unit normals by winding, (F, 3) float32; 0 for faces without area."""
    cross = _cross(mesh)
    length = np.linalg.norm(cross, axis=1, keepdims=True)
    return np.divide(cross, length, out=np.zeros_like(cross), where=length > 0).astype(np.float32)


def areas(mesh: Mesh) -> NDArray[np.float64]:
    """Areas of the faces, (F,) float64 in squared units of the positions."""
    return np.linalg.norm(_cross(mesh), axis=1) / 2


def weld(positions: Float32) -> NDArray[np.int64]:
    """Number the distinct places of the vertices (V, 3). -> (V,) int64

    Files split vertices along seams and sharp edges; faces meet there all the same.
    """
    bits = (positions + np.float32(0)).view(np.uint32).astype(np.uint64)  # + 0: -0 is 0
    factors = np.array([0x9E3779B97F4A7C15, 0xC2B2AE3D27D4EB4F, 0x165667B19E3779F9], np.uint64)
    key = (bits * factors).sum(axis=1, dtype=np.uint64)
    key ^= key >> np.uint64(29)
    order = np.argsort(key, kind="stable")
    sorted_ = bits[order]
    first = np.ones(len(order), bool)
    first[1:] = (sorted_[1:] != sorted_[:-1]).any(axis=1)
    place = np.empty(len(order), np.int64)
    place[order] = np.cumsum(first) - 1
    return place


def _cross(mesh: Mesh) -> NDArray[np.float64]:
    a, b, c = mesh.positions.astype(np.float64)[mesh.triangles.T]
    return np.cross(b - a, c - a)


def _check_array(what: str, array: NDArray, dtype: type, columns: int) -> None:
    if array.dtype != dtype or array.ndim != 2 or array.shape[1] != columns:
        raise InvalidMesh(
            f"The {what} have shape {array.shape} and type {array.dtype}.",
            hint=f"They must be (count, {columns}) {np.dtype(dtype).name}.",
        )


def _check_owners(of: str, mesh: Mesh) -> None:
    owners, names = getattr(mesh, f"face_{of}"), getattr(mesh, f"{of}s")
    if owners is None:
        return
    if owners.dtype != np.int32 or owners.shape != (len(mesh.triangles),):
        raise InvalidMesh(
            f"The {of} ids have shape {owners.shape} and type {owners.dtype}.",
            hint=f"They must be ({len(mesh.triangles)},) int32, one for each triangle.",
        )
    wrong = owners[(owners < 0) | (owners >= len(names))]
    if len(wrong):
        raise InvalidMesh(
            f"{len(wrong)} faces belong to {of} {wrong[0]}, but there are {len(names)}.",
            hint=f"Number the {of}s from 0.",
        )


def _check_finite(what: str, array: NDArray) -> None:
    bad = np.flatnonzero(~np.isfinite(array).all(axis=1))
    if len(bad):
        raise InvalidMesh(
            f"{len(bad)} of {len(array)} {what} are not finite numbers (first: {bad[0]}).",
            hint="Repair or delete them.",
        )


def _check_range(what: str, indices: Int32, count: int) -> None:
    bad = np.flatnonzero(((indices < 0) | (indices >= count)).any(axis=1))
    if len(bad):
        raise InvalidMesh(
            f"{len(bad)} of {len(indices)} {what} point outside the {count} entries they index "
            f"(first: {bad[0]}).",
            hint="Export the mesh again.",
        )
