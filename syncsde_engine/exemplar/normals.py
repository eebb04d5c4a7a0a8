# SPDX-License-Identifier: GPL-3.0-or-later
"""Normal maps of a picture: from bytes to vectors, and which way their green is meant.

Vectors are (right, up, out of the picture), as OpenGL has them; DirectX has green down.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ..errors import InvalidRequest

ZERO = 1 / 255  # 127 and 128 of 255 both mean 0
STEEPEST = 0.15  # height of a vector below which its slope is not believed
SIDE = 512  # pixels at which slopes are compared: noise is finer
LENGTHS = (0.6, 1.3)  # of the typical vector: a picture of colors has others
OUTWARD = 0.3  # height of the mean vector, at least
SURE = 0.1  # of agreement, from which on green is told


def decoded(pixels: Tensor, field: str) -> Tensor:
    """A normal map (3, H, W) in [0, 1] -> unit vectors (3, H, W), green up as it is.

    If blue is the same everywhere, the map has only two channels, and the third follows. Raises
    InvalidRequest for what is no normal map in tangent space.
    """
    vectors = 2 * pixels - 1
    vectors = torch.where(vectors.abs() <= ZERO * 1.001, 0, vectors)
    if float(pixels[2].max() - pixels[2].min()) < 0.01:
        flat = vectors[:2].square().sum(0)
        vectors = torch.cat([vectors[:2], (1 - flat).clamp(min=0).sqrt()[None]])
    length = vectors.norm(dim=0)
    typical, outward = float(length.median()), float(vectors[2].mean())
    if not LENGTHS[0] <= typical <= LENGTHS[1] or outward < OUTWARD:
        red, green, blue = (round(255 * float(channel.mean())) for channel in pixels)
        raise InvalidRequest(
            f"The picture is no normal map in tangent space: its mean color is "
            f"({red}, {green}, {blue}).",
            hint="Give one whose even parts are light blue (128, 128, 255), or leave it out.",
            field=field,
        )
    return normalized(vectors)


def normalized(vectors: Tensor) -> Tensor:
    """Unit vectors (3, ...) of some that point out of the picture; (0, 0, 1) of what is nothing."""
    length = vectors.norm(dim=0, keepdim=True)
    out = torch.zeros_like(vectors)
    out[2] = 1
    return torch.where(length > 1e-6, vectors / length.clamp(min=1e-6), out)


def green_up(vectors: Tensor) -> float:
    """Whether unit vectors (3, H, W) have green up: in [-1, 1], 1 for surely up, -1 for down.

    Normals of a height h(u, v), v up, have the slopes p = dh/du = -x / z and q = dh/dv = -y / z,
    and such a field has no curl: dp/dv = dq/du. With the wrong sign of y it has dp/dv = -dq/du.
    The two curls have the mean squares E = <(dp/dv - dq/du)^2> and E' = <(dp/dv + dq/du)^2>; what
    is returned is (E' - E) / (E' + E). About 0, where neither fits: a pattern that runs straight
    along one side means the same either way.
    """
    height, width = vectors.shape[1:]
    step = max(1, -(-max(height, width) // SIDE))
    coarse = torch.nn.functional.avg_pool2d(vectors[None].double(), step)[0]
    across, upwards = -coarse[:2] / coarse[2].clamp(min=STEEPEST)
    if min(coarse.shape[1:]) < 3:
        return 0.0
    # Within the picture, so that one that does not tile is judged like others; rows run down.
    across_up = (across[:-2, 1:-1] - across[2:, 1:-1]) / 2
    upwards_right = (upwards[1:-1, 2:] - upwards[1:-1, :-2]) / 2
    fits = float((across_up - upwards_right).square().mean())
    turned = float((across_up + upwards_right).square().mean())
    return (turned - fits) / (turned + fits) if turned + fits > 1e-12 else 0.0
