# SPDX-License-Identifier: GPL-3.0-or-later
"""The files of a texture run.

A mesh of one texture has `texture.png`. One of several has `textures/NAME.png` for each and no
`texture.png`, which no one of them could rightly be; report.json tells the file of each texture.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from torch import Tensor

from .. import pictures
from ..mesh import io
from ..mesh.mesh import Mesh
from ..mesh.project import Scene, depth_control, view_maps
from ..mesh.render import render
from . import Artifacts

SHEET_CELL = 160  # pixels
ACROSS = 12  # of them, at most
LONGEST_NAME = 100  # characters


def texture_files(names: Sequence[str]) -> list[str]:
    """The file of each texture: its name as far as every file system takes it, numbered if taken.

    Letters of any script, digits, dots, hyphens and underscores stay.
    """
    if len(names) == 1:
        return ["texture.png"]
    files: list[str] = []
    taken: set[str] = set()
    for name in names:
        stem = re.sub(r"[^\w.-]", "_", name).strip(".")[:LONGEST_NAME] or "texture"
        free, number = stem, 2
        while free.casefold() in taken:
            free, number = f"{stem}-{number}", number + 1
        taken.add(free.casefold())
        files.append(f"textures/{free}.png")
    return files


def files_of(scene: Scene, views: Tensor, mesh: Mesh, textures: Tensor, title: str) -> Artifacts:
    """Textures (K, H, W, 3) as PNG and GLB, every view (N, 3, H, W), and one sheet of it all."""
    painted = [pictures.to_bytes(texture.movedim(-1, 0)) for texture in textures]
    images = [pictures.to_bytes(view) for view in views]
    depths = [pictures.to_bytes(depth) for depth in depth_control(view_maps(scene, SHEET_CELL))]
    renders = [pictures.to_bytes(image) for image in render(scene, textures, SHEET_CELL)]
    labels = [f"{i} {camera.direction}" for i, camera in enumerate(scene.cameras)]
    names = ["texture"] if len(painted) == 1 else mesh.textures
    charts = list(zip(names, painted, strict=True))
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
    return dict(zip(texture_files(mesh.textures), encoded, strict=True)) | {
        "textured.glb": io.textured_glb(mesh, encoded),
        "contact_sheet.png": pictures.png(sheet),
        **{f"views/{i:02}.png": pictures.png(image) for i, image in enumerate(images)},
    }
