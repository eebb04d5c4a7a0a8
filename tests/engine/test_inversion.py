# SPDX-License-Identifier: GPL-3.0-or-later
"""The walk back to noise: exact steps, the levels the network is told, and a replay."""

import math

import pytest
import torch

from syncsde_engine.errors import NumericalFailure
from syncsde_engine.method.canvas import Canvas
from syncsde_engine.method.inversion import ascend, invert, levels
from syncsde_engine.method.sampler import sample
from syncsde_engine.method.schedule import Schedule
from syncsde_engine.method.strategies import strategy
from tests.engine.exact import STABLE_DIFFUSION, ExactDenoiser, GaussianDenoiser

SCHEDULE = Schedule.from_config(STABLE_DIFFUSION)
SHAPE = (4, 6, 6)
PICTURES = torch.randn(7, *SHAPE, generator=torch.Generator().manual_seed(3))


class Listening:
    """A denoiser that remembers what it is told."""

    def __init__(self, denoiser):
        self.denoiser, self.told = denoiser, []

    def predict_noise(self, y, step):
        self.told.append(step)
        return self.denoiser.predict_noise(y, step)


def drawn(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def walk(clean, steps, denoiser, schedule=SCHEDULE):
    """(S + 1, N, C, h, w), noisiest first."""
    states = [state.y for state in invert(clean, schedule, steps, denoiser)]
    return torch.stack([clean, *states][::-1])


def test_ascending_undoes_a_step():
    for step in SCHEDULE.steps(50):
        y, eps = drawn(2, *SHAPE), drawn(2, *SHAPE, seed=1)
        assert torch.allclose(ascend(step.ddim(y, eps), eps, step), y, atol=1e-5)


def test_ascending_noises_the_clean_estimate():
    """The other way to write it: Eq. 2 at the lower level, noised to the higher."""
    y, eps = drawn(1, *SHAPE), drawn(1, *SHAPE, seed=1)
    for step in SCHEDULE.steps(50):
        clean = (y - math.sqrt(1 - step.alpha_prev) * eps) / math.sqrt(step.alpha_prev)
        expected = math.sqrt(step.alpha) * clean + math.sqrt(1 - step.alpha) * eps
        assert torch.allclose(ascend(y, eps, step), expected, atol=1e-5)


def test_the_network_is_told_the_level_it_looks_at():
    steps = SCHEDULE.steps(50)
    denoiser = Listening(ExactDenoiser(PICTURES))
    walk(PICTURES[:1], steps, denoiser)
    assert [step.timestep for step in denoiser.told] == [0, *range(1, 981, 20)]
    for told, step in zip(denoiser.told, reversed(steps), strict=True):
        assert told.alpha == pytest.approx(step.alpha_prev, abs=1e-12)


def test_every_level_is_walked_where_the_authors_walk_48():
    steps = SCHEDULE.steps(50)
    path = walk(PICTURES[:1], steps, denoiser := Listening(GaussianDenoiser()))
    assert len(denoiser.told) == 50
    assert path.shape == (51, 1, *SHAPE)


def test_standard_normal_data_stay_standard_normal():
    """For such data the exact walk changes nothing, at any level."""
    steps = SCHEDULE.steps(1000)
    clean = drawn(1, *SHAPE)
    assert torch.allclose(walk(clean, steps, GaussianDenoiser())[0], clean, atol=0.02)


@pytest.mark.parametrize("final", [True, False])
@pytest.mark.parametrize("offset", [0, 1])
def test_a_clean_level_of_its_own_is_read_as_the_cleanest_trained(final, offset):
    config = STABLE_DIFFUSION | {"set_alpha_to_one": final, "steps_offset": offset}
    schedule = Schedule.from_config(config)
    told = levels(schedule, schedule.steps(10))[-1]
    assert told.timestep == 0
    assert told.alpha == float(schedule.alphas[0])
    assert torch.isfinite(
        walk(PICTURES[:1], schedule.steps(10), ExactDenoiser(PICTURES), schedule)
    ).all()


def test_replayed_it_arrives_at_the_picture_exactly():
    """Paper: the authors sample the source anew; that ends beside the picture."""
    steps = SCHEDULE.steps(50)
    clean = 0.7 * PICTURES[:1] + 0.3 * PICTURES[1:2]  # no picture that the denoiser knows
    denoiser = ExactDenoiser(PICTURES)
    path = walk(clean, steps, denoiser)
    known = [step.noise_between(path[i], path[i + 1]) for i, step in enumerate(steps)]
    for i, step in enumerate(steps):
        assert torch.allclose(step.ddim(path[i], known[i]), path[i + 1], atol=1e-4)
    y = path[0]
    for step in steps:
        y = step.ddim(y, denoiser.predict_noise(y, step))
    assert (y - clean).abs().max() > 0.1


@pytest.mark.parametrize("offset", [0, 1])  # with 0 the last step leads to its own level
@pytest.mark.parametrize(
    "name", ["syncsde", "synctweedies", "multidiffusion", "visual-anagrams", "independent"]
)
def test_as_recorded_trajectory_it_is_replayed_for_every_strategy(name, offset):
    schedule = Schedule.from_config(STABLE_DIFFUSION | {"steps_offset": offset})
    steps = schedule.steps(10)
    path = walk(PICTURES[:1], steps, ExactDenoiser(PICTURES), schedule)
    cells = torch.arange(36).view(1, 6, 6).expand(2, -1, -1)
    overlap = Canvas(6, 6, cells, torch.ones(2, 6, 6)).overlap()
    chosen = strategy(name)
    y = torch.cat([torch.full_like(path[0], 9.0), drawn(1, *SHAPE)])
    denoiser = Listening(ExactDenoiser(PICTURES))
    states = list(sample(y, steps, denoiser, chosen, chosen.couple(overlap), recorded=path))
    for i, state in enumerate(states):
        assert torch.equal(state.y[:1], path[i + 1])
    assert torch.equal(states[-1].y[0], PICTURES[0])


def test_what_is_not_finite_stops_at_once():
    class Broken:
        def predict_noise(self, y, step):
            return torch.full_like(y, math.nan if step.timestep > 500 else 0.0)

    states = invert(PICTURES[:1], SCHEDULE, SCHEDULE.steps(10), Broken())
    with pytest.raises(NumericalFailure, match="step 4 of 10"):
        list(states)
