# SPDX-License-Identifier: GPL-3.0-or-later
"""How a camera sees points of the surface."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from .cameras import Camera
from .kernels import BIAS, BIAS_PIXELS, MIN_COS


class Sight(NamedTuple):
    """How one camera sees P points."""

    x: Tensor  # (P,) float32, fraction of the image from its left edge
    y: Tensor  # (P,) float32, fraction of the image from its top edge
    cos: Tensor  # (P,) float32, cosine between normal and viewing ray
    seen: Tensor  # (P,) bool


def see(camera: Camera, depth: Tensor, position: Tensor, normal: Tensor) -> Sight:
    """Project points (P, 3) with unit normals into a view and test them against its depth map.

    The bias grows with the slope of the surface, by 1.5 pixels of the depth map (D, E). Of a camera
    that looks behind the nearest surface, the points must not lie before it either.
    """
    eye, basis = (torch.tensor(array).to(position) for array in (camera.eye, camera.basis))
    offset = position - eye
    right, up, w = (offset @ basis.T).unbind(1)
    ahead = w > 0
    shrink = 1.0 if camera.orthographic else w.where(ahead, 1.0).reciprocal()
    across, along = camera.magnification.tolist()
    x, y = (1 + right * (across * shrink)) / 2, (1 - up * (along * shrink)) / 2
    ray = basis[2:] if camera.orthographic else offset
    cos = -(ray * normal).sum(1) / ray.norm(dim=1).clamp(min=1e-12)
    inside = ahead & (x >= 0) & (x < 1) & (y >= 0) & (y < 1) & (cos >= MIN_COS)
    rows, columns = depth.shape
    front = depth[texel(y, rows), texel(x, columns)]
    tangent = (1 - cos**2).clamp(min=0).sqrt() / cos.clamp(min=MIN_COS)
    bias = BIAS + BIAS_PIXELS * camera.footprint(w, min(rows, columns)) * tangent
    seen = inside & (w <= front + bias)
    return Sight(x, y, cos, seen & (w >= front - bias) if camera.layer else seen)


def texel(fraction: Tensor, side: int) -> Tensor:
    """The row or column that holds a fraction of the image, int64 within [0, side - 1]."""
    return (fraction * side).floor().clamp(0, side - 1).long()
