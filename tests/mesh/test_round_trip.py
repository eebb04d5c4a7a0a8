# SPDX-License-Identifier: GPL-3.0-or-later
"""A known texture, drawn from ten views and baked back, on five kinds of mesh."""

from dataclasses import replace

import numpy as np
import pytest
import torch
import trimesh

from syncsde_engine.mesh.bake.blend import bake
from syncsde_engine.mesh.bake.fill import fill
from syncsde_engine.mesh.bake.texels import used_texels
from syncsde_engine.mesh.intake.charts import chart_unwrap
from syncsde_engine.mesh.mesh import Mesh, normalize
from syncsde_engine.mesh.raster.rasterize import rasterizer
from syncsde_engine.mesh.views.cameras import paper_cameras
from syncsde_engine.mesh.views.render import render
from syncsde_engine.mesh.views.scene import observe
from syncsde_engine.mesh.views.sight import see
from tests.mesh.shapes import lumpy, touching

TEXTURE, VIEW = 256, 512  # pixels
LEAST = 35  # dB


def unwrapped(body: trimesh.Trimesh) -> Mesh:
    mesh = Mesh(body.vertices.astype(np.float32), body.faces.astype(np.int32))
    return chart_unwrap(normalize(mesh)[0], TEXTURE, 4)


MESHES = {
    "lumpy ball": lambda: chart_unwrap(lumpy(4), TEXTURE, 4),
    "torus": lambda: unwrapped(trimesh.creation.torus(1.0, 0.4)),
    "box": lambda: unwrapped(trimesh.creation.box((1.0, 0.6, 1.4))),
    "open tube": lambda: unwrapped(trimesh.creation.annulus(0.5, 0.6, 1.5)),
    "objects that touch, on two textures": touching,
}


def pattern(position: torch.Tensor) -> torch.Tensor:
    """Waves of about a dozen texels in all directions, (..., 3) -> (..., 3) in [0, 1]."""
    x, y, z = (22 * position).unbind(-1)
    return torch.stack([(x + 0.5 * y).sin(), (y - z).sin(), (z + 0.3 * x).cos()], -1) / 2 + 0.5


@pytest.mark.parametrize("name", MESHES)
def test_a_known_texture_comes_back(name):
    scene = observe(MESHES[name](), paper_cameras(), rasterizer("builtin"))
    texels = used_texels(scene, TEXTURE)
    known = replace(
        bake(scene, torch.zeros(10, 3, 64, 64), texels),
        color=pattern(texels.position()),
        trust=torch.ones(len(texels.place)),
    )
    views = render(scene, fill(known), VIEW)
    baked = bake(scene, views, texels)
    sights = [
        see(camera, depth, texels.position(), texels.normal())
        for camera, depth in zip(scene.cameras, scene.depth, strict=True)
    ]
    steepest = torch.stack([sight.cos * sight.seen for sight in sights]).amax(0)
    good = (steepest > np.cos(np.radians(60))) & (baked.weight > 0)
    assert good.float().mean() > 0.4
    assert (steepest > 0.5).sum() < 1.1 * good.sum(), "little is lost to silhouettes"
    got = fill(baked).view(-1, 3)[texels.place]
    error = (got - known.color)[good]
    assert -10 * torch.log10((error**2).mean()) > LEAST
