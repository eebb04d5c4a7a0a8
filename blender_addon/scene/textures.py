# SPDX-License-Identifier: GPL-3.0-or-later
"""Put the textures of a finished run onto the objects that it was made for.

report.json tells which texture has which objects and which of their materials: each such material
is covered by a new one, on all objects at once or, if anything is amiss, on none.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import bpy
import numpy as np

from ..client.report import FILE as REPORT
from . import contract, images, material
from .contract import Contract
from .export_mesh import ExportedMesh, MeshError
from .material import ChangedError

SESSION = secrets.token_hex(8)  # this run of Blender

# Which of a run's files are its textures and their maps.
VIEWS = "views/*.png"  # of a run
FILES = ("texture.png", "texture_*.png", "textures/*.png")


@dataclass(frozen=True)
class Target:
    """An object that was exported, and what of it must still hold."""

    name: str  # as it was called then, and the engine calls it
    session_uid: int
    uv_layer: str
    slots: tuple[contract.Slot, ...]
    contract: Contract
    uv_filepath: str = ""  # of a UV layer that the mesh does not have yet
    session: str = SESSION  # outside which the uid means nothing

    def find(self) -> bpy.types.Object | None:
        """The object as it is called now; in a file that was read again, by name and content."""
        meshes = [obj for obj in bpy.data.objects if obj.type == "MESH"]
        if self.session == SESSION:
            for obj in meshes:
                if obj.session_uid == self.session_uid:
                    return obj
        named = [obj for obj in meshes if obj.name == self.name]
        alike = (o for o in (*named, *meshes) if contract.is_of(o, self.uv_layer, self.contract))
        return next(alike, None) or next(iter(named), None)

    def is_here(self) -> bool:
        """Whether an object of this file, whatever it is called, is the one by its content."""
        return any(contract.is_of(obj, self.uv_layer, self.contract) for obj in bpy.data.objects)


def target(obj: bpy.types.Object, exported: ExportedMesh, uv_filepath: str = "") -> Target:
    """Describe an object that was exported; new UVs lie in a file."""
    slots = tuple(exported.slots)
    layer = "" if exported.new_uvs is not None else exported.uv_layer
    taken = contract.take(obj, layer, len(slots))
    return Target(obj.name, obj.session_uid, exported.uv_layer, slots, taken, uv_filepath)


@dataclass(frozen=True)
class Covered:
    """Slots of an object that get one material, and the files of its texture or its tiles."""

    target: Target
    slots: tuple[int, ...]
    name: str
    tiles: tuple[tuple[int, Path], ...]  # UDIM number, or 0, and file
    maps: tuple[tuple[str, tuple[tuple[int, Path], ...]], ...] = ()  # the same of each map


def to_json(targets: Sequence[Target]) -> str:
    return json.dumps([asdict(each) for each in targets])


def from_json(text: str) -> list[Target]:
    """Read what `to_json` wrote. Raises ValueError, TypeError or KeyError."""
    return [
        Target(
            **each
            | {
                "slots": tuple(contract.Slot(**slot) for slot in each["slots"]),
                "contract": Contract(**each["contract"]),
            }
        )
        for each in json.loads(text)
    ]


def found(targets: Sequence[Target]) -> dict[Target, bpy.types.Object]:
    """Those of the objects that are there, in their order."""
    return {each: obj for each in targets if (obj := each.find()) is not None}


def changes(there: Mapping[Target, bpy.types.Object]) -> str:
    """Say in one sentence what of the objects has changed since, or nothing if they fit."""
    for each, obj in there.items():
        changed = contract.changes(obj, each.uv_layer, each.contract, each.slots)
        if changed:
            what = " and ".join(changed)
            return f"{obj.name!r} is not as it was when its texture was begun: {what} changed."
    return ""


def apply(folder: Path, targets: Sequence[Target], name: str, *, anyway: bool = False) -> None:
    """Show the textures in a run's folder. A run of one texture gives it `name`.

    Raises MeshError, OSError or RuntimeError with nothing changed, and ChangedError if an object is
    not as it was, unless it is to be done `anyway`.
    """
    report = json.loads((folder / REPORT).read_text(encoding="utf-8"))
    there = found(targets)
    if not there:
        raise MeshError(f"{targets[0].name!r} is gone; its texture is in {folder}.")
    if not anyway and (changed := changes(there)):
        raise ChangedError(changed)
    covers = [cover for each in there.items() for cover in _covers(folder, report, *each, name)]
    new_uvs = {t: np.load(t.uv_filepath) if t.uv_filepath else None for t in there}
    for each, obj in there.items():
        material.require_unchanged(obj, new_uvs[each])
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
    for each, obj in there.items():
        twin = added.get(obj.data.name)
        uvs = None if twin else new_uvs[each]
        layer = contract.layer_now(obj, each.uv_layer, each.contract)
        active = obj.data.uv_layers.active
        layer = twin or layer or (active.name if active is not None else each.uv_layer)
        layers[each] = material.prepare(obj, layer, uvs, list(there.values()))
        if uvs is not None:
            added[obj.data.name] = layers[each]
    made: dict[Any, bpy.types.Material] = {}
    for cover in covers:
        uv_layer = layers[cover.target]
        key = (cover.tiles, uv_layer)
        if key not in made:
            maps = {kind: loaded[tiles] for kind, tiles in cover.maps}
            made[key] = material.new(loaded[cover.tiles], uv_layer, maps, report.get("relief", 0))
        material.show(there[cover.target], dict.fromkeys(cover.slots, made[key]))
    for cover in covers:  # names that those of an earlier run had until now
        made[cover.tiles, layers[cover.target]].name = cover.name
        loaded[cover.tiles].name = cover.name


def _covers(
    folder: Path, report: dict[str, Any], target: Target, obj: bpy.types.Object, name: str
) -> list[Covered]:
    """What to put into the slots of one object. Raises MeshError."""
    textures, files = report["mesh"]["textures"], report["textures"]
    said = dict(report.get("parameters", {}).get("prompt_for") or ())
    slots: dict[str, list[int]] = {}
    for index, slot in enumerate(target.slots[: max(len(obj.material_slots), 1)]):
        slots.setdefault(slot.name, []).append(index)
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
            words = said.get(own) or said.get(target.name) or name
            whole = words if len({t["name"] for t in textures}) == 1 else f"{label}, {words}"
            maps = tuple(
                (kind, tuple((t["tile"] or 0, folder / of[t["name"]]) for t in mine))
                for kind, of in report.get("map_files", {}).items()
            )
            covers.append(Covered(target, tuple(indices), images.shorten(whole), tiles, maps))
    return covers
