# SPDX-License-Identifier: GPL-3.0-or-later
"""A glTF 2.0 file as its JSON document and arrays: .glb, or .gltf with its buffers beside it."""

from __future__ import annotations

import base64
import binascii
import json
import struct
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import unquote_to_bytes

import numpy as np
from numpy.typing import NDArray

from ...errors import InvalidMesh

COMPONENTS = {5120: "<i1", 5121: "<u1", 5122: "<i2", 5123: "<u2", 5125: "<u4", 5126: "<f4"}
WIDTHS = {"SCALAR": 1, "VEC2": 2, "VEC3": 3, "VEC4": 4, "MAT4": 16}
MOST_ELEMENTS = 12_000_000  # of an accessor: twice the corners of the largest mesh that is taken
MESHOPT = ("EXT_meshopt_compression", "KHR_meshopt_compression")

Entry = dict[str, Any]


class Broken(ValueError):
    """What is wrong with a file, as it is told in brackets."""


@dataclass
class GltfFile:
    """The document, and its buffers as far as they were asked for."""

    path: Path
    document: Entry
    binary: bytes | None = None  # of a .glb: its first buffer
    alone: bool = False  # nothing beside it is read, whatever it names
    buffers: dict[int, bytes] = field(default_factory=dict)

    def entries(self, kind: str) -> list[Any]:
        """One of the document's lists; empty if there is none."""
        return items(self.document, kind)

    def entry(self, kind: str, index: Any) -> Entry:
        """An entry of one of the document's lists. Raises Broken if there is none such."""
        entries = self.entries(kind)
        if not is_index(index, len(entries)) or not isinstance(entries[index], dict):
            raise Broken(f"it has no {kind} {str(index)[:20]}")
        return entries[index]

    def array(self, index: Any, kinds: tuple[str, ...]) -> NDArray:
        """The elements of an accessor of one of these types, (count, width).

        Integers that are said to be normalized become float64 in [0, 1] or [-1, 1]. Sparse values
        are filled in. Raises Broken.
        """
        elements = self.stored(index, kinds)
        if self.entry("accessors", index).get("normalized") is True and elements.dtype.kind != "f":
            elements = np.maximum(elements / float(np.iinfo(elements.dtype).max), -1)
        return elements

    def stored(self, index: Any, kinds: tuple[str, ...]) -> NDArray:
        """The same as it is stored, in the accessor's own type."""
        accessor = self.entry("accessors", index)
        kind, component = accessor.get("type"), accessor.get("componentType")
        if kind not in kinds or component not in COMPONENTS:
            raise Broken(f"accessor {index} is {str(kind)[:20]}, not {' or '.join(kinds)}")
        count = number(accessor, "count", f"accessor {index}", most=MOST_ELEMENTS)
        dtype, width = np.dtype(COMPONENTS[component]), WIDTHS[kind]
        if "bufferView" in accessor:
            offset = number(accessor, "byteOffset", f"accessor {index}", 0)
            elements = self.view(accessor["bufferView"], offset, dtype, count, width)
        else:
            elements = np.zeros((count, width), dtype)
        if "sparse" in accessor:
            elements = self._filled_in(elements, accessor["sparse"], f"accessor {index}")
        return elements

    def _filled_in(self, elements: NDArray, sparse: Any, what: str) -> NDArray:
        places, values = member(sparse, "indices"), member(sparse, "values")
        count = number(sparse, "count", f"sparse {what}", most=len(elements))
        component = COMPONENTS.get(places.get("componentType", 0), "<f4")
        if component == "<f4":
            raise Broken(f"the indices of the sparse {what} are no integers")
        at = self.view(
            places.get("bufferView"), number(places, "byteOffset", what, 0), component, count, 1
        )[:, 0]
        if (at >= len(elements)).any() or (at < 0).any():
            raise Broken(f"the sparse {what} changes elements that are not there")
        filled = elements.copy()
        offset = number(values, "byteOffset", what, 0)
        filled[at] = self.view(
            values.get("bufferView"), offset, elements.dtype, count, elements.shape[1]
        )
        return filled

    def view(
        self, index: Any, offset: int, dtype: np.dtype | str, count: int, width: int
    ) -> NDArray:
        """Elements (count, width) from `offset` bytes on in a buffer view. Raises Broken."""
        view, what, dtype = (
            self.entry("bufferViews", index),
            f"buffer view {index}",
            np.dtype(dtype),
        )
        content = self.buffer(view.get("buffer"), view)
        start = number(view, "byteOffset", what, 0)
        length = number(view, "byteLength", what)
        size = dtype.itemsize * width
        stride = number(view, "byteStride", what, 0) or size
        needed = offset + stride * (count - 1) + size if count else 0
        if needed > length or start + length > len(content):
            raise Broken(f"{what} is cut off")
        strides = (stride, dtype.itemsize)
        return np.ndarray((count, width), dtype, content, start + offset, strides).copy()

    def buffer(self, index: Any, view: Entry) -> bytes:
        """The bytes of a buffer for a view of it. Raises Broken, or InvalidMesh if compressed."""
        buffer = self.entry("buffers", index)
        for name in MESHOPT:
            stands_for = name in extensions(buffer) or ("uri" not in buffer and index > 0)
            if name in extensions(view) and stands_for:
                raise compressed(self.path, name)
        if index not in self.buffers:
            self.buffers[index] = self._read(index, buffer.get("uri"))
        return self.buffers[index]

    def _read(self, index: int, uri: Any) -> bytes:
        if uri is None:
            if index > 0 or self.binary is None:
                raise Broken(f"buffer {index} is not in it")
            return self.binary
        if not isinstance(uri, str):
            raise Broken(f"buffer {index} has no address")
        if uri.startswith("data:"):
            try:
                return base64.b64decode(uri.partition(",")[2], validate=True)
            except binascii.Error:
                raise Broken(f"buffer {index} is not base64") from None
        if "://" in uri:
            raise InvalidMesh(
                f"The mesh file {self.path.name!r} keeps its buffer elsewhere ({uri[:60]!r}).",
                hint="Download that file, or export the mesh as .glb.",
            )
        content = self.beside(uri)
        if content is None:
            raise InvalidMesh(
                f"The mesh file {self.path.name!r} needs the buffer {uri[:60]!r}, which is not "
                "there.",
                hint="Put that file beside it, or export the mesh as .glb.",
            )
        return content

    def beside(self, uri: str) -> bytes | None:
        """The content of a file that is named relative to this one; None if it is not there."""
        if self.alone:
            return None
        for name in (unquote_to_bytes(uri).decode(errors="replace"), uri):
            path = self.path.parent / name
            try:
                if path.is_file():  # and no pipe or device, which may never end
                    return path.read_bytes()
            except (OSError, ValueError):
                continue
        return None


def open_gltf(path: Path, content: bytes, *, alone: bool = False) -> GltfFile:
    """Take a file apart; `alone`, it must hold all of its buffers.

    Raises Broken, or InvalidMesh for a version that is not read.
    """
    binary = None
    if content[:4] == b"glTF":
        header = struct.unpack_from("<II", content, 4) if len(content) >= 12 else (2, 0)
        _require_version(path, header[0] == 2, str(header[0]))
        chunks = _chunks(content)
        content, binary = chunks.get(b"JSON", b""), chunks.get(b"BIN\0")
    try:
        document = json.loads(content.removeprefix(b"\xef\xbb\xbf"))
    except (ValueError, RecursionError):
        raise Broken("what it says is not JSON") from None
    if not isinstance(document, dict):
        raise Broken("what it says is no JSON object")
    version = str(member(document, "asset").get("version", "2.0"))
    _require_version(path, version.startswith("2"), version[:20])
    return GltfFile(path, document, binary, alone)


def _require_version(path: Path, fine: bool, version: str) -> None:
    if not fine:
        raise InvalidMesh(
            f"The mesh file {path.name!r} is glTF of version {version}.",
            hint="Export it as glTF 2.0.",
        )


def _chunks(content: bytes) -> dict[bytes, bytes]:
    """The first chunk of each kind of a .glb."""
    chunks: dict[bytes, bytes] = {}
    place = 12
    while place + 8 <= len(content):
        size, kind = struct.unpack_from("<I4s", content, place)
        if place + 8 + size > len(content):
            raise Broken("it is cut off")
        chunks.setdefault(kind, content[place + 8 : place + 8 + size])
        place += 8 + size
    return chunks


def compressed(path: Path, name: str) -> InvalidMesh:
    return InvalidMesh(
        f"The mesh file {path.name!r} is compressed ({name}).",
        hint="Export it without compression.",
    )


def extensions(entry: Entry) -> Entry:
    """What extensions say about an entry; empty if it has none."""
    return member(entry, "extensions")


def member(entry: Any, key: str) -> Entry:
    """An object inside of an entry; empty if there is none. Raises Broken if it is none."""
    found = entry.get(key, {}) if isinstance(entry, dict) else None
    if not isinstance(found, dict):
        raise Broken(f"its {key} are no JSON object")
    return found


def items(entry: Entry, key: str) -> list[Any]:
    """A list inside of an entry; empty if there is none. Raises Broken if it is none."""
    found = entry.get(key, [])
    if not isinstance(found, list):
        raise Broken(f"its {key} are no list")
    return found


def is_index(value: Any, count: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < count


def number(entry: Entry, key: str, what: str, default: int | None = None, most: int = 2**40) -> int:
    """A whole number from 0 on inside of an entry. Raises Broken."""
    value = entry.get(key, default)
    if not is_index(value, most + 1):
        raise Broken(f"the {key} of {what} is {str(value)[:20]}")
    return value


def numbers(entry: Entry, key: str, count: int, default: list[float]) -> NDArray[np.float64]:
    """So many numbers inside of an entry, (count,). Raises Broken."""
    values = entry.get(key, default)
    right = isinstance(values, list) and len(values) == count
    if not right or not all(isinstance(v, (int, float)) and abs(v) < 1e30 for v in values):
        raise Broken(f"a {key} is not {count} numbers")
    return np.array(values, np.float64)
