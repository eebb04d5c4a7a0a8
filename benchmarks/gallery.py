# SPDX-License-Identifier: GPL-3.0-or-later
"""Texture meshes with several prompts and draw them from three sides: one sheet to look at.

.venv/bin/python benchmarks/gallery.py gallery.png MESH [MESH ...] [--prompt TEXT ...] \
        [--set NAME=JSON]

It judges mini, also by prompts that name a picture of the library: `--set 'model="auto"'` paints
those like it.
"""

import argparse
import io
import json
import tempfile
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from syncsde_engine import pictures, tasks
from syncsde_engine.mesh.files import io as meshes
from syncsde_engine.mesh.mesh import Mesh, normalize
from syncsde_engine.mesh.raster.rasterize import rasterizer
from syncsde_engine.mesh.views.cameras import Camera
from syncsde_engine.mesh.views.render import render
from syncsde_engine.mesh.views.scene import observe
from syncsde_engine.request import build

PROMPTS = (
    "a mossy stone statue",
    "a red brick statue",
    "a wooden statue",
    "a golden statue",
    "a lava statue",
    "a camouflage statue",
    "a blue striped statue",
    "a white marble statue",
)
SIDES = {"front": Camera(0, 0), "back": Camera(180, 0), "three-quarter": Camera(45, 20)}
MODEL = "mini"


def painted(mesh: bytes, parameters: dict) -> tuple[Mesh, Tensor, dict]:
    """The textured mesh, normalized, its texture (1, H, W, 3) and the report of a run."""
    files = tasks.follow(tasks.run("texture", build("texture", parameters), {"mesh": mesh}))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "textured.glb")
        path.write_bytes(files["textured.glb"])
        found, _ = normalize(meshes.load(path))
    texture = np.asarray(Image.open(io.BytesIO(files["texture.png"])).convert("RGB")) / 255
    return found, torch.from_numpy(texture).float()[None], json.loads(files["report.json"])


def textured(mesh: bytes, parameters: dict, cell: int) -> list[np.ndarray]:
    """Run a texture job and draw its GLB from all SIDES. Each picture is (H, W, 3) uint8."""
    found, texture, _ = painted(mesh, parameters)
    scene = observe(found, tuple(SIDES.values()), rasterizer("builtin"))
    views = render(scene, texture, cell, background=0.5)
    return [pictures.to_bytes(view) for view in views]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("sheet", type=Path)
    parser.add_argument("meshes", type=Path, nargs="+")
    parser.add_argument("--prompt", action="append", help="default: eight materials")
    parser.add_argument("--set", nargs="*", default=[], metavar="NAME=JSON", help="parameters")
    parser.add_argument("--cell", type=int, default=192, help="pixels of one drawing")
    options = parser.parse_args()
    given = {name: json.loads(value) for name, value in (one.split("=", 1) for one in options.set)}
    rows = []
    for prompt in options.prompt or PROMPTS:
        row = []
        for path in options.meshes:
            mesh = meshes.to_safetensors(meshes.load(path))
            views = textured(
                mesh, {"prompt": prompt, "model": MODEL, "seed": 1, **given}, options.cell
            )
            row += [(f"{prompt}, {side}", view) for side, view in zip(SIDES, views, strict=True)]
            print(path.stem, prompt, flush=True)
        rows.append(row)
    names = ", ".join(path.stem for path in options.meshes)
    options.sheet.write_bytes(pictures.png(pictures.contact_sheet(rows, names, options.cell)))


if __name__ == "__main__":
    main()
