# SPDX-License-Identifier: GPL-3.0-or-later
"""Making a finished wide image wider: the chain of patches is causal, so it can go on.

The patches at the old edge are inverted and replayed; new ones are conditioned on them.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ..config import WideConfig
from ..errors import InvalidRequest

FADE = 32  # pixels over which new columns lose what the autoencoder changed at the old edge


def extended_size(config: WideConfig, patch: int, given: Tensor) -> tuple[int, int]:
    """Height and width of the whole image in pixels: by default two patches wider than given.

    Raises InvalidRequest.
    """
    height, old = given.shape[1:]
    width = config.width or old + 2 * patch
    if config.wrap:
        raise InvalidRequest(
            "A wrapped panorama has no edge to grow from.",
            hint="Give extend without wrap.",
            field="wrap",
        )
    if config.height not in (None, height):
        raise InvalidRequest(
            f"height {config.height} is not that of the image to extend, {height}.",
            hint="Leave height out: only the width grows.",
            field="height",
        )
    if min(height, old) < patch:
        raise InvalidRequest(
            f"The image to extend, {old} x {height} pixels, is below one patch of {patch}.",
            hint="Scale it up, or ask for a smaller patch_size.",
            field="inputs.extend",
        )
    if width <= old:
        raise InvalidRequest(
            f"width {width} is not more than that of the image to extend, {old}.",
            hint="width is that of the whole result.",
            field="width",
        )
    return height, width


def join(given: Tensor, region: Tensor, patch: int, left: bool) -> Tensor:
    """Put the new columns of `region` (3, H, patch + new) beside the image, which stays as it is.

    `region` begins (to the left: ends) with the edge of the image as the autoencoder has it; what
    that changed in the last column is taken out of the new ones, less and less.
    """
    if left:
        return join(given.flip(2), region.flip(2), patch, left=False).flip(2)
    region = region.to(given.device)
    new = region[:, :, patch:].clone()
    changed = given[:, :, -1] - region[:, :, patch - 1]
    reach = min(FADE, new.shape[2])
    new[:, :, :reach] += changed[:, :, None] * (1 - torch.arange(reach) / FADE)
    return torch.cat([given, new.clamp(0, 1)], dim=2)
