# SPDX-License-Identifier: GPL-3.0-or-later
"""What of an object its texture depends on, as hashes: whether a result still fits when it comes.

Positions are not among it, because a texture lies on UVs: pose, place and shape may change.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import bpy
import numpy as np

from . import material


@dataclass(frozen=True)
class Slot:
    """A material slot as it was exported."""

    name: str  # of its textures, in the engine's report
    material: str = ""  # the artist's, or nothing
    session_uid: int = 0


@dataclass(frozen=True)
class Contract:
    """Hashes, in hexadecimal digits, of what was exported; empty ones hold always."""

    corners: int = 0
    topology: str = ""  # which vertices are at the corners of which faces
    uvs: str = ""  # of the UV layer that is painted on
    faces: str = ""  # which slot each face has


def take(obj: bpy.types.Object, uv_layer: str, slots: int) -> Contract:
    """Take an object's contract; a UV layer that the mesh does not have is no part of it."""
    mesh = mesh_of(obj)
    layer = mesh.uv_layers.get(uv_layer)
    uvs = "" if layer is None else _uvs(layer)
    return Contract(len(mesh.loops), _topology(mesh), uvs, _faces(mesh, slots))


def layer_now(obj: bpy.types.Object, uv_layer: str, contract: Contract) -> str:
    """The name that a UV layer has now, or nothing: one that was renamed is known by its UVs."""
    layers = mesh_of(obj).uv_layers
    if uv_layer in layers or not contract.uvs:
        return uv_layer
    return next((each.name for each in layers if _uvs(each) == contract.uvs), "")


def changes(
    obj: bpy.types.Object, uv_layer: str, contract: Contract, slots: Sequence[Slot]
) -> list[str]:
    """What of an object is not as it was, each such as "its faces"; nothing if all holds."""
    now = take(obj, layer_now(obj, uv_layer, contract), len(slots))
    if contract.topology and now.topology != contract.topology:
        return ["its faces"]
    found = []
    if contract.uvs and now.uvs != contract.uvs:
        found.append(f"its UV layer {uv_layer!r}")
    if contract.faces and now.faces != contract.faces:
        found.append("the materials of its faces")
    return found + _of_slots(obj, slots)


def is_of(obj: bpy.types.Object, uv_layer: str, contract: Contract) -> bool:
    """Whether an object, whatever it is called, has this topology and these UVs.

    None has while it is edited: Blender keeps the mesh elsewhere then.
    """
    if obj.type != "MESH" or not contract.topology or obj.data.is_editmode:
        return False
    mesh = mesh_of(obj)
    if len(mesh.loops) != contract.corners or _topology(mesh) != contract.topology:
        return False
    return bool(layer_now(obj, uv_layer, contract))


def mesh_of(obj: bpy.types.Object) -> bpy.types.Mesh:
    """The mesh that a texture lies on: the object's own, or what modifiers make of an empty one."""
    mesh = obj.data
    if not mesh.polygons:
        mesh = obj.evaluated_get(bpy.context.evaluated_depsgraph_get()).data
    assert isinstance(mesh, bpy.types.Mesh)
    return mesh


def _of_slots(obj: bpy.types.Object, slots: Sequence[Slot]) -> list[str]:
    if not slots:
        return []
    if len(obj.material_slots) != len(slots) and (obj.material_slots or len(slots) > 1):
        return ["the number of its material slots"]
    found = []
    for index, before in enumerate(slots):
        own = material.original(obj, index)
        name, uid = (own.name, own.session_uid) if own is not None else ("", 0)
        if name != before.material and uid != before.session_uid:
            found.append(f"the material in its slot {index + 1}")
    return found


def _topology(mesh: bpy.types.Mesh) -> str:
    starts = np.empty(len(mesh.polygons), np.int32)
    mesh.polygons.foreach_get("loop_start", starts)
    return _hash(corner_vertices(mesh), starts)


def _uvs(layer: bpy.types.MeshUVLoopLayer) -> str:
    uvs = np.empty(len(layer.uv) * 2, np.float32)
    layer.uv.foreach_get("vector", uvs)
    return _hash(uvs)


def _faces(mesh: bpy.types.Mesh, slots: int) -> str:
    return _hash(np.clip(face_slots(mesh), 0, max(slots, 1) - 1))


def corner_vertices(mesh: bpy.types.Mesh) -> np.ndarray:
    """The vertex of each corner, (corners,) int32, without a Python call for each."""
    vertices = np.empty(len(mesh.loops), np.int32)
    mesh.attributes[".corner_vert"].data.foreach_get("value", vertices)
    return vertices


def face_slots(mesh: bpy.types.Mesh) -> np.ndarray:
    """The number in the material_index of each face, (faces,) int32."""
    slots = np.zeros(len(mesh.polygons), np.int32)
    attribute = mesh.attributes.get("material_index")
    if attribute is not None:  # Blender leaves it out where all are 0
        attribute.data.foreach_get("value", slots)
    return slots


def _hash(*arrays: np.ndarray) -> str:
    digest = hashlib.blake2b(digest_size=16)
    for array in arrays:
        digest.update(array)
    return digest.hexdigest()
