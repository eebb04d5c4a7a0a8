# SPDX-License-Identifier: GPL-3.0-or-later
"""Show textures on an object through new materials, and take them away again.

The mesh's own materials stay where they are: an object gets the new materials as object-linked
overrides of its slots, so that others that share its mesh keep their look. What was there is noted
in a custom property; what the mesh got, an empty slot or a UV layer, in one of its own.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set
from pathlib import Path

import bpy
import numpy as np

from . import images, material_maps

NOTE = "syncsde_before"  # custom property of the object: how to restore its slots
ADDED = "syncsde_added"  # custom property of the mesh: what it has been given
ROUGHNESS = 0.8  # the texture holds color only: little gloss, so that it reads


class ChangedError(ValueError):
    """The mesh is not the one that was textured; the text says what to do."""


def require_unchanged(obj: bpy.types.Object, new_uvs: np.ndarray | None) -> None:
    """Raise ChangedError if these are not the corners of this mesh."""
    if new_uvs is not None and len(new_uvs) != len(obj.data.loops):
        raise ChangedError(f"{obj.name!r} was edited while it was being textured: generate again.")


def prepare(
    obj: bpy.types.Object,
    uv_layer: str,
    new_uvs: np.ndarray | None,
    together: Sequence[bpy.types.Object] = (),
) -> str:
    """Note how the object is, and add a UV layer if there are `new_uvs`. Returns its name.

    A layer that came with an earlier texture goes, unless objects show it that are not textured
    `together` with this one.
    """
    mesh = obj.data
    if new_uvs is not None:
        if not _textured(mesh, but=[obj, *together]):
            for old in added_uv_layers(mesh):
                mesh.uv_layers.remove(mesh.uv_layers[old])
        uv_layer = _add_uv_layer(mesh, uv_layer, new_uvs)
        _note_added(mesh, uv_layers={*added_uv_layers(mesh), uv_layer})
    if NOTE not in obj:
        obj[NOTE] = {"slots": {}}
    return uv_layer


def show(obj: bpy.types.Object, materials: Mapping[int, bpy.types.Material]) -> None:
    """Put a material into each of some slots; an object without slots gets an empty one first.

    Generated materials that were there are deleted unless something else uses them.
    """
    note = obj[NOTE]
    if not obj.material_slots:
        obj.data.materials.append(None)
        _note_added(obj.data, slot=True)
    for index, material in materials.items():
        slot = obj.material_slots[index]
        link = slot.link
        old = slot.material if _is_ours(slot) else None
        slot.link = "OBJECT"
        if str(index) not in note["slots"]:
            before = {"link": link}
            if slot.material is not None:
                before["material"] = slot.material
            note["slots"][str(index)] = before
        slot.material = material
        if old is not None and old != material and old.users == 0:
            _delete(old)


def new(
    image: bpy.types.Image,
    uv_layer: str,
    maps: Mapping[str, bpy.types.Image] | None = None,
    relief: float = 0.0,
) -> bpy.types.Material:
    """Make a material that shows an image, and maps by the engine's names, on a UV layer.

    `relief` is how far white of a height stands above black, in the object's units.
    """
    material = bpy.data.materials.new(image.name)
    material["syncsde"] = True
    if material.node_tree is None:  # before Blender 5.0
        material.use_nodes = True
    nodes, links = material.node_tree.nodes, material.node_tree.links
    principled = next(node for node in nodes if node.bl_idname == "ShaderNodeBsdfPrincipled")
    texture = nodes.new("ShaderNodeTexImage")
    texture.image = image
    texture.location = principled.location.x - 320.0, principled.location.y
    uv_map = nodes.new("ShaderNodeUVMap")
    uv_map.uv_map = uv_layer
    uv_map.location = texture.location.x - 220.0, texture.location.y
    links.new(uv_map.outputs["UV"], texture.inputs["Vector"])
    links.new(texture.outputs["Color"], principled.inputs["Base Color"])
    principled.inputs["Roughness"].default_value = ROUGHNESS
    material_maps.link(material, uv_map, maps or {}, relief)
    nodes.active = texture
    return material


def apply(
    obj: bpy.types.Object,
    image_path: Path,
    uv_layer: str,
    new_uvs: np.ndarray | None = None,
    name: str = "",
) -> bpy.types.Material:
    """Make a material from an image file and show it on the whole object.

    Raises ChangedError if `new_uvs` are not those of this mesh, RuntimeError if there is no image.
    """
    require_unchanged(obj, new_uvs)
    image = images.load(image_path, name or image_path.stem)
    uv_layer = prepare(obj, uv_layer, new_uvs)
    material = new(image, uv_layer)
    show(obj, dict.fromkeys(range(max(len(obj.material_slots), 1)), material))
    return material


def shown_image(obj: bpy.types.Object) -> bpy.types.Image | None:
    """The texture of the first generated material that an object shows."""
    for slot in obj.material_slots:
        if _is_ours(slot):
            return slot.material.node_tree.nodes.active.image
    return None


def original(obj: bpy.types.Object, index: int) -> bpy.types.Material | None:
    """The artist's material in a slot, also while a generated one is shown there."""
    if index >= len(obj.material_slots):
        return None
    slot = obj.material_slots[index]
    if not _is_ours(slot):
        return slot.material
    before = obj[NOTE]["slots"].get(str(index)) if NOTE in obj else None
    if before is None:
        return None
    return obj.data.materials[index] if before["link"] == "DATA" else before.get("material")


def added_uv_layers(mesh: bpy.types.Mesh) -> list[str]:
    """The UV layers that came with textures and are still there."""
    noted = mesh[ADDED]["uv_layers"].splitlines() if ADDED in mesh else []
    return [name for name in noted if name in mesh.uv_layers]


def is_textured(obj: bpy.types.Object) -> bool:
    """Whether `remove` has something to do."""
    return NOTE in obj


def remove(obj: bpy.types.Object) -> None:
    """Restore the object's materials and UV layers; delete new materials that are unused then."""
    note = obj[NOTE]
    ours = set()
    for index, before in note["slots"].items():
        if int(index) < len(obj.material_slots) and _is_ours(obj.material_slots[int(index)]):
            slot = obj.material_slots[int(index)]
            ours.add(slot.material)
            slot.material = before.get("material")
            slot.link = before["link"]
    del obj[NOTE]
    _tidy(obj.data)
    for material in ours:
        if material.users == 0:
            _delete(material)


def _tidy(mesh: bpy.types.Mesh) -> None:
    """Take what a mesh was given off again, once no object shows a texture on it."""
    if ADDED not in mesh or _textured(mesh):
        return
    for name in added_uv_layers(mesh):
        mesh.uv_layers.remove(mesh.uv_layers[name])
    slots = [obj.material_slots[0] for obj in _objects_of(mesh) if obj.material_slots]
    empty = all(slot.material is None for slot in slots)
    if mesh[ADDED]["slot"] and len(mesh.materials) == 1 and empty:
        mesh.materials.clear()
    del mesh[ADDED]


def _textured(mesh: bpy.types.Mesh, but: Sequence[bpy.types.Object] = ()) -> bool:
    """Whether an object of this mesh shows a texture."""
    return any(NOTE in obj for obj in _objects_of(mesh) if obj not in but)


def _objects_of(mesh: bpy.types.Mesh) -> list[bpy.types.Object]:
    return [obj for obj in bpy.data.objects if obj.data == mesh]


def _note_added(
    mesh: bpy.types.Mesh, *, slot: bool = False, uv_layers: Set[str] | None = None
) -> None:
    """Note what a mesh was given, beside what it was given before."""
    before = mesh.get(ADDED, {"slot": False, "uv_layers": ""})
    layers = before["uv_layers"] if uv_layers is None else "\n".join(sorted(uv_layers))
    mesh[ADDED] = {"slot": slot or bool(before["slot"]), "uv_layers": layers}


def _is_ours(slot: bpy.types.MaterialSlot) -> bool:
    return slot.material is not None and "syncsde" in slot.material


def _add_uv_layer(mesh: bpy.types.Mesh, name: str, uvs: np.ndarray) -> str:
    layer = mesh.uv_layers.new(name=name, do_init=False)
    layer.uv.foreach_set("vector", np.ascontiguousarray(uvs, np.float32).ravel())
    mesh.update()
    return layer.name


def _delete(material: bpy.types.Material) -> None:
    shown = {node.image for node in material.node_tree.nodes if hasattr(node, "image")}
    bpy.data.materials.remove(material)
    for image in shown:
        if image is not None and image.users == 0 and not image.is_dirty:  # or painted on since
            bpy.data.images.remove(image)
