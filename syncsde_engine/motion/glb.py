# SPDX-License-Identifier: GPL-3.0-or-later
"""Motion as binary glTF: the mannequin with a skin of 22 joints and one animation."""

from __future__ import annotations

import json
import struct
from typing import Any

import numpy as np

from .fit import Fit
from .mannequin import Mesh, mannequin
from .rotations import continuous, to_quaternions
from .skeleton import CHILDREN, COUNT, FPS, JOINTS, PARENTS

FLOAT, UINT32, UINT8 = 5126, 5125, 5121
KINDS = {1: "SCALAR", 3: "VEC3", 4: "VEC4", 16: "MAT4"}
COLOR = (0.62, 0.66, 0.72, 1.0)


class _Buffer:
    """Arrays one after another, with the entries that say where each is."""

    def __init__(self) -> None:
        self.content = bytearray()
        self.views: list[dict[str, int]] = []
        self.accessors: list[dict[str, Any]] = []

    def add(self, values: np.ndarray, kind: int, bounds: bool = False) -> int:
        """Append (N, K) or (N,) values; returns the number of their accessor."""
        self.content += b"\0" * (-len(self.content) % 4)
        entry = {"buffer": 0, "byteOffset": len(self.content), "byteLength": values.nbytes}
        self.views.append(entry)
        self.content += np.ascontiguousarray(values).tobytes()
        flat = values.reshape(len(values), -1)
        accessor: dict[str, Any] = {
            "bufferView": len(self.views) - 1,
            "componentType": kind,
            "count": len(values),
            "type": KINDS[flat.shape[1]],
        }
        if bounds:
            accessor |= {"min": flat.min(0).tolist(), "max": flat.max(0).tolist()}
        self.accessors.append(accessor)
        return len(self.accessors) - 1


def write(motion: Fit, name: str = "motion", fps: float = FPS) -> bytes:
    """The content of a .glb file: y up, meters, a key of every joint for every frame."""
    buffer = _Buffer()
    mesh = mannequin(motion.offsets)
    joints = [_node(motion.offsets, joint) for joint in range(COUNT)]
    document = {
        "asset": {"version": "2.0", "generator": "SyncSDE"},
        "scene": 0,
        "scenes": [{"nodes": [COUNT, 0]}],
        "nodes": [*joints, {"name": "mannequin", "mesh": 0, "skin": 0}],
        "meshes": [{"name": "mannequin", "primitives": [_primitive(buffer, mesh)]}],
        "materials": [
            {
                "name": "mannequin",
                "pbrMetallicRoughness": {
                    "baseColorFactor": COLOR,
                    "metallicFactor": 0.0,
                    "roughnessFactor": 0.7,
                },
            }
        ],
        "skins": [
            {
                "name": "mannequin",
                "joints": list(range(COUNT)),
                "skeleton": 0,
                "inverseBindMatrices": buffer.add(_unbinding(motion.offsets), FLOAT),
            }
        ],
        "animations": [{"name": name, **_channels(buffer, motion, fps)}],
        "bufferViews": buffer.views,
        "accessors": buffer.accessors,
        "buffers": [{"byteLength": len(buffer.content)}],
    }
    text = json.dumps(document, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 4)
    binary = bytes(buffer.content) + b"\0" * (-len(buffer.content) % 4)
    chunks = struct.pack("<I4s", len(text), b"JSON") + text
    chunks += struct.pack("<I4s", len(binary), b"BIN\0") + binary
    return struct.pack("<4sII", b"glTF", 2, 12 + len(chunks)) + chunks


def _node(offsets: np.ndarray, joint: int) -> dict[str, Any]:
    node: dict[str, Any] = {
        "name": JOINTS[joint],
        "translation": offsets[joint].tolist() if joint else [0.0, 0.0, 0.0],
    }
    if CHILDREN[joint]:
        node["children"] = list(CHILDREN[joint])
    return node


def _primitive(buffer: _Buffer, mesh: Mesh) -> dict[str, Any]:
    bound = np.zeros((len(mesh.joint), 4), np.uint8)
    bound[:, 0] = mesh.joint
    weights = np.zeros((len(mesh.joint), 4), np.float32)
    weights[:, 0] = 1
    return {
        "attributes": {
            "POSITION": buffer.add(mesh.vertices, FLOAT, bounds=True),
            "NORMAL": buffer.add(mesh.normals, FLOAT),
            "JOINTS_0": buffer.add(bound, UINT8),
            "WEIGHTS_0": buffer.add(weights, FLOAT),
        },
        "indices": buffer.add(mesh.triangles.reshape(-1), UINT32),
        "material": 0,
    }


def _unbinding(offsets: np.ndarray) -> np.ndarray:
    """From the rest pose to each joint's own space: column-major matrices (22, 16) float32."""
    rest = np.zeros((COUNT, 3))
    for joint in range(1, COUNT):
        rest[joint] = rest[PARENTS[joint]] + offsets[joint]
    matrices = np.broadcast_to(np.eye(4), (COUNT, 4, 4)).copy()
    matrices[:, :3, 3] = -rest
    return np.swapaxes(matrices, 1, 2).reshape(COUNT, 16).astype(np.float32)


def _channels(buffer: _Buffer, motion: Fit, fps: float) -> dict[str, Any]:
    times = (np.arange(len(motion.root)) / fps).astype(np.float32)
    clock = buffer.add(times[:, None], FLOAT, bounds=True)
    quaternions = continuous(to_quaternions(motion.rotations))[..., [1, 2, 3, 0]]
    tracks = [(0, "translation", motion.root)]
    tracks += [(joint, "rotation", quaternions[:, joint]) for joint in range(COUNT)]
    samplers, channels = [], []
    for number, (joint, path, values) in enumerate(tracks):
        output = buffer.add(values.astype(np.float32), FLOAT)
        samplers.append({"input": clock, "output": output, "interpolation": "LINEAR"})
        channels.append({"sampler": number, "target": {"node": joint, "path": path}})
    return {"samplers": samplers, "channels": channels}
