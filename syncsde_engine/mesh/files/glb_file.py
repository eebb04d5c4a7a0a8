# SPDX-License-Identifier: GPL-3.0-or-later
"""A GLB file in the making: new, or one that was read and is changed."""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

FLOAT, UNSIGNED_INT = 5126, 5125
UNSIGNED = {2: 5123, 4: UNSIGNED_INT}  # by bytes
VERTICES, INDICES = 34962, 34963
LINEAR, MIPMAPPED, CLAMP, REPEAT = 9729, 9987, 33071, 10497
KINDS = ("materials", "textures", "images", "bufferViews")

Entry = dict[str, Any]


def sampler(*, repeats: bool) -> Entry:
    """How a texture is looked up beyond its border, and from afar."""
    wrap = REPEAT if repeats else CLAMP
    return {"magFilter": LINEAR, "minFilter": MIPMAPPED, "wrapS": wrap, "wrapT": wrap}


class GlbFile:
    """Its JSON document and its one buffer.

    `free` has, for some of KINDS, places in the document's lists whose entries nothing needs: they
    are taken before the lists grow.
    """

    def __init__(
        self,
        document: Entry | None = None,
        body: bytes = b"",
        free: Mapping[str, list[int]] | None = None,
    ) -> None:
        self.document: Entry = document or {
            "asset": {"version": "2.0", "generator": "SyncSDE"},
            "scene": 0,
        }
        self.body = bytearray(body + b"\0" * (-len(body) % 4))
        self.free = {kind: list((free or {}).get(kind, [])) for kind in KINDS}

    def add(self, kind: str, entry: Entry) -> int:
        """Put into one of the document's lists; returns the number of the entry."""
        entries = self.document.setdefault(kind, [])
        if self.free.get(kind):
            place = self.free[kind].pop(0)
            entries[place] = entry
            return place
        entries.append(entry)
        return len(entries) - 1

    def view(self, blob: bytes, **options: int) -> int:
        view = {"buffer": 0, "byteOffset": len(self.body), "byteLength": len(blob), **options}
        self.body += blob + b"\0" * (-len(blob) % 4)
        return self.add("bufferViews", view)

    def accessor(self, array: NDArray, kind: str) -> int:
        """Store indices (SCALAR) or rows of floats; positions need their box."""
        of_indices = kind == "SCALAR"
        blob = array.astype("<u4" if of_indices else "<f4").tobytes()
        view = self.view(blob, target=INDICES if of_indices else VERTICES)
        component = UNSIGNED_INT if of_indices else FLOAT
        entry = {"bufferView": view, "componentType": component, "count": len(array), "type": kind}
        if kind == "VEC3":
            entry |= {"min": array.min(axis=0).tolist(), "max": array.max(axis=0).tolist()}
        return self.add("accessors", entry)

    def indices(self, array: NDArray) -> int:
        """Store indices (N,) in their own type: uint16 or uint32."""
        view = self.view(array.tobytes(), target=INDICES)
        component = UNSIGNED[array.itemsize]
        entry = {"componentType": component, "count": len(array), "type": "SCALAR"}
        return self.add("accessors", {"bufferView": view, **entry})

    def rows(self, array: NDArray, like: Entry) -> int:
        """Store the elements (count, width) of a vertex attribute as those of accessor `like`."""
        size = array.itemsize * array.shape[1]
        padded = np.zeros((len(array), size + -size % 4), np.uint8)
        padded[:, :size] = np.ascontiguousarray(array).view(np.uint8).reshape(len(array), size)
        stride = {"byteStride": padded.shape[1]} if size % 4 else {}
        view = self.view(padded.tobytes(), target=VERTICES, **stride)
        kept = {key: like[key] for key in like if key not in ("byteOffset", "sparse")}
        entry = {**kept, "bufferView": view, "count": len(array)}
        if "min" in like and "max" in like and np.isfinite(array).all():
            entry |= {"min": array.min(axis=0).tolist(), "max": array.max(axis=0).tolist()}
        return self.add("accessors", entry)

    def material(
        self, name: str, png: bytes, maps: Mapping[str, bytes], sampler: int, **place: Any
    ) -> int:
        """Add a material of a PNG file and its maps, "normal" and "surface" as PNG files.

        Where no map says more it is matte: roughness 1, metallic 0. `place` says which texture
        coordinates all of them have, as glTF's textureInfo does.
        """
        surface: Entry = {
            "baseColorTexture": {"index": self._texture(name, png, sampler), **place},
            "metallicFactor": 0.0,
            "roughnessFactor": 1.0,
        }
        material = {"name": name, "doubleSided": True, "pbrMetallicRoughness": surface}
        if "normal" in maps:
            normal = self._texture(f"{name} normal", maps["normal"], sampler)
            material["normalTexture"] = {"index": normal, **place}
        if "surface" in maps:
            packed = {"index": self._texture(f"{name} surface", maps["surface"], sampler), **place}
            surface |= {"metallicRoughnessTexture": packed, "metallicFactor": 1.0}
            material["occlusionTexture"] = packed
        return self.add("materials", material)

    def _texture(self, name: str, png: bytes, sampler: int) -> int:
        entry = {"bufferView": self.view(png), "mimeType": "image/png", "name": name}
        return self.add("textures", {"sampler": sampler, "source": self.add("images", entry)})

    def content(self) -> bytes:
        buffer = next(iter(self.document.get("buffers", [])), {})
        self.document["buffers"] = [{**buffer, "byteLength": len(self.body)}]
        header = json.dumps(self.document).encode()
        header += b" " * (-len(header) % 4)
        chunks = struct.pack("<I4s", len(header), b"JSON") + header
        chunks += struct.pack("<I4s", len(self.body), b"BIN\0") + self.body
        return struct.pack("<4sII", b"glTF", 2, 12 + len(chunks)) + chunks
