# SPDX-License-Identifier: GPL-3.0-or-later
"""The nodes that show the maps of a texture: normals, roughness, metal and height."""

from __future__ import annotations

from collections.abc import Mapping

import bpy

DIRECT = {"roughness": "Roughness", "metallic": "Metallic"}  # map -> input of the Principled BSDF
ROW = 300.0  # from node to node, downwards
RELIEF = 0.05  # where nothing is known


def link(
    material: bpy.types.Material,
    uv_map: bpy.types.Node,
    maps: Mapping[str, bpy.types.Image],
    relief: float,
) -> None:
    """Connect maps to the material's Principled BSDF, on the UVs of the node `uv_map`.

    A height beside normals would bend light twice: it waits at a Displacement node for the artist
    to connect it. Occlusion has no place in Blender's materials.
    """
    nodes, links = material.node_tree.nodes, material.node_tree.links
    principled = next(node for node in nodes if node.bl_idname == "ShaderNodeBsdfPrincipled")

    def image_node(kind: str, row: int) -> bpy.types.Node:
        node = nodes.new("ShaderNodeTexImage")
        node.image = maps[kind]
        node.label = kind.capitalize()
        node.location = principled.location.x - 640.0, principled.location.y - ROW * row
        links.new(uv_map.outputs["UV"], node.inputs["Vector"])
        return node

    def beside(kind: str, row: int) -> bpy.types.Node:
        node = nodes.new(kind)
        node.location = principled.location.x - 320.0, principled.location.y - ROW * row
        return node

    for row, kind in enumerate(DIRECT, start=1):
        if kind in maps:
            image = image_node(kind, row)
            links.new(image.outputs["Color"], principled.inputs[DIRECT[kind]])
    if "normal" in maps:
        normal = beside("ShaderNodeNormalMap", 3)
        normal.uv_map = uv_map.uv_map
        links.new(image_node("normal", 3).outputs["Color"], normal.inputs["Color"])
        links.new(normal.outputs["Normal"], principled.inputs["Normal"])
    if "height" in maps and "normal" in maps:
        displaced = beside("ShaderNodeDisplacement", 4)
        displaced.label = "Connect to Displacement"
        displaced.inputs["Scale"].default_value = relief or RELIEF
        links.new(image_node("height", 4).outputs["Color"], displaced.inputs["Height"])
    elif "height" in maps:
        bump = beside("ShaderNodeBump", 4)
        bump.inputs["Distance"].default_value = relief or RELIEF
        links.new(image_node("height", 4).outputs["Color"], bump.inputs["Height"])
        links.new(bump.outputs["Normal"], principled.inputs["Normal"])
