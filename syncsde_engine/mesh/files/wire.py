# SPDX-License-Identifier: GPL-3.0-or-later
"""A mesh as a safetensors blob, as the command line and Blender send it to a job."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import safetensors
import safetensors.numpy
from numpy.typing import NDArray
from safetensors import SafetensorError

from ...errors import InvalidMesh
from ..mesh import Mesh, Origin, check_form
from .names import LONGEST

TENSORS = {  # name -> dtype on the wire, columns; 0 for one number each
    "positions": ("F32", 3),
    "triangles": ("I32", 3),
    "uvs": ("F32", 2),
    "uv_triangles": ("I32", 3),
    "face_object": ("I32", 0),
    "face_material": ("I32", 0),
}
NAMES = "names"  # the tensor of bytes with the names as JSON
FILE = "file"  # the tensor of bytes with the file that the mesh was read from
NAMED = ("objects", "materials")
ORIGINS = ("glb", "obj")
MOST_SETS = 64  # of texture coordinates
MOST_NAMES = 100_000
MOST_NOTES, LONGEST_NOTE = 100, 1000
DTYPES = {"F32": np.dtype("<f4"), "I32": np.dtype("<i4"), "U8": np.dtype("u1")}


def to_safetensors(mesh: Mesh) -> bytes:
    """The arrays of a mesh by their names in `Mesh`, and `names` of its objects and materials.

    With the names are its notes, if it has any, and what its file is: `file` has the bytes.
    """
    arrays = {name: getattr(mesh, name) for name in TENSORS}
    present = {name: np.ascontiguousarray(a) for name, a in arrays.items() if a is not None}
    names: dict[str, Any] = {kind: list(getattr(mesh, kind)) for kind in NAMED}
    if mesh.origin:
        names["file"] = {"kind": mesh.origin.kind, "uv_set": mesh.origin.uv_set}
        present[FILE] = np.frombuffer(mesh.origin.content, np.uint8)
    if mesh.notes:
        names["notes"] = [note[:LONGEST_NOTE] for note in mesh.notes[:MOST_NOTES]]
    present[NAMES] = np.frombuffer(json.dumps(names).encode(), np.uint8)
    return safetensors.numpy.save(present)


def from_safetensors(content: bytes, name: str = "") -> Mesh:
    """Read a mesh from an untrusted blob: its form is checked, not yet what is in the arrays.

    Without a `name` it is called as its only object. Raises InvalidMesh.
    """
    try:
        tensors = dict(safetensors.deserialize(content))
    except (SafetensorError, ValueError, OverflowError) as error:
        raise InvalidMesh(
            f"The mesh is not a safetensors blob ({error}).", hint="Send the mesh again."
        ) from None
    unknown = sorted(tensors.keys() - TENSORS.keys() - {NAMES, FILE})
    if unknown:
        raise InvalidMesh(
            f"The mesh has an unknown tensor {unknown[0][:60]!r}.",
            hint=f"Known: {', '.join((*TENSORS, NAMES, FILE))}.",
        )
    for key in ("positions", "triangles"):
        if key not in tensors:
            raise InvalidMesh(f"The mesh has no tensor {key!r}.", hint="Send the mesh again.")
    arrays: dict[str, Any] = {
        key: _array(key, tensors[key], dtype, columns)
        for key, (dtype, columns) in TENSORS.items()
        if key in tensors
    }
    if NAMES in tensors:
        arrays |= _names(_array(NAMES, tensors[NAMES], "U8", 0))
    content = _array(FILE, tensors[FILE], "U8", 0).tobytes() if FILE in tensors else b""
    arrays["origin"] = _origin(arrays.get("origin"), content)
    mesh = Mesh(**arrays)
    check_form(mesh)
    return replace(mesh, name=name or (mesh.objects[0] if len(mesh.objects) == 1 else mesh.name))


def _array(key: str, tensor: Mapping[str, Any], dtype: str, columns: int) -> NDArray:
    shape = tuple(tensor["shape"])
    right = len(shape) == 1 if columns == 0 else len(shape) == 2 and shape[1] == columns
    if tensor["dtype"] != dtype or not right:
        raise InvalidMesh(
            f"The tensor {key!r} is {tensor['dtype']} of shape {shape}.",
            hint=f"It must be {dtype} of shape (count{f', {columns}' if columns else ','}).",
        )
    flat = np.frombuffer(bytes(tensor["data"]), DTYPES[dtype])
    return flat.reshape(shape).astype(DTYPES[dtype].newbyteorder("="))


def _names(content: NDArray[np.uint8]) -> dict[str, Any]:
    """Read {"objects": [...], "materials": [...]}, each name once, perhaps "notes" and "file".

    Raises InvalidMesh.
    """
    try:
        given = json.loads(content.tobytes())
    except (ValueError, RecursionError):
        given = None
    notes: Any = given.pop("notes", []) if isinstance(given, dict) else []
    origin: Any = given.pop("file", None) if isinstance(given, dict) else None
    fine = isinstance(notes, list) and len(notes) <= MOST_NOTES
    if not fine or not all(isinstance(note, str) and len(note) <= LONGEST_NOTE for note in notes):
        given = None
    if not isinstance(given, dict) or sorted(given) != sorted(NAMED):
        raise InvalidMesh(
            f"The tensor {NAMES!r} is no JSON object of {' and '.join(NAMED)}.",
            hint="Send the mesh again.",
        )
    for kind, names in given.items():
        fine = isinstance(names, list) and 0 < len(names) <= MOST_NAMES
        if not fine or not all(
            isinstance(name, str) and 0 < len(name) <= LONGEST for name in names
        ):
            raise InvalidMesh(
                f"The names of the {kind} are not a list of 1 to {MOST_NAMES} names.",
                hint="Send the mesh again.",
            )
        if len(set(names)) < len(names):
            twice = next(name for name in names if names.count(name) > 1)
            raise InvalidMesh(f"Two {kind} are called {twice!r}.", hint="Rename one.")
    return {
        **{kind: tuple(given[kind]) for kind in NAMED},
        "notes": tuple(notes),
        "origin": origin,
    }


def _origin(told: Any, content: bytes) -> Origin | None:
    """The file that a mesh is of, from what is told of it. Raises InvalidMesh."""
    if told is None and not content:
        return None
    known = dict(told) if isinstance(told, dict) else {}
    kind, uv_set = known.pop("kind", None), known.pop("uv_set", -1)
    fine = isinstance(uv_set, int) and not isinstance(uv_set, bool) and 0 <= uv_set < MOST_SETS
    if not fine or kind not in ORIGINS or known or not content:
        raise InvalidMesh(
            "The mesh does not tell what its file is: "
            '{"kind": "glb" or "obj", "uv_set": 0} among its names, and the tensor \'file\'.',
            hint="Send the mesh again.",
        )
    return Origin(kind, content, uv_set)
