# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether a run paints like pictures, and like which: given ones, or the library's by words."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from .. import library, pictures
from ..config import MaskConfig, TextureConfig, WideConfig
from ..errors import InvalidRequest
from ..exemplar.borders import joined, margins
from ..exemplar.lattice import periods_of
from ..exemplar.picture import Picture
from ..models.catalog import AUTO, EXEMPLAR
from .likeness_maps import NAMES, Blobs, given_maps, maps_beside, maps_in

OWN_TILE = 1.0  # width of a given picture on an object that fits a ball of radius 1
# What only networks have; with such a setting words are for a network.
OF_NETWORKS = ("guidance_scale", "negative_prompt", "control_scale", "controlnet", "lora")

Painted = TextureConfig | WideConfig | MaskConfig
SCANNED = 512  # blocks along the longer side in which a part without transparency is sought


class Likeness(NamedTuple):
    """One picture of a material."""

    name: str  # of the library's material, or of the input
    color: str | None  # that it was given
    picture: Picture
    tile: float  # its width on an object that fits a ball of radius 1
    maps: Mapping[str, str] = {}  # that the picture has, and how each was read

    @property
    def words(self) -> str:
        return f"{self.color} {self.name}" if self.color else self.name


class Likenesses(NamedTuple):
    main: Likeness
    named: dict[str, Likeness]  # of objects and materials of a mesh

    @property
    def each(self) -> list[Likeness]:
        """All of them, the main one first."""
        return [self.main, *self.named.values()]

    def report(self) -> dict[str, str]:
        """What each part looks like, in words: "" is all that has no picture of its own."""
        return {part: like.words for part, like in ({"": self.main} | self.named).items()}

    def maps_report(self) -> dict[str, dict[str, str]]:
        """The maps of each part that has any, and how each was read."""
        parts = {"": self.main} | self.named
        return {part: dict(like.maps) for part, like in parts.items() if like.maps}


def likenesses(
    config: TextureConfig | WideConfig, inputs: Mapping[str, bytes]
) -> Likenesses | None:
    """The pictures that a run paints like, or None if a network paints from words.

    Raises InvalidRequest for pictures that are of no use, for a material that the library does not
    have, and for pictures beside a model that takes none.
    """
    names = config.like_for if isinstance(config, TextureConfig) else ()
    texts = config.prompt_for if isinstance(config, TextureConfig) else ()
    given = bool("like" in inputs or config.material or names)
    given = given or bool(NAMES & set(inputs))
    maps = maps_in(inputs) if isinstance(config, TextureConfig) and config.maps else None
    if not takes_pictures(config, given):
        return None
    named = {}
    for number, name in enumerate(names, start=1):
        place = f"like_{number}"
        named[name] = from_input(inputs[place], place, maps)
    if "like" in inputs:
        main = from_input(inputs["like"], "like", maps)
    elif config.material:
        main = by_name(config.material, config.prompt, maps)
    else:
        # In a wide image a material may be part of a scene, which is for a network.
        alone = isinstance(config, WideConfig) and config.model == AUTO
        main = by_words(config.prompt, alone=alone, maps=maps)
    bare = None if maps is None else {}
    words = {name: by_words(text, maps=bare) for name, text in texts if name not in named}
    if isinstance(config, WideConfig) and config.prompt_at and not given and config.model == AUTO:
        return None  # words that change along the image are for a network
    missing = [config.prompt] if main is None else []
    missing += [text for name, text in texts if name in words and words[name] is None]
    if not missing:
        assert main is not None
        return Likenesses(main, named | {name: like for name, like in words.items() if like})
    if given or config.model == EXEMPLAR:
        raise InvalidRequest(
            f"No picture of the library is named in {missing[0]!r}.",
            hint="Give a picture for it, or name one that `syncsde library` lists; pictures and "
            "words for a network do not mix in one run.",
            field="prompt" if main is None else "prompt_for",
        )
    return None


def takes_pictures(config: Painted, given: bool) -> bool:
    """Whether a run may paint like pictures, as far as its settings tell.

    Raises InvalidRequest if a picture is `given` and the settings are for a network.
    """
    if config.model not in (AUTO, EXEMPLAR):
        if given:
            raise InvalidRequest(
                f"The model {config.model!r} paints from words, and a picture is given.",
                hint="Leave model at auto, or leave the picture out.",
                field="model",
            )
        return False
    setting = network_setting(config)
    if setting and (given or config.model == EXEMPLAR):
        raise InvalidRequest(
            f"{setting} is for networks, and this run is painted like a picture.",
            hint=f"Leave {setting} out, or the picture.",
            field=setting,
        )
    return setting is None


def network_setting(config: Painted) -> str | None:
    """The first parameter that is set and means nothing to a picture."""
    for name in OF_NETWORKS:
        if getattr(config, name, None) is not None:
            return name
    if isinstance(config, TextureConfig):
        if config.view_for:
            return "view_for"
        return "shared_attention" if config.shared_attention != "off" else None
    return None


def from_input(content: bytes, name: str, maps: Blobs | None = None) -> Likeness:
    """A given picture with its maps; what is transparent in it is left out.

    One that does not tile fades into itself at its borders, which would be seams.
    """
    field = f"inputs.{name}"
    layer = pictures.read_layer(content, field)
    rows, columns = opaque(layer, field)
    known = given_maps(name, maps or {}, *layer.shape[1:])
    values = {each: value[:, rows, columns] for each, value in known.values.items()}
    picture = Picture(layer[:3, rows, columns].contiguous(), field, values)
    fade = margins(picture.image)
    if any(fade) and periods_of(picture) is None:
        values = {each: joined(value, *fade) for each, value in values.items()}
        picture = Picture(joined(picture.image, *fade).contiguous(), field, values)
    return Likeness(name, None, picture, OWN_TILE, known.told)


def opaque(layer: torch.Tensor, field: str) -> tuple[slice, slice]:
    """Rows and columns of the largest part of a picture (4, H, W) without holes in its alpha."""
    solid = np.asarray(layer[3] > 0.5)
    if solid.all():
        return slice(None), slice(None)
    if not solid.any():
        raise InvalidRequest(
            "The picture is transparent everywhere.",
            hint="Give one that shows a material.",
            field=field,
        )
    block = -(-max(solid.shape) // SCANNED)
    padded = np.pad(solid, [(0, -side % block) for side in solid.shape])
    blocks = padded.reshape(len(padded) // block, block, -1, block).all((1, 3))
    rectangle = largest_rectangle(np.asarray(blocks))
    top, bottom, left, right = (block * side for side in rectangle)
    if (bottom - top) * (right - left) <= 1:
        raise InvalidRequest(
            "The picture has no part without transparency.",
            hint="Give one that is opaque.",
            field=field,
        )
    return slice(top, bottom), slice(left, right)


def largest_rectangle(solid: NDArray[np.bool_]) -> tuple[int, int, int, int]:
    """The largest all-true part of a mask (H, W): its first and end row, first and end column.

    Row by row, the largest rectangle under the heights of the columns of true values above.
    """
    best, found = 0, (0, 0, 0, 0)
    heights = np.zeros(solid.shape[1], int)
    for row, line in enumerate(solid):
        heights = np.where(line, heights + 1, 0)
        open_bars: list[tuple[int, int]] = []  # first column and height, rising
        for column, height in enumerate([*heights.tolist(), 0]):
            start = column
            while open_bars and open_bars[-1][1] >= height:
                start, tall = open_bars.pop()
                if tall * (column - start) > best:
                    best = tall * (column - start)
                    found = (row + 1 - tall, row + 1, start, column)
            open_bars.append((start, height))
    return found


def by_name(name: str, prompt: str, maps: Blobs | None = None) -> Likeness:
    """A material of the library; a color that the prompt gives to it recolors it.

    It has the maps that lie beside its picture, and in their place given ones; None: it has none.
    """
    listed = library.materials(library.own_folders())
    known = {library.plain(each.name): each for each in reversed(listed)}  # the first wins
    material = known.get(library.plain(name))
    if material is None:
        close = difflib.get_close_matches(name.lower(), known, 1)
        raise InvalidRequest(
            f"The library has no material {name!r}.",
            hint=f"Do you mean {close[0]!r}?" if close else "See `syncsde library`.",
            field="material",
        )
    return _of(material, library.color_of(listed, material, prompt), maps)


def by_words(prompt: str, *, alone: bool = False, maps: Blobs | None = None) -> Likeness | None:
    """The library's material that a prompt names; `alone`, only if it names nothing else.

    Maps are as in `by_name`.
    """
    found = library.find(prompt, library.own_folders())
    if found is None or (alone and not library.names_nothing_else(found, prompt)):
        return None
    return _of(found.material, found.color, maps)


def _of(material: library.Material, color: str | None, maps: Blobs | None) -> Likeness:
    try:
        layer = pictures.read_layer(material.path.read_bytes(), "material")
        rows, columns = opaque(layer, "material")
        pixels = layer[:3, rows, columns].contiguous()
        if color is not None:
            dyed = library.recolor(pixels.movedim(0, -1).contiguous().numpy(), color)
            pixels = torch.from_numpy(dyed).movedim(-1, 0).contiguous()
        picture = Picture(pixels, "material")
    except OSError as error:
        reason = f"Cannot read {str(material.path)!r}: {error.strerror}."
        raise InvalidRequest(reason, hint="Check the library.", field="material") from None
    except InvalidRequest as error:
        told = f"{str(material.path)!r}: {error.message}"
        raise InvalidRequest(told, hint=error.hint, field="material") from None
    if maps is None:
        return Likeness(material.name, color, picture, material.tile)
    size = layer.shape[1:]
    known = maps_beside(material, given_maps("like", maps, *size), *size)
    picture.maps = {name: value[:, rows, columns] for name, value in known.values.items()}
    return Likeness(material.name, color, picture, material.tile, known.told)
