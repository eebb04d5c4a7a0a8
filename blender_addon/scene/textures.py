# SPDX-License-Identifier: GPL-3.0-or-later
"""Put the textures of a finished run onto the objects that it was made for.

report.json tells which texture has which objects and which of their materials: each such material
is covered by a new one, on all objects at once or, if anything is amiss, on none.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import bpy
import numpy as np

from ..client.report import FILE as REPORT
from . import images, material
from .export_mesh import MeshError, name_of_slot

# Which of a run's files are its textures and their maps.
FILES = ("texture.png", "texture_*.png", "textures/*.png")


@dataclass(frozen=True)
class Target:
    """An object that was exported."""

    name: str  # as it was called then, and the engine calls it
    session_uid: int
    uv_layer: str
    uv_filepath: str = ""  # of a UV layer that the mesh does not have yet

    def find(self) -> bpy.types.Object | None:
        return next((o for o in bpy.data.objects if o.session_uid == self.session_uid), None)


@dataclass(frozen=True)
class Covered:
    """Slots of an object that get one material, and the files of its texture or its tiles."""

    target: Target
    slots: tuple[int, ...]
    name: str
    tiles: tuple[tuple[int, Path], ...]  # UDIM number, or 0, and file
    maps: tuple[tuple[str, tuple[tuple[int, Path], ...]], ...] = ()  # the same of each map


def to_json(targets: Sequence[Target]) -> str:
    return json.dumps([asdict(target) for target in targets])


def from_json(text: str) -> list[Target]:
    return [Target(**each) for each in json.loads(text)]


def apply(folder: Path, targets: Sequence[Target], name: str) -> None:
    """Show the textures in a run's folder. A run of one texture gives it `name`.

    Raises MeshError, ChangedError, OSError or RuntimeError with nothing changed.
    """
    report = json.loads((folder / REPORT).read_text(encoding="utf-8"))
    there = [target for target in targets if target.find() is not None]
    if not there:
        raise MeshError(f"{targets[0].name!r} is gone; its texture is in {folder}.")
    covers = [cover for target in there for cover in _covers(folder, report, target, name)]
    new_uvs = {t: np.load(t.uv_filepath) if t.uv_filepath else None for t in there}
    for target in there:
        material.require_unchanged(target.find(), new_uvs[target])
    loaded: dict[Any, bpy.types.Image] = {}
    try:
        for cover in covers:
            if cover.tiles not in loaded:
                loaded[cover.tiles] = images.load_tiles(dict(cover.tiles), cover.name)
            for kind, tiles in cover.maps:
                if tiles not in loaded:
                    name = images.shorten(f"{kind} of {cover.name}")
                    loaded[tiles] = images.load_tiles(dict(tiles), name, "Non-Color")
    except RuntimeError:
        for image in loaded.values():
            bpy.data.images.remove(image)
        raise
    layers: dict[Target, str] = {}
    added: dict[str, str] = {}  # mesh -> the layer it got: objects may share a mesh
    for target in there:
        obj = target.find()
        twin = added.get(obj.data.name)
        uvs = None if twin else new_uvs[target]
        layers[target] = material.prepare(obj, twin or target.uv_layer, uvs)
        if uvs is not None:
            added[obj.data.name] = layers[target]
    made: dict[Any, bpy.types.Material] = {}
    for cover in covers:
        key = (cover.tiles, layers[cover.target])
        if key not in made:
            maps = {kind: loaded[tiles] for kind, tiles in cover.maps}
            uv_layer = layers[cover.target]
            made[key] = material.new(loaded[cover.tiles], uv_layer, maps, report.get("relief", 0))
        material.show(cover.target.find(), dict.fromkeys(cover.slots, made[key]))


def _covers(folder: Path, report: dict[str, Any], target: Target, name: str) -> list[Covered]:
    """What to put into the slots of one object. Raises MeshError."""
    obj = target.find()
    textures, files = report["mesh"]["textures"], report["textures"]
    slots: dict[str, list[int]] = {}
    for index in range(max(len(obj.material_slots), 1)):
        slots.setdefault(name_of_slot(obj, index), []).append(index)
    covers = []
    for own, indices in slots.items():
        mine = [t for t in textures if t["material"] == own and target.name in t["objects"]]
        if any(t["uv"] != "own" for t in mine):
            raise MeshError(
                f"The UV layer {target.uv_layer!r} of {target.name!r} has no area to paint on: "
                "set UVs to Unwrap."
            )
        if mine:
            tiles = tuple((t["tile"] or 0, folder / files[t["name"]]) for t in mine)
            label = mine[0]["name"].removesuffix(f".{mine[0]['tile']}")
            whole = name if len({t["name"] for t in textures}) == 1 else f"{label}, {name}"
            maps = tuple(
                (kind, tuple((t["tile"] or 0, folder / of[t["name"]]) for t in mine))
                for kind, of in report.get("map_files", {}).items()
            )
            covers.append(Covered(target, tuple(indices), images.shorten(whole), tiles, maps))
    return covers
