# SPDX-License-Identifier: GPL-3.0-or-later
"""Pictures of materials on a mesh: which part shows which, in what size, and finished views."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..config import TextureConfig
from ..coupling import Overlap, everyone
from ..errors import InvalidRequest
from ..exemplar.denoiser import Draft
from ..exemplar.layout import Layout, agreed, grown, laid
from ..exemplar.picture import Floats, levels_of, telling_size
from ..exemplar.sites import Ground
from ..mesh.bake import Baked
from ..mesh.cameras import Camera
from ..mesh.frames import surface_ground, tangents
from ..mesh.mesh import Mesh, areas
from ..mesh.project import Scene, ViewMaps, view_maps
from ..mesh.sight import POWER
from ..models.exemplar import Exemplar, Part, image_of
from .likeness import Likeness, Likenesses
from .texture_cameras import MULTIPLE

NOTHING = Layout(*(np.empty((0, width), np.float32) for width in (3, 3, 3, 2)))
SLANTED = 0.4  # component of a normal, from which on it points that way
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
    size = telling_size(like.picture)
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
        if unit < SMALLEST * pixel:
            raise InvalidRequest(
                f"tile_size {unit * extent[1]:.3g} is too small for views of this size.",
                hint=f"Set it to {SMALLEST * pixel * extent[1]:.2g} or more, or raise view_size.",
                field="tile_size",
            )
        ground = surface_ground(maps, chosen, unit, levels_of(*extent))
        found[number] = Part(likeness.picture, ground, extent, scale * unit / pixel)
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


def painted(
    config: TextureConfig,
    exemplar: Exemplar,
    like: Likenesses,
    parts: Mapping[int, Part],
    overlap: Overlap,
    baked: Baked,
    y: Tensor,
) -> Baked:
    """The pictures laid down on the texels, from the states (N, 3, h, w) that views ended with.

    Views blended into a texture are blurred. Where each spot lies in its picture is read from what
    all views show there, as each sees it best; texels take their color from the picture itself, and
    those that no view saw from its continuation along the surface, unless `fill` says otherwise.
    """
    texels, mesh = baked.texels, baked.texels.mesh
    everywhere = everyone(overlap).sharpen(POWER)
    drafts = dict(zip(parts, exemplar.draft(everywhere.replace(y)), strict=True))
    best = seen_best(overlap)
    face = texels.face.cpu().long()
    shows, owner = part_of_faces(like, mesh)[face].numpy(), texels.owner().cpu().numpy()
    position, normal = texels.position().cpu().numpy(), texels.normal().cpu().numpy()
    side = float(np.sqrt(areas(mesh)[np.unique(face)].sum() / len(face)))
    color = baked.color.cpu().numpy().copy()
    known = baked.weight.cpu().numpy() > 0
    grows = config.fill == "smooth"
    for number, likeness in enumerate(like.each):
        unit, extent = unit_of(config, likeness)
        image = image_of(likeness.picture, extent, unit / side)
        for thing in np.unique(owner[shows == number]):
            mine = np.flatnonzero((shows == number) & (owner == thing))
            layout = NOTHING
            if number in parts:
                layout = layout_of(parts[number].ground, drafts[number], best, int(thing))
            away, _ = layout.tree.query(position[mine], distance_upper_bound=unit, workers=-1)
            new = mine[~known[mine] | np.isinf(away)]
            if grows:
                new = thinned(new, position, normal, unit)
                right, up = tangents(normal[new])
                size = np.float32(unit)
                layout = grown(layout, position[new], right / size, -up / size)
            else:
                mine = mine[known[mine]]
            if len(layout.position):
                size = np.array(extent, np.float32)
                color[mine] = laid(layout, position[mine], normal[mine], image, size)
    weight, trust = baked.weight, baked.trust
    if grows:
        weight, trust = torch.ones_like(weight), torch.ones_like(trust)
    return replace(baked, color=torch.from_numpy(color).to(baked.color), weight=weight, trust=trust)


def layout_of(ground: Ground, draft: Draft, best: NDArray[np.bool_], thing: int) -> Layout:
    """The sites of one object from the views that see each spot best, their matches agreed."""
    some = np.flatnonzero(best[ground.sites[0].pixel] & (ground.object == thing))
    if len(some) < 2:
        return NOTHING
    layout = Layout(
        ground.position[some], ground.across[some], ground.down[some], draft.match[some]
    )
    match = agreed(layout.match, *layout.neighbors(), draft.features[some], draft.scale)
    return replace(layout, match=match)


def seen_best(overlap: Overlap) -> NDArray[np.bool_]:
    """Whether no other view sees the spot of a pixel better, (N * h * w,)."""
    cosine = torch.zeros(overlap.count * overlap.pixels, device=overlap.weight.device)
    most = cosine.scatter_reduce(0, overlap.looks, overlap.weight, "amax")
    own = overlap.looks == overlap.source
    cosine[overlap.looks[own]] = overlap.weight[own]
    return (cosine >= most).cpu().numpy()


def thinned(
    some: NDArray[np.int64], position: Floats, normal: Floats, unit: float
) -> NDArray[np.int64]:
    """One of the texels `some` for each cube of side `unit` and each of 27 directions."""
    cube = np.floor(position[some] / unit).astype(np.int64) + (1 << 19)
    side = np.where(np.abs(normal[some]) > SLANTED, np.sign(normal[some]), 0).astype(np.int64) + 1
    key = (cube @ [1, 1 << 20, 1 << 40]) * 27 + side @ [1, 3, 9]
    return some[np.unique(key, return_index=True)[1]]


def finished(exemplar: Exemplar, maps: ViewMaps, y: Tensor) -> Tensor:
    """Views (N, 3, H, W) in [0, 1] at the size of `maps`, from finished states."""
    points = maps.position.movedim(1, -1).contiguous().cpu()
    return exemplar.decode(y, points, maps.coverage.cpu())
