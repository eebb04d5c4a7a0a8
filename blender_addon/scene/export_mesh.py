# SPDX-License-Identifier: GPL-3.0-or-later
"""Read mesh objects as the artist sees them into the arrays that the engine takes."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator, Mapping, Sequence
from math import radians
from typing import NamedTuple

import bpy
import numpy as np
from mathutils import Vector

from . import contract, material

NEW_UV_LAYER = "SyncSDE"
MOST_UV_LAYERS = 8
NO_MATERIAL = "material"  # the engine's name for what has none, unless one is called so


class MeshError(ValueError):
    """The mesh cannot be textured; the text says why and what to do."""


class ExportedMesh(NamedTuple):
    """The engine's tensors, and which UV layer of the mesh they belong to."""

    tensors: dict[str, np.ndarray]  # positions, triangles, uvs, uv_triangles, face_material
    slots: list[contract.Slot]  # that face_material counts
    uv_layer: str
    new_uvs: np.ndarray | None  # (corners, 2) of a layer the mesh does not have yet


def export(
    context: bpy.types.Context,
    obj: bpy.types.Object,
    origin: Vector | None = None,
    *,
    unwrap: bool = False,
    names: Mapping[bpy.types.Material | None, str] | None = None,
) -> ExportedMesh:
    """Export an object with modifiers and pose; leaves file, mode and selection as found.

    Positions have the object's world rotation and scale, and its place as seen from `origin`. That
    is the object itself by default: up, front and proportions are what the artist sees, and moving
    an object does not change its texture. With `unwrap` its UV layers are passed over. `names` are
    those of `names_of` for all objects of a run. Raises MeshError.
    """
    names = names_of([obj]) if names is None else names
    mode = obj.mode
    if mode != "OBJECT":
        bpy.ops.object.mode_set(mode="OBJECT")  # flushes unfinished edits into the mesh
    obj.data.update_tag()  # scripts that change a mesh do not always say so
    try:
        evaluated = _evaluated(context, obj)
        if not evaluated.data.polygons:
            raise MeshError(f"{obj.name!r} has no faces to texture.")
        if not unwrap and (obj.data.uv_layers or _named_layers(evaluated.data)):
            return _read(evaluated, obj, None, origin, names)
        if not obj.data.polygons:
            raise MeshError(
                f"The modifiers of {obj.name!r} make all of its faces and no UV layer: store one "
                "in its nodes (Store Named Attribute: 2D Vector, Face Corner), or apply them."
            )
        with _unwrapped_copy(context, obj) as copy:
            new_uvs = _corner_uvs(copy.data.uv_layers.active)
            return _read(_evaluated(context, copy), copy, new_uvs, origin, names)
    finally:
        if mode != "OBJECT":
            bpy.ops.object.mode_set(mode=mode)


def join(objects: Sequence[str], parts: Sequence[ExportedMesh]) -> dict[str, np.ndarray]:
    """One mesh of several objects, with their names and those of their materials."""
    materials = list(dict.fromkeys(slot.name for part in parts for slot in part.slots))
    arrays: dict[str, list[np.ndarray]] = {}
    vertices = corners = 0
    for number, part in enumerate(parts):
        tensors = part.tensors
        table = np.array([materials.index(slot.name) for slot in part.slots], np.int32)
        shifted = {
            **tensors,
            "triangles": tensors["triangles"] + np.int32(vertices),
            "uv_triangles": tensors["uv_triangles"] + np.int32(corners),
            "face_material": table[tensors["face_material"]],
            "face_object": np.full(len(tensors["triangles"]), number, np.int32),
        }
        vertices += len(tensors["positions"])
        corners += len(tensors["uvs"])
        for name, array in shifted.items():
            arrays.setdefault(name, []).append(array)
    names = json.dumps({"objects": list(objects), "materials": materials}).encode()
    whole = {name: np.concatenate(array) for name, array in arrays.items()}
    return {**whole, "names": np.frombuffer(names, np.uint8)}


def names_of(
    objects: Sequence[bpy.types.Object],
) -> dict[bpy.types.Material | None, str]:
    """What the engine calls the artist's materials on some objects: each by a name of its own.

    Slots without a material are all called the same.
    """
    slots = [(obj, index) for obj in objects for index in range(len(obj.material_slots))]
    own = dict.fromkeys(material.original(obj, index) for obj, index in slots)
    names: dict[bpy.types.Material | None, str] = {}
    for each in (*(each for each in own if each is not None), None):
        wanted = NO_MATERIAL if each is None else each.name
        number = 1
        while (name := wanted if number == 1 else f"{wanted} ({number})") in names.values():
            number += 1  # linked materials may be called as local ones are
        names[each] = name
    return names


def _evaluated(context: bpy.types.Context, obj: bpy.types.Object) -> bpy.types.Object:
    """The object with its modifiers and pose. Raises MeshError where Blender makes none."""
    evaluated = obj.evaluated_get(context.evaluated_depsgraph_get())
    if not evaluated.is_evaluated:
        raise MeshError(
            f"{obj.name!r} is disabled in viewports, so that its modifiers do not count: "
            "enable it, and its collection, in the Outliner."
        )
    return evaluated


def _named_layers(mesh: bpy.types.Mesh) -> list[str]:
    """The UV layers that materials can name: what begins with a dot is Blender's own."""
    return [layer.name for layer in mesh.uv_layers if not layer.name.startswith(".")]


def _layer(mesh: bpy.types.Mesh, obj: bpy.types.Object) -> bpy.types.MeshUVLoopLayer:
    """The evaluated UV layer to paint on. Raises MeshError."""
    active, there = obj.data.uv_layers.active, _named_layers(mesh)
    if active is not None and active.name not in there:
        remedy = f"choose another active UV layer ({', '.join(there)})" if there else "apply them"
        raise MeshError(
            f"The modifiers of {obj.name!r} remove its UV layer {active.name!r}: {remedy}."
        )
    return mesh.uv_layers[active.name if active is not None else there[0]]


def _require_own_materials(
    evaluated: bpy.types.Object, obj: bpy.types.Object, used: Sequence[int]
) -> None:
    """Raise MeshError if modifiers give faces materials that no slot of the object stands for."""
    own = [each and each.original for each in obj.data.materials]
    for index in used:
        given = evaluated.data.materials[index] if index < len(evaluated.data.materials) else None
        if given is not None and given.original not in own[index : index + 1]:
            raise MeshError(
                f"The modifiers of {obj.name!r} set the material {given.name!r}, which would hide "
                "the texture: take Set Material out of its nodes, or apply them."
            )


def _read(
    evaluated: bpy.types.Object,
    obj: bpy.types.Object,
    new_uvs: np.ndarray | None,
    origin: Vector | None,
    names: Mapping[bpy.types.Material | None, str],
) -> ExportedMesh:
    mesh = evaluated.data
    layer = _layer(mesh, obj)
    mesh.calc_loop_triangles()
    positions = np.empty((len(mesh.vertices), 3), np.float32)
    mesh.attributes["position"].data.foreach_get("vector", positions.ravel())
    corners = np.empty((len(mesh.loop_triangles), 3), np.int32)
    mesh.loop_triangles.foreach_get("loops", corners.ravel())
    faces = np.empty(len(corners), np.int32)
    mesh.loop_triangle_polygons.foreach_get("value", faces)
    vertices = contract.corner_vertices(mesh)
    triangles = vertices[corners]
    uvs, uv_triangles = _weld(_corner_uvs(layer), corners, vertices)
    slots = _slots(obj, names)
    face_material = np.clip(contract.face_slots(mesh)[faces], 0, len(slots) - 1)
    _require_own_materials(evaluated, obj, np.unique(contract.face_slots(mesh)).tolist())
    linear = np.array(obj.matrix_world.to_3x3(), dtype=np.float32)
    if np.linalg.det(linear) < 0:  # a mirrored object shows its faces the other way round
        triangles, uv_triangles = triangles[:, ::-1], uv_triangles[:, ::-1]
    place = obj.matrix_world.translation - origin if origin is not None else (0, 0, 0)
    world = positions @ linear.T + np.array(place, np.float32)
    y_up = np.stack((world[:, 0], world[:, 2], -world[:, 1]), axis=1)
    tensors = {
        "positions": y_up,
        "triangles": np.ascontiguousarray(triangles),
        "uvs": uvs,
        "uv_triangles": np.ascontiguousarray(uv_triangles),
        "face_material": face_material,
    }
    return ExportedMesh(tensors, slots, layer.name, new_uvs)


def _slots(
    obj: bpy.types.Object, names: Mapping[bpy.types.Material | None, str]
) -> list[contract.Slot]:
    """The object's slots with the artist's materials, also while generated ones are shown."""
    found = []
    for index in range(max(len(obj.material_slots), 1)):
        own = material.original(obj, index)
        told = ("", 0) if own is None else (own.name, own.session_uid)
        found.append(contract.Slot(names[own], *told))
    return found


def _weld(
    uvs: np.ndarray, corners: np.ndarray, vertices: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Merge corners that share vertex and UV, so that the islands stay connected.

    `uvs` (n, 2) and `vertices` (n,) are of all corners, `corners` (triangles, 3) of the triangles.
    One sort by vertex and a mix of the UV's bits: where two UVs of a vertex were to mix to the
    same, corners might stay apart, but never are different ones merged.
    """
    bits = (uvs + np.float32(0)).view(np.uint32).astype(np.uint64)  # -0 is 0
    mixed = bits[:, 0] * np.uint64(0x9E3779B1) ^ bits[:, 1] * np.uint64(0x85EBCA77)
    keys = vertices.astype(np.uint64) << np.uint64(32) | mixed & np.uint64(0xFFFFFFFF)
    order = np.argsort(keys)
    sorted_vertices, sorted_uvs = vertices[order], uvs[order]
    starts = np.ones(len(order), bool)
    starts[1:] = sorted_vertices[1:] != sorted_vertices[:-1]
    starts[1:] |= (sorted_uvs[1:] != sorted_uvs[:-1]).any(axis=1)
    merged = np.empty(len(order), np.int32)
    merged[order] = np.cumsum(starts, dtype=np.int32) - 1
    return np.ascontiguousarray(sorted_uvs[starts]), merged[corners]


def _corner_uvs(layer: bpy.types.MeshUVLoopLayer) -> np.ndarray:
    uvs = np.empty((len(layer.uv), 2), np.float32)
    layer.uv.foreach_get("vector", uvs.ravel())
    return uvs


@contextlib.contextmanager
def _unwrapped_copy(
    context: bpy.types.Context, obj: bpy.types.Object
) -> Iterator[bpy.types.Object]:
    """Unwrap a passing copy: the artist's mesh gets its new layer together with the texture."""
    objects = context.view_layer.objects
    active, selected = objects.active, list(context.selected_objects)
    copy = obj.copy()
    mesh = copy.data = obj.data.copy()
    for old in material.added_uv_layers(mesh):
        mesh.uv_layers.remove(mesh.uv_layers[old])
    if len(mesh.uv_layers) == MOST_UV_LAYERS:
        bpy.data.objects.remove(copy)
        bpy.data.meshes.remove(mesh)
        raise MeshError(
            f"{obj.name!r} has {MOST_UV_LAYERS} UV layers, and no more fit: remove one."
        )
    context.scene.collection.objects.link(copy)
    try:
        for other in selected:
            other.select_set(False)
        copy.hide_viewport = False
        copy.hide_set(False)
        copy.select_set(True)
        objects.active = copy
        mesh.uv_layers.active = mesh.uv_layers.new(name=NEW_UV_LAYER)
        bpy.ops.object.mode_set(mode="EDIT")
        bpy.ops.mesh.reveal()
        bpy.ops.mesh.select_all(action="SELECT")
        bpy.ops.uv.smart_project(angle_limit=radians(66.0), island_margin=0.01)
        bpy.ops.object.mode_set(mode="OBJECT")
        yield copy
    finally:
        bpy.data.objects.remove(copy)
        bpy.data.meshes.remove(mesh)
        objects.active = active
        for other in selected:
            other.select_set(True)
