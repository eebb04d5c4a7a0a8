# SPDX-License-Identifier: GPL-3.0-or-later
"""One textured mesh as a binary glTF 2.0 file."""

from __future__ import annotations

import io
import json
import struct
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from .mesh import Mesh, check_uvs

FLOAT, UNSIGNED_INT = 5126, 5125
VERTICES, INDICES = 34962, 34963
LINEAR, MIPMAPPED, CLAMP = 9729, 9987, 33071


def textured_glb(mesh: Mesh, textures: Sequence[NDArray[np.uint8]]) -> bytes:
    """Write a mesh with uvs and its K textures (H, W, 3) uint8, row 0 at v = 1, as a GLB file.

    Positions stay as they are (glTF is y up, too). glTF has one index for all, so vertices are
    split along seams here, and its v runs down from the top row. Materials are matte: base colour
    only, roughness 1, metallic 0; the faces of each texture are a primitive of their own.
    """
    check_uvs(mesh)
    assert mesh.uvs is not None
    assert mesh.uv_triangles is not None
    pairs = np.stack([mesh.triangles.ravel(), mesh.uv_triangles.ravel()], axis=1)
    corners, indices = np.unique(pairs, axis=0, return_inverse=True)
    indices = indices.reshape(-1, 3)
    positions = mesh.positions[corners[:, 0]]
    uvs = mesh.uvs[corners[:, 1]]
    uvs[:, 1] = 1 - uvs[:, 1]
    owners = mesh.owners("texture")
    names = mesh.textures if len(textures) > 1 else (mesh.name,)
    # A texture without faces has no primitive.
    painted = [k for k in range(len(textures)) if (owners == k).any()]
    parts = [indices[owners == k] for k in painted]
    images = [_png(textures[k]) for k in painted]
    names = [names[k] for k in painted]
    blobs = [
        *(part.astype("<u4").tobytes() for part in parts),
        positions.astype("<f4").tobytes(),
        uvs.astype("<f4").tobytes(),
        *images,
    ]
    count = len(parts)
    targets = [*[INDICES] * count, VERTICES, VERTICES, *[None] * count]
    views, body = [], b""
    for blob, target in zip(blobs, targets, strict=True):
        view = {"buffer": 0, "byteOffset": len(body), "byteLength": len(blob)}
        views.append(view if target is None else {**view, "target": target})
        body += blob + b"\0" * (-len(blob) % 4)
    attributes = {"POSITION": count, "TEXCOORD_0": count + 1}
    document = {
        "asset": {"version": "2.0", "generator": "SyncSDE"},
        "scene": 0,
        "scenes": [{"nodes": [0]}],
        "nodes": [{"mesh": 0, "name": mesh.name}],
        "meshes": [
            {
                "name": mesh.name,
                "primitives": [
                    {"attributes": attributes, "indices": k, "material": k} for k in range(count)
                ],
            }
        ],
        "materials": [
            {
                "name": name,
                "doubleSided": True,
                "pbrMetallicRoughness": {
                    "baseColorTexture": {"index": k},
                    "metallicFactor": 0.0,
                    "roughnessFactor": 1.0,
                },
            }
            for k, name in enumerate(names)
        ],
        "textures": [{"sampler": 0, "source": k} for k in range(count)],
        "samplers": [{"magFilter": LINEAR, "minFilter": MIPMAPPED, "wrapS": CLAMP, "wrapT": CLAMP}],
        "images": [
            {"bufferView": count + 2 + k, "mimeType": "image/png", "name": name}
            for k, name in enumerate(names)
        ],
        "accessors": [
            *(
                {"bufferView": k, "componentType": UNSIGNED_INT, "count": part.size}
                | {"type": "SCALAR"}
                for k, part in enumerate(parts)
            ),
            {"bufferView": count, "componentType": FLOAT, "count": len(positions), "type": "VEC3"}
            | {"min": positions.min(axis=0).tolist(), "max": positions.max(axis=0).tolist()},
            {"bufferView": count + 1, "componentType": FLOAT, "count": len(uvs), "type": "VEC2"},
        ],
        "bufferViews": views,
        "buffers": [{"byteLength": len(body)}],
    }
    header = json.dumps(document).encode()
    header += b" " * (-len(header) % 4)
    chunks = struct.pack("<I4s", len(header), b"JSON") + header
    chunks += struct.pack("<I4s", len(body), b"BIN\0") + body
    return struct.pack("<4sII", b"glTF", 2, 12 + len(chunks)) + chunks


def _png(pixels: NDArray[np.uint8]) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()
