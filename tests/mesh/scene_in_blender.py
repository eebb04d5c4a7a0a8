# SPDX-License-Identifier: GPL-3.0-or-later
"""Run by Blender's Python: writes what Blender shows of mesh files, as JSON, y up.

Arguments: the JSON file to write, then the mesh files.
"""

import json
import os
import sys
from pathlib import Path

import bpy
import numpy as np

IMPORT = {
    ".glb": lambda path: bpy.ops.import_scene.gltf(filepath=path),
    ".gltf": lambda path: bpy.ops.import_scene.gltf(filepath=path),
    ".obj": lambda path: bpy.ops.wm.obj_import(filepath=path),
    ".ply": lambda path: bpy.ops.wm.ply_import(filepath=path),
    ".stl": lambda path: bpy.ops.wm.stl_import(filepath=path),
}


def shown(path: Path) -> list[dict]:
    """Every triangle of every object: its corners in the scene, and their coordinates."""
    bpy.ops.wm.read_factory_settings(use_empty=True)
    IMPORT[path.suffix](str(path))
    bpy.context.view_layer.update()
    graph = bpy.context.evaluated_depsgraph_get()
    found = []
    for obj in bpy.context.scene.objects:
        if obj.type != "MESH" or not obj.visible_get():
            continue
        mesh = obj.evaluated_get(graph).to_mesh()
        mesh.transform(obj.matrix_world)
        mesh.calc_loop_triangles()
        layer = mesh.uv_layers[0].data if mesh.uv_layers else None
        names = [slot.name if slot else None for slot in mesh.materials] or [None]
        # Blender draws what is mirrored with its other side in front.
        order = -1 if obj.matrix_world.determinant() < 0 else 1
        for triangle in mesh.loop_triangles:
            points = np.array([mesh.vertices[k].co for k in triangle.vertices][::order])
            found.append(
                {
                    "points": (points @ [[1, 0, 0], [0, 0, -1], [0, 1, 0]]).tolist(),
                    "uvs": layer and [list(layer[k].uv) for k in triangle.loops][::order],
                    "object": obj.name,
                    "material": names[triangle.material_index],
                }
            )
    return found


if __name__ == "__main__":
    target, *paths = sys.argv[1:]
    Path(target).write_text(json.dumps({path: shown(Path(path)) for path in paths}))
    sys.stdout.flush()
    os._exit(0)  # without Blender's static destructors, which hang or crash under a foreign main
