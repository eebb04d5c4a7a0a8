# SPDX-License-Identifier: GPL-3.0-or-later
"""The user's own folders of pictures, from the preferences and from $SYNCSDE_LIBRARY.

The engine may run elsewhere, or have been started before a folder was chosen: so it is sent the
picture itself, and the folders are read here, with the engine's own module.
"""

from __future__ import annotations

import importlib
import re
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import bpy
import numpy as np

from .. import NAME
from ..scene import images

if TYPE_CHECKING:
    from .catalog import Taken

BEGINNINGS = re.compile(rb"\x89PNG|\xff\xd8\xff|RIFF.{4}WEBP|II\*\x00|MM\x00\*", re.DOTALL)
IN_PREFERENCES = "the add-on's preferences"


class Folder(NamedTuple):
    """What was found in a folder: entries of the engine's `listing.Material`, or why none."""

    entries: tuple[Any, ...]
    trouble: str
    stamp: int  # another one whenever something in it changed


def folders() -> dict[Path, str]:
    """Each folder, and where the user named it."""
    chosen = bpy.context.preferences.addons[NAME].preferences.libraries
    named = {Path(bpy.path.abspath(each.path)): IN_PREFERENCES for each in chosen if each.path}
    if (listing := _shared("listing")) is not None:
        for each in listing.own_folders():
            named.setdefault(each, listing.FOLDERS)
    return named


def found() -> list[Folder]:
    """What is in the folders now."""
    return [_read(folder, where, _stamp(folder)) for folder, where in folders().items()]


def troubles() -> list[str]:
    """A sentence for each folder that is of no use."""
    return [folder.trouble for folder in found() if folder.trouble]


class Sent(NamedTuple):
    """One of the user's pictures as an input of a job."""

    title: str
    png: bytes
    path: Path

    def content(self) -> bytes:
        """As a job asks for it."""
        return self.png


def inputs(own: Mapping[str, Taken], names: Sequence[str]) -> dict[str, Sent]:
    """The inputs of a job for pictures of parts; "" is all else. Raises images.ImageError.

    `names` are those of the parts in the order in which the engine is told them.
    """
    numbers = {name: f"like_{number}" for number, name in enumerate(names, start=1)}
    return {numbers[name] if name else "like": _sent(each) for name, each in own.items()}


def _sent(each: Taken) -> Sent:
    path = each.material.path
    return Sent(each.title, read(path, each.color), path)


def read(path: Path, color: str) -> bytes:
    """A picture file as the engine takes it, in another color if one is named.

    Raises images.ImageError.
    """
    try:
        if not color:
            return as_it_is(path)
        image = bpy.data.images.load(str(path), check_existing=False)
    except (OSError, RuntimeError) as error:
        reason = getattr(error, "strerror", None) or "Blender does not know what it is"
        raise images.ImageError(
            f"Cannot read {str(path)!r}: {reason}; choose another picture."
        ) from None
    try:
        pixels = images.read(image)
    finally:
        bpy.data.images.remove(image)
    colors = np.repeat(pixels, 3, axis=2) if pixels.shape[2] == 1 else pixels[..., :3]
    dyed = importlib.import_module(".recolor", __package__).recolor(colors, color)
    return images.png(np.concatenate(((dyed * 255 + 0.5).astype(np.uint8), pixels[..., 3:]), 2))


def as_it_is(path: Path) -> bytes:
    """A file whose beginning says that the engine takes it. Raises OSError, images.ImageError."""
    content = path.read_bytes()
    if not BEGINNINGS.match(content):
        raise images.ImageError(
            f"{str(path)!r} is not a PNG, JPEG, WebP or TIFF file: save it as one of them."
        )
    return content


@lru_cache(maxsize=64)
def _read(folder: Path, where: str, stamp: int) -> Folder:
    listing = _shared("listing")
    if listing is None:
        return Folder((), "", stamp)
    try:
        return Folder(tuple(listing.in_folder(folder)), "", stamp)
    except listing.Unusable as error:
        what = error.message.rstrip(".")
        return Folder((), f"{what}: set that right, or take the folder out of {where}.", stamp)


def _stamp(folder: Path) -> int:
    """The time of the last change of a folder or of the list in it; 0 if it is not there."""
    times = [0]
    for each in (folder, folder / "library.json"):
        try:
            times.append(each.stat().st_mtime_ns)
        except OSError:
            continue
    return max(times)


def maps_beside(paths: Mapping[str, Path]) -> dict[str, Path]:
    """The maps in the folders of pictures, by the engine's names: like_1_roughness and so on."""
    if (map_names := _shared("map_names")) is None:
        return {}
    return {
        f"{each}_{kind}": file
        for each, path in paths.items()
        for kind, file in map_names.beside(path).items()
    }


def _shared(name: str) -> Any:
    """A module that the zip has from the engine; None if loaded from the sources instead."""
    built = Path(__file__).with_name(f"{name}.py").is_file()
    return importlib.import_module(f".{name}", __package__) if built else None
