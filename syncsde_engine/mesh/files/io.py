# SPDX-License-Identifier: GPL-3.0-or-later
"""Meshes from files and from the wire, and back; whatever is wrong becomes one sentence."""

from __future__ import annotations

from pathlib import Path

from ...errors import InvalidRequest
from ..mesh import Mesh, check_form
from .glb import textured_glb
from .obj import decoded, read_obj
from .scene import read_scene
from .wire import from_safetensors, to_safetensors

__all__ = ["SUFFIXES", "from_safetensors", "load", "textured_glb", "to_safetensors"]

SUFFIXES = (".obj", ".glb", ".gltf", ".ply", ".stl")
BLENDER = (".fbx", ".blend", ".dae", ".usd", ".usdc", ".usda", ".usdz", ".abc", ".3ds", ".x3d")


def load(path: str | Path) -> Mesh:
    """Read a mesh file; a scene's objects are put together under its transforms.

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
    try:
        content = path.read_bytes()
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise InvalidRequest(
            f"The mesh file {str(path)!r} cannot be read ({reason}).",
            hint="Check the path.",
            field="mesh",
        ) from None
    mesh = read_obj(decoded(content), path.stem) if suffix == ".obj" else read_scene(path)
    check_form(mesh)
    return mesh
