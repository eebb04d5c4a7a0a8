# SPDX-License-Identifier: GPL-3.0-or-later
"""Weights files: which of a folder's are loaded, and what their headers say. Reads no tensor."""

from __future__ import annotations

import json
from pathlib import Path
from typing import NamedTuple

from safetensors import SafetensorError, safe_open

PRECISIONS = {"F64": "float64", "F32": "float32", "F16": "float16", "BF16": "bfloat16"}
FLOAT8 = ("F8_E4M3", "F8_E5M2")
PICKLES = (".bin", ".ckpt", ".pt", ".pth")
LFS = b"version https://git-lfs"


class Header(NamedTuple):
    """What a safetensors file says of itself before its first tensor."""

    shapes: dict[str, tuple[int, ...]]  # by tensor
    precision: str  # of most of its tensors: "float16", "float8", ...
    size: int  # of the file, bytes


def read_header(path: Path) -> Header:
    """Read a header. Raises OSError, or ValueError with the reason that it cannot be read."""
    if path.suffix in PICKLES:
        raise ValueError(pickled(path))
    if path.suffix != ".safetensors":
        raise ValueError(f"{path.name!r} is no safetensors file")
    with path.open("rb") as file:
        if file.read(len(LFS)) == LFS:
            raise ValueError(
                f"{path.name!r} is a pointer of git-lfs, not the weights; `git lfs pull` gets them"
            )
    try:
        with safe_open(path, framework="numpy") as file:
            slices = {name: file.get_slice(name) for name in file.keys()}  # noqa: SIM118
            shapes = {name: tuple(each.get_shape()) for name, each in slices.items()}
            kinds = [each.get_dtype() for each in slices.values()]
    except SafetensorError as error:
        raise ValueError(
            f"{path.name!r} is truncated or broken ({error}); download it again"
        ) from None
    most = max(set(kinds), key=kinds.count, default="")
    precision = "float8" if most in FLOAT8 else PRECISIONS.get(most, most.lower())
    return Header(shapes, precision, path.stat().st_size)


def pickled(path: Path) -> str:
    return (
        f"{path.name!r} is a pickle, which can hold code and is not opened; "
        "`syncsde models convert` makes safetensors of it"
    )


def chosen(part: Path) -> tuple[list[Path], str | None]:
    """The weights files of a part's folder that are loaded, and their variant's name.

    Those without a variant; where there are none, those of "fp16", or else of any.
    """
    found: dict[str, list[Path]] = {}
    for file in sorted(part.glob("*.safetensors")):
        _, _, rest = file.stem.partition(".")
        found.setdefault(rest.partition("-")[0], []).append(file)
    variant = next((name for name in ("", "fp16") if name in found), next(iter(found), ""))
    return found.get(variant, []), variant or None


def require_weights(part: Path) -> None:
    """Raise ValueError if a part's folder lacks weights that can be read, saying what is there."""
    files, _ = chosen(part)
    if not files:
        other = sorted(path for path in part.glob("*") if path.suffix in PICKLES)
        raise ValueError(pickled(other[0]) if other else "it has no safetensors file")
    for index in part.glob("*.safetensors.index*.json"):
        listed = json.loads(index.read_text(encoding="utf-8")).get("weight_map", {})
        missing = sorted({name for name in listed.values() if not (part / name).is_file()})
        if missing and len(missing) < len(set(listed.values())):
            raise ValueError(
                f"{missing[0]!r}, one of its {len(set(listed.values()))} shards, is not there; "
                "download it again"
            )
    for file in files:
        read_header(file)
