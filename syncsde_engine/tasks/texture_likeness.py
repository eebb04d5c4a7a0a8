# SPDX-License-Identifier: GPL-3.0-or-later
"""Pictures of materials on a mesh: which part shows which, in what size, and finished views."""

from __future__ import annotations

import logging

import numpy as np
import torch
from torch import Tensor

from ..config import TextureConfig
from ..errors import InvalidRequest
from ..exemplar.picture import LEAST_SIDE, MOST_SIDE, fitted, levels_of
from ..mesh.frames import surface_ground
from ..mesh.mesh import Mesh
from ..mesh.project import Scene, ViewMaps, view_maps
from ..models.exemplar import Exemplar, Part
from .likeness import Likeness, Likenesses

COARSER = 2.0  # pixels of a view that faces the surface for one of the picture: others see less

SCALE = 3  # pixels of a finished view for one of its state

log = logging.getLogger(__name__)


def parts_of(config: TextureConfig, like: Likenesses, scene: Scene, size: int) -> list[Part]:
    """Where each picture is to be seen by the views, whose states have `size` pixels a side.

    Raises InvalidRequest for a size at which a picture shows nothing.
    """
    maps = view_maps(scene, size)
    owner = torch.nn.functional.pad(part_of_faces(like, scene.mesh), (0, 1), value=-1)
    shown = owner[maps.face.cpu().long()]  # the last entry is that of face -1, the background
    pixel = COARSER * pixel_width(maps)
    found = []
    for number, likeness in enumerate([like.main, *like.named.values()]):
        chosen = shown == number
        if chosen.any():
            found.append(_part(config, likeness, maps, chosen, pixel))
    return found


def _part(
    config: TextureConfig, like: Likeness, maps: ViewMaps, chosen: Tensor, pixel: float
) -> Part:
    tile = config.tile_size or like.tile
    wanted = tile / pixel
    if wanted < LEAST_SIDE:
        raise InvalidRequest(
            f"At tile_size {tile:g} the picture is {wanted:.1f} pixels wide in the views.",
            hint=f"Set it to {LEAST_SIDE * pixel:.2g} or more, or raise view_size.",
            field="tile_size",
        )
    if wanted > MOST_SIDE:
        log.info("the picture is taken at %d pixels a side, and enlarged", MOST_SIDE)
    height, width = fitted(like.picture, wanted)
    ground = surface_ground(maps, chosen, tile / width, levels_of(width, height))
    return Part(like.picture, ground, (height, width), COARSER * SCALE)


def pixel_width(maps: ViewMaps) -> float:
    """How wide a pixel of a view is on surface that faces it: the median over all views."""
    depth = maps.depth[maps.coverage]
    camera = maps.scene.cameras[0]
    return float(camera.footprint(float(depth.median()), maps.size))


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
