# SPDX-License-Identifier: GPL-3.0-or-later
"""Blender's images to the PNGs that the engine takes, and an image file to a new image."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Generator, Mapping
from pathlib import Path

import bpy
import numpy as np

from .slices import at_once

OPAQUE = ("NONE", "CHANNEL_PACKED")  # alpha modes in which the fourth channel does not cover
LINEAR = ("Linear Rec.709", "Linear")  # the name since Blender 4.0, and in older files
MOST_PIXELS = 2**26  # that the engine takes
NAME_LENGTH = 48  # bytes of a material or image; Blender's limit was 63 before 5.0
ROWS = 64  # of an image that are worked on at once
PNG_COLOR = {1: 0, 3: 2, 4: 6}  # channels -> color type


class ImageError(ValueError):
    """The image cannot be used; the text says why and what to do."""


def find(name: str) -> bpy.types.Image:
    """Look an image up by its name. Raises ImageError."""
    image = bpy.data.images.get(name)
    if image is None:
        raise ImageError(f"There is no image {name!r}: open it in Blender first.")
    return image


def read(image: bpy.types.Image) -> np.ndarray:
    """Read an image as seen without view transform: (H, W, 1, 3 or 4) uint8, row 0 at the top.

    Bytes of an 8-bit image stay as they are; floats become sRGB unless they are no colors. What
    transparency means in a mask is the engine's to say, for all who send one. Raises ImageError.
    """
    if image.source not in ("FILE", "GENERATED"):
        raise ImageError(
            f"{image.name!r} is not a single still image: save the picture you want as a file "
            "and open that."
        )
    width, height = image.size  # loads it, if that was not done yet
    if width * height > MOST_PIXELS:
        raise ImageError(
            f"{image.name!r} has {width} x {height} pixels, and no more than "
            f"{MOST_PIXELS // 10**6} million are taken: scale it down."
        )
    channels = image.channels
    values = np.empty(width * height * channels, np.float32)
    if not values.size or len(image.pixels) != values.size:
        raise ImageError(f"{image.name!r} has no pixels: find its file again, or choose another.")
    image.pixels.foreach_get(values)
    pixels = values.reshape(height, width, channels)[::-1]
    colors = channels - 1 if channels in (2, 4) else channels
    covers = image.alpha_mode not in OPAQUE and not (pixels[..., colors:] == 1).all()
    blocks = [
        _bytes(image, pixels[row : row + ROWS], colors, covers)
        for row in range(0, height, ROWS)  # a block stays in the processor's cache
    ]
    return np.concatenate(blocks)


def _bytes(image: bpy.types.Image, pixels: np.ndarray, colors: int, covers: bool) -> np.ndarray:
    """Some rows of an image as `read` returns them; its alpha counts if it `covers`."""
    color, alpha = pixels[..., :colors], pixels[..., colors:] if covers else pixels[..., :0]
    if image.is_float:
        color = np.nan_to_num(color, posinf=1.0)
        if alpha.size:  # Blender's floats are multiplied by their alpha
            color = color / np.maximum(alpha, 1e-6)
    space = image.colorspace_settings
    if not space.is_data and (image.is_float or space.name in LINEAR):
        color = to_srgb(color)
    if alpha.size:
        if color.shape[2] == 1:
            color = color.repeat(3, axis=2)
        color = np.concatenate((color, alpha), axis=2)
    scaled = np.clip(color, 0, 1)
    scaled *= 255
    scaled += 0.5
    return scaled.astype(np.uint8)


def read_named(names: Mapping[str, str]) -> dict[str, np.ndarray]:
    """The pixels of Blender's images, by the engine's names for them. Raises ImageError."""
    return {each: read(find(name)) for each, name in names.items()}


def paths_of(names: Mapping[str, str]) -> dict[str, Path]:
    """The files of Blender's images that something looks like, by the engine's names for them."""
    found = {}
    for each, name in names.items():
        image = bpy.data.images[name]
        if each.startswith("like") and image.source == "FILE" and image.filepath:
            found[each] = Path(bpy.path.abspath(image.filepath, library=image.library))
    return found


def to_srgb(linear: np.ndarray) -> np.ndarray:
    """The transfer function of IEC 61966-2-1."""
    linear = np.maximum(linear, 0)
    return np.where(linear <= 0.0031308, linear * 12.92, 1.055 * linear ** (1 / 2.4) - 0.055)


def png(pixels: np.ndarray) -> bytes:
    """Encode (H, W, 1, 3 or 4) uint8, row 0 at the top (ISO/IEC 15948)."""
    return at_once(png_slices(pixels))


def png_slices(pixels: np.ndarray) -> Generator[None, None, bytes]:
    """The same in slices of some hundredths of a second."""
    height, width, channels = pixels.shape
    compressor, packed = zlib.compressobj(1), []
    for row in range(0, height, ROWS):
        block = pixels[row : row + ROWS]
        rows = np.zeros((len(block), 1 + width * channels), np.uint8)  # each filtered by: none
        rows[:, 1:] = block.reshape(len(block), -1)
        packed.append(compressor.compress(rows))
        if row + ROWS < height:
            yield
    header = struct.pack(">IIBBBBB", width, height, 8, PNG_COLOR[channels], 0, 0, 0)
    data = b"".join([*packed, compressor.flush()])
    chunks = ((b"IHDR", header), (b"IDAT", data), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(content))
        + kind
        + content
        + struct.pack(">I", zlib.crc32(kind + content))
        for kind, content in chunks
    )


def title(prompt: str, material: str, like: str) -> str:
    """What the result of a job is called: its words, else its picture of the library or image."""
    return prompt.strip() or material or f"Like {Path(like).stem}"


def shorten(text: str) -> str:
    """Cut a name to what fits everywhere."""
    return text.encode()[:NAME_LENGTH].decode(errors="ignore").strip()


def load_tiles(files: Mapping[int, Path], name: str, space: str = "sRGB") -> bpy.types.Image:
    """Make a new image of UDIM tiles, by their numbers, or of one file, whose number is 0.

    The files are packed, as in `load`. Raises RuntimeError if one is not a picture.
    """
    first = min(files)
    if first == 0:
        return load(files[0], name, space)
    image = bpy.data.images.load(str(files[first]), check_existing=False)
    image.name = name
    image.source = "TILED"
    image.filepath = str(files[first].with_name(files[first].name.replace(str(first), "<UDIM>")))
    for number in files:
        if number not in [tile.number for tile in image.tiles]:
            image.tiles.new(tile_number=number)
    for tile in list(image.tiles):
        if tile.number not in files:
            image.tiles.remove(tile)
    image.colorspace_settings.name = space
    image.pack()
    image.filepath_raw = f"//{bpy.path.clean_name(name)}.<UDIM>.png"
    return image


def load(path: Path, name: str, space: str = "sRGB") -> bpy.types.Image:
    """Make a new image of a file, packed, so that the file is needed no more.

    `space` is "Non-Color" for what is no color. Raises RuntimeError if it is not a picture.
    """
    image = bpy.data.images.load(str(path), check_existing=False)
    image.name = name
    image.colorspace_settings.name = space
    image.pack()
    image.filepath_raw = f"//{bpy.path.clean_name(name)}.png"  # where Unpack would put it
    return image
