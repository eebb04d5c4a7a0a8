# SPDX-License-Identifier: GPL-3.0-or-later
"""The optional CUDA backend over nvdiffrast, which has a non-commercial license of its own.

Differences to `rasterize_builtin` that its users must allow for:
- Vertices snap to 1/16 of a pixel (builtin: 1/256), so on dense meshes 1 to 6 % of the pixels
  show a neighboring face. Compare positions and depth, not ids.
- Its row 0 is the bottom of the image; clip y is negated on the way in, which mirrors its rule
  for pixel centers that lie exactly on an edge.
- Of faces at equal depth either may win.
"""

from __future__ import annotations

import importlib
from typing import Any

import torch
from torch import Tensor

from ...errors import DeviceUnavailable
from .buffers import Raster


class NvdiffrastRasterizer:
    """nvdiffrast's CUDA rasterizer behind the `Rasterizer` interface."""

    name = "nvdiffrast"
    subpixel_bits = 4

    def __init__(self, device: torch.device) -> None:
        if device.type != "cuda" or not torch.cuda.is_available():
            raise DeviceUnavailable(
                f"The nvdiffrast rasterizer needs a CUDA device, not {str(device)!r}.",
                hint="Use the builtin rasterizer.",
                field="rasterizer",
            )
        self.device = device
        try:
            self._nvdiffrast: Any = importlib.import_module("nvdiffrast.torch")
            self._context = self._nvdiffrast.RasterizeCudaContext(device=device)
        except Exception as error:  # it compiles itself on first use: anything can be missing
            reason = str(error).strip().splitlines() or [type(error).__name__]
            raise DeviceUnavailable(
                f"The nvdiffrast rasterizer cannot start ({reason[0][:200]}).",
                hint="Install nvdiffrast for this version of torch, or use the builtin rasterizer.",
                field="rasterizer",
            ) from error

    def rasterize(self, clip: Tensor, triangles: Tensor, size: tuple[int, int]) -> Raster:
        """See `Rasterizer.rasterize`."""
        clip = clip.to(self.device, torch.float32)
        triangles = triangles.to(self.device, torch.int32).contiguous()
        flip = torch.tensor([1.0, -1.0, 1.0, 1.0], device=self.device)
        image, _ = self._nvdiffrast.rasterize(
            self._context, (clip * flip).contiguous(), triangles, resolution=size, grad_db=False
        )
        face = image[..., 3].int() - 1  # ids are whole floats below 2**24, and faces are fewer
        empty = face < 0
        bary = image[..., :2]
        weights = torch.cat([bary, 1 - bary.sum(-1, keepdim=True)], dim=-1)
        corners = triangles[face.clamp(min=0).long()].long()
        w = torch.stack([(clip[b, corners[b], 3] * weights[b]).sum(-1) for b in range(len(clip))])
        return Raster(
            face,
            bary.masked_fill(empty[..., None], 0.0),
            image[..., 2].masked_fill(empty, 1.0),
            w.masked_fill(empty, torch.inf),
        )
