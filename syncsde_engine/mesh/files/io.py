# SPDX-License-Identifier: GPL-3.0-or-later
"""Meshes from files and from the wire, and back; whatever is wrong becomes one sentence."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from ...errors import InvalidRequest
from ..mesh import Mesh, Origin, check_form
from .give_back import GivenBack, give_back
from .glb import textured_glb
from .gltf import read_gltf
from .gltf_pack import with_file
from .obj import decoded, read_obj
from .ply import read_ply
from .stl import read_stl
from .wire import from_safetensors, to_safetensors

__all__ = [
    "SUFFIXES",
    "GivenBack",
    "from_safetensors",
    "give_back",
    "load",
    "textured_glb",
    "to_safetensors",
]

SUFFIXES = (".obj", ".glb", ".gltf", ".ply", ".stl")
BLENDER = (".fbx", ".blend", ".dae", ".usd", ".usdc", ".usda", ".usdz", ".abc", ".3ds", ".x3d")
UPWARD = {".ply": "z", ".stl": "z"}  # of what Blender takes to be z up; the others are y up
AXES = {"x": (1, 0, 0), "y": (0, 1, 0), "z": (0, 0, 1)}


def load(
    path: str | Path,
    up: str | None = None,
    front: str | None = None,
    uv_set: int = 0,
    *,
    keep: bool = True,
) -> Mesh:
    """Read a mesh file; a scene's objects are put together under its transforms.

    `up` and `front` are axes of the file, such as "z" and "-y": they become y and z. By default
    they are what Blender takes them to be: z and -y of PLY and STL, y and z of the others.
    `uv_set` tells which of the texture coordinates of a glTF file are read. With `keep` the mesh of
    an OBJ or glTF file has that file with it, to be given back with new materials.

    The form is checked, not yet what is in the arrays. Raises InvalidRequest for a path that cannot
    be read, InvalidMesh for a file that is not what its name says or has no faces.
    """
    path = Path(path)
    suffix = path.suffix.lower()
    if suffix not in SUFFIXES:
        through_blender = "Open it in Blender and texture it there, or export it as .glb."
        raise InvalidRequest(
            f"{path.name!r} is not a mesh file that can be read.",
            hint=through_blender if suffix in BLENDER else f"Known: {', '.join(SUFFIXES)}.",
            field="mesh",
        )
    if uv_set and suffix not in (".glb", ".gltf"):
        raise InvalidRequest(
            f"A {suffix} file has one set of texture coordinates, and set {uv_set} is asked for.",
            hint="Leave uv-set out.",
            field="mesh",
        )
    content = _content(path)
    with np.errstate(all="ignore"):  # numbers that are none, or too large: `sanitize` says so
        mesh = turned(_read(path, content, uv_set, keep), up or UPWARD.get(suffix, "y"), front)
    if up is None and suffix in UPWARD:
        note = f"A {suffix} file does not say what is up: z is taken, as in Blender (--up y turns)."
        mesh = replace(mesh, notes=(*mesh.notes, note))
    check_form(mesh)
    return mesh


def _read(path: Path, content: bytes, uv_set: int, keep: bool) -> Mesh:
    suffix = path.suffix.lower()
    if suffix == ".ply":
        return read_ply(path, content)
    if suffix == ".stl":
        return read_stl(path, content)
    if suffix == ".obj":
        text = decoded(content)
        mesh = read_obj(text, path.stem)
        return replace(mesh, origin=Origin("obj", text.encode()) if keep else None)
    mesh, reader = read_gltf(path, content, uv_set)
    return with_file(mesh, reader) if keep else mesh


def _content(path: Path) -> bytes:
    try:
        if path.exists() and not path.is_file() and not path.is_dir():
            raise OSError("it is a pipe or device")
        return path.read_bytes()
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise InvalidRequest(
            f"The mesh file {str(path)!r} cannot be read ({reason}).",
            hint="Check the path.",
            field="mesh",
        ) from None


def turned(mesh: Mesh, up: str, front: str | None) -> Mesh:
    """Turn a mesh so that its axis `up` is y and `front` is z; by default of `front`, -y or z.

    Raises InvalidRequest for axes that are not at right angles.
    """
    front = front or ("-y" if up.strip("-") == "z" else "z")
    above, ahead = (
        np.array(AXES[axis.strip("-")]) * (-1 if axis.startswith("-") else 1)
        for axis in (up, front)
    )
    if above @ ahead:
        raise InvalidRequest(
            f"The front cannot be {front} where {up} is up.",
            hint="Choose another axis for front.",
            field="mesh",
        )
    rows = np.stack([np.cross(above, ahead), above, ahead]).astype(np.float32)
    if (rows == np.eye(3)).all():
        return mesh
    return replace(mesh, positions=mesh.positions @ rows.T)
