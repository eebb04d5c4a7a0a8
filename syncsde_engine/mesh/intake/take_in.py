# SPDX-License-Identifier: GPL-3.0-or-later
"""From whatever an artist has to what can be rasterized and painted, and a report of it.

Every material gets a texture, or one for each UDIM tile. Objects that share a material share its
texture unless they lie over each other there: then each has its own, so that nothing of one object
is painted on another.
"""

from __future__ import annotations

import logging
import time
from dataclasses import asdict, replace
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ...errors import InvalidMesh
from ..mesh import Mesh, Normalization, areas, normalize, weld
from .atlas import Atlas, Texture
from .sanitize import Defects, Sanitized, first_alike, part, sanitize
from .unwrap import SECONDS, unwrap
from .uvs import Corners, Layout, corners_of, flat_cells, layout, owners_of_texels, sharing
from .wrap import LITTLE, Pieces, pieces_of, wrapped

log = logging.getLogger(__name__)

MAX_TEXTURES = 64
USABLE = 0.5  # of an object's surface: with fewer texture coordinates it counts as having none
TOUCHING = 8  # texels that charts of two objects may share by rounding
WRAPPED = "{} faces have texture coordinates outside [0, 1], where the texture repeats."
WORTH_TELLING = 0.5  # percent of a texture that is shared or mirrored

UvPolicy = Literal["auto", "keep", "unwrap"]
Bools = NDArray[np.bool_]
Float = NDArray[np.float64]
Int = NDArray[np.int64]


class Intake(NamedTuple):
    """A mesh twice: as it is written to files, and as it is worked with."""

    whole: Mesh  # the artist's vertices and faces, with coordinates within the unit square
    work: Mesh  # normalized, and only the faces that can be painted
    normalization: Normalization  # from the artist's space to that of the work
    textures: list[Texture]
    report: dict[str, Any]


class Group(NamedTuple):
    """Faces of one material that share texture space."""

    name: str
    material: str
    objects: list[str]
    own: bool  # has coordinates already


def take_in(mesh: Mesh, policy: UvPolicy, size: int, seconds: float = SECONDS) -> Intake:
    """Sanitize a mesh, find or make its texture coordinates, and tell which texture has what.

    `auto` keeps the artist's coordinates and makes some where there are none; `keep` never makes
    any, and takes UDIM tiles for granted; `unwrap` makes all anew. `size` is a texture's side,
    `seconds` the time for unwrapping all of it.

    Raises InvalidMesh if nothing can be painted, or not with these coordinates.
    """
    clean = sanitize(mesh)
    work, normalization = normalize(clean.mesh)
    places = weld(work.positions)[work.triangles]
    corners = corners_of(work)
    groups, group_of = _groups(work, policy, corners)
    pieces = _wrapped(groups, group_of, corners, None if policy == "keep" else places)
    is_piece = np.zeros(len(work.triangles), bool)
    if pieces is not None:
        work, owner, is_piece = wrapped(work, pieces)
        clean = replace(clean, faces=clean.faces[owner])
        places, corners = weld(work.positions)[work.triangles], corners_of(work)
        groups, group_of = _groups(work, policy, corners)
    usable = corners.usable
    atlas = Atlas(work)
    deadline = time.monotonic() + seconds
    for number, group in enumerate(groups):
        faces = np.flatnonzero(group_of == number)
        if group.own:
            painted, flat = faces[usable[faces]], faces[(corners.there & ~usable)[faces]]
            found = layout(corners.uvs[painted], None if policy == "keep" else places[painted])
            if found.kind == "tiling":
                raise _tiling(group, found, pieces_of(corners.uvs[painted]))
            inside, cell = flat_cells(corners.uvs[flat], found)
            kept = np.concatenate([painted, flat[inside]])
            cells = np.concatenate([found.cell, cell[inside]])
            tiled = found.kind == "udim"
            atlas.keep(group.name, group.material, group.objects, faces, kept, cells, tiled)
        else:
            by = _unwrap(atlas, group, faces, places, size, deadline - time.monotonic())
            log.info("%s unwrapped by %s", group.name, by)
    if len(atlas.textures) > MAX_TEXTURES:
        raise _too_many(len(atlas.textures))
    work = atlas.finish()
    without = int((~usable & np.array([group.own for group in groups])[group_of]).sum())
    moved = len(np.unique(clean.faces[is_piece]))
    warnings = [
        *mesh.notes,
        *([WRAPPED.format(moved)] if moved else []),
        *_measure(work, usable, atlas.textures),
    ]
    warnings += _told(mesh, clean.defects, without)
    for warning in warnings:
        log.warning("%s", warning)
    report = {
        "faces": len(mesh.triangles),
        "vertices": len(mesh.positions),
        "objects": list(mesh.objects),
        "materials": list(mesh.materials),
        "textures": [asdict(texture) for texture in atlas.textures],
        "defects": {**clean.defects._asdict(), "without_uvs": without},
        "warnings": warnings,
    }
    whole = _with_all_faces(mesh, work, clean, is_piece)
    return Intake(whole, work, normalization, atlas.textures, report)


def _groups(mesh: Mesh, policy: UvPolicy, corners: Corners) -> tuple[list[Group], Int]:
    """Split the faces (F,) by what texture space they share."""
    usable = corners.usable
    count = len(mesh.objects)
    parts, part_of = np.unique(
        mesh.owners("material").astype(np.int64) * count + mesh.owners("object"),
        return_inverse=True,
    )
    area = areas(mesh)
    has = np.bincount(part_of, area * usable) >= USABLE * np.bincount(part_of, area)
    if policy == "keep" and not has.all():
        name = mesh.objects[parts[~has][0] % count]
        raise InvalidMesh(
            f"{name!r} has no usable texture coordinates.",
            hint="Unwrap it first, or leave uv at auto.",
        )
    own = has & (policy != "unwrap")
    groups: list[Group] = []
    group_of_part = np.zeros(len(parts), np.int64)
    for material in np.unique(parts // count):
        mine = parts // count == material
        kept, new = np.flatnonzero(mine & own), np.flatnonzero(mine & ~own)
        faces = np.flatnonzero(usable & np.isin(part_of, kept))
        apart = len(kept) > 1 and _lie_over_each_other(corners.uvs[faces], part_of[faces])
        bundles = [kept[k : k + 1] for k in range(len(kept))] if apart else [kept]
        bundles = [bundle for bundle in (*bundles, new) if len(bundle)]
        for bundle in bundles:
            objects = [mesh.objects[p % count] for p in parts[bundle]]
            name = _name(mesh, material, objects, len(bundles) == 1)
            group_of_part[bundle] = len(groups)
            groups.append(Group(name, mesh.materials[material], objects, bool(own[bundle[0]])))
    if len(groups) > MAX_TEXTURES:
        raise _too_many(len(groups))
    return groups, group_of_part[part_of]


def _lie_over_each_other(corners: Float, owner: Int) -> bool:
    """Whether faces (F, 3, 2) of different owners (F,) cover the same texels of some tile."""
    cell = np.floor(corners.mean(axis=1))
    for tile in np.unique(cell, axis=0)[:MAX_TEXTURES]:
        here = (cell == tile).all(axis=1)
        uvs = (corners[here] - tile).reshape(-1, 2)
        faces = np.arange(len(uvs)).reshape(-1, 3)
        lowest, highest = owners_of_texels(uvs, faces, owner[here])
        if (lowest != highest).sum() > TOUCHING:
            return True
    return False


def _name(mesh: Mesh, material: int, objects: list[str], whole: bool) -> str:
    """Of a texture: the material's, if there are any; with the object's, if that is not enough."""
    named = mesh.materials != Mesh.materials
    label = mesh.materials[material] if named else mesh.name
    if whole:
        return label
    if len(objects) == 1:
        return f"{label}_{objects[0]}" if named else objects[0]
    return f"{label}_unwrapped"


def _unwrap(atlas: Atlas, group: Group, faces: Int, places: Int, size: int, seconds: float) -> str:
    """Unwrap faces; those that lie on each other get the same coordinates."""
    first = first_alike(places[faces])
    distinct = np.flatnonzero(first == np.arange(len(faces)))
    made, by = unwrap(part(atlas.mesh, faces[distinct]), size, seconds)
    assert made.uvs is not None
    assert made.uv_triangles is not None
    twin = made.uv_triangles[np.searchsorted(distinct, first)]
    # A twin may start at another corner or run the other way round.
    same = places[faces][:, :, None] == places[faces[first]][:, None, :]
    corners = np.take_along_axis(twin, same.argmax(axis=2), axis=1)
    atlas.add(group.name, group.material, group.objects, faces, made.uvs, corners, by)
    return by


def _wrapped(
    groups: list[Group], group_of: Int, corners: Corners, places: Int | None
) -> Pieces | None:
    """The pieces of faces of groups whose coordinates leave the unit square a little."""
    found = []
    for number, group in enumerate(groups):
        faces = np.flatnonzero((group_of == number) & corners.usable)
        if not group.own or not len(faces):
            continue
        uvs = corners.uvs[faces]
        if layout(uvs, None if places is None else places[faces]).kind == "tiling":
            pieces = pieces_of(uvs)
            if pieces is not None and pieces.shared <= LITTLE:
                found.append(pieces._replace(face=faces[pieces.face]))
    if not found:
        return None
    return Pieces(
        np.concatenate([pieces.face for pieces in found]),
        np.concatenate([pieces.weights for pieces in found]),
        np.concatenate([pieces.uvs for pieces in found]),
        max(pieces.shared for pieces in found),
    )


def _with_all_faces(mesh: Mesh, work: Mesh, clean: Sanitized, is_piece: Bools) -> Mesh:
    """The artist's mesh with the coordinates and textures of the work.

    Faces that were left out get a texture triangle without area, those that were cut into pieces
    their own: the texture repeats.
    """
    assert work.uvs is not None
    assert work.uv_triangles is not None
    uv_triangles = np.full((len(mesh.triangles), 3), len(work.uvs), np.int32)
    uv_triangles[clean.faces] = work.uv_triangles
    if mesh.uv_triangles is not None:
        cut = clean.faces[is_piece]
        uv_triangles[cut] = mesh.uv_triangles[cut]
    texture = np.zeros(len(mesh.triangles), np.int32)
    texture[clean.faces] = work.owners("texture")
    return replace(
        mesh,
        uvs=np.concatenate([work.uvs, np.zeros((1, 2), np.float32)]),
        uv_triangles=uv_triangles,
        face_texture=texture,
        textures=work.textures,
    )


def _measure(work: Mesh, usable: Bools, textures: list[Texture]) -> list[str]:
    """Note in every texture of the artist's how much several faces share; tell if it is much."""
    told = []
    for k, texture in enumerate(textures):
        if texture.uv != "own":
            continue
        found = sharing(work, np.flatnonzero(usable & (work.owners("texture") == k)))
        texture.overlapping_percent = round(found.overlapping, 2)
        texture.mirrored_percent = round(found.mirrored, 2)
        if found.overlapping > WORTH_TELLING:
            told.append(
                f"{found.overlapping:.1f} % of the texture {texture.name!r} is shared by faces "
                "that lie over each other: they show what is painted on the first of them."
            )
        if found.mirrored > WORTH_TELLING:
            told.append(
                f"{found.mirrored:.1f} % of the texture {texture.name!r} is mirrored: patterns "
                "and letters painted there look the other way round on the texture."
            )
    return told


def _told(mesh: Mesh, defects: Defects, without: int) -> list[str]:
    """What the artist should hear of the defects, in sentences."""
    told = []
    if defects.unpainted:
        reasons = defects._asdict()
        left_out = list(reasons)[: list(reasons).index("duplicate")]
        found = ", ".join(
            f"{reasons[name]} {name.replace('_', ' ')}" for name in left_out if reasons[name]
        )
        told.append(
            f"{defects.unpainted} of {len(mesh.triangles)} faces cannot be painted ({found})."
        )
    if without:
        told.append(f"{without} faces have no usable texture coordinates and stay unpainted.")
    if defects.absurd_scale:
        told.append("The mesh is very small, very large or very far from the origin.")
    return told


def _tiling(group: Group, found: Layout, pieces: Pieces | None) -> InvalidMesh:
    share = "most" if pieces is None else f"{pieces.shared:.0%}"
    return InvalidMesh(
        f"{found.outside} of {len(found.cell)} faces of {group.name!r} have texture coordinates "
        "outside [0, 1], laid out for a tiling texture.",
        hint=f"Wrapped around, {share} of the texture would be shared: ask for new ones with uv "
        "unwrap (--uv unwrap), take other ones of the file (--uv-set 1), or lay it out in UDIM "
        "tiles.",
    )


def _too_many(count: int) -> InvalidMesh:
    return InvalidMesh(
        f"The mesh needs {count} textures, and at most {MAX_TEXTURES} are made.",
        hint="Join materials, or ask for one layout for each material with uv unwrap.",
    )
