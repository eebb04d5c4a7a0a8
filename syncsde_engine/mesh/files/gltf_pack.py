# SPDX-License-Identifier: GPL-3.0-or-later
"""A glTF file in one piece, as it travels with its mesh so that it can be given back."""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...errors import InvalidMesh
from ..mesh import Mesh, Origin
from .glb_file import GlbFile
from .gltf import Reader, saying_what_is_wrong
from .gltf_file import MESHOPT, Entry, GltfFile, extensions, number
from .gltf_unused import Primitives, unused

PIXEL = bytes.fromhex(  # a PNG file: what images that nothing shows any more are made of
    "89504e470d0a1a0a0000000d49484452000000010000000108000000003a7e9b"
    "550000000a4944415478da6368000000820081da45083b0000000049454e44ae"
    "426082"
)
MAGIC = {
    b"\x89PNG": "image/png",
    b"\xff\xd8\xff": "image/jpeg",
    b"RIFF": "image/webp",
    b"\xabKTX 20\xbb": "image/ktx2",
}
ANEW = "textured.glb is written anew, without rigs and animations, because the file cannot be kept:"
ALIGNED = 4  # bytes

Bools = NDArray[np.bool_]


def with_file(mesh: Mesh, reader: Reader) -> Mesh:
    """The mesh with the file that it was read from; with a note, if that cannot be kept."""
    try:
        with saying_what_is_wrong(reader.file.path):
            return replace(mesh, origin=Origin("glb", packed(reader), reader.uv_set))
    except InvalidMesh as error:
        return replace(mesh, notes=(*mesh.notes, f"{ANEW} {error.message}"))


def packed(reader: Reader) -> bytes:
    """The file as a GLB of one buffer, with all buffers and pictures that it names.

    Every entry keeps its number. Pictures that only what is to be painted shows are left out: one
    gray pixel is in the place of each. A picture that is not there stays a name. Raises Broken or
    InvalidMesh.
    """
    file = GltfFile(reader.file.path, copy.deepcopy(reader.file.document), reader.file.binary)
    gone = unused(file, painted_primitives(reader))
    body = _in_one_buffer(file)
    live = _live(file, gone["bufferViews"], len(body))
    body = _compacted(file, body, live)
    writer = GlbFile(file.document, body, {"bufferViews": gone["bufferViews"]})
    for place, image in enumerate(file.entries("images")):
        if place in gone["images"]:
            named = {"name": image["name"]} if "name" in image else {}
            view = writer.view(PIXEL)
            file.document["images"][place] = {**named, "bufferView": view, "mimeType": "image/png"}
        elif isinstance(image.get("uri"), str) and not image["uri"].startswith("data:"):
            content = file.beside(image["uri"]) if "://" not in image["uri"] else None
            kind = next(
                (MAGIC[magic] for magic in MAGIC if (content or b"").startswith(magic)), None
            )
            if content is not None and kind is not None:
                del image["uri"]
                image |= {"bufferView": writer.view(content), "mimeType": kind}
    return writer.content()


def painted_primitives(reader: Reader) -> Primitives:
    """The primitives that are read, of meshes that no node shows but those that are read."""
    nodes = {piece.source.node for piece in reader.pieces}
    entries = reader.file.entries("nodes")
    elsewhere = {node.get("mesh") for k, node in enumerate(entries) if k not in nodes}
    return {
        (entries[piece.source.node]["mesh"], piece.part.number)
        for piece in reader.pieces
        if entries[piece.source.node]["mesh"] not in elsewhere
    }


def _in_one_buffer(file: GltfFile) -> bytes:
    """Put all buffers behind each other, and tell the views."""
    buffers, starts, body = file.entries("buffers"), [], bytearray()
    for index in range(len(buffers)):
        body += b"\0" * (-len(body) % 8)
        starts.append(len(body))
        body += file.buffer(index, {})
    for span in _spans(file):
        start = starts[number(span, "buffer", "a buffer view", most=max(len(starts) - 1, 0))]
        span["byteOffset"] = start + number(span, "byteOffset", "a buffer view", 0)
        span["buffer"] = 0
    if buffers:
        first = {key: value for key, value in buffers[0].items() if key != "uri"}
        file.document["buffers"] = [first]
    return bytes(body)


def _spans(file: GltfFile) -> list[Entry]:
    """Everything that stands for a stretch of a buffer."""
    found: list[Any] = []
    for view in file.entries("bufferViews"):
        found += [view, *(extensions(view)[n] for n in MESHOPT if n in extensions(view))]
    return found


def _live(file: GltfFile, gone: list[int], length: int) -> Bools:
    """Which bytes the buffer views need that are not `gone`; all, if there are none such."""
    live = np.full(length, not gone)
    dead = {id(file.entry("bufferViews", place)) for place in gone}
    for span in (span for span in _spans(file) if id(span) not in dead):
        live[_stretch(span)] = True
    return live


def _stretch(span: Entry) -> slice:
    start = number(span, "byteOffset", "a buffer view", 0)
    return slice(start, start + number(span, "byteLength", "a buffer view"))


def _compacted(file: GltfFile, body: bytes, live: Bools) -> bytes:
    """Leave out bytes that are not live, by whole words, so that the others stay aligned."""
    filled = np.append(live, np.ones(-len(live) % ALIGNED, bool)).reshape(-1, ALIGNED)
    words = np.logical_or.reduce(filled, axis=1)
    if words.all():
        return body
    place = ALIGNED * (np.cumsum(words) - words)
    for span in _spans(file):
        start = number(span, "byteOffset", "a buffer view", 0)
        word = min(start // ALIGNED, len(words) - 1)
        span["byteOffset"] = int(place[word]) + start % ALIGNED
    whole = np.frombuffer(body + b"\0" * (-len(body) % ALIGNED), np.uint8)
    return whole.reshape(-1, ALIGNED)[words].tobytes()
