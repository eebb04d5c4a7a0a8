# SPDX-License-Identifier: GPL-3.0-or-later
"""A material of the artist's as what to paint like: the images that its Principled BSDF shows."""

from __future__ import annotations

from typing import Any, NamedTuple

import bpy
import numpy as np

from . import images
from .images import ImageError

# Map -> input of the Principled BSDF, and its value in a new one.
INPUTS = {"roughness": ("Roughness", 0.5), "metallic": ("Metallic", 0.0)}
PASSED_THROUGH = ("NodeReroute",)
SEPARATED = ("ShaderNodeSeparateColor", "ShaderNodeSeparateRGB")


class Source(NamedTuple):
    """Where an input of a node gets its pixels."""

    image: bpy.types.Image
    channel: int | None = None  # the only one of the image that counts
    inverted: bool = False
    strength: float = 1.0  # of normals


def find(name: str) -> bpy.types.Material:
    """Look a material up by its name. Raises ImageError."""
    material = bpy.data.materials.get(name)
    if material is None:
        raise ImageError(f"There is no material {name!r} in this file.")
    return material


def read(material: bpy.types.Material) -> dict[str, np.ndarray]:
    """The pictures of a material by the engine's names of inputs, as `images.read` has them.

    "like" is the base color; "like_normal_gl" and so on are there if the material has them.
    Raises ImageError for a material that no images make.
    """
    principled = _principled(material)
    color = source_of(principled.inputs["Base Color"], material)
    if color is None:
        raise ImageError(
            f"The base color of {material.name!r} is no image: connect an Image Texture to it, or "
            "bake it."
        )
    found = {"like": _pixels(color)}
    for kind, (socket, usual) in INPUTS.items():
        source = source_of(principled.inputs[socket], material)
        value = principled.inputs[socket].default_value
        if source is not None:
            found[f"like_{kind}"] = _pixels(source)
        elif abs(value - usual) > 1e-3:
            even = np.full_like(found["like"][..., :1], round(255 * min(max(value, 0), 1)))
            found[f"like_{kind}"] = even
    relief = _relief(principled, material)
    return found | {f"like_{kind}": _pixels(source) for kind, source in relief.items()}


def _principled(material: bpy.types.Material) -> bpy.types.Node:
    tree = material.node_tree
    nodes = tree.nodes if tree is not None else ()
    output = tree.get_output_node("ALL") if tree is not None else None
    shown = _before(output.inputs["Surface"]) if output is not None else None
    if shown is not None and shown[0].bl_idname == "ShaderNodeBsdfPrincipled":
        return shown[0]
    several = [node for node in nodes if node.bl_idname == "ShaderNodeBsdfPrincipled"]
    if len(several) != 1:
        raise ImageError(
            f"The material {material.name!r} has no Principled BSDF that says how it looks."
        )
    return several[0]


def source_of(socket: bpy.types.NodeSocket, material: bpy.types.Material) -> Source | None:
    """The image behind an input, or None if nothing is connected. Raises ImageError."""
    before = _before(socket)
    if before is None:
        return None
    node, output = before
    if node.bl_idname == "ShaderNodeTexImage":
        if node.image is None:
            raise ImageError(f"The node {node.name!r} of {material.name!r} has no image.")
        return Source(node.image, 3 if output.name == "Alpha" else None)
    if node.bl_idname in SEPARATED:
        source = source_of(node.inputs[0], material)
        return source and source._replace(channel=list(node.outputs).index(output))
    if node.bl_idname == "ShaderNodeInvert" and node.inputs[0].default_value == 1:
        source = source_of(node.inputs["Color"], material)
        return source and source._replace(inverted=not source.inverted)
    raise ImageError(
        f"{socket.name} of {material.name!r} comes from the node {node.name!r}, and only images "
        "are taken: bake it to an image first."
    )


def _relief(principled: Any, material: bpy.types.Material) -> dict[str, Source]:
    """Normals and heights, behind Normal Map, Bump and Displacement nodes."""
    found: dict[str, Source] = {}
    socket = principled.inputs["Normal"]
    while (before := _before(socket)) is not None:
        node = before[0]
        if node.bl_idname == "ShaderNodeBump":
            kind, socket, pixels = "height", node.inputs["Normal"], node.inputs["Height"]
        elif node.bl_idname == "ShaderNodeNormalMap" and node.space == "TANGENT":
            kind, socket, pixels = "normal_gl", node.inputs["Strength"], node.inputs["Color"]
        else:
            raise ImageError(
                f"Normal of {material.name!r} comes from the node {node.name!r}, and only normal "
                "maps in tangent space and bumps are taken."
            )
        source = source_of(pixels, material)
        if source is not None and kind == "normal_gl":
            source = source._replace(strength=node.inputs["Strength"].default_value)
        if source is not None:
            found.setdefault(kind, source)
        if kind == "normal_gl":
            break
    output = material.node_tree.get_output_node("ALL")
    before = _before(output.inputs["Displacement"]) if output is not None else None
    if before is not None and before[0].bl_idname == "ShaderNodeDisplacement":
        source = source_of(before[0].inputs["Height"], material)
        if source is not None:
            found.setdefault("height", source)
    return found


def _before(socket: Any) -> tuple[Any, Any] | None:
    """The node and its output that feed an input."""
    while socket.is_linked:
        link = socket.links[0]
        if link.from_node.mute and link.from_node.internal_links:
            socket = link.from_node.internal_links[0].from_socket
        elif link.from_node.bl_idname in PASSED_THROUGH:
            socket = link.from_node.inputs[0]
        else:
            return link.from_node, link.from_socket
    return None


def _pixels(source: Source) -> np.ndarray:
    pixels = images.read(source.image)
    if source.channel is not None:
        channel = min(source.channel, pixels.shape[2] - 1)
        pixels = np.ascontiguousarray(pixels[..., channel : channel + 1])
    if source.inverted:
        pixels = np.concatenate([255 - pixels[..., :3], pixels[..., 3:]], axis=2)
    if source.strength != 1:
        slopes = (pixels[..., :2] - 128.0) * source.strength + 128
        pixels = pixels.copy()
        pixels[..., :2] = np.clip(np.rint(slopes), 0, 255)
    return pixels
