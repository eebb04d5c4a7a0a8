# SPDX-License-Identifier: GPL-3.0-or-later
"""Arrays as safetensors, which Blender's Python has no package for."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import numpy as np

_DTYPES = {
    "bool": "BOOL",
    "uint8": "U8",
    "int8": "I8",
    "uint16": "U16",
    "int16": "I16",
    "uint32": "U32",
    "int32": "I32",
    "uint64": "U64",
    "int64": "I64",
    "float16": "F16",
    "float32": "F32",
    "float64": "F64",
}


def tensors_to_bytes(tensors: Mapping[str, np.ndarray]) -> bytes:
    """Write arrays in the safetensors format, widest type first so that each is aligned."""
    header: dict[str, Any] = {}
    parts: list[bytes] = []
    end = 0
    for name, tensor in sorted(tensors.items(), key=lambda item: -item[1].dtype.itemsize):
        begin, end = end, end + tensor.nbytes
        parts.append(tensor.astype(tensor.dtype.newbyteorder("<"), copy=False).tobytes())
        header[name] = {
            "dtype": _DTYPES[tensor.dtype.name],
            "shape": list(tensor.shape),
            "data_offsets": [begin, end],
        }
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    return b"".join([len(text).to_bytes(8, "little"), text, *parts])
