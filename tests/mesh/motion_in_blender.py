# SPDX-License-Identifier: GPL-3.0-or-later
"""Run by Blender's Python: writes how what is in glTF files moves and looks, as JSON.

Arguments: the JSON file to write, then the files.
"""

import json
import os
import sys
from pathlib import Path

import bpy
import numpy as np


def rounded(array: object) -> list:
    return np.round(np.array(array, float), 4).tolist()


def curves_of(action: bpy.types.Action) -> list:
    legacy = list(getattr(action, "fcurves", []))
    layered = [
        curve
        for layer in getattr(action, "layers", [])
        for strip in layer.strips
        for bag in strip.channelbags
        for curve in bag.fcurves
    ]
    return sorted(
        [curve.data_path, curve.array_index, rounded([p.co for p in curve.keyframe_points])]
        for curve in layered or legacy
    )


def frame_of(frame: int) -> dict:
    """Every corner of every triangle, and every bone, as the scene has them at a frame."""
    bpy.context.scene.frame_set(frame)
    graph = bpy.context.evaluated_depsgraph_get()
    found = {}
    for obj in bpy.context.scene.objects:
        if obj.type == "ARMATURE":
            found[obj.name] = {bone.name: rounded(bone.matrix) for bone in obj.pose.bones}
        if obj.type == "MESH":
            mesh = obj.evaluated_get(graph).to_mesh()
            mesh.transform(obj.matrix_world)
            mesh.calc_loop_triangles()
            corners = [mesh.vertices[k].co for t in mesh.loop_triangles for k in t.vertices]
            found[obj.name] = sorted(rounded(np.array(corners).reshape(-1, 9)))
    return found


def shown(path: Path) -> dict:
    bpy.ops.wm.read_factory_settings(use_empty=True)
    bpy.ops.import_scene.gltf(filepath=str(path))
    objects = sorted(bpy.context.scene.objects, key=lambda each: each.name)
    meshes = [each for each in objects if each.type == "MESH"]
    return {
        "objects": [[each.name, each.type, each.parent and each.parent.name] for each in objects],
        "extras": {each.name: dict(each.items()) for each in objects},
        "keys": {
            each.name: [[key.name, key.value] for key in each.data.shape_keys.key_blocks]
            for each in meshes
            if each.data.shape_keys
        },
        "groups": {each.name: [group.name for group in each.vertex_groups] for each in meshes},
        "colors": {each.name: len(each.data.color_attributes) for each in meshes},
        "layers": {each.name: len(each.data.uv_layers) for each in meshes},
        "textures": {
            each.name: [
                [
                    node.image.size[0]
                    for node in slot.material.node_tree.nodes
                    if node.type == "TEX_IMAGE"
                ]
                for slot in each.material_slots
            ]
            for each in meshes
        },
        "actions": {action.name: curves_of(action) for action in bpy.data.actions},
        "frames": [frame_of(frame) for frame in (0, 6, 12, 18, 24)],
    }


if __name__ == "__main__":
    target, *paths = sys.argv[1:]
    Path(target).write_text(json.dumps({path: shown(Path(path)) for path in paths}))
    sys.stdout.flush()
    os._exit(0)  # without Blender's static destructors, which hang or crash under a foreign main
