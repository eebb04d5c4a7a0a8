# SPDX-License-Identifier: GPL-3.0-or-later
"""Small glTF files, each of a feature that changes shape, coordinates, objects or materials."""

import json
import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np

COMPONENTS = {"i1": 5120, "u1": 5121, "i2": 5122, "u2": 5123, "u4": 5125, "f4": 5126}
KINDS = {1: "SCALAR", 2: "VEC2", 3: "VEC3", 4: "VEC4", 16: "MAT4"}

# A box of 2 x 2 x 2, every side with the unit square's corners, a little inside.
SIDES = [(axis, sign) for axis in range(3) for sign in (-1, 1)]
BOX, UVS, INDEX = [], [], []
for axis, sign in SIDES:
    corners = [(-1, -1), (1, -1), (1, 1), (-1, 1)][::sign]
    INDEX += [len(BOX) + k for k in (0, 1, 2, 0, 2, 3)]
    for u, v in corners:
        point = [0, 0, 0]
        point[axis], point[(axis + 1) % 3], point[(axis + 2) % 3] = sign, u, v
        BOX.append(point)
        column, row = divmod(len(BOX) - 1, 4)[0] % 3, (len(BOX) - 1) // 12
        UVS.append([(column + 0.5 + 0.4 * u) / 3, (row + 0.5 + 0.4 * v) / 2])
BOX, UVS, INDEX = np.array(BOX, "<f4"), np.array(UVS, "<f4"), np.array(INDEX, "<u2")


class Gltf:
    """A document in the making, and its buffer."""

    def __init__(self):
        self.document = {"asset": {"version": "2.0"}, "scene": 0, "scenes": [{"nodes": [0]}]}
        self.body = b""

    def add(self, kind: str, entry: dict) -> int:
        self.document.setdefault(kind, []).append(entry)
        return len(self.document[kind]) - 1

    def view(self, array: np.ndarray, **options) -> int:
        self.body += b"\0" * (-len(self.body) % 4)
        view = {"buffer": 0, "byteOffset": len(self.body), "byteLength": array.nbytes, **options}
        self.body += array.tobytes()
        return self.add("bufferViews", view)

    def array(self, array: np.ndarray, **options) -> int:
        array = np.asarray(array)
        entry = {
            "bufferView": self.view(array),
            "componentType": COMPONENTS[array.dtype.str[1:]],
            "count": len(array),
            "type": KINDS[array[0].size],
            **options,
        }
        if entry["type"] == "VEC3":
            entry |= {"min": array.min(0).tolist(), "max": array.max(0).tolist()}
        return self.add("accessors", entry)

    def box(self, **options) -> dict:
        """A primitive."""
        attributes = {"POSITION": self.array(BOX), "TEXCOORD_0": self.array(UVS)}
        return {"attributes": attributes, "indices": self.array(INDEX), **options}

    def mesh(self, *primitives: dict, **options) -> int:
        return self.add("meshes", {"name": "Shape", "primitives": list(primitives), **options})

    def node(self, mesh: int | None = None, name: str = "Box", **options) -> int:
        own = {} if mesh is None else {"mesh": mesh}
        return self.add("nodes", {**own, "name": name, **options})

    def write(self, path: Path) -> Path:
        self.document["buffers"] = [{"byteLength": len(self.body)}]
        if path.suffix == ".gltf":
            self.document["buffers"][0]["uri"] = path.stem.replace(" ", "%20") + ".bin"
            path.with_suffix(".bin").write_bytes(self.body)
            path.write_text(json.dumps(self.document))
            return path
        text = json.dumps(self.document).encode()
        text += b" " * (-len(text) % 4)
        body = self.body + b"\0" * (-len(self.body) % 4)
        chunks = struct.pack("<I4s", len(text), b"JSON") + text
        chunks += struct.pack("<I4s", len(body), b"BIN\0") + body
        path.write_bytes(struct.pack("<4sII", b"glTF", 2, 12 + len(chunks)) + chunks)
        return path


def boxed(**options) -> Gltf:
    """One box in one node, with what the primitive is to have."""
    file = Gltf()
    file.node(file.mesh(file.box(**options)))
    return file


def normalized() -> Gltf:
    """Positions and coordinates as gltfpack writes them, with a stride."""
    file = Gltf()
    places = np.zeros((24, 4), "<i2")
    places[:, :3] = BOX * 32767
    view = file.view(places, byteStride=8)
    position = {"bufferView": view, "componentType": 5122, "count": 24, "type": "VEC3"}
    position |= {"normalized": True, "min": [-32767] * 3, "max": [32767] * 3}
    uvs = np.rint(UVS * 65535).astype("<u2")
    attributes = {
        "POSITION": file.add("accessors", position),
        "TEXCOORD_0": file.array(uvs, normalized=True),
    }
    file.node(file.mesh({"attributes": attributes, "indices": file.array(INDEX)}))
    file.document["extensionsRequired"] = ["KHR_mesh_quantization"]
    file.document["extensionsUsed"] = ["KHR_mesh_quantization"]
    return file


def sparse(*, based: bool) -> Gltf:
    """Where four corners of the box move up by 3; or all of it is sparse, on no view."""
    file = boxed()
    top = np.flatnonzero(BOX[:, 1] > 0) if based else np.arange(len(BOX))
    values = BOX[top] + np.array([0, 3 if based else 0, 0], "<f4")
    accessor = file.document["accessors"][0]
    accessor["sparse"] = {
        "count": len(top),
        "indices": {"bufferView": file.view(top.astype("<u2")), "componentType": 5123},
        "values": {"bufferView": file.view(values.astype("<f4"))},
    }
    accessor["max"] = [1, 4 if based else 1, 1]
    if not based:
        del accessor["bufferView"]
    return file


def strip(mode: int) -> Gltf:
    """A regular hexagon of radius 1: a fan around its first corner, or a strip."""
    file = Gltf()
    angle = np.arange(6) * np.pi / 3
    ring = np.stack([np.cos(angle), np.sin(angle), 0 * angle], axis=1).astype("<f4")
    order = [0, 1, 2, 3, 4, 5] if mode == 6 else [0, 1, 5, 2, 4, 3]
    uvs = (ring[order, :2] / 2 + 0.5).astype("<f4")
    attributes = {"POSITION": file.array(ring[order]), "TEXCOORD_0": file.array(uvs)}
    file.node(file.mesh({"attributes": attributes, "mode": mode}))
    return file


def skinned() -> Gltf:
    """A box bound at the origin whose joint stands 5 to the right, turned and twice as large."""
    file = Gltf()
    box = file.box()
    joints, weights = np.zeros((24, 4), "u1"), np.zeros((24, 4), "<f4")
    weights[:, 0] = 1
    box["attributes"] |= {"JOINTS_0": file.array(joints), "WEIGHTS_0": file.array(weights)}
    bind = np.eye(4, dtype="<f4")
    bind[3, :3] = [0, -1, 0]  # column-major: down by one
    bind = file.array(bind.reshape(1, 16))
    file.node(file.mesh(box), skin=0, translation=[50, 0, 0], scale=[100, 100, 100])
    file.node(None, "Bone", translation=[5, 1, 0], rotation=[0, 0.6, 0, 0.8], scale=[2, 2, 2])
    file.add("skins", {"joints": [1], "inverseBindMatrices": bind})
    file.document["scenes"] = [{"nodes": [0, 1]}]
    return file


def bent() -> Gltf:
    """A box whose upper corners follow a joint that has moved up by 2; half a share each."""
    file = Gltf()
    box = file.box()
    joints, weights = np.zeros((24, 4), "u1"), np.zeros((24, 4), "<f4")
    joints[:, 1] = 1
    up = BOX[:, 1] > 0
    weights[:, 0], weights[:, 1] = np.where(up, 0.5, 1), np.where(up, 0.5, 0)
    box["attributes"] |= {"JOINTS_0": file.array(joints), "WEIGHTS_0": file.array(weights)}
    bind = np.tile(np.eye(4, dtype="<f4").reshape(1, 16), (2, 1))
    file.node(file.mesh(box), skin=0)
    file.node(None, "Root", children=[2])
    file.node(None, "Tip", translation=[0, 2, 0])
    file.add("skins", {"joints": [1, 2], "inverseBindMatrices": file.array(bind)})
    file.document["scenes"] = [{"nodes": [0, 1]}]
    return file


def morphed(*, by_node: bool) -> Gltf:
    file = Gltf()
    raised = np.where(BOX[:, 1:2] > 0, np.array([[0, 4, 0]]), 0).astype("<f4")
    box = file.box(targets=[{"POSITION": file.array(raised)}, {"POSITION": file.array(-raised)}])
    file.node(
        file.mesh(box, weights=[0.0, 0.25] if by_node else [0.5, 0.0]),
        **({"weights": [0.5, 0.0]} if by_node else {}),
    )
    return file


def instanced() -> Gltf:
    file = boxed()
    attributes = {
        "TRANSLATION": file.array(np.array([[0, 0, 0], [5, 0, 0], [10, 0, 0]], "<f4")),
        "SCALE": file.array(np.array([[1, 1, 1], [1, 2, 1], [1, 1, 1]], "<f4")),
    }
    instancing = {"EXT_mesh_gpu_instancing": {"attributes": attributes}}
    file.document["nodes"][0]["extensions"] = instancing
    file.document["extensionsUsed"] = ["EXT_mesh_gpu_instancing"]
    return file


def two_materials(*names: str | None) -> Gltf:
    file = Gltf()
    boxes = [file.box(material=0), file.box(material=1)]
    boxes[1]["attributes"]["POSITION"] = file.array(BOX + np.array([4, 0, 0], "<f4"))
    for name in names:
        file.add("materials", {} if name is None else {"name": name})
    file.node(file.mesh(*boxes))
    return file


def mirrored() -> Gltf:
    """Shear of a turned node under a parent that stretches and mirrors."""
    file = Gltf()
    file.node(file.mesh(file.box()), rotation=[0, 0, np.sin(np.pi / 8), np.cos(np.pi / 8)])
    file.node(None, "Above", children=[0], scale=[3, 1, -1])
    file.document["scenes"] = [{"nodes": [1]}]
    return file


def same_named() -> Gltf:
    file = Gltf()
    shape = file.mesh(file.box())
    file.node(shape, "Leaf")
    file.node(shape, "Leaf", translation=[4, 0, 0])
    file.document["scenes"] = [{"nodes": [0, 1]}]
    return file


def embedded() -> Gltf:
    """Of points and lines nothing is to be painted, and a matrix stands for a place."""
    file = Gltf()
    dots = {"attributes": {"POSITION": file.array(BOX)}, "mode": 0}
    matrix = np.diag([1.0, 1, 1, 1])
    matrix[3, :3] = [0, 7, 0]
    file.node(file.mesh(dots, file.box()), matrix=matrix.ravel().tolist())
    return file


FILES: dict[str, tuple[Callable[[], Gltf], dict]] = {  # what the scene has, y up
    "uvs without material": (boxed, {}),
    "normalized integers": (normalized, {}),
    "sparse": (lambda: sparse(based=True), {"area": 8 + 4 * 10, "high": (1, 4, 1)}),
    "sparse on nothing": (lambda: sparse(based=False), {}),
    "fan": (lambda: strip(6), {"area": 1.5 * 3**0.5, "faces": 4, "low": None, "high": None}),
    "strip": (lambda: strip(5), {"area": 1.5 * 3**0.5, "faces": 4, "low": None, "high": None}),
    "skinned": (skinned, {"area": 96, "low": (5 - 2.48, -3, -2.48), "high": (7.48, 1, 2.48)}),
    "bent": (bent, {"area": 8 + 4 * 6, "high": (1, 2, 1)}),
    "morphed": (lambda: morphed(by_node=False), {"area": 8 + 4 * 8, "high": (1, 3, 1)}),
    "morphed by its node": (lambda: morphed(by_node=True), {"area": 40, "high": (1, 3, 1)}),
    "instances": (
        instanced,
        {
            "area": 24 + 24 + 8 + 4 * 8,
            "faces": 36,
            "low": (-1, -2, -1),
            "high": (11, 2, 1),
            "objects": ("Box", "Box.001", "Box.002"),
        },
    ),
    "two materials without names": (
        lambda: two_materials(None, None),
        {"area": 48, "faces": 24, "high": (5, 1, 1), "materials": ("Material_0", "Material_1")},
    ),
    "two materials of one name": (
        lambda: two_materials("Paint", "Paint"),
        {"area": 48, "faces": 24, "high": (5, 1, 1), "materials": ("Paint", "Paint.001")},
    ),
    "shear and mirror": (mirrored, {"area": None, "low": None, "high": None}),
    "two objects of one name": (
        same_named,
        {"area": 48, "faces": 24, "high": (5, 1, 1), "objects": ("Leaf", "Leaf.001")},
    ),
    "points beside": (embedded, {"low": (-1, 6, -1), "high": (1, 8, 1)}),
}
PLAIN = {"area": 24, "faces": 12, "low": (-1, -1, -1), "high": (1, 1, 1), "objects": ("Box",)}
PLAIN["materials"] = ("material",)
