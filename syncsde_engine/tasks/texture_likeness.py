# SPDX-License-Identifier: GPL-3.0-or-later
"""Pictures of materials on a mesh: which part shows which, in what size, and finished views."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from ..config import TextureConfig
from ..errors import InvalidRequest
from ..exemplar.picture import levels_of
from ..mesh.mesh import Mesh
from ..mesh.views.cameras import Camera
from ..mesh.views.frames import surface_ground
from ..mesh.views.lattices import surface_lattice
from ..mesh.views.maps import ViewMaps, view_maps
from ..mesh.views.scene import Scene
from ..models.exemplar import Exemplar, Part
from .likeness import Likeness, Likenesses
from .texture_cameras import MULTIPLE

COARSER = 2.0  # pixels of a state for one of the picture: surface that is slanted has fewer
SMALLEST = 0.5  # of them, at least
LEAST_SCALE = 2  # pixels of a finished view for one of its state
LEAST_STATE = 128  # pixels of a state


def scale_of(
    config: TextureConfig,
    like: Likenesses,
    cameras: Sequence[Camera],
    view_size: int,
    *,
    exact: bool,
) -> int:
    """How many pixels of a finished view go to one of its state, along a side.

    So that the finest picture has COARSER pixels of the state for each of its own where a view
    faces the surface in the middle of the mesh. An `exact` one divides both sides of any view.
    """
    camera = cameras[0]
    unit = min(unit_of(config, each)[0] for each in like.each)
    size = COARSER * float(camera.footprint(camera.distance, 1)) / unit
    scale = max(1, round(min(max(view_size / size, LEAST_SCALE), view_size / LEAST_STATE)))
    return min(1 << (scale.bit_length() - 1), MULTIPLE) if exact else scale


def unit_of(config: TextureConfig, like: Likeness) -> tuple[float, tuple[int, int]]:
    """How wide a pixel of the picture is on the mesh, and the picture's rows and columns."""
    size = like.picture.telling_size
    return (config.tile_size or like.tile) / size[1], size


def parts_of(
    config: TextureConfig, like: Likenesses, scene: Scene, size: int, scale: int
) -> dict[int, Part]:
    """Where the pictures, by their numbers, are seen by views whose states have `size` pixels.

    Raises InvalidRequest for a size at which a picture shows nothing.
    """
    maps = view_maps(scene, size)
    owner = torch.nn.functional.pad(part_of_faces(like, scene.mesh), (0, 1), value=-1)
    shown = owner[maps.face.cpu().long()]  # the last entry is that of face -1, the background
    pixel = float(scene.cameras[0].footprint(float(maps.depth[maps.coverage].median()), size))
    found = {}
    for number, likeness in enumerate(like.each):
        chosen = shown == number
        if not chosen.any():
            continue
        unit, extent = unit_of(config, likeness)
        width, least = unit * extent[1], SMALLEST * pixel * extent[1]
        if width < least:
            own = f"The width of {likeness.words} on the mesh, {width:.3g},"
            what = f"tile_size {width:.3g}" if config.tile_size else own
            raise InvalidRequest(
                f"{what} is too small for the views.",
                hint=f"Set tile_size to {least:.2g} or more, or raise view_size.",
                field="tile_size",
            )
        ground = surface_ground(maps, chosen, unit, levels_of(*extent))
        lattice = surface_lattice(likeness.picture, extent, ground)
        found[number] = Part(likeness.picture, ground, extent, scale * unit / pixel, lattice)
    return found


def part_of_faces(like: Likenesses, mesh: Mesh) -> Tensor:
    """Which picture each face (F,) shows, int64: 0 is the main one, k the k-th that has a name.

    A name means the object and the material that are called so; later ones win.
    """
    part = np.zeros(len(mesh.triangles), np.int64)
    for number, name in enumerate(like.named, start=1):
        if name in mesh.objects:
            part[mesh.owners("object") == mesh.objects.index(name)] = number
        if name in mesh.materials:
            part[mesh.owners("material") == mesh.materials.index(name)] = number
    return torch.from_numpy(part)


def finished(exemplar: Exemplar, maps: ViewMaps, y: Tensor) -> Tensor:
    """Views (N, 3, H, W) in [0, 1] at the size of `maps`, from finished states."""
    points = maps.position.movedim(1, -1).contiguous().cpu()
    return exemplar.decode(y, points, maps.coverage.cpu())
