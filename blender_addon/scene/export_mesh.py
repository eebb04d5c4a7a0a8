# SPDX-License-Identifier: GPL-3.0-or-later
"""Read mesh objects as the artist sees them into the arrays that the engine takes."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator, Sequence
from math import radians
from typing import NamedTuple

import bpy
import numpy as np
from mathutils import Vector

from . import material

NEW_UV_LAYER = "SyncSDE"
MOST_UV_LAYERS = 8
NO_MATERIAL = "material"  # the engine's name for what has none


class MeshError(ValueError):
    """The mesh cannot be textured; the text says why and what to do."""


class ExportedMesh(NamedTuple):
    """The engine's tensors, and which UV layer of the mesh they belong to."""

    tensors: dict[str, np.ndarray]  # positions, triangles, uvs, uv_triangles, face_material
    materials: list[str]  # that face_material counts
    uv_layer: str
    new_uvs: np.ndarray | None  # (corners, 2) of a layer the mesh does not have yet


def export(
    context: bpy.types.Context,
    obj: bpy.types.Object,
    origin: Vector | None = None,
    *,
    unwrap: bool = False,
) -> ExportedMesh:
    """Export an object with modifiers and pose; leaves file, mode and selection as found.

    Positions have the object's world rotation and scale, and its place as seen from `origin`. That
    is the object itself by default: up, front and proportions are what the artist sees, and moving
    an object does not change its texture. With `unwrap` its UV layers are passed over.
    """
    mode = obj.mode
    if mode != "OBJECT":
        bpy.ops.object.mode_set(mode="OBJECT")  # flushes unfinished edits into the mesh
    obj.data.update_tag()  # scripts that change a mesh do not always say so
    try:
        if not obj.data.polygons and not obj.modifiers:
            raise MeshError(f"{obj.name!r} has no faces to texture.")
        if not unwrap and (obj.data.uv_layers or _evaluated_has_uvs(context, obj)):
            return _read(context, obj, None, origin)
        with _unwrapped_copy(context, obj) as copy:
            return _read(context, copy, _corner_uvs(copy.data.uv_layers.active), origin)
    finally:
        if mode != "OBJECT":
            bpy.ops.object.mode_set(mode=mode)


def join(objects: Sequence[str], parts: Sequence[ExportedMesh]) -> dict[str, np.ndarray]:
    """One mesh of several objects, with their names and those of their materials."""
    materials = list(dict.fromkeys(name for part in parts for name in part.materials))
    arrays: dict[str, list[np.ndarray]] = {}
    vertices = corners = 0
    for number, part in enumerate(parts):
        tensors = part.tensors
        table = np.array([materials.index(name) for name in part.materials], np.int32)
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


@contextlib.contextmanager
def _evaluated(context: bpy.types.Context, obj: bpy.types.Object) -> Iterator[bpy.types.Mesh]:
    evaluated = obj.evaluated_get(context.evaluated_depsgraph_get())
    try:
        yield evaluated.to_mesh()
    finally:
        evaluated.to_mesh_clear()


def _evaluated_has_uvs(context: bpy.types.Context, obj: bpy.types.Object) -> bool:
    with _evaluated(context, obj) as mesh:
        return bool(mesh.uv_layers)


def _read(
    context: bpy.types.Context,
    obj: bpy.types.Object,
    new_uvs: np.ndarray | None,
    origin: Vector | None,
) -> ExportedMesh:
    active = obj.data.uv_layers.active
    with _evaluated(context, obj) as mesh:
        layer = mesh.uv_layers.get(active.name) if active else mesh.uv_layers.active
        if layer is None:
            raise MeshError(
                f"The modifiers of {obj.name!r} remove its UV layer {active.name!r}: "
                "choose another active UV layer."
            )
        mesh.calc_loop_triangles()
        if not mesh.loop_triangles:
            raise MeshError(f"{obj.name!r} has no faces to texture.")
        positions = _array(mesh.vertices, "co", 3, np.float32)
        triangles = _array(mesh.loop_triangles, "vertices", 3, np.int32)
        uv_triangles = _array(mesh.loop_triangles, "loops", 3, np.int32)
        uvs, uv_triangles = _weld(_corner_uvs(layer), uv_triangles, triangles)
        slots = _array(mesh.loop_triangles, "material_index", 1, np.int32)[:, 0]
        name = layer.name
    linear = np.array(obj.matrix_world.to_3x3(), dtype=np.float64)
    if np.linalg.det(linear) < 0:  # a mirrored object shows its faces the other way round
        triangles, uv_triangles = triangles[:, ::-1], uv_triangles[:, ::-1]
    place = obj.matrix_world.translation - origin if origin is not None else (0, 0, 0)
    world = (positions @ linear.T + np.array(place)).astype(np.float32)
    materials = [name_of_slot(obj, index) for index in range(max(len(obj.material_slots), 1))]
    y_up = np.stack((world[:, 0], world[:, 2], -world[:, 1]), axis=1)
    tensors = {
        "positions": y_up,
        "triangles": np.ascontiguousarray(triangles),
        "uvs": uvs,
        "uv_triangles": np.ascontiguousarray(uv_triangles),
        "face_material": np.clip(slots, 0, len(materials) - 1),
    }
    return ExportedMesh(tensors, materials, name, new_uvs)


def name_of_slot(obj: bpy.types.Object, index: int) -> str:
    """The name of the artist's material in a slot, also while a generated one is shown."""
    own = material.original(obj, index)
    return own.name if own is not None else NO_MATERIAL


def _weld(
    corner_uvs: np.ndarray, corners: np.ndarray, triangles: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Merge corners that share vertex and UV, so that the islands stay connected."""
    vertex_of = np.zeros(len(corner_uvs), np.int32)
    vertex_of[corners] = triangles
    keys = np.column_stack((vertex_of, corner_uvs.view(np.int32)))
    order = np.lexsort(keys.T)
    starts = np.ones(len(keys), bool)
    starts[1:] = np.any(keys[order][1:] != keys[order][:-1], axis=1)
    merged = np.empty(len(keys), np.int32)
    merged[order] = np.cumsum(starts) - 1
    return np.ascontiguousarray(corner_uvs[order[starts]]), merged[corners]


def _array(
    collection: bpy.types.bpy_prop_collection, attribute: str, width: int, dtype: type
) -> np.ndarray:
    values = np.empty(len(collection) * width, dtype)
    collection.foreach_get(attribute, values)
    return values.reshape(-1, width)


def _corner_uvs(layer: bpy.types.MeshUVLoopLayer) -> np.ndarray:
    return _array(layer.uv, "vector", 2, np.float32)


@contextlib.contextmanager
def _unwrapped_copy(
    context: bpy.types.Context, obj: bpy.types.Object
) -> Iterator[bpy.types.Object]:
    """Unwrap a passing copy: the artist's mesh gets its new layer together with the texture."""
    objects = context.view_layer.objects
    active, selected = objects.active, list(context.selected_objects)
    copy = obj.copy()
    mesh = copy.data = obj.data.copy()
    if (old := material.added_uv_layer(copy)) is not None:
        mesh.uv_layers.remove(old)
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
