# SPDX-License-Identifier: GPL-3.0-or-later
"""Where the nodes, instances and joints of a glTF file put the vertices of its meshes."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from .gltf_file import Broken, Entry, GltfFile, extensions, is_index, items, member, numbers
from .gltf_parts import Part

INSTANCING = "EXT_mesh_gpu_instancing"
PLACES = {"TRANSLATION": "VEC3", "ROTATION": "VEC4", "SCALE": "VEC3"}  # of instances

Float = NDArray[np.float64]


def matrix_of(node: Entry) -> Float:
    """What a node does to what is below it, (4, 4). Raises Broken."""
    if "matrix" in node:
        return numbers(node, "matrix", 16, []).reshape(4, 4).T
    parts = (
        numbers(node, "translation", 3, [0, 0, 0]),
        numbers(node, "rotation", 4, [0, 0, 0, 1]),
        numbers(node, "scale", 3, [1, 1, 1]),
    )
    return _placed(*(part[None] for part in parts))[0]


def _placed(translation: Float, rotation: Float, scale: Float) -> Float:
    """Matrices (N, 4, 4) of translations (N, 3), quaternions x y z w (N, 4) and scales (N, 3)."""
    length = np.linalg.norm(rotation, axis=1, keepdims=True)
    x, y, z, w = np.where(length > 0, rotation, [0, 0, 0, 1]).T / np.where(length > 0, length, 1).T
    turn = np.array(
        [
            [1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)],
            [2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)],
            [2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)],
        ]
    )
    matrices = np.tile(np.eye(4), (len(translation), 1, 1))
    matrices[:, :3, :3] = np.moveaxis(turn, 2, 0) * scale[:, None]
    matrices[:, :3, 3] = translation
    return matrices


def instances_of(file: GltfFile, node: Entry) -> dict[str, Float] | None:
    """Translations (N, 3), rotations (N, 4) and scales (N, 3) of a node's instances, if given.

    None if the node is drawn once. Raises Broken.
    """
    if INSTANCING not in extensions(node):
        return None
    attributes = member(extensions(node)[INSTANCING], "attributes")
    given = {
        name: file.array(attributes[name], (kind,)).astype(np.float64)
        for name, kind in PLACES.items()
        if name in attributes
    }
    counts = {len(array) for array in given.values()}
    if len(counts) != 1:
        raise Broken(f"the instances of a node are {sorted(counts)}")
    return given


def drawn(file: GltfFile, node: Entry, world: Float) -> Float:
    """Where a node's mesh is drawn, matrices (N, 4, 4)."""
    given = instances_of(file, node)
    if given is None:
        return world[None]
    count = len(next(iter(given.values())))
    return world @ _placed(
        given.get("TRANSLATION", np.zeros((count, 3))),
        given.get("ROTATION", np.tile([0.0, 0, 0, 1], (count, 1))),
        given.get("SCALE", np.ones((count, 3))),
    )


def joint_matrices(file: GltfFile, index: Any, worlds: Float) -> Float:
    """What the joints of a skin do to its vertices, from bind space to the scene, (J, 4, 4)."""
    skin = file.entry("skins", index)
    joints = items(skin, "joints")
    if not joints or not all(is_index(joint, len(worlds)) for joint in joints):
        raise Broken(f"skin {index} has joints that are not there")
    if "inverseBindMatrices" not in skin:
        return worlds[joints]
    bind = file.array(skin["inverseBindMatrices"], ("MAT4",)).astype(np.float64)
    if len(bind) < len(joints):
        raise Broken(f"skin {index} has {len(joints)} joints and {len(bind)} matrices")
    return worlds[joints] @ bind[: len(joints)].reshape(-1, 4, 4).swapaxes(1, 2)


def skinned(part: Part, matrices: Float) -> Float:
    """The vertices of a primitive as joints of these matrices (J, 4, 4) move them, (V, 3)."""
    if part.joints is None or part.weights is None:
        return part.positions @ matrices[0, :3, :3].T + matrices[0, :3, 3]
    total = part.weights.sum(axis=1, keepdims=True)
    weights = part.weights / np.where(total > 0, total, 1)
    moved = np.where(total > 0, 0, part.positions)
    for joints, weight in zip(part.joints.T, weights.T, strict=True):
        each = matrices[np.clip(joints, 0, len(matrices) - 1)]
        by = np.einsum("vij,vj->vi", each[:, :3, :3], part.positions) + each[:, :3, 3]
        moved = moved + weight[:, None] * by
    return moved
