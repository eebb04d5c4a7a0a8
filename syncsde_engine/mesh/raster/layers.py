# SPDX-License-Identifier: GPL-3.0-or-later
"""Images of what lies behind other surfaces, beside those of what is nearest."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import torch
from torch import Tensor

from .buffers import Raster, Rasterizer
from .builtin import BuiltinRasterizer


def each_layer(
    rasterizer: Rasterizer,
    clip: Iterable[Tensor],
    triangles: Tensor,
    size: tuple[int, int],
    layers: Sequence[int],
) -> Iterator[Raster]:
    """Rasterize B images, of vertices (V, 4) each: of each the surface that so many others hide.

    Images of layer 0 are the rasterizer's own, the others the builtin one's. Those of one
    camera are cheapest side by side, their layers ascending.
    """
    builtin = BuiltinRasterizer(rasterizer.device)
    before, peeled, reached = None, iter(()), 0
    for points, layer in zip(clip, layers, strict=True):
        if layer == 0:
            yield rasterizer.rasterize(points[None], triangles, size)
            continue
        if before is None or reached > layer or not torch.equal(points, before):
            before, peeled, reached = points, builtin.peel(points[None], triangles, size), 0
        raster = None
        while reached <= layer:
            raster, reached = next(peeled, None), reached + 1
        yield raster or _empty(rasterizer.device, size)


def rasterize_layers(
    rasterizer: Rasterizer,
    clip: Tensor,
    triangles: Tensor,
    size: tuple[int, int],
    layers: Sequence[int],
) -> Raster:
    """The same as one batch of B images."""
    if not any(layers):
        return rasterizer.rasterize(clip, triangles, size)
    images = list(each_layer(rasterizer, clip, triangles, size, layers))
    return Raster(
        *(
            torch.cat([getattr(image, name) for image in images])
            for name in ("face", "bary", "z", "w")
        )
    )


def _empty(device: torch.device, size: tuple[int, int]) -> Raster:
    return Raster(
        torch.full((1, *size), -1, dtype=torch.int32, device=device),
        torch.zeros(1, *size, 2, device=device),
        torch.ones(1, *size, device=device),
        torch.full((1, *size), torch.inf, device=device),
    )
