# SPDX-License-Identifier: GPL-3.0-or-later
"""What may be uploaded: pictures by their first bytes, and safetensors by their whole header.

Nothing is decoded here; that is for the worker. What this lets in, the library reads too.
"""

from __future__ import annotations

import json
from math import prod
from typing import Any

from syncsde_engine.errors import InvalidRequest
from syncsde_engine.request import without_duplicates

MAX_HEADER = 1 << 20  # bytes
MAX_TENSORS = 1000
MAX_RANK = 8
PICTURES = {
    "PNG": lambda head: head.startswith(b"\x89PNG\r\n\x1a\n"),
    "JPEG": lambda head: head.startswith(b"\xff\xd8\xff"),
    "WebP": lambda head: head.startswith(b"RIFF") and head[8:12] == b"WEBP",
    "TIFF": lambda head: head.startswith((b"II*\0", b"MM\0*")),
}
BYTES = {
    **dict.fromkeys(("BOOL", "U8", "I8"), 1),
    **dict.fromkeys(("U16", "I16", "F16", "BF16"), 2),
    **dict.fromkeys(("U32", "I32", "F32"), 4),
    **dict.fromkeys(("U64", "I64", "F64"), 8),
}


def check(head: bytes, size: int) -> None:
    """Check a file by its first bytes (MAX_HEADER + 8 of them, or all). Raises InvalidRequest."""
    if any(is_kind(head) for is_kind in PICTURES.values()):
        return
    try:
        _check_header(head, size)
    except (ValueError, RecursionError) as error:
        raise InvalidRequest(
            f"The content is neither a picture ({', '.join(PICTURES)}) nor safetensors: {error}.",
            hint=f"Save a picture as one of {', '.join(PICTURES)}; pickles, archives and all other "
            "files are not taken.",
            field="body",
        ) from None


def _check_header(head: bytes, size: int) -> None:
    length = int.from_bytes(head[:8], "little")
    if len(head) < 8 or length > MAX_HEADER or 8 + length > size:
        raise ValueError(f"its header would have {length} bytes")
    text = head[8 : 8 + length].decode()
    if not text.startswith("{"):
        raise ValueError("its header is no JSON object")
    header = json.loads(text, object_pairs_hook=without_duplicates)
    told = header.pop("__metadata__", {})
    if not isinstance(told, dict) or not all(isinstance(each, str) for each in told.values()):
        raise ValueError("its metadata is not text")
    if len(header) > MAX_TENSORS:
        raise ValueError(f"it has {len(header)} tensors, and at most {MAX_TENSORS} are taken")
    spans = [_span(name, entry) for name, entry in header.items()]
    end = 0
    for begin, after in sorted(spans):
        if begin != end:
            raise ValueError("its tensors overlap or leave a gap")
        end = after
    if 8 + length + end != size:
        raise ValueError(f"it should have {8 + length + end} bytes and has {size}")


def _span(name: str, entry: Any) -> tuple[int, int]:
    if not isinstance(entry, dict) or set(entry) != {"dtype", "shape", "data_offsets"}:
        raise ValueError(f"tensor {name[:64]!r} is not described as one")
    if isinstance(entry["shape"], list) and len(entry["shape"]) > MAX_RANK:
        raise ValueError(f"tensor {name[:64]!r} has more than {MAX_RANK} axes")
    numbers = (entry["shape"], entry["data_offsets"])
    if not all(isinstance(each, list) and all(map(_is_count, each)) for each in numbers):
        raise ValueError(f"tensor {name[:64]!r} has a shape or a place that makes no sense")
    if not isinstance(entry["dtype"], str) or entry["dtype"] not in BYTES:
        raise ValueError(f"tensor {name[:64]!r} is of a type that is not taken")
    if len(entry["data_offsets"]) != 2:
        raise ValueError(f"tensor {name[:64]!r} has no begin and end")
    begin, end = entry["data_offsets"]
    if end - begin != prod(entry["shape"]) * BYTES[entry["dtype"]]:
        raise ValueError(f"tensor {name[:64]!r} has not the size of its shape")
    return begin, end


def _is_count(value: Any) -> bool:
    return type(value) is int and 0 <= value < 2**53
