# SPDX-License-Identifier: GPL-3.0-or-later
"""How like its picture a mesh is painted, beside tiling the picture and views on their own.

    .venv/bin/python benchmarks/exemplar.py [--mesh FILE] [--material NAME ...] [--set NAME=JSON]

Each result is drawn from two sides without perspective. `sharp` is the mean absolute Laplacian on
surface that faces the camera, over that of a plane with the picture itself in a texture of as many
texels, drawn the same way: 1 is as crisp as the texture can be. `near` is the
mean distance of a patch of the result, taken along the surface, to the nearest of the picture, in
deviations of a pixel; `used` is that of the picture's patches to the nearest of the result: both
are 0 for a copy. `repeats` is the highest autocorrelation about one width of the picture away.
`tiling` blends three flat projections of the picture, as artists do; it is drawn, not baked.
"""

import argparse
import json
import sys
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from gallery import painted
from overhead import lumpy_ball
from torch import Tensor

from syncsde_engine.exemplar.picture import scale_of
from syncsde_engine.exemplar.sites import PATCH
from syncsde_engine.mesh.bake.seams import density
from syncsde_engine.mesh.files import io as meshes
from syncsde_engine.mesh.mesh import Mesh, normalize
from syncsde_engine.mesh.raster.rasterize import rasterizer
from syncsde_engine.mesh.views.cameras import Camera
from syncsde_engine.mesh.views.frames import surface_ground
from syncsde_engine.mesh.views.maps import ViewMaps, view_maps
from syncsde_engine.mesh.views.render import render
from syncsde_engine.mesh.views.scene import observe
from syncsde_engine.tasks.likeness import Likeness, by_name

SHOWN = 2.2  # side of what a camera shows; the mesh fits a ball of radius 1
SIDES = (Camera(0, 0, ortho_scale=SHOWN), Camera(70, 15, ortho_scale=SHOWN))
PLANE = 1.8  # its side
FACING = 0.8  # cosine from which on surface counts
FINER = 2.5  # pixels for one of the compared picture, at which sharpness is measured
SOME = 3000  # patches
STAGES = ("geometry", "lists", "views", "decode", "bake", "write", "total")


class Figures(NamedTuple):
    sharp: float  # not yet over that of the plane
    near: float
    used: float
    repeats: float


def tiled(maps: ViewMaps, like: Likeness, height: int, width: int) -> Tensor:
    """Views (N, 3, H, W) of three flat projections, blended by the direction of the surface.

    Of the picture at a size at which its pixels are the views'.
    """
    small = like.picture.color(like.picture.resized(height, width))
    image = torch.nn.functional.pad(small[None], [1, 1, 1, 1], mode="circular")
    point = maps.position.movedim(1, -1) / like.tile
    weight = maps.normal.movedim(1, -1).abs() ** 4
    total = torch.zeros(maps.position.shape)
    for axis, (across, down) in enumerate(((2, 1), (0, 2), (0, 1))):
        u, v = point[..., across], -point[..., down] * width / height
        pixel = torch.stack([u % 1 * width, v % 1 * height], -1) + 1
        grid = 2 * pixel / torch.tensor([width + 2, height + 2]) - 1
        color = torch.nn.functional.grid_sample(
            image.expand(len(grid), -1, -1, -1), grid, align_corners=False
        )
        total += weight[..., axis][:, None] * color
    return total / weight.sum(-1).clamp(min=1e-6)[:, None]


def plane(like: Likeness, dense: float) -> tuple[Mesh, Tensor]:
    """A square that faces the first camera, and a texture of the picture, `dense` texels long."""
    sides = like.tile * like.picture.aspect * dense, like.tile * dense
    image = like.picture.color(like.picture.resized(*map(round, sides))).clamp(0, 1)
    texel = torch.arange(round(PLANE * dense))
    texture = image[:, texel % image.shape[1]][:, :, texel % image.shape[2]]
    corners = np.array([[0, 0], [1, 0], [1, 1], [0, 1]], np.float32)
    points = np.pad((corners - 0.5) * PLANE, ((0, 0), (0, 1))).astype(np.float32)
    faces = np.array([[0, 1, 2], [0, 2, 3]], np.int32)
    return Mesh(points, faces, corners, faces), texture.movedim(0, -1)[None]


def measure(like: Likeness, mesh: Mesh, texture: Tensor | None) -> Figures:
    """Compare a result, or without a texture tiling, with the picture."""
    scene = observe(mesh, SIDES, rasterizer("builtin"))
    size = like.picture.telling_size
    pixels = []  # (n, 49, 3) whitened, at each of the two sizes
    for finer in (FINER, 1.0):
        unit = like.tile / size[1] / finer
        maps = view_maps(scene, round(SHOWN / unit))
        toward = torch.tensor(np.array([camera.toward for camera in SIDES])).float()
        facing = (maps.normal * toward[:, :, None, None]).sum(1) > FACING
        if texture is None:
            views = tiled(maps, like, *(round(finer * side) for side in size))
        else:
            views = torch.nn.functional.avg_pool2d(render(scene, texture, 2 * maps.size), 2)
        sites = surface_ground(maps, facing, unit, 1).sites[0]
        colors = like.picture.whiten(views).movedim(1, -1)
        pixels.append(colors.reshape(-1, 3)[sites.pixel][sites.patch.astype(np.int64)])
    fine, some = pixels
    compared = scale_of(like.picture.resized(*size))
    features = (some.flatten(1) - compared.mean) @ compared.basis
    patches = torch.from_numpy(compared.patches)
    period = round(like.tile / (SHOWN / colors.shape[1]))
    return Figures(
        laplacian(fine),
        nearest(features, patches),
        nearest(patches, features),
        repeats(colors.mean(-1) * facing, facing.float(), period),
    )


def laplacian(patches: Tensor) -> float:
    """Mean absolute Laplacian at the middles of patches (n, 49, 3)."""
    beside = [PATCH.index(step) for step in ((-1, 0), (1, 0), (0, -1), (0, 1))]
    return float((patches[:, beside].sum(1) - 4 * patches[:, 24]).abs().mean())


def nearest(patches: Tensor, others: Tensor) -> float:
    """Mean distance from some of the patches to the nearest other, in deviations of a pixel."""
    some = patches[torch.linspace(0, len(patches) - 1, min(SOME, len(patches))).long()]
    least = torch.cat([torch.cdist(part, others).amin(1) for part in some.split(500)])
    return float((least**2 / 147).mean().sqrt())


def repeats(images: Tensor, masks: Tensor, period: int) -> float:
    """Highest correlation of views (N, H, W) with themselves, 0.7 to 1.3 periods away."""
    side = 2 * images.shape[1]
    reach = torch.arange(side) - side // 2
    rows, columns = torch.meshgrid(reach, reach, indexing="ij")
    away = torch.fft.ifftshift((rows**2 + columns**2).float().sqrt())
    total, count, squares = (torch.zeros(side, side) for _ in range(3))
    for image, mask in zip(images, masks, strict=True):
        centered = (image - image.sum() / mask.sum()) * mask
        spectra = [torch.fft.rfft2(part, (side, side)) for part in (centered, mask, centered**2)]
        total += torch.fft.irfft2(spectra[0].abs() ** 2, (side, side))
        count += torch.fft.irfft2(spectra[1].abs() ** 2, (side, side))
        squares += torch.fft.irfft2(spectra[2] * spectra[1].conj(), (side, side))
    opposite = squares.flip(0, 1).roll((1, 1), (0, 1))
    correlation = total / (squares.clamp(min=1e-3) * opposite.clamp(min=1e-3)).sqrt()
    around_it = (away > 0.7 * period) & (away < 1.3 * period) & (count > 0.1 * float(masks.sum()))
    return float(correlation[around_it].max()) if around_it.any() else float("nan")


def row(name: str, figures: Figures, sharpest: float, told: str = "") -> None:
    figures = figures._replace(sharp=figures.sharp / sharpest)
    print(f"  {name:14}" + "".join(f"{value:9.2f}" for value in figures) + f"  {told}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--mesh", type=Path, help="default: a lumpy ball")
    parser.add_argument("--material", action="append", help="default: three of the library")
    parser.add_argument("--set", nargs="*", default=[], metavar="NAME=JSON", help="parameters")
    options = parser.parse_args()
    given = {name: json.loads(value) for name, value in (one.split("=", 1) for one in options.set)}
    source = normalize(meshes.load(options.mesh))[0] if options.mesh else lumpy_ball(4)
    mesh = meshes.to_safetensors(source)
    for material in options.material or ("stone brick", "planks", "gravel"):
        like = by_name(material, "")
        print(f"{material:16}" + "".join(f"{name:>9}" for name in Figures._fields))
        sharpest, tiles = 1.0, measure(like, source, None)
        for strategy in ("independent", "syncsde"):
            asked = {"material": material, "strategy": strategy, "seed": 1, **given}
            found, texture, report = painted(mesh, asked)
            seconds = {stage: report["timings"].get(stage, 0) for stage in STAGES}
            told = ", ".join(f"{stage} {value:.1f}" for stage, value in seconds.items())
            told = f"disagreement {report['disagreement']:.3f}; s: {told}"
            if strategy == "independent":
                dense = density(found, texture.shape[1]).median
                sharpest = measure(like, *plane(like, dense)).sharp
                row("tiling", tiles, sharpest)
            row(strategy, measure(like, found, texture), sharpest, told)
    if sys.platform == "linux":
        status = Path("/proc/self/status").read_text(encoding="ascii")
        used = next(line.split()[1] for line in status.splitlines() if line.startswith("VmHWM"))
        print(f"peak memory {int(used) * 1024 / 1e9:.2f} GB")


if __name__ == "__main__":
    main()
