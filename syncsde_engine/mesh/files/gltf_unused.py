# SPDX-License-Identifier: GPL-3.0-or-later
"""What nothing in a glTF file needs any more once its painted primitives have new materials."""

from __future__ import annotations

from collections.abc import Container, Iterator, Set
from typing import Any

from .gltf_file import Entry, GltfFile, extensions, items, member

# With these alone it is known where a file refers to its materials, textures and images.
SURVEYED = ("KHR_materials_", "KHR_texture_", "EXT_texture_", "MSFT_texture_", "KHR_draco_")
SURVEYED += ("KHR_lights_punctual", "KHR_mesh_quantization", "KHR_node_visibility", "KHR_xmp")
SURVEYED += ("EXT_mesh_gpu_instancing", "EXT_meshopt_", "KHR_meshopt_")
OF_TEXTURES = SURVEYED[:4]  # extensions that go when no material needs them
VARIANTS = "KHR_materials_variants"

Primitives = Set[tuple[int, int]]  # of a mesh, which one
Places = dict[str, list[int]]  # in the document's lists


def unused(file: GltfFile, painted: Primitives) -> Places:
    """The materials, textures, images and buffer views that only `painted` primitives use.

    Nothing, if the file has extensions that may refer to them in ways that are not known. What
    nobody uses as it is stays. Raises Broken.
    """
    nothing: Places = {"materials": [], "textures": [], "images": [], "bufferViews": []}
    if not all(str(name).startswith(SURVEYED) for name in file.entries("extensionsUsed")):
        return nothing
    old, kept = set(), set()
    for number, mesh in enumerate(file.entries("meshes")):
        for place, primitive in enumerate(items(mesh, "primitives")):
            of = old if (number, place) in painted else kept
            of.update(_integers([primitive.get("material")]))
            variants = member(extensions(primitive), VARIANTS)
            kept.update(_integers(each.get("material") for each in items(variants, "mappings")))
    materials = old - kept
    textures = _used_by(file, "materials", materials, _textures)
    images = _used_by(file, "textures", textures, _images)
    views = _used_by(file, "images", images, lambda image: _integers([image.get("bufferView")]))
    views -= _views_of_arrays(file)
    found = {"materials": materials, "textures": textures, "images": images, "bufferViews": views}
    return {
        kind: sorted(place for place in places if place < len(file.entries(kind)))
        for kind, places in found.items()
    }


def without_unused_names(document: Entry) -> None:
    """Take extensions of materials and textures that are nowhere any more off the lists."""
    there = set(_extension_names(document))
    for key in ("extensionsUsed", "extensionsRequired"):
        names = items(document, key)
        kept = [n for n in names if n in there or not str(n).startswith(OF_TEXTURES)]
        if len(kept) < len(names):
            document[key] = kept
            if not kept:
                del document[key]


def _used_by(file: GltfFile, kind: str, gone: Container[int], used: Any) -> set[int]:
    """What entries that are `gone` use, and none that stays."""
    old, kept = set(), set()
    for number, entry in enumerate(file.entries(kind)):
        (old if number in gone else kept).update(used(entry))
    return old - kept


def _textures(value: Any, key: str = "") -> Iterator[int]:
    """The textures that a material, or a part of it, refers to."""
    if isinstance(value, dict):
        if key.lower().endswith("texture"):
            yield from _integers([value.get("index")])
        for name, inner in value.items():
            yield from _textures(inner, name)


def _images(texture: Entry) -> Iterator[int]:
    for holder in (texture, *extensions(texture).values()):
        yield from _integers([holder.get("source")])


def _views_of_arrays(file: GltfFile) -> set[int]:
    found = []
    for accessor in file.entries("accessors"):
        sparse = member(accessor, "sparse")
        for holder in (accessor, member(sparse, "indices"), member(sparse, "values")):
            found.append(holder.get("bufferView"))
    for mesh in file.entries("meshes"):
        for primitive in items(mesh, "primitives"):
            found += [each.get("bufferView") for each in extensions(primitive).values()]
    return set(_integers(found))


def _extension_names(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        for key, inner in value.items():
            if key == "extensions" and isinstance(inner, dict):
                yield from inner
            yield from _extension_names(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _extension_names(inner)


def _integers(values: Any) -> Iterator[int]:
    return (v for v in values if isinstance(v, int) and not isinstance(v, bool) and v >= 0)
