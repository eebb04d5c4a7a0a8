# SPDX-License-Identifier: GPL-3.0-or-later
"""The maps of pictures: given as inputs, or lying beside a picture of the library."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from .. import library, pictures
from ..config import LIKES
from ..errors import InvalidRequest
from ..exemplar.maps import Maps, maps_of
from ..library import map_names

Blobs = Mapping[str, bytes]  # by the names of their inputs: like_normal, like_1_roughness, ...
NAMES = {f"{like}_{kind}" for like in LIKES for kind in map_names.KINDS}


def maps_in(inputs: Blobs) -> dict[str, bytes]:
    """The inputs that are maps."""
    return {name: content for name, content in inputs.items() if name in NAMES}


def given_maps(like: str, maps: Blobs, height: int, width: int) -> Maps:
    """Those that were given for the picture of this name. Raises InvalidRequest."""
    names = {kind: f"{like}_{kind}" for kind in map_names.KINDS if f"{like}_{kind}" in maps}
    fields = {kind: f"inputs.{name}" for kind, name in names.items()}
    read = {kind: _read(maps[names[kind]], field) for kind, field in fields.items()}
    return maps_of({kind: (read[kind], fields[kind]) for kind in names}, height, width)


def _read(content: bytes, field: str) -> Tensor:
    """The colors (3, H, W) of a map. What its alpha holds, often another map, is left out."""
    return pictures.read_layer(content, field, is_color=False)[:3]


def maps_beside(material: library.Material, given: Maps, height: int, width: int) -> Maps:
    """The given maps, and what lies beside a picture of the library and tells more.

    Raises InvalidRequest that names the file.
    """
    values, told = dict(given.values), dict(given.told)
    for kind, path in map_names.beside(material.path).items():
        if set(map_names.TELLS[kind]) <= set(values):
            continue
        try:
            picture = _read(path.read_bytes(), "material")
            found = maps_of({kind: (picture, "material")}, height, width)
        except (OSError, InvalidRequest) as error:
            reason = error.message if isinstance(error, InvalidRequest) else f"{error.strerror}."
            raise InvalidRequest(
                f"{str(path)!r}, a map of the material {material.name!r}: {reason}",
                hint="Take the file out of its folder, or turn maps off.",
                field="material",
            ) from None
        values, told = {**found.values, **values}, {**found.told, **told}
    return Maps(values, told)
