# SPDX-License-Identifier: GPL-3.0-or-later
"""Photographs on surfaces: they go on without seams, and shrink without aliasing."""

import torch
import torch.nn.functional as F

from training.crops import Crops
from training.textures import brightness, ground, levels, look_up, picture, triplanar


def test_a_picture_is_found_where_it_lies():
    image = picture("brick")
    width = image.shape[-1]
    line = (torch.arange(width) + 0.5) / width
    v, u = torch.meshgrid(line * 2.0, line * 2.0, indexing="ij")
    colors = look_up("brick", u.flatten(), v.flatten(), width / 2.0, 2.0)
    assert torch.allclose(colors.view(3, width, width), image, atol=1e-3)
    around = look_up("brick", u.flatten() - 4.0, v.flatten() + 6.0, width / 2.0, 2.0)
    assert torch.allclose(around, colors, atol=2e-3)


def test_a_lookup_has_no_seam_where_the_picture_ends():
    u = torch.linspace(-0.02, 0.02, 400)
    across = look_up("rock", u, torch.full_like(u, 0.3), 500.0, 1.0)
    assert (across[:, 1:] - across[:, :-1]).abs().max() < 0.05


def test_what_is_far_away_is_averaged():
    u, v = torch.rand(2, 2000) * 50
    near, far = (look_up("gravel", u, v, density, 1.0) for density in (500.0, 10.0))
    assert far.std() < 0.5 * near.std()
    assert torch.allclose(far.mean(1), near.mean(1), atol=0.03)


def test_upright_pictures_stand_upright_on_every_side():
    """The first row of a picture, thrown at a wall, is above its second."""
    points = torch.stack([torch.full((64,), 0.3), torch.linspace(0, 1, 64), torch.full((64,), 0.3)])
    rows = levels("brick")[0][0, :, :-1].mean((0, 2))
    for axis in (0, 2):
        normals = torch.zeros(3, 64)
        normals[axis] = 1
        seen = brightness(triplanar(points, normals, "brick", 512.0, 1.0))
        column = int(0.3 * 512)
        straight = brightness(picture("brick")[:, :, column])
        wanted = straight[((1 - torch.linspace(0, 1, 64)) * 511).long()]
        assert torch.corrcoef(torch.stack([seen, wanted]))[0, 1] > 0.6
    assert rows.std() > 0


def test_sides_are_mixed_and_not_added():
    points = torch.rand(3, 500) * 3
    normals = F.normalize(torch.randn(3, 500), dim=0)
    colors = triplanar(points, normals, "plaster", 300.0, 1.0)
    image = picture("plaster")
    assert colors.min() >= image.min() - 1e-4
    assert colors.max() <= image.max() + 1e-4


def test_ground_lies_below_the_horizon_and_shrinks_towards_it():
    seen = ground("gravel", 96, 0.5, 0.3, (0.2, 0.4))
    assert seen[:, :48].abs().max() == 0
    assert seen[:, 50:54].std() < 0.8 * seen[:, 84:].std()


def test_recolored_pictures_have_the_color_that_is_named():
    blue = picture("brick", "blue").mean((1, 2))
    assert blue.argmax() == 2
    assert picture("scales").std() > 0.1


class NoRenders:
    """As many black views as a run has."""

    def __init__(self, plan):
        self.size, self.count = plan.size, plan.images

    def __len__(self):
        return self.count

    def image(self, index):
        return torch.zeros(3, self.size, self.size, dtype=torch.uint8).numpy()


def test_crops_cost_the_same_and_depend_on_the_step_alone(smoke_plan):
    crops = Crops(smoke_plan, NoRenders(smoke_plan))
    assert torch.equal(crops.draw(5), crops.draw(5))
    assert not torch.equal(crops.draw(5), crops.draw(6))
    assert crops.draw(5).shape == (4, 3, 64, 64)
    views, flat = crops.held_back(4)
    assert (views == -1).all()
    assert flat.std() > 0.2
