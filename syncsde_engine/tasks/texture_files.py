# SPDX-License-Identifier: GPL-3.0-or-later
"""The files of a texture run.

A mesh of one texture has `texture.png`. One of several has `textures/NAME.png` for each and no
`texture.png`, which no one of them could rightly be; report.json tells the file of each texture.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping, Sequence

import numpy as np
from torch import Tensor

from .. import pictures
from ..exemplar.maps import PLAIN
from ..mesh.files import io
from ..mesh.mesh import Mesh
from ..mesh.views.control import depth_control
from ..mesh.views.maps import view_maps
from ..mesh.views.render import render
from ..mesh.views.scene import Scene
from . import Artifacts

SHEET_CELL = 160  # pixels
ACROSS = 12  # of them, at most
Images = Mapping[str, Sequence[np.ndarray]]  # of each map, one for each texture
LONGEST_NAME = 100  # bytes of UTF-8, which leaves room for what is appended
RESERVED = re.compile(r"(con|prn|aux|nul|com[0-9¹²³]|lpt[0-9¹²³])(\.|$)", re.IGNORECASE)  # Windows
TILE = re.compile(r"\.\d{4}$")  # a UDIM number, by which tiles find their file


def texture_files(names: Sequence[str]) -> list[str]:
    """The file of each texture: its name as far as every file system takes it, numbered if taken.

    Letters of any script, digits, dots, hyphens and underscores stay, in at most LONGEST_NAME
    bytes. No name is a device of Windows, or differs from another by case or accents' form alone.
    """
    if len(names) == 1:
        return ["texture.png"]
    files: list[str] = []
    taken: set[str] = set()
    for name in names:
        stem = _stem(name)
        tile = TILE.search(stem)
        begin, end = (stem[: tile.start()], tile[0]) if tile else (stem, "")
        free, number = stem, 2
        while _alike(free) in taken:
            free, number = f"{begin}-{number}{end}", number + 1
        taken.add(_alike(free))
        files.append(f"textures/{free}.png")
    return files


def _stem(name: str) -> str:
    """A name that every file system takes, without its suffix; a UDIM number stays."""
    plain = re.sub(r"[^\w.-]", "_", unicodedata.normalize("NFC", name)).strip(".") or "texture"
    plain = f"_{plain}" if RESERVED.match(plain) else plain
    tile = TILE.search(plain)
    end = tile[0] if tile else ""
    room = LONGEST_NAME - len(end)
    return plain.removesuffix(end).encode()[:room].decode(errors="ignore").rstrip(".") + end


def _alike(name: str) -> str:
    """Equal for names that some file system takes to be one."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFKC", name).casefold())


def map_files(images: Images, textures: Sequence[str]) -> dict[str, list[str]]:
    """The file of each map of each texture, beside the texture's: texture_normal.png."""
    taken = {_alike(file) for file in textures}
    found: dict[str, list[str]] = {}
    for name in images:
        found[name] = []
        for texture in textures:
            stem, number = texture.removesuffix(".png"), 1
            file = f"{stem}_{name}.png"
            while _alike(file) in taken:
                number += 1
                file = f"{stem}_{name}-{number}.png"
            taken.add(_alike(file))
            found[name].append(file)
    return found


def for_glb(images: Images, encoded: Mapping[str, list[bytes]]) -> dict[str, list[bytes]]:
    """The maps as glTF has them: normals, and occlusion, roughness and metal in one image.

    Each is there as PNG, `encoded`.
    """
    found = {"normal": encoded["normal"]} if "normal" in images else {}
    packed = ("occlusion", "roughness", "metallic")
    if any(name in images for name in packed):
        sample = next(images[name] for name in packed if name in images)
        found["surface"] = []
        for k, one in enumerate(sample):
            layers = [
                images[name][k] if name in images else np.full_like(one, _plain(name))
                for name in packed
            ]
            found["surface"].append(pictures.png(np.stack(layers, axis=2)))
    return found


def _plain(name: str) -> int:
    return round(255 * PLAIN[name][0])


def shown(image: np.ndarray) -> np.ndarray:
    """A map as a sheet shows it, (H, W, 3) uint8."""
    if image.dtype == np.uint16:
        image = (image >> 8).astype(np.uint8)
    return image if image.ndim == 3 else image[..., None].repeat(3, axis=2)


def files_of(
    scene: Scene, views: Tensor, mesh: Mesh, textures: Tensor, title: str, maps: Images
) -> io.GivenBack:
    """Textures (K, H, W, 3) as PNG, the mesh with them, every view (N, 3, H, W), and one sheet.

    With the maps of each texture.
    """
    painted = [pictures.to_bytes(texture.movedim(-1, 0)) for texture in textures]
    images = [pictures.to_bytes(view) for view in views]
    depths = [pictures.to_bytes(depth) for depth in depth_control(view_maps(scene, SHEET_CELL))]
    renders = [pictures.to_bytes(image) for image in render(scene, textures, SHEET_CELL)]
    labels = [f"{i} {camera.direction}" for i, camera in enumerate(scene.cameras)]
    names = ["texture"] if len(painted) == 1 else mesh.textures
    charts = list(zip(names, painted, strict=True))
    for kind, of in maps.items():
        charts += [
            (f"{kind} of {name}", shown(image)) for name, image in zip(names, of, strict=True)
        ]
    rows = [
        [(f"{what} {label}", image) for label, image in zip(labels, pictured, strict=True)]
        for what, pictured in (("depth", depths), ("view", images), ("result", renders))
    ]
    sheet = pictures.contact_sheet(
        [row[start : start + ACROSS] for start in range(0, len(labels), ACROSS) for row in rows]
        + [charts[start : start + ACROSS] for start in range(0, len(charts), ACROSS)],
        title,
        SHEET_CELL,
    )
    encoded = [pictures.png(texture) for texture in painted]
    layers = {name: [pictures.png(image) for image in of] for name, of in maps.items()}
    files = texture_files(mesh.textures)
    named = dict(zip(files, encoded, strict=True))
    beside = map_files(maps, files)
    for name, of in beside.items():
        named |= zip(of, layers[name], strict=True)
    back = io.give_back(mesh, encoded, for_glb(maps, layers), files, beside)
    found: Artifacts = {
        **named,
        **back.files,
        "contact_sheet.png": pictures.png(sheet),
        **{f"views/{i:02}.png": pictures.png(image) for i, image in enumerate(images)},
    }
    return io.GivenBack(found, back.notes)
