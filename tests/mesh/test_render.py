# SPDX-License-Identifier: GPL-3.0-or-later
"""Drawing the textured mesh: the corners of a texture appear where the view says."""

import torch

from syncsde_engine.mesh.raster.rasterize import rasterizer
from syncsde_engine.mesh.views.cameras import Camera
from syncsde_engine.mesh.views.render import render
from syncsde_engine.mesh.views.scene import observe
from tests.mesh.shapes import quad


def test_a_texture_is_drawn_upright_and_on_the_mesh_only():
    mesh = quad(0.5, (0.0, 0.0, 1.0, 1.0))
    scene = observe(mesh, (Camera(0, 0), Camera(180, 0)), rasterizer("builtin"), 256)
    texture = torch.zeros(8, 8, 3)
    texture[:4, :4, 0] = texture[4:, :4, 1] = texture[4:, 4:, 2] = 1  # red above green, blue right
    front, back = render(scene, texture[None], 64, background=0.25)
    assert torch.equal(front[:, 26, 26], torch.tensor([1.0, 0, 0]))
    assert torch.equal(front[:, 38, 26], torch.tensor([0, 1.0, 0]))
    assert torch.equal(front[:, 38, 38], torch.tensor([0, 0, 1.0]))
    assert torch.equal(front[:, 26, 38], torch.zeros(3))
    assert torch.equal(back[:, 38, 38], torch.tensor([0, 1.0, 0])), "seen from behind, mirrored"
    assert (front[:, :8] == 0.25).all()
