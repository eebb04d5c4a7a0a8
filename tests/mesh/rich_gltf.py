# SPDX-License-Identifier: GPL-3.0-or-later
"""glTF files with all that a character has beside its shape, and what is in their accessors."""

import json
import struct

import numpy as np

from tests.mesh.gltf_files import BOX, INDEX, UVS, Gltf

WIDTHS = {"SCALAR": 1, "VEC2": 2, "VEC3": 3, "VEC4": 4, "MAT4": 16}
TYPES = {5120: "i1", 5121: "u1", 5122: "<i2", 5123: "<u2", 5125: "<u4", 5126: "<f4"}
RED = bytes.fromhex(
    "89504e470d0a1a0a0000000d49484452000000010000000108020000009077"
    "53de0000000c4944415408d763f8cfc000000301010018dd8db00000000049454e44ae426082"
)


def image(file: Gltf, content: bytes, **options) -> int:
    view = file.view(np.frombuffer(content, "u1"))
    return file.add("images", {"bufferView": view, "mimeType": "image/png", **options})


def material(file: Gltf, name: str, content: bytes = RED, **options) -> int:
    texture = file.add("textures", {"source": image(file, content, name=name)})
    surface = {"baseColorTexture": {"index": texture}}
    return file.add("materials", {"name": name, "pbrMetallicRoughness": surface, **options})


def rich_box(file: Gltf, seed: int = 0, offset: float = 0.0, **options) -> dict:
    """A primitive with two sets of coordinates, colors, tangents, a custom attribute, two joints
    and two morph targets, each in a type of its own."""
    rng = np.random.default_rng(seed)
    count = len(BOX)
    position = (BOX + np.array([offset, 0, 0], "f4")).astype("<f4")
    normal = np.repeat(np.eye(3, dtype="<f4"), 2, axis=0) * np.tile([[-1], [1]], (3, 1))
    normal = normal.astype("<f4").repeat(4, axis=0)
    joints, weights = np.zeros((count, 4), "u1"), np.zeros((count, 4), "u1")
    joints[:, 1] = 1
    weights[:, 1] = np.where(BOX[:, 1] > 0, 255, 0)
    weights[:, 0] = 255 - weights[:, 1]
    color = rng.integers(0, 65535, (count, 4)).astype("<u2")
    colors = file.array(color, normalized=True)
    tangent = np.zeros((count, 4), "<f4")
    tangent[:, [0, 3]] = 1
    moved = [rng.normal(0, 0.3, (count, 3)).astype("<f4") for _ in range(2)]
    return {
        "attributes": {
            "POSITION": file.array(position),
            "NORMAL": file.array(normal),
            "TANGENT": file.array(tangent),
            "TEXCOORD_0": file.array(UVS),
            "TEXCOORD_1": file.array(np.rint(65535 * UVS[::-1]).astype("<u2"), normalized=True),
            "COLOR_0": colors,
            "JOINTS_0": file.array(joints),
            "WEIGHTS_0": file.array(weights, normalized=True),
            "_HEAT": file.array(rng.random((count, 1)).astype("<f4")),
        },
        "indices": file.array(INDEX),
        "targets": [
            {"POSITION": file.array(each), "NORMAL": file.array(0 * each)} for each in moved
        ],
        "extras": {"what": ["ever", 1.5]},
        **options,
    }


def character(*, primitives: int = 1) -> Gltf:
    """Boxes on a chain of two joints that bends, waves and morphs; a camera, a light, a shadow."""
    file = Gltf()
    paints = [material(file, f"Skin {k}", RED + bytes(1000 + k)) for k in range(primitives)]
    boxes = [
        rich_box(file, k, 3.0 * k, material=paint, extras={"number": k})
        for k, paint in enumerate(paints)
    ]
    names = {"extras": {"targetNames": ["Smile", "Frown"]}, "weights": [0.0, 0.25]}
    file.node(file.mesh(*boxes, **names), "Body", skin=0, extras={"age": 41})
    file.node(None, "Root", children=[2], translation=[0, -1, 0])
    file.node(None, "Tip", translation=[0, 1, 0], children=[3])
    file.node(None, "Eye", camera=0, extensions={"KHR_lights_punctual": {"light": 0}})
    bind = np.tile(np.eye(4, dtype="<f4"), (2, 1, 1))
    bind[0, 3, :3] = 0, 1, 0  # column-major, under glTF's order of rows
    file.add("skins", {"joints": [1, 2], "inverseBindMatrices": file.array(bind.reshape(2, 16))})
    file.add("cameras", {"type": "perspective", "perspective": {"yfov": 0.8, "znear": 0.1}})
    lights = {"lights": [{"type": "spot", "intensity": 40.0, "spot": {}, "name": "Lamp"}]}
    file.document["extensions"] = {"KHR_lights_punctual": lights}
    file.document["extensionsUsed"] = ["KHR_lights_punctual"]
    times = file.array(np.array([[0], [0.5], [1]], "<f4"), min=[0], max=[1])
    turn = np.array([[0, 0, 0, 1], [0, 0, 0.6, 0.8], [0, 0.6, 0, 0.8]], "<f4")
    shape = np.array([[0], [0.25], [1], [0.5], [0], [0]], "<f4")
    samplers = [{"input": times, "output": file.array(each)} for each in (turn, shape)]
    channels = [
        {"sampler": 0, "target": {"node": 2, "path": "rotation"}},
        {"sampler": 1, "target": {"node": 0, "path": "weights"}},
    ]
    file.add("animations", {"name": "Wave", "samplers": samplers, "channels": channels})
    file.document["scenes"] = [{"nodes": [0, 1], "name": "Stage", "extras": {"act": 2}}]
    file.document["asset"]["copyright"] = "nobody"
    return file


def chunks(content: bytes) -> tuple[dict, bytes]:
    """The document and the buffer of a GLB."""
    length = struct.unpack_from("<I", content, 12)[0]
    return json.loads(content[20 : 20 + length]), content[28 + length :]


def values(document: dict, body: bytes, index: int) -> np.ndarray:
    """What an accessor holds, (count, width) in its own type; not sparse."""
    accessor = document["accessors"][index]
    view = document["bufferViews"][accessor["bufferView"]]
    assert view["buffer"] == 0
    dtype, width = np.dtype(TYPES[accessor["componentType"]]), WIDTHS[accessor["type"]]
    stride = view.get("byteStride", dtype.itemsize * width)
    start = view.get("byteOffset", 0) + accessor.get("byteOffset", 0)
    rows = np.ndarray((accessor["count"], width), dtype, body, start, (stride, dtype.itemsize))
    needed = stride * (accessor["count"] - 1) + dtype.itemsize * width
    assert accessor.get("byteOffset", 0) + needed <= view["byteLength"]
    return rows.copy()


def corners(document: dict, body: bytes, primitive: dict) -> dict[str, np.ndarray]:
    """All attributes at the corners of a primitive's triangles in their order, (F, 3, width)."""
    assert primitive.get("mode", 4) == 4
    index = values(document, body, primitive["indices"])[:, 0].astype(int)
    named = dict(primitive["attributes"])
    for number, target in enumerate(primitive.get("targets", [])):
        named |= {f"{number} {name}": accessor for name, accessor in target.items()}
    found = {name: values(document, body, accessor) for name, accessor in named.items()}
    return {name: rows[index].reshape(-1, 3, rows.shape[1]) for name, rows in found.items()}
