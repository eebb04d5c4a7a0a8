# SPDX-License-Identifier: GPL-3.0-or-later
"""Pictures laid down on texels, from what the views of a finished run show of them.

Views blended into a texture are blurred. Where each spot lies in its picture is read from what all
views show there, as each sees it best; texels take their color from the picture itself.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..config import TextureConfig
from ..exemplar.denoiser import Draft
from ..exemplar.layout import Layout, agreed, grown, laid
from ..exemplar.picture import Floats
from ..exemplar.sites import Ground
from ..mesh.bake.blend import Baked
from ..mesh.bake.fill import by_object
from ..mesh.mesh import areas
from ..mesh.views.frames import tangents
from ..mesh.views.kernels import POWER
from ..method.coupling import Overlap, everyone
from ..method.sparse import Coupling
from ..models.exemplar import Exemplar, Part, image_of
from .likeness import Likenesses
from .texture_likeness import part_of_faces, unit_of
from .texture_maps import PLAIN, names_of

NOTHING = Layout(*(np.empty((0, width), np.float32) for width in (3, 3, 3, 2)))
SLANTED = 0.4  # component of a normal, from which on it points that way


def painted(
    config: TextureConfig,
    exemplar: Exemplar,
    like: Likenesses,
    parts: Mapping[int, Part],
    overlap: Overlap,
    baked: Baked,
    y: Tensor,
) -> tuple[Baked, Tensor]:
    """Texels painted from the states (N, 3, h, w) that views ended with.

    What no view saw continues the picture along the surface, unless `fill` says otherwise. With the
    colors come the channels (T, C) of `texture_maps.names_of` the pictures, at the same texels;
    plain where nothing is laid.
    """
    drafts = dict(zip(parts, exemplar.draft(agreement(overlap).replace(y)), strict=True))
    best = seen_best(overlap)
    surface = Surface(baked, grows=config.fill == "smooth")
    maps = names_of(like)
    plain = [value for name in maps for value in PLAIN[name]]
    color = baked.color.cpu().numpy().copy()
    layers = np.tile(np.array(plain, np.float32), (len(color), 1))
    shows = part_of_faces(like, baked.texels.mesh)[baked.texels.face.cpu().long()].numpy()
    objects = list(by_object(baked.texels))
    for number, likeness in enumerate(like.each):
        unit, extent = unit_of(config, likeness)
        image = image_of(likeness.picture, extent, unit / surface.side, maps)
        for whole in objects:
            mine = whole[shows[whole] == number]
            if len(mine) == 0:
                continue
            layout = NOTHING
            if number in parts:
                thing = int(baked.texels.owner(slice(int(mine[0]), int(mine[0]) + 1)))
                layout = layout_of(parts[number].ground, drafts[number], best, thing)
            layout, mine = surface.completed(layout, mine, unit)
            if len(layout.position):
                there = surface.position[mine], surface.normal[mine]
                found = laid(layout, *there, image, np.array(extent, np.float32))
                color[mine], layers[mine] = found[:, :3], found[:, 3:]
    weight, trust = baked.weight, baked.trust
    if surface.grows:
        weight, trust = torch.ones_like(weight), torch.ones_like(trust)
    colors = torch.from_numpy(color).to(baked.color)
    return replace(baked, color=colors, weight=weight, trust=trust), torch.from_numpy(layers)


class Surface:
    """Where texels lie, and which of them a view has seen."""

    def __init__(self, baked: Baked, *, grows: bool) -> None:
        texels = baked.texels
        self.grows = grows  # layouts over what no view saw
        self.position = texels.position().cpu().numpy()
        self.normal = texels.normal().cpu().numpy()
        self.seen = baked.weight.cpu().numpy() > 0
        faces = np.unique(texels.face.cpu().numpy())
        self.side = float(np.sqrt(areas(texels.mesh)[faces].sum() / len(self.seen)))  # of a texel

    def completed(
        self, layout: Layout, mine: NDArray[np.integer], unit: float
    ) -> tuple[Layout, NDArray[np.integer]]:
        """The layout of an object and its texels `mine`, as far as it is to be laid on them.

        `unit` is the width of a pixel of the picture.
        """
        if not self.grows:
            return layout, mine[self.seen[mine]]
        near = layout.tree.query(self.position[mine], distance_upper_bound=unit, workers=-1)[0]
        free = mine[~self.seen[mine] | np.isinf(near)]
        new = thinned(free, self.position, self.normal, unit)
        right, up = tangents(self.normal[new])
        size = np.float32(unit)
        return grown(layout, self.position[new], right / size, -up / size), mine


def agreement(overlap: Overlap) -> Coupling:
    """The mean of what all views show of a spot, weighted as in the bake."""
    return everyone(overlap).sharpen(POWER)


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
    some: NDArray[np.integer], position: Floats, normal: Floats, unit: float
) -> NDArray[np.integer]:
    """One of the texels `some` for each cube of side `unit` and each of 27 directions."""
    cube = np.floor(position[some] / unit).astype(np.int64) + (1 << 19)
    side = np.where(np.abs(normal[some]) > SLANTED, np.sign(normal[some]), 0).astype(np.int64) + 1
    key = (cube @ [1, 1 << 20, 1 << 40]) * 27 + side @ [1, 3, 9]
    return some[np.unique(key, return_index=True)[1]]
