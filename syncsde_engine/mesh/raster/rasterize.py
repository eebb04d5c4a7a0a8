# SPDX-License-Identifier: GPL-3.0-or-later
"""Choosing a rasterizer: ours everywhere, nvdiffrast where CUDA has it."""

from __future__ import annotations

import logging
from typing import Literal

import torch

from ...errors import DeviceUnavailable
from .buffers import Rasterizer
from .builtin import BuiltinRasterizer
from .cuda import NvdiffrastRasterizer

log = logging.getLogger(__name__)


def rasterizer(
    name: Literal["auto", "builtin", "nvdiffrast"], device: torch.device | str = "cpu"
) -> Rasterizer:
    """Make a backend whose results lie on `device`.

    "auto" is nvdiffrast where it is installed and the device is CUDA, else builtin. Raises
    DeviceUnavailable if nvdiffrast is asked for by name and cannot run.
    """
    device = torch.device(device)
    if name == "builtin" or (name == "auto" and device.type != "cuda"):
        return BuiltinRasterizer(device)
    try:
        return NvdiffrastRasterizer(device)
    except DeviceUnavailable as error:
        if name != "auto":
            raise
        log.info("builtin rasterizer: %s", error.message)
        return BuiltinRasterizer(device)
