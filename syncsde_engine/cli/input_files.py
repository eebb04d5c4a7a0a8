# SPDX-License-Identifier: GPL-3.0-or-later
"""Files that are named on the command line: a task's inputs and its job. Loads no torch."""

from __future__ import annotations

import argparse
import contextlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from .. import inputs
from ..config import CONFIGS, MOST_LAYERS
from ..errors import InvalidRequest
from ..library import map_names
from ..request import check_budget, without_duplicates

FILES = {
    "mesh": ".obj, .glb, .gltf, .ply or .stl",
    "image": "the picture to edit: PNG, JPEG, WebP or TIFF",
    "mask": "picture, white where something changes; default: found by the network",
    "extend": "picture, or folder of a finished run, that the image continues",
    "keep": "picture, the mesh's texture: it stays, except where it is transparent",
    "keep_mask": "mask of the same size: white is kept, the rest is painted anew",
    "like": "picture of a material: it is painted as this is, whatever the prompt says",
    "states": "states.safetensors, or folder, of a finished motion that is extended or re-rolled",
    "noise": "safetensors with a tensor noise (N, C, h, w): what every trajectory starts from",
}
FINISHED = {"extend": "image.png", "states": "states.safetensors"}  # of a run's folder
NUMBERED = ("mask_", "like_", "view_")  # inputs of these beginnings are no flags of their own
PICTURED = {"like_for": "like", "view_for": "view"}  # fields whose entries each have a picture
VIEW_FOR = "view N of views/ is this picture, and all others follow it; may be repeated"
LIKE_FOR = "an object or material of this name looks like this picture; may be repeated"
LIKE_MAP = "a map of the picture, in place of the one found beside it"
LIKE_BACKGROUND = "picture of a material: the background is painted as this is"
LIKE_FOR_MASK = "the foreground of the N-th mask looks like this picture; may be repeated"
MASKS = "picture, white where its foreground is; give one for each --foreground, in their order"


AXES = [f"{sign}{axis}" for axis in "xyz" for sign in ("", "-")]
OF_MESH: dict[str, tuple[str, dict[str, Any]]] = {  # help and more of the flags of inputs.OF_MESH
    "up": (
        "axis of the mesh file that points up; default: z of PLY and STL, else y",
        {"choices": AXES, "metavar": "AXIS"},
    ),
    "front": (
        "axis of the mesh file that its front looks along, as --front=-y; default: -y where z is "
        "up, else z",
        {"choices": AXES, "metavar": "AXIS"},
    ),
    "uv_set": (
        "which texture coordinates of a glTF file: 0 for TEXCOORD_0, the default",
        {"type": int, "choices": range(8), "metavar": "N"},
    ),
}


def read_job(path: Path) -> dict[str, Any]:
    fields = read_json(path, "job")
    if not isinstance(fields, dict):
        raise InvalidRequest(f"{str(path)!r} must hold one JSON object.", field="job")
    return fields


def read_list(path: str) -> list[Any]:
    """Read a field that is too much for a flag, such as cameras. Raises InvalidRequest."""
    entries = read_json(Path(path), None)
    if not isinstance(entries, list):
        raise InvalidRequest(f"{path!r} must hold one JSON list.")
    return entries


def read_json(path: Path, field: str | None) -> Any:
    try:
        content = json.loads(inputs.read_file(path, field), object_pairs_hook=without_duplicates)
        check_budget(content)
        return content
    except (ValueError, RecursionError) as error:
        raise InvalidRequest(f"{str(path)!r} is not JSON: {error}.", field=field) from None


def input_paths(task: str, options: argparse.Namespace) -> dict[str, Path]:
    """Where each input of the task is; several masks are mask, mask_2, ... Raises InvalidRequest.

    A finished run is extended by its picture, or by its states.
    """
    config, paths = CONFIGS[task], {}
    for name in (*config.inputs, *config.optional_inputs):
        given = vars(options).get(name, [])
        several = given if isinstance(given, list) else [given]
        if len(several) > MOST_LAYERS:
            raise InvalidRequest(
                f"There are {len(several)} of --{name}, and at most {MOST_LAYERS} are taken.",
                field=f"inputs.{name}",
            )
        for count, path in enumerate(several, start=1):
            if name in FINISHED and path.is_dir():
                path = path / FINISHED[name]
            paths[name if count == 1 else f"{name}_{count}"] = path
    for name, prefix in PICTURED.items():
        for number, (_, path) in enumerate(vars(options).get(name, []), start=1):
            paths[f"{prefix}_{number}"] = Path(path)
    if task == "texture":
        paths |= map_paths(options, paths)
    for name in config.inputs:
        if name not in paths:
            raise InvalidRequest(
                f"--{name} is missing.", hint=f"Give a {MASKS}.", field=f"inputs.{name}"
            )
    return paths


def mesh_options(options: argparse.Namespace) -> dict[str, Any]:
    """How a mesh file is meant, as far as that was said."""
    given = vars(options)
    return {name: given[name] for name in inputs.OF_MESH if given.get(name) is not None}


def read_inputs(options: argparse.Namespace) -> tuple[dict[str, Path], dict[str, bytes]]:
    """Where a task's inputs are, and what is in them. Raises InvalidRequest or InvalidMesh."""
    paths = input_paths(options.task, options)
    return paths, read_paths(paths, **mesh_options(options))


def read_paths(paths: Mapping[str, Path], **how: Any) -> dict[str, bytes]:
    """The inputs that lie at these paths. Raises InvalidRequest or InvalidMesh."""
    last = sorted(paths.items(), key=lambda entry: entry[0] == "mesh")  # takes longest to refuse
    return {name: inputs.read(name, path, **how) for name, path in last}


def map_paths(options: argparse.Namespace, pictures: Mapping[str, Path]) -> dict[str, Path]:
    """The maps that are given, and those beside pictures: like_normal, ... Raises InvalidRequest.

    What a given map tells is not taken from a file beside the picture.
    """
    given: dict[str, Path] = {}
    for kind, path in vars(options).get("like_map", []):
        if kind not in map_names.KINDS:
            raise InvalidRequest(
                f"There is no kind of map {kind!r}.",
                hint=f"Known: {', '.join(map_names.KINDS)}.",
                field="inputs.like_map",
            )
        given[f"like_{kind}"] = Path(path)
    told = {
        name
        for kind in map_names.KINDS
        if f"like_{kind}" in given
        for name in map_names.TELLS[kind]
    }
    found: dict[str, Path] = {}
    if vars(options).get("maps", True):
        for picture in (name for name in pictures if name.split("_")[0] == "like"):
            for kind, path in map_names.beside(pictures[picture]).items():
                if picture != "like" or not told & set(map_names.TELLS[kind]):
                    found[f"{picture}_{kind}"] = path
    return found | given


@contextlib.contextmanager
def naming_files(paths: Mapping[str, Path]) -> Iterator[None]:
    """Say in which file it was that an input was found to be wrong."""
    try:
        yield
    except InvalidRequest as error:
        place, _, name = (error.field or "").partition(".")
        if place != "inputs" or name not in paths:
            raise
        raise InvalidRequest(
            f"{str(paths[name])!r}: {error.message}", hint=error.hint, field=error.field
        ) from None
