# SPDX-License-Identifier: GPL-3.0-or-later
"""Given views: pictures that stand in place of some views, and that all others follow.

A view that was made or changed by hand is a trajectory whose states are known at every noise level.
It comes before all others, which are conditioned on it where they see the same surface (Eq. 7).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from .. import pictures
from ..config import TextureConfig
from ..errors import InvalidRequest
from ..mesh.views.scene import Scene
from ..method.schedule import Step, noised
from .session import Space

ODD = 0.02  # of an aspect, that is taken for rounding


class Given(NamedTuple):
    """Pictures (K, 3, H, W) in [0, 1] of K views, and the order (N,) in which all views come."""

    views: Tensor
    order: list[int]

    def __len__(self) -> int:
        return len(self.views)

    @property
    def places(self) -> list[int]:
        """Where in this order each view comes (N,), by its number."""
        return sorted(range(len(self.order)), key=self.order.__getitem__)

    @property
    def others(self) -> range:
        """Where in this order the views come that are left to make."""
        return range(len(self), len(self.order))

    def recorded(self, space: Space, steps: Sequence[Step], noise: Tensor) -> Tensor:
        """Their states (S + 1, K, C, h, w) at every level, noisiest first; `noise` (K, C, h, w).

        Each is the picture under the noise that its view would have started from (Eq. 1).
        """
        return noised(space.encode(self.views.to(noise.device)).to(noise), steps, noise)

    def back(self, views: Tensor) -> Tensor:
        """Views (N, ...) that come in this order, by their numbers, the given ones as given."""
        whole = torch.cat([self.views.to(views), views[len(self) :]])
        return whole[self.places]


def read_given(
    config: TextureConfig, inputs: Mapping[str, bytes], scene: Scene, view_size: int
) -> Given | None:
    """Read `view_1`, `view_2`, ... of the views that `view_for` numbers. Raises InvalidRequest."""
    if not config.view_for:
        return None
    count, (height, width) = len(scene.cameras), scene.frame(view_size)
    views = []
    for place, number in enumerate(config.view_for, start=1):
        field = f"inputs.view_{place}"
        if number >= count:
            raise InvalidRequest(
                f"There is no view {number}: the {count} views are numbered from 0.",
                hint="Take the number from views/ or report.json of a run with the same cameras.",
                field="view_for",
            )
        picture = pictures.read(inputs[f"view_{place}"], field)
        tall, across = picture.shape[1:]
        if abs(across * height / (tall * width) - 1) > ODD:
            raise InvalidRequest(
                f"The picture of view {number} has {across} x {tall} pixels, and a view {width} x "
                f"{height}.",
                hint="Give a picture with a view's proportions, drawn over the view itself.",
                field=field,
            )
        views.append(pictures.resize(picture, height, width))
    if len(views) == count:
        raise InvalidRequest(
            f"All {count} views are given, and none is left to make.",
            hint="Leave the picture of one out.",
            field="view_for",
        )
    others = [number for number in range(count) if number not in config.view_for]
    return Given(torch.stack(views), [*config.view_for, *others])
