# SPDX-License-Identifier: GPL-3.0-or-later
"""Several prompts in one view: the noise of every latent cell is that of the prompt it belongs to.

For each view and each prompt in it one row goes through the network, with the whole view as its
state, so that a region knows what is around it. The rows are summed with weights that hold both the
regions and classifier-free guidance; what is unwanted is asked once a view.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from scipy import ndimage
from torch import Tensor

from .sampler import Denoiser
from .schedule import Step


class Regions(NamedTuple):
    """R pairs of a view and a prompt that it shows, in the order of the views."""

    view: Tensor  # (R,) int64
    prompt: Tensor  # (R,) int64
    share: Tensor  # (R, 1, h, w) float32, of each cell; those of a view add up to 1


def regions(owner: Tensor, scale: int) -> Regions:
    """Divide the cells of N views among their prompts.

    `owner` (N, H, W) is the prompt of every pixel, -1 for background, and a cell has `scale` x
    `scale` pixels. Background goes with the nearest region, as do regions of less than one cell,
    which are not worth a row; a view of nothing but background with prompt 0. Cells on a border
    are shared.
    """
    views, prompts, shares = [], [], []
    for number, pixels in enumerate(owner.cpu()):
        count = torch.bincount(pixels.flatten() + 1, minlength=2)[1:]
        shown = (count >= scale**2).nonzero()[:, 0]
        if len(shown) == 0:
            shown = count.argmax()[None]
        filled = _nearest(pixels, torch.isin(pixels, shown)) if count.any() else 0 * pixels
        masks = (filled == shown[:, None, None]).float()[:, None]
        views += [number] * len(shown)
        prompts.append(shown)
        shares.append(torch.nn.functional.avg_pool2d(masks, scale))
    device = owner.device
    return Regions(
        torch.tensor(views, device=device),
        torch.cat(prompts).to(device),
        torch.cat(shares).to(device),
    )


def _nearest(values: Tensor, known: Tensor) -> Tensor:
    """The value (H, W) of the nearest known pixel, everywhere."""
    nearest = ndimage.distance_transform_edt(
        ~known.numpy(), return_distances=False, return_indices=True
    )
    assert nearest is not None
    row, column = torch.from_numpy(np.asarray(nearest)).long()
    return values[row, column]


class Rows(NamedTuple):
    """What goes through the network: R wanted rows and, if guided, one unwanted for each view."""

    view: Tensor  # (R + N,) int64, whose state a row gets
    weight: Tensor  # (R + N, 1, h, w) float32


def guided_rows(parts: Regions, guidance_scale: float) -> Rows:
    """Weights for unwanted + guidance_scale * (wanted - unwanted), where wanted goes by regions.

    At a guidance_scale of 1 there are no unwanted rows.
    """
    if guidance_scale == 1:
        return Rows(parts.view, parts.share)
    each = torch.unique(parts.view)
    whole = torch.ones_like(parts.share[:1]).expand(len(each), -1, -1, -1)
    weight = torch.cat([guidance_scale * parts.share, (1 - guidance_scale) * whole])
    return Rows(torch.cat([parts.view, each]), weight)


@dataclass(frozen=True)
class RegionalDenoiser:
    """Noise prediction as a weighted sum of rows, several for each view."""

    each: Denoiser  # of the rows, without guidance of its own
    rows: Rows

    def predict_noise(self, y: Tensor, step: Step) -> Tensor:
        """(N, C, h, w) float32 states -> noise, the same shape."""
        eps = self.each.predict_noise(y[self.rows.view], step)
        return torch.zeros_like(y).index_add_(0, self.rows.view, self.rows.weight * eps)
