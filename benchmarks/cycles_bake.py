# SPDX-License-Identifier: GPL-3.0-or-later
"""Bake ten projected views onto a mesh with Cycles; a part of geometry.py that runs in Blender.

    python benchmarks/cycles_bake.py mesh.npz VIEW TEXTURE

Every view is an image on its own projected coordinates; the material shows their mean, unlit.
"""

import os
import sys
import time

import bpy
import numpy as np


def main(file: str, view: int, texture: int) -> None:
    arrays = np.load(file)
    bpy.ops.wm.read_homefile(use_empty=True, use_factory_startup=True)
    mesh = bpy.data.meshes.new("ball")
    triangles, views = arrays["triangles"], arrays["views"]
    mesh.vertices.add(len(arrays["positions"]))
    mesh.vertices.foreach_set("co", arrays["positions"].ravel())
    mesh.loops.add(triangles.size)
    mesh.loops.foreach_set("vertex_index", triangles.ravel())
    mesh.polygons.add(len(triangles))
    mesh.polygons.foreach_set("loop_start", np.arange(0, triangles.size, 3, dtype=np.int32))
    mesh.update(calc_edges=True)
    layer = mesh.uv_layers.new(name="UVMap")
    layer.uv.foreach_set("vector", arrays["uvs"][triangles.ravel()].ravel())
    for number, places in enumerate(views):
        attribute = mesh.attributes.new(f"view{number}", "FLOAT2", "POINT")
        attribute.data.foreach_set("vector", np.ascontiguousarray(places, np.float32).ravel())
    obj = bpy.data.objects.new("ball", mesh)
    bpy.context.scene.collection.objects.link(obj)
    bpy.context.view_layer.objects.active = obj
    obj.select_set(True)
    mesh.materials.append(material(len(views), view, texture))
    scene = bpy.context.scene
    scene.render.engine = "CYCLES"
    scene.cycles.device, scene.cycles.samples = "CPU", 1
    seconds = []
    for _ in range(3):
        start = time.perf_counter()
        bpy.ops.object.bake(type="EMIT", margin=0)
        seconds.append(time.perf_counter() - start)
    print("bake", sorted(seconds)[1], flush=True)


def material(views: int, view: int, texture: int) -> "bpy.types.Material":
    made = bpy.data.materials.new("views")
    made.use_nodes = True
    nodes, link = made.node_tree.nodes, made.node_tree.links.new
    nodes.clear()
    total = None
    for number in range(views):
        place, image = nodes.new("ShaderNodeAttribute"), nodes.new("ShaderNodeTexImage")
        place.attribute_name = f"view{number}"
        image.image = bpy.data.images.new(f"view{number}", view, view)
        image.image.generated_type = "COLOR_GRID"
        link(place.outputs["Vector"], image.inputs["Vector"])
        mix = nodes.new("ShaderNodeVectorMath")
        mix.operation = "ADD"
        link(image.outputs["Color"], mix.inputs[0])
        if total is not None:
            link(total, mix.inputs[1])
        total = mix.outputs[0]
    emission, output = nodes.new("ShaderNodeEmission"), nodes.new("ShaderNodeOutputMaterial")
    emission.inputs["Strength"].default_value = 1 / views
    link(total, emission.inputs["Color"])
    link(emission.outputs[0], output.inputs["Surface"])
    target = nodes.new("ShaderNodeTexImage")
    target.image = bpy.data.images.new("baked", texture, texture)
    nodes.active = target
    return made


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
    os._exit(0)  # the bpy wheel may hang or crash in static destructors
