# SPDX-License-Identifier: GPL-3.0-or-later
"""From finished views to textures: every texel gathers its color from the views that see it.

Section 7.7's weights: the sixth power of the viewing cosine; and less towards the edges of what a
view shows, so that a view fades out where another goes on.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from torch import Tensor

from ..views.kernels import GRAZING_COS
from ..views.maps import ViewMaps, view_maps
from ..views.scene import Scene
from ..views.silhouettes import clear_objects
from .gather import gather
from .texels import Texels


class Coverage(NamedTuple):
    """Shares of the used texels; they add up to 1."""

    seen: float  # by a view, better than grazing
    grazing: float  # seen, but by no view better than GRAZING_COS
    filled: float  # by no view


@dataclass(frozen=True)
class Baked:
    """What the views say of every used texel."""

    texels: Texels
    color: Tensor  # (T, 3) float32; 0 where nothing was seen
    weight: Tensor  # (T,) float32, sum of the views' weights; 0 where nothing was seen
    trust: Tensor  # (T,) float32 in [0, 1], low where all see it flat or beside a silhouette
    views: Tensor  # (T,) int32, bit j % 32 for every view j that has a say
    coverage: Coverage
    disagreement: float  # mean absolute RGB difference of views that see the same texel


def bake(scene: Scene, images: Tensor, texels: Texels, maps: ViewMaps | None = None) -> Baked:
    """Blend views (N, 3, H, W) float32 in [0, 1] into the textures that have these texels.

    `maps` are those of the views, if they are there already.
    A pixel counts only where it and its neighbors show the object that the texel belongs to.
    `disagreement` is the mean over all texels and pairs of views a < b that see them of the
    absolute difference of their colors, averaged over the channels, each pair weighted by the
    product of its blending weights; 0 if no texel is seen twice.
    """
    shown = clear_objects(maps or view_maps(scene, min(images.shape[-2:])))
    found = gather(scene, texels, images.float(), shown)
    count = len(texels.place)
    seen = int((found.best >= GRAZING_COS).sum()) / count
    filled = int((found.weight <= 0).sum()) / count
    pairs = float(found.difference[1])
    return Baked(
        texels,
        found.color,
        found.weight,
        found.trust,
        found.views,
        Coverage(seen, 1 - seen - filled, filled),
        float(found.difference[0]) / pairs if pairs > 0 else 0.0,
    )
