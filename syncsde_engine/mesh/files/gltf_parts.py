# SPDX-License-Identifier: GPL-3.0-or-later
"""Primitives of glTF meshes as arrays: triangles, strips and fans, morphed, with coordinates."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..mesh import UV_TOLERANCE
from .gltf_file import Broken, Entry, GltfFile, compressed, extensions, items, member, numbers
from .polygons import strip_corners

DRACO = "KHR_draco_mesh_compression"
TRANSFORM = "KHR_texture_transform"
TRIANGLES, STRIP, FAN = 4, 5, 6

Float = NDArray[np.float64]
Int = NDArray[np.int64]


class Part(NamedTuple):
    """A primitive of a mesh, in the mesh's own space; only the vertices that faces use."""

    positions: Float  # (V, 3)
    triangles: Int  # (F, 3); -1 for vertices that are not there
    uvs: Float | None  # (V, 2), v upwards
    joints: Int | None  # (V, J)
    weights: Float | None  # (V, J)
    material: int | None
    vertices: Int  # (V,) their numbers in the primitive
    transform: Entry  # the texture transform that moved the coordinates; empty if none did
    number: int = 0  # of the primitive in its mesh


def read_part(file: GltfFile, primitive: Any, weights: Float, uv_set: int) -> Part | None:
    """Read a primitive, morphed by weights (M,); None if it is points or lines, or is nowhere.

    Raises Broken, or InvalidMesh for compression.
    """
    attributes = member(primitive, "attributes")
    mode = primitive.get("mode", TRIANGLES)
    if mode not in (TRIANGLES, STRIP, FAN) or "POSITION" not in attributes:
        return None
    position = file.entry("accessors", attributes["POSITION"])
    if DRACO in extensions(primitive) and "bufferView" not in position:
        raise compressed(file.path, DRACO)
    positions = file.array(attributes["POSITION"], ("VEC3",)).astype(np.float64)
    targets = items(primitive, "targets")
    for weight, target in zip(weights, targets, strict=False):
        if weight and "POSITION" in target:
            positions += weight * _same(file, positions, target["POSITION"], ("VEC3",))
    if "indices" in primitive:
        index = file.array(primitive["indices"], ("SCALAR",))[:, 0].astype(np.int64)
    else:
        index = np.arange(len(positions))
    triangles = _triangles(index, mode)
    if len(triangles) == 0:
        return None
    there = (triangles >= 0) & (triangles < len(positions))
    used = np.zeros(len(positions), bool)
    used[triangles[there]] = True
    place = np.append(np.cumsum(used) - 1, -1)
    triangles = place[np.where(there, triangles, len(positions))]
    uvs = joints = shares = None
    transform: Entry = {}
    if f"TEXCOORD_{uv_set}" in attributes:
        uvs = _same(file, positions, attributes[f"TEXCOORD_{uv_set}"], ("VEC2",))[used]
        uvs, transform = _transformed(file, uvs.astype(np.float64), primitive.get("material"))
        uvs = np.stack([uvs[:, 0], 1 - uvs[:, 1]], axis=1)
    sets = [k for k in range(64) if {f"JOINTS_{k}", f"WEIGHTS_{k}"} <= attributes.keys()]
    if sets:
        joints, shares = (
            np.concatenate(
                [_same(file, positions, attributes[f"{kind}_{k}"], ("VEC4",)) for k in sets], axis=1
            )[used]
            for kind in ("JOINTS", "WEIGHTS")
        )
        joints = joints.astype(np.int64)
    material = primitive.get("material")
    if material is not None:
        file.entry("materials", material)
    vertices = np.flatnonzero(used)
    return Part(positions[used], triangles, uvs, joints, shares, material, vertices, transform)


def _same(file: GltfFile, positions: Float, index: Any, kinds: tuple[str, ...]) -> NDArray:
    """An attribute of as many elements as there are positions. Raises Broken."""
    array = file.array(index, kinds)
    if len(array) != len(positions):
        raise Broken(f"accessor {index} has {len(array)} elements for {len(positions)} vertices")
    return array


def _triangles(index: Int, mode: int) -> Int:
    """Triangles (F, 3) of indices (N,) as glTF winds those of lists, strips and fans."""
    if mode == TRIANGLES:
        return index[: len(index) // 3 * 3].reshape(-1, 3)
    if len(index) < 3:
        return np.zeros((0, 3), np.int64)
    if mode == FAN:
        return np.stack([np.full(len(index) - 2, index[0]), index[1:-1], index[2:]], axis=1)
    first = np.arange(len(index) - 2)
    return index[strip_corners(first, first)]


def _transformed(file: GltfFile, uvs: Float, material: Any) -> tuple[Float, Entry]:
    """Coordinates (V, 2) as the base color's texture transform places them, v downwards; and it.

    That is done only where it brings them into the unit square, and told: programs that quantize
    files put the scale of the coordinates there.
    """
    if material is None or _within(uvs):
        return uvs, {}
    entry = file.entry("materials", material)
    texture = member(member(entry, "pbrMetallicRoughness"), "baseColorTexture")
    transform = member(extensions(texture), TRANSFORM)
    if not transform:
        return uvs, {}
    angle = float(numbers({"rotation": [transform.get("rotation", 0)]}, "rotation", 1, [])[0])
    turn = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    scaled = uvs * numbers(transform, "scale", 2, [1, 1])
    moved = scaled @ turn.T + numbers(transform, "offset", 2, [0, 0])
    return (moved, transform) if _within(moved) else (uvs, {})


def _within(uvs: Float) -> bool:
    return bool((np.abs(uvs - 0.5) <= 0.5 + UV_TOLERANCE).all())
