# SPDX-License-Identifier: GPL-3.0-or-later
"""The image that a depth ControlNet sees."""

from __future__ import annotations

import torch
from torch import Tensor

from .maps import ViewMaps

BLUR_SIZE = 768  # the view size at which the depth is blurred by 5 x 5, sigma 2


def depth_control(maps: ViewMaps) -> Tensor:
    """The depth ControlNet's image, (N, 3, H, W) float32 in [0, 1]: near white, background black.

    Inverse depth stretched over each view's foreground, then blurred (S: mesh_renderer.py
    311-329, mesh_utils.py 69-87).
    """
    inverse = maps.depth.reciprocal()  # 0 where empty
    near = inverse.amax((1, 2), keepdim=True)
    far = inverse.masked_fill(~maps.coverage, torch.inf).amin((1, 2), keepdim=True)
    flat = near <= far
    stretched = (inverse - far) / torch.where(flat, 1.0, near - far)
    stretched = torch.where(flat, 1.0, stretched).where(maps.coverage, 0.0)
    blurred = _blur(stretched[:, None], 2 * min(maps.depth.shape[1:]) / BLUR_SIZE)
    return blurred.clamp(0, 1).expand(-1, 3, -1, -1).contiguous()


def _blur(image: Tensor, sigma: float) -> Tensor:
    """Gaussian blur of (N, 1, H, W), cut off at sigma as in the paper's 5 x 5 for sigma 2."""
    radius = round(sigma)
    if radius == 0:
        return image
    offsets = torch.arange(-radius, radius + 1, dtype=torch.float32, device=image.device)
    kernel = torch.exp(-0.5 * (offsets / sigma) ** 2)
    kernel = kernel / kernel.sum()
    for axis in (2, 3):
        side = image.shape[axis]
        pad = (0, 0, radius, radius) if axis == 2 else (radius, radius, 0, 0)
        padded = torch.nn.functional.pad(image, pad, mode="reflect")
        image = torch.zeros_like(image)
        for k, share in enumerate(kernel.tolist()):
            image.add_(padded.narrow(axis, k, side), alpha=share)
    return image
