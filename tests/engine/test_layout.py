# SPDX-License-Identifier: GPL-3.0-or-later
"""The picture, laid down on surfaces from where each spot lies in it."""

import numpy as np
import pytest

from syncsde_engine.exemplar.layout import Layout, agreed, grown, laid
from syncsde_engine.exemplar.picture import scale_of
from tests.engine.test_exemplar import gaussian

UNIT = 0.05  # of a picture's pixel
SHIFT = np.float32([3, 5])
SIZE = np.array([16, 24], np.float32)


def plane(rows, columns, match, *, height=0.0):
    """Spots of a level plane, one for each of a grid of pixels of the picture."""
    row, column = (np.ravel(part).astype(np.float32) for part in (rows, columns))
    position = np.stack([column, np.full_like(row, height), row], axis=1) * UNIT
    across = np.tile(np.float32([1 / UNIT, 0, 0]), (len(row), 1))
    down = np.tile(np.float32([0, 0, 1 / UNIT]), (len(row), 1))
    return Layout(position.astype(np.float32), across, down, match.astype(np.float32))


def grid(rows, columns):
    row, column = np.mgrid[:rows, :columns].astype(np.float32)
    return row, column, np.stack([row.ravel(), column.ravel()], axis=1)


def picture():
    return gaussian(int(SIZE[0]), int(SIZE[1]), 3).numpy()


def test_normals_are_those_of_a_picture_seen_from_outside():
    row, column, match = grid(2, 2)
    np.testing.assert_allclose(plane(row, column, match).normal, [[0, 1, 0]] * 4, atol=1e-6)


def test_a_layout_gives_back_its_picture_between_its_spots():
    """Bilinear samples of the periodic picture, whichever spots are near."""
    row, column, match = grid(20, 20)
    layout = plane(row, column, match + SHIFT)
    image = picture()
    place = np.random.default_rng(0).uniform(2, 17, (500, 2)).astype(np.float32)
    points = np.stack([place[:, 1], 0 * place[:, 0], place[:, 0]], axis=1) * np.float32(UNIT)
    up = np.tile(np.float32([0, 1, 0]), (500, 1))
    found = laid(layout, points, up, image, SIZE)
    there = place + SHIFT
    low = np.floor(there).astype(int)
    share = there - low
    expected = 0
    for i in (0, 1):
        for j in (0, 1):
            weight = np.abs(1 - i - share[:, 0]) * np.abs(1 - j - share[:, 1])
            corner = image[(low[:, 0] + i) % 16, (low[:, 1] + j) % 24]
            expected = expected + weight[:, None] * corner
    np.testing.assert_allclose(found, expected, atol=1e-4)


def test_what_faces_the_other_way_gives_no_color():
    """Two sheets a tenth of a pixel apart, back to back: each has its own picture."""
    row, column, match = grid(12, 12)
    upper = plane(row, column, match)
    lower = plane(row, column, 0 * match + [8, 8], height=-0.1)
    both = Layout(
        *(
            np.concatenate([getattr(upper, name), sign * getattr(lower, name)])
            for name, sign in (("position", 1), ("across", -1), ("down", 1), ("match", 1))
        )
    )
    up = np.tile(np.float32([0, 1, 0]), (144, 1))
    for sheet, normal in ((upper, up), (lower, -up)):
        expected = laid(sheet, sheet.position, sheet.normal, picture(), SIZE)
        found = laid(both, sheet.position, normal, picture(), SIZE)
        if sheet is upper:
            np.testing.assert_allclose(found, expected, atol=1e-5)
        assert np.abs(found).max() > 0


def test_growing_continues_the_picture_over_a_plane():
    """From a strip of four columns on, all is one copy of the picture."""
    row, column, match = grid(10, 30)
    known = column.ravel() < 4
    start = plane(row.ravel()[known], column.ravel()[known], match[known] + np.float32([2, 7]))
    rest = plane(row.ravel()[~known], column.ravel()[~known], match[~known])
    whole = grown(start, rest.position, rest.across, rest.down)
    np.testing.assert_allclose(
        whole.match[known.sum() :], match[~known] + np.float32([2, 7]), atol=1e-3
    )


def test_growing_goes_around_a_bend():
    """Over a quarter of a cylinder rows are counted along the arc, not through the air."""
    angle = np.linspace(0, np.pi / 2, 40)
    radius = 40 * UNIT / (np.pi / 2)
    column = np.arange(8)
    turn, place = (part.ravel() for part in np.meshgrid(angle, column, indexing="ij"))
    position = np.stack([place * UNIT, radius * np.cos(turn), radius * np.sin(turn)], axis=1)
    across = np.tile([1 / UNIT, 0, 0], (len(turn), 1))
    down = np.stack([0 * turn, -np.sin(turn), np.cos(turn)], axis=1) / UNIT
    parts = [part.astype(np.float32) for part in (position, across, down)]
    begin = np.stack([0 * column, column], axis=1).astype(np.float32)
    start = Layout(*(part[:8] for part in parts), begin)
    whole = grown(start, *(part[8:] for part in parts))
    expected = np.stack([turn * radius / UNIT, place], axis=1)
    assert np.abs(whole.match - expected).max() < 0.2


def test_islands_take_the_nearest_match_and_an_empty_layout_begins():
    row, column, match = grid(6, 6)
    start = plane(row, column, match)
    far = plane(row, column + 30, match)
    whole = grown(start, far.position, far.across, far.down)
    np.testing.assert_allclose(whole.match[36:], match + np.float32([0, 30]), atol=1e-3)
    nothing = Layout(*(np.empty((0, width), np.float32) for width in (3, 3, 3, 2)))
    begun = grown(nothing, far.position, far.across, far.down)
    np.testing.assert_allclose(begun.match - begun.match[0], match - match[0], atol=1e-3)


@pytest.mark.parametrize("shift", [(0, 0), (4, 9)])
def test_agreeing_makes_one_copy_of_many_that_are_nearly_as_good(shift):
    """Matches that jitter by two pixels in an even picture with little detail come to agree."""
    detail = 0.02 * gaussian(3, int(SIZE[0]), int(SIZE[1]))
    scale = scale_of(detail)
    row, column, match = grid(14, 14)
    true = match + shift
    jitter = np.random.default_rng(1).integers(-2, 3, match.shape)
    layout = plane(
        row, column, np.where(np.arange(len(match))[:, None] % 3 == 0, true, true + jitter)
    )
    index = true.astype(int) % SIZE.astype(int) @ [int(SIZE[1]), 1]
    found = agreed(layout.match, *layout.neighbors(), scale.patches[index], scale)
    apart = found - true
    apart = (apart + SIZE / 2) % SIZE - SIZE / 2
    assert (np.abs(layout.match - true).max(axis=1) > 0.5).mean() > 0.5
    assert (np.abs(apart).max(axis=1) < 0.5).mean() > 0.9
