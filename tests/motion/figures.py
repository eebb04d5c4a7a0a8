# SPDX-License-Identifier: GPL-3.0-or-later
"""A figure that moves smoothly, and independent oracles for what is made of it."""

import json
import struct

import numpy as np
from scipy.spatial.transform import Rotation

from syncsde_engine.motion import skeleton


def turning(frames=120, seed=0, amount=0.5, walk=True):
    """Random slow rotations of every joint, and a path: rotations (F, 22, 3, 3), root (F, 3)."""
    random = np.random.default_rng(seed)
    t = np.arange(frames)[:, None, None]
    rate = random.uniform(0.02, 0.12, (1, 22, 3))
    phase = random.uniform(0, 6.28, (1, 22, 3))
    angles = amount * np.sin(rate * t + phase)
    if walk:
        angles[:, 0, 1] += 0.02 * t[:, 0, 0]
    rotations = Rotation.from_rotvec(angles.reshape(-1, 3)).as_matrix().reshape(frames, 22, 3, 3)
    root = np.stack(
        [0.03 * t[:, 0, 0], 0.95 + 0.02 * np.sin(0.3 * t[:, 0, 0]), 0.01 * t[:, 0, 0]], 1
    )
    return rotations, root if walk else root * 0 + (0, 0.95, 0)


def moving(frames=120, seed=0, amount=0.5, walk=True):
    """Joints (F, 22, 3) of that figure."""
    return skeleton.positions(skeleton.OFFSETS, *turning(frames, seed, amount, walk))


def read_glb(content):
    """The document and binary part of a .glb, by the layout the specification prints."""
    magic, version, length = struct.unpack_from("<4sII", content)
    assert (magic, version, length) == (b"glTF", 2, len(content))
    size, kind = struct.unpack_from("<I4s", content, 12)
    assert kind == b"JSON"
    document = json.loads(content[20 : 20 + size])
    binary_size, kind = struct.unpack_from("<I4s", content, 20 + size)
    assert kind == b"BIN\0"
    return document, content[28 + size : 28 + size + binary_size]


def accessor(document, binary, number):
    entry = document["accessors"][number]
    view = document["bufferViews"][entry["bufferView"]]
    kind = {5126: "<f4", 5125: "<u4", 5121: "u1"}[entry["componentType"]]
    width = {"SCALAR": 1, "VEC3": 3, "VEC4": 4, "MAT4": 16}[entry["type"]]
    values = np.frombuffer(binary, kind, entry["count"] * width, view["byteOffset"])
    return values.reshape(entry["count"], width)


def posed(document, binary, frame):
    """World matrices (22, 4, 4) of a .glb's joints in a frame, composed node by node."""
    (animation,) = document["animations"]
    local = {}
    for number, node in enumerate(document["nodes"]):
        local[number] = (np.array(node.get("translation", [0, 0, 0]), float), np.eye(3))
    for channel in animation["channels"]:
        sampler = animation["samplers"][channel["sampler"]]
        value = accessor(document, binary, sampler["output"])[frame].astype(float)
        node, path = channel["target"]["node"], channel["target"]["path"]
        place, turn = local[node]
        if path == "translation":
            place = value
        else:
            turn = Rotation.from_quat(value).as_matrix()
        local[node] = (place, turn)
    world = {}

    def visit(number, parent):
        place, turn = local[number]
        matrix = np.eye(4)
        matrix[:3, :3], matrix[:3, 3] = turn, place
        world[number] = parent @ matrix
        for child in document["nodes"][number].get("children", []):
            visit(child, world[number])

    for number in document["scenes"][0]["nodes"]:
        visit(number, np.eye(4))
    return np.stack([world[joint] for joint in document["skins"][0]["joints"]])
