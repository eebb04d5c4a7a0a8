# SPDX-License-Identifier: GPL-3.0-or-later
"""A textured mesh as files: the file that it came from with new materials, or a new one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from ...errors import InvalidMesh
from ..mesh import Mesh
from .glb import textured_glb
from .gltf_back import gltf_back
from .gltf_pack import ANEW
from .obj_back import LIBRARY, material_file, obj_back


class GivenBack(NamedTuple):
    """Files by their names, and what to tell of them."""

    files: dict[str, bytes]
    notes: list[str]


@np.errstate(all="ignore")  # the file may have numbers that are none
def give_back(
    mesh: Mesh,
    textures: Sequence[bytes],
    maps: Mapping[str, Sequence[bytes]],
    texture_files: Sequence[str],
    map_files: Mapping[str, Sequence[str]],
) -> GivenBack:
    """Write a mesh with its K textures, PNG files, and `maps` as `textured_glb` takes them.

    `textured.glb` is the glTF file that the mesh was read from, with new materials; of any other
    mesh, one written anew. Beside it an OBJ file comes back as `textured.obj`, whose materials name
    `texture_files` and, of each map, `map_files`.
    """
    origin = mesh.origin
    if origin is not None and origin.kind == "glb":
        try:
            content, notes = gltf_back(mesh, textures, maps)
            return GivenBack({"textured.glb": content}, notes)
        except InvalidMesh as error:
            anew = {"textured.glb": textured_glb(mesh, textures, maps)}
            return GivenBack(anew, [f"{ANEW} {error.message}"])
    files = {"textured.glb": textured_glb(mesh, textures, maps)}
    if origin is not None:
        try:
            files["textured.obj"] = obj_back(mesh).encode()
            files[LIBRARY] = material_file(mesh, texture_files, map_files).encode()
        except InvalidMesh as error:
            return GivenBack(files, [f"There is no textured.obj: {error.message}"])
    return GivenBack(files, [])
