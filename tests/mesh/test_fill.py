# SPDX-License-Identifier: GPL-3.0-or-later
from dataclasses import replace

import numpy as np
import pytest
import torch

from syncsde_engine.mesh.bake import Texels, bake, used_texels
from syncsde_engine.mesh.fill import fill, fill_gutters, fill_surface
from syncsde_engine.mesh.project import Scene


@pytest.fixture
def holed(scene: Scene):
    """A bake whose colours are the texels' own positions, unseen above y = 0.4."""
    baked = bake(scene, torch.zeros(10, 3, 64, 64), used_texels(scene, 256))
    position = baked.texels.position
    seen = position[:, 1] < 0.4
    assert 0.1 < seen.float().mean() < 0.9
    return replace(baked, color=position * seen[:, None], weight=seen.float())


def test_unseen_texels_take_the_nearest_colour_on_the_surface(holed):
    before = holed.color.clone()
    filled = fill(holed).view(-1, 3)
    place, position = holed.texels.place, holed.texels.position
    seen = holed.weight > 0
    assert torch.equal(filled[place[seen]], before[seen])
    assert torch.equal(holed.color, before)
    sample = (~seen).nonzero()[:, 0][::37]
    nearest = torch.cdist(position[sample], position[seen]).amin(1)
    # A colour is its donor's position, so this is how far away it came from.
    taken = (filled[place[sample]] - position[sample]).norm(dim=1)
    assert taken.mean() < 1.01 * nearest.mean()
    assert (taken < nearest + 0.15).all()


def test_donors_face_the_same_way():
    """Two sides of a thin sheet: the hole in one side is filled from that side."""
    side = 32
    rows, columns = np.divmod(np.arange(side * side), side)
    front = columns < side // 2
    x = np.where(front, columns, side - 1 - columns)
    position = np.stack([x, rows, np.where(front, 0.0, -0.1)], axis=1).astype(np.float32)
    painted = np.ones((side, side), bool)
    painted[10:20, 0:12] = False  # a hole in front only
    painted[14, 25] = False  # so that the back has donors right behind the hole
    color = np.where(front, 0.2, 0.8)[:, None].repeat(3, 1).astype(np.float32)
    texels = Texels(
        1,
        side,
        torch.arange(side * side),
        torch.from_numpy(np.where(front, 0, 1).astype(np.int32)),
        torch.from_numpy(position),
        torch.tensor([[0.0, 0, 1], [0, 0, -1]]),
        torch.zeros(2, dtype=torch.int32),
    )
    holed = color * painted.reshape(-1, 1)
    assert (fill_surface(holed, painted.ravel(), texels) == color).all()


def test_gutters_extend_the_nearest_used_texel():
    random = np.random.default_rng(2)
    texture = random.uniform(size=(40, 30, 3)).astype(np.float32)
    used = random.uniform(size=(40, 30)) < 0.02
    before = texture.copy()
    fill_gutters(texture, used)
    donors = np.argwhere(used)
    assert len(donors) > 10
    for row, column in np.ndindex(40, 30):
        distance = np.hypot(*(donors - [row, column]).T)
        ties = donors[distance <= distance.min() + 1e-9]
        assert any((texture[row, column] == before[r, c]).all() for r, c in ties)


def test_a_surface_that_nobody_saw_is_gray(scene: Scene):
    baked = bake(scene, torch.zeros(10, 3, 64, 64), used_texels(scene, 64))
    blank = replace(baked, weight=torch.zeros_like(baked.weight))
    assert (fill(blank) == 0.5).all()
