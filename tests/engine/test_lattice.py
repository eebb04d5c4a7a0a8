# SPDX-License-Identifier: GPL-3.0-or-later
"""Pictures that repeat: their periods, and phases that keep the lattice, flat and on surfaces."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from syncsde_engine.exemplar.lattice import (
    Lattice,
    at_all_scales,
    flat_lattice,
    in_phase,
    periods_of,
    phases,
)
from syncsde_engine.exemplar.picture import Picture, scales, sized
from syncsde_engine.exemplar.sites import Ground, flat
from syncsde_engine.library import materials
from syncsde_engine.mesh.lattices import surface_lattice
from syncsde_engine.tasks.likeness import by_name

LATTICES = {
    "brick": (16, 8),
    "stone brick": (8, 4),
    "marble tiles": (4, 4),
    "setts": (7, 7),
    "tiles": (6, 6),
    "mosaic": (32, 32),
    "diamond plate": (10, 10),
    "hexagon mesh": (8, 16),
}


@pytest.mark.parametrize("name", [material.name for material in materials()])
def test_tiles_and_bricks_have_periods_and_stones_have_none(name):
    """Counted by eye in the pictures of the library."""
    assert periods_of(by_name(name, "").picture) == LATTICES.get(name)


def grid(down, across, side=96):
    """Tiles with joints, each of its own color."""
    place = np.indices((side, side)) / side
    cell = np.floor(place * np.array([down, across])[:, None, None]).astype(int)
    inside = place * np.array([down, across])[:, None, None] - cell
    joint = (inside < 0.2).any(0)
    tone = np.random.default_rng(0).random((down, across))[cell[0], cell[1]]
    image = np.where(joint, 0.0, 0.5 + 0.4 * tone)
    return Picture(torch.from_numpy(image).float().expand(3, -1, -1).contiguous())


@pytest.mark.parametrize("periods", [(4, 3), (5, 8), (12, 6)])
def test_periods_of_a_grid_are_its_own(periods):
    assert periods_of(grid(*periods)) == periods


def test_boards_are_no_lattice():
    image = np.tile(np.where(np.arange(96) % 12 < 2, 0.0, 1.0), (96, 1))
    image = image + 0.1 * np.random.default_rng(0).random((96, 96))
    assert periods_of(Picture(torch.from_numpy(image).float().expand(3, -1, -1))) is None


def test_a_whole_number_of_periods_goes_around():
    picture, place = grid(4, 4), np.array([[0.0, 0.0], [0.0, 50.0], [3.0, 25.0]], np.float32)
    around = flat_lattice(picture, (32, 32), place, 50)
    assert around is not None
    np.testing.assert_allclose(around.phases[0], around.phases[1], atol=1e-5)
    free = flat_lattice(picture, (32, 32), place)
    assert free is not None
    np.testing.assert_allclose(free.phases, phases(place / 8), atol=1e-5)


def test_coarser_phases_are_means():
    """Of 2 x 2 sites, and of 2 x 2 pixels: in the same place of a cell they are the same."""
    picture = grid(4, 4)
    sites = flat(1, 32, 32, 2)
    place = (np.indices((32, 32)).reshape(2, -1).T + 0.5).astype(np.float32)
    lattice = flat_lattice(picture, (32, 32), place)
    assert lattice is not None
    fine, coarse = at_all_scales(lattice, (32, 32), sites)
    np.testing.assert_allclose(fine.sites, fine.patches, atol=1e-5)
    np.testing.assert_allclose(coarse.sites, coarse.patches, atol=1e-5)
    expected = fine.sites.reshape(16, 2, 16, 2, 4).mean((1, 3)).reshape(-1, 4)
    np.testing.assert_allclose(coarse.sites, expected, atol=1e-6)
    assert (np.linalg.norm(coarse.sites, axis=1) < np.sqrt(2)).all()


def test_comparing_phases_adds_their_distance():
    picture = grid(4, 4)
    (scale, *_) = scales(picture, *sized(picture, 16))
    sites = flat(1, *scale.size, 1)
    place = np.random.default_rng(0).random((sites[0].count, 2)).astype(np.float32)
    (own,) = at_all_scales(Lattice((4, 4), phases(place)), scale.size, sites)
    features = np.random.default_rng(1).random((sites[0].count, scale.patches.shape[1]))
    both, longer = in_phase(scale, features.astype(np.float32), own, 0.5)
    apart = ((own.sites[3] - own.patches) ** 2).sum(1) * (longer[3, -4:] ** 2).sum() / 2
    expected = ((features[3] - scale.patches) ** 2).sum(1) + apart
    count = scale.count
    found = both.length[:count] - 2 * longer[3] @ both.searched[:, :count] + (longer[3] ** 2).sum()
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-3)
    np.testing.assert_allclose(
        ((longer[3] - both.patches) ** 2).sum(1), expected, rtol=1e-3, atol=1e-3
    )
    assert (both.length[count:] >= 1e9).all(), "padding stays out"


def ground_of(position, across, down):
    nothing = np.empty((0, 0, 0), np.int32)
    return Ground([], nothing, position, across, down, np.zeros(len(position), np.int32))


def cylinder(radius, height, unit, count=6000):
    """Points on the side of a cylinder, in a picture's frame whose pixels are `unit` wide."""
    random = np.random.default_rng(0)
    angle, y = random.random(count) * 2 * np.pi, random.random(count) * height
    position = np.stack([radius * np.sin(angle), y, radius * np.cos(angle)], axis=1)
    across = np.stack([np.cos(angle), 0 * angle, -np.sin(angle)], axis=1) / unit
    down = np.tile([0.0, -1.0, 0.0], (count, 1)) / unit
    parts = (part.astype(np.float32) for part in (position, across, down))
    return ground_of(*parts), angle, y


def test_phases_go_around_a_cylinder_without_a_seam():
    """A little more than eight cells fit around, so that each is a little wider."""
    picture, unit = grid(4, 4), 0.02
    cell = 8 * unit  # of 32 pixels a quarter
    radius = 8.3 * cell / (2 * np.pi)
    ground, angle, y = cylinder(radius, 1.0, unit)
    lattice = surface_lattice(picture, (32, 32), ground)
    assert lattice is not None
    found = lattice.phases
    for axis, turns in enumerate((-y / cell, 8 * angle / (2 * np.pi))):
        z = found[:, axis] + 1j * found[:, axis + 2]
        off = z * np.exp(-2j * np.pi * turns)
        assert np.abs(off.mean()) > 0.95, "the same phase, up to a shift of all"


def test_pieces_that_do_not_touch_have_phases_of_their_own():
    picture, unit = grid(4, 4), 0.02
    ground, _, y = cylinder(8 * 8 * unit / (2 * np.pi), 1.0, unit)
    kept = (y < 0.4) | (y > 0.6)
    parts = (part[kept] for part in (ground.position, ground.across, ground.down))
    lattice = surface_lattice(picture, (32, 32), ground_of(*parts))
    assert lattice is not None
    for piece in (y[kept] < 0.4, y[kept] > 0.6):
        z = (lattice.phases[:, 0] + 1j * lattice.phases[:, 2])[piece]
        assert np.abs((z * np.exp(2j * np.pi * y[kept][piece] / (8 * unit))).mean()) > 0.95


def test_stones_have_no_lattice_on_a_surface():
    ground, _, _ = cylinder(0.5, 1.0, 0.02)
    assert surface_lattice(by_name("gravel", "").picture, (32, 32), ground) is None
