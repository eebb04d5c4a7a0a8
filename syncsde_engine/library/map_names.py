# SPDX-License-Identifier: GPL-3.0-or-later
"""Which files beside a picture of a material are its maps, by their names.

`brick_color.png` goes with `brick_nor_gl.png`, `brick_rough.png`, `brick_disp.png` and so on, as
they come from shops and libraries of materials. Standard library only: the extension has it, too.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".tif", ".tiff")
# What a map file is, and the words at the end of its name that say so. Of several files for one
# thing the first kind in this order is taken.
WORDS = {
    "normal_gl": ("normalgl", "norgl", "nmgl", "nrmgl", "normalogl", "normalopengl", "noropengl"),
    "normal_dx": ("normaldx", "nordx", "nmdx", "nrmdx", "normaldirectx", "nordirectx"),
    "normal": ("normal", "normals", "normalmap", "nor", "norm", "nrm", "nm", "nmap", "n"),
    "roughness": ("roughness", "rough", "rgh", "r"),
    "gloss": ("gloss", "glossiness", "glossy", "smoothness"),
    "metallic": ("metallic", "metalness", "metal", "mtl"),
    "height": ("height", "heightmap", "disp", "displacement", "displace", "bump", "depth"),
    "occlusion": ("ao", "ambientocclusion", "occlusion", "occ", "ambient"),
    "orm": ("orm", "arm", "aorm", "occlusionroughnessmetallic", "aoroughmetal"),
}
KINDS = tuple(WORDS)
# What each kind tells of the surface; "orm" has three of them in red, green and blue.
TELLS = {
    **{kind: (kind,) for kind in KINDS},
    "normal_gl": ("normal",),
    "normal_dx": ("normal",),
    "gloss": ("roughness",),
    "orm": ("occlusion", "roughness", "metallic"),
}
COLOR = (
    "color",
    "color",
    "albedo",
    "basecolor",
    "basecolor",
    "diffuse",
    "diff",
    "col",
    "bc",
    "d",
)
_OF_WORD = {word: kind for kind, words in WORDS.items() for word in words}
_WORD_BEGINS = re.compile(r"(?<=[a-z])(?=[A-Z][a-z])")  # camel case
_PASSED_OVER = re.compile(r"\d+k|jpe?g|png|webp|tiff?|\d+x\d+|[1248]\d{2,3}px")


class Told(NamedTuple):
    """What a name says: of which material it is, what of it, and the words passed over."""

    base: tuple[str, ...]
    kind: str | None  # of KINDS; None for a picture
    rest: tuple[str, ...]  # resolution and format


def told_by(stem: str, *, picture: bool = False) -> Told:
    """Read a file's name without its suffix: "Brick_4K_NormalGL" is normal_gl of ("brick",).

    If it is known to be a `picture`, "rusty_metal" is one of ("rusty", "metal").
    """
    spelled = _WORD_BEGINS.sub("_", stem).lower()
    words = [word for word in re.split(r"[^\w]|_", spelled) if word]
    if len(words) > 1 and words[0] == "t":  # as Unreal's names of textures begin
        del words[0]
    rest: list[str] = []
    _pass_over(words, rest)
    kind = None
    for count in (3, 2, 1):  # "nor_gl" and "ambient_occlusion" are one word each
        if len(words) <= count:
            continue
        word = "".join(words[-count:])
        if word in COLOR or (word in _OF_WORD and not picture):
            kind = _OF_WORD.get(word)
            del words[-count:]
            _pass_over(words, rest)
            break
    return Told(tuple(words), kind, tuple(sorted(rest)))


def _pass_over(words: list[str], rest: list[str]) -> None:
    while len(words) > 1 and _PASSED_OVER.fullmatch(words[-1]):
        rest.append(words.pop())


def beside(picture: Path) -> dict[str, Path]:
    """The maps of a picture that lie in its folder: kind -> file, each thing told once."""
    try:
        files = sorted(path for path in picture.parent.iterdir() if path.name != picture.name)
    except OSError:
        return {}
    return among(picture, files)


def among(picture: Path, files: Iterable[Path]) -> dict[str, Path]:
    """Those of some files that are maps of a picture: kind -> file, each thing told once."""
    own = told_by(picture.stem, picture=True)
    found: dict[str, list[tuple[bool, Path]]] = {}
    for path in files:
        told = told_by(path.stem)
        same = "".join(told.base) == "".join(own.base) and path.name != picture.name
        if same and told.kind is not None and path.suffix.lower() in SUFFIXES:
            found.setdefault(told.kind, []).append((told.rest != own.rest, path))
    chosen: dict[str, Path] = {}
    known: set[str] = set()
    for kind in KINDS:
        if kind in found and not set(TELLS[kind]) <= known:
            chosen[kind] = min(found[kind])[1]  # of the same resolution, if there is one
            known |= set(TELLS[kind])
    return chosen


def without_maps(files: Iterable[Path]) -> list[Path]:
    """Those of some files that are no map of another among them."""
    files = list(files)
    pictures = {told_by(path.stem, picture=True).base for path in files}
    told = [told_by(path.stem) for path in files]
    return [
        path
        for path, each in zip(files, told, strict=True)
        if each.kind is None or each.base not in pictures
    ]
