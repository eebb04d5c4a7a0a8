# SPDX-License-Identifier: GPL-3.0-or-later
from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy import ndimage

from syncsde_engine.mesh.bake import fill as filling
from syncsde_engine.mesh.bake.blend import bake
from syncsde_engine.mesh.bake.fill import fill, fill_gutters, fill_surface
from syncsde_engine.mesh.bake.texels import Texels, used_texels
from syncsde_engine.mesh.mesh import Mesh
from syncsde_engine.mesh.views.maps import view_maps
from syncsde_engine.mesh.views.scene import Scene


@pytest.fixture
def holed(scene: Scene):
    """A bake whose colors are the texels' own positions, unseen above y = 0.4."""
    baked = bake(scene, torch.zeros(10, 3, 64, 64), used_texels(scene, 256))
    position = baked.texels.position()
    seen = position[:, 1] < 0.4
    assert 0.1 < seen.float().mean() < 0.9
    return replace(baked, color=position * seen[:, None], weight=seen.float(), trust=seen.float())


def test_unseen_texels_take_the_nearest_color_on_the_surface(holed):
    before = holed.color.clone()
    filled = fill(holed, "surface").view(-1, 3)
    place, position = holed.texels.place, holed.texels.position()
    seen = holed.weight > 0
    assert torch.equal(filled[place[seen]], before[seen])
    assert torch.equal(holed.color, before)
    sample = (~seen).nonzero()[:, 0][::37]
    nearest = torch.cdist(position[sample], position[seen]).amin(1)
    # A color is its donor's position, so this is how far away it came from.
    taken = (filled[place[sample]] - position[sample]).norm(dim=1)
    assert taken.mean() < 1.01 * nearest.mean()
    assert (taken < nearest + 0.15).all()


def test_donors_face_the_same_way():
    """Two sides of a thin sheet: the hole in one side is filled from that side."""
    side = 32
    front = np.arange(side * side) % side < side // 2
    across = [(0.0, 0.0), (side / 2, 0.0), (side / 2, side), (0.0, side)]
    sheet = [(x, y, z) for z in (0.0, -0.1) for x, y in across]
    corners = [(u, v) for u, v in ((0, 1), (0.5, 1), (0.5, 0), (0, 0))]
    back = [(1 - u, v) for u, v in corners]  # behind a spot of the front lies its mirror image
    quads = np.array([[0, 1, 2], [0, 2, 3], [4, 5, 6], [4, 6, 7]], np.int32)
    mesh = Mesh(np.float32(sheet), quads, np.float32(corners + back), quads)
    painted = np.ones((side, side), bool)
    painted[10:20, 0:12] = False  # a hole in front only
    painted[14, 25] = False  # so that the back has donors right behind the hole
    color = np.where(front, 0.2, 0.8)[:, None].repeat(3, 1).astype(np.float32)
    texels = Texels(
        1,
        side,
        torch.arange(side * side),
        torch.from_numpy(np.where(front, 0, 2).astype(np.int32)),
        mesh,
        torch.tensor([[0.0, 0, 1], [0, 0, 1], [0, 0, -1], [0, 0, -1]]),
        torch.zeros(4, dtype=torch.int32),
    )
    sides = texels.position().view(side, side, 3).split(side // 2, dim=1)
    assert (sides[0] - sides[1].flip(1) - torch.tensor([0, 0, 0.1])).abs().max() < 1e-5
    holed = color * painted.reshape(-1, 1)
    ((wanted, found),) = fill_surface(holed, painted.ravel().astype(np.float32), texels)
    assert (wanted == np.flatnonzero(~painted)).all()
    assert (found == color[wanted]).all()


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
    blank = replace(baked, trust=torch.zeros_like(baked.trust))
    assert (fill(blank) == 0.5).all()


def test_what_lies_behind_does_not_spread_from_silhouettes(scene: Scene, monkeypatch):
    """A red body on gray in views that are blurred, as if by a decoder: filled parts stay red."""
    red = torch.tensor([0.8, 0.2, 0.1])
    sharp = torch.where(view_maps(scene, 256).coverage[..., None], red, 0.5).movedim(-1, 1)
    views = torch.tensor(ndimage.gaussian_filter(sharp.numpy(), (0, 0, 2, 2)))
    texels = used_texels(scene, 256)
    baked = bake(scene, views, texels)
    unseen = baked.weight == 0
    assert unseen.sum() > 500

    def stain() -> float:
        filled = fill(baked, "surface").view(-1, 3)[texels.place]
        return float((filled - red)[unseen].abs().mean())

    trusted = stain()
    monkeypatch.setattr(filling, "TRUSTED", 1e-30)
    assert trusted < 0.55 * stain()


@pytest.mark.parametrize("how", ["smooth", "surface"])
def test_the_surface_is_a_better_guide_than_the_texture(holed, how):
    unseen = holed.weight == 0

    def apart(how) -> float:
        filled = fill(holed, how).view(-1, 3)[holed.texels.place]
        assert torch.equal(filled[~unseen], holed.color[~unseen])
        return float((filled - holed.texels.position())[unseen].norm(dim=1).mean())

    assert apart(how) < 0.8 * apart("uv")


def test_smooth_filling_has_no_steps(holed):
    """Between neighboring texels of a row, the largest step is a fraction of the nearest's."""
    place = holed.texels.place
    beside = (place.diff() == 1) & ((holed.weight[1:] == 0) & (holed.weight[:-1] == 0))
    beside &= holed.texels.position().diff(dim=0).norm(dim=1) < 0.05

    def steps(how) -> torch.Tensor:
        filled = fill(holed, how).view(-1, 3)[place]
        return filled.diff(dim=0).norm(dim=1)[beside].quantile(0.999)

    assert beside.sum() > 1000
    assert steps("smooth") < 0.5 * steps("surface")


def test_the_papers_way_takes_the_nearest_in_the_texture(holed):
    texels, seen = holed.texels, holed.weight > 0
    filled = fill(holed, "uv").view(-1, 3)[texels.place]
    spot = torch.stack([texels.place // 256, texels.place % 256], 1).float()
    sample = (~seen).nonzero()[:, 0][::53]
    distance = torch.cdist(spot[sample], spot[seen])
    for row, value in zip(distance, filled[sample], strict=True):
        ties = holed.color[seen][row <= row.min() + 1e-4]
        assert (ties == value).all(1).any()
