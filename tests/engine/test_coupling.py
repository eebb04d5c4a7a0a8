# SPDX-License-Identifier: GPL-3.0-or-later
"""Couplings and canvases against their definitions, pixel by pixel, and the printed equations."""

import pytest
import torch

from syncsde_engine.method.canvas import Canvas
from syncsde_engine.method.coupling import disagreement, earlier, everyone, first
from tests.engine.exact import random_overlap, start

COUNT, CHANNELS, SIDE = 5, 4, 6
SIZE = SIDE * SIDE


def states(count=COUNT, side=SIDE):
    return start(count, (CHANNELS, side, side))


def brute_force(y, overlap, allowed):
    """The weighted mean over all sources that `allowed(i, j)` lets through, entry by entry."""
    flat = y.movedim(1, -1).reshape(-1, CHANNELS).double()
    total, weights = torch.zeros_like(flat), torch.zeros(len(flat), 1, dtype=torch.float64)
    entries = zip(
        overlap.looks.tolist(), overlap.source.tolist(), overlap.weight.tolist(), strict=True
    )
    for looks, source, weight in entries:
        if allowed(looks // overlap.pixels, source // overlap.pixels):
            total[looks] += weight * flat[source]
            weights[looks] += weight
    mean = total / weights.clamp(min=1e-300)
    grid = (len(y), *y.shape[2:])
    return mean.view(*grid, -1).movedim(-1, 1), (weights > 0).double().view(*grid, 1).movedim(-1, 1)


@pytest.mark.parametrize(
    ("operator", "allowed"),
    [(earlier, lambda i, j: j < i), (everyone, lambda i, j: True)],
    ids=["earlier", "everyone"],
)
def test_a_blending_operator_is_the_weighted_mean(operator, allowed):
    y, overlap = states(), random_overlap(COUNT, SIZE)
    mean, precision = operator(overlap).gather(y)
    expected_mean, expected_precision = brute_force(y, overlap, allowed)
    assert torch.equal(precision.double(), expected_precision)
    assert torch.allclose(mean.double(), expected_mean, atol=1e-6)


def test_the_first_trajectory_is_conditioned_on_nothing():
    precision = earlier(random_overlap(COUNT, SIZE)).gather(states()).precision
    assert not precision[0].any()
    assert all(precision[i].any() for i in range(1, COUNT))


def test_over_takes_the_latest_of_the_earlier_ones():
    y, overlap = states(), random_overlap(COUNT, SIZE, compose="over")
    mean, precision = earlier(overlap).gather(y)
    flat, means = y.movedim(1, -1).reshape(-1, CHANNELS), mean.movedim(1, -1).reshape(-1, CHANNELS)
    for pixel in range(COUNT * SIZE):
        sources = overlap.source[overlap.looks == pixel]
        sources = sources[sources // SIZE < pixel // SIZE]
        assert bool(precision.movedim(1, -1).flatten()[pixel]) == bool(len(sources))
        if len(sources):
            assert torch.equal(means[pixel], flat[sources.max()])


def test_best_takes_the_heaviest_of_the_earlier_ones():
    y, overlap = states(), random_overlap(COUNT, SIZE, compose="best")
    mean, precision = earlier(overlap).gather(y)
    flat, means = y.movedim(1, -1).reshape(-1, CHANNELS), mean.movedim(1, -1).reshape(-1, CHANNELS)
    found = 0
    for pixel in range(COUNT * SIZE):
        mine = (overlap.looks == pixel) & (overlap.source // SIZE < pixel // SIZE)
        assert bool(precision.movedim(1, -1).flatten()[pixel]) == bool(mine.any())
        if mine.any():
            heaviest = overlap.source[mine][overlap.weight[mine].argmax()]
            assert torch.equal(means[pixel], flat[heaviest])
            found += int(mine.sum() > 1)
    assert found > 20


def test_sharpening_raises_the_weights_to_a_power():
    y, overlap = states(), random_overlap(COUNT, SIZE)
    sharp = everyone(overlap).sharpen(3.0).gather(y)
    cubed = type(overlap)(
        COUNT, SIZE, overlap.looks, overlap.source, overlap.weight**3, overlap.compose
    )
    expected = everyone(cubed).gather(y)
    assert torch.allclose(sharp.mean, expected.mean, atol=1e-5)


def test_shared_noise_is_that_of_the_first_who_looks_there():
    height, width, side = 6, 20, 6
    cells = torch.stack([lattice(0, left, width, side) for left in (0, 4, 8, 12, 14)])
    canvas = Canvas(height, width, cells, torch.ones(cells.shape))
    y = first(canvas.overlap()).replace(states())
    whole = torch.full((CHANNELS, height * width), torch.nan)
    for patch, place in zip(y, cells, strict=True):
        known = whole[:, place]
        assert ((known == patch) | known.isnan()).all(), "patches are crops of one noise"
        whole[:, place] = patch
    assert not whole.isnan().any()


def lattice(top, left, width, side=SIDE):
    reach = torch.arange(side)
    return (top + reach)[:, None] * width + (left + reach)[None, :]


def test_wide_is_equations_13_to_15_with_the_overlap_as_precision():
    """Paper: Eqs. 13 and 14 print the part that does not overlap as M_i."""
    side, stride, count = 8, 2, 4
    width = side + stride * (count - 1)
    cells = torch.stack([lattice(0, stride * i, width, side) for i in range(count)])
    canvas = Canvas(side, width, cells, torch.ones(cells.shape))
    y = states(count, side)
    mean, precision = earlier(canvas.overlap()).gather(y)
    for i in range(1, count):
        assert torch.equal(mean[i, :, :, : side - stride], y[i - 1, :, :, stride:])
        assert precision[i, 0, :, : side - stride].all()
        assert not precision[i, 0, :, side - stride :].any()
    composed = canvas.composed(y)
    for i in range(count - 1):
        place = slice(i * stride, (i + 1) * stride)
        assert torch.equal(composed[:, :, place], y[i, :, :, :stride])
    assert torch.equal(composed[:, :, -side:], y[-1])


def test_masks_are_equations_8_to_11():
    background = torch.rand(SIDE, SIDE, generator=torch.Generator().manual_seed(2)) < 0.6
    weights = torch.stack([background, ~background, torch.ones(SIDE, SIDE)]).float()
    cells = torch.arange(SIZE).view(1, SIDE, SIDE).expand(3, -1, -1)
    canvas = Canvas(SIDE, SIDE, cells, weights)
    y1, y2, y3 = states(3)
    mean, precision = earlier(canvas.overlap()).gather(torch.stack([y1, y2, y3]))
    b = background.float()
    assert torch.equal(precision[1, 0], b)
    assert torch.equal(mean[1], b * y1)
    assert precision[2].all()
    assert torch.equal(mean[2], b * y1 + (1 - b) * y2)
    assert torch.equal(canvas.composed(torch.stack([y1, y2, y3])), y3)


def test_masks_average_two_layers():
    """Paper: Eq. 23 prints a sum where its text says average."""
    background = torch.rand(SIDE, SIDE, generator=torch.Generator().manual_seed(2)) < 0.6
    b = background.float()
    cells = torch.arange(SIZE).view(1, SIDE, SIDE).expand(3, -1, -1)
    canvas = Canvas(SIDE, SIDE, cells, torch.stack([b, 1 - b, torch.ones(SIDE, SIDE)]))
    y1, y2, y3 = states(3)
    seen = everyone(canvas.overlap()).replace(torch.stack([y1, y2, y3]))
    for view in seen:
        assert torch.allclose(view, (b * y1 + (1 - b) * y2 + y3) / 2, atol=1e-6)


def test_permutations_chain_through_the_canvas():
    """Eqs. 16 and 17: X~_i = f_i f_{i-1}^-1 (y_{i-1}) with precision 1."""
    upright = torch.arange(SIZE).view(SIDE, SIDE)
    maps = [upright, upright.rot90(-1), upright.flip(0), upright.rot90(2)]
    cells = torch.stack(maps)
    canvas = Canvas(SIDE, SIDE, cells, torch.ones(cells.shape))
    y = states(4)
    mean, precision = earlier(canvas.overlap()).gather(y)
    assert precision[1:].all()
    assert torch.equal(mean[1], y[0].rot90(-1, (1, 2)))
    assert torch.equal(mean[2], y[1].rot90(1, (1, 2)).flip(1))
    assert torch.equal(mean[3], y[2].flip(1).rot90(2, (1, 2)))
    assert torch.equal(canvas.composed(y), y[3].rot90(-2, (1, 2)))
    assert torch.equal(canvas.seen(y[0])[2], y[0].flip(1))


def test_disagreement_is_the_mean_difference_where_something_was_painted():
    y, overlap = states(), random_overlap(COUNT, SIZE)
    mean, precision = brute_force(y, overlap, lambda i, j: j < i)
    expected = (precision * (y - mean)).abs().sum() / (precision.sum() * CHANNELS)
    assert disagreement(y, overlap) == pytest.approx(float(expected), rel=1e-5)
