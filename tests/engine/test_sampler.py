# SPDX-License-Identifier: GPL-3.0-or-later
"""The loop: causality, recorded trajectories, few steps, resuming, and what stops it."""

import pytest
import torch

from syncsde_engine.config import StrategyName
from syncsde_engine.errors import NumericalFailure
from syncsde_engine.method import noise
from syncsde_engine.method.canvas import Canvas
from syncsde_engine.method.coupling import disagreement, earlier, first
from syncsde_engine.method.noise import Noise
from syncsde_engine.method.sampler import sample
from syncsde_engine.method.schedule import Schedule
from syncsde_engine.method.strategies import Independent, SyncSDE, strategy
from tests.engine.exact import (
    STABLE_DIFFUSION,
    ExactDenoiser,
    GaussianDenoiser,
    random_overlap,
    start,
)

COUNT, CHANNELS, SIDE = 5, 4, 6
SHAPE = (CHANNELS, SIDE, SIDE)
SCHEDULE = Schedule.from_config(STABLE_DIFFUSION)
COSINE = Schedule.from_config({"beta_schedule": "squaredcos_cap_v2"})
OVERLAP = random_overlap(COUNT, SIDE * SIDE)
COUPLING = earlier(OVERLAP)
DENOISER = ExactDenoiser(torch.randn(7, *SHAPE, generator=torch.Generator().manual_seed(3)))
NAMES = StrategyName.__args__


def run(chosen, steps=None, y=None, overlap=OVERLAP, fresh=lambda step: None, **options):
    y = start(COUNT, SHAPE) if y is None else y
    steps = SCHEDULE.steps(30) if steps is None else steps
    coupling = chosen.couple(overlap)
    return [s.y for s in sample(y, steps, DENOISER, chosen, coupling, fresh, **options)]


def test_infinite_lambda_is_independent_bit_for_bit():
    for synchronized, free in zip(run(SyncSDE(0.0)), run(Independent()), strict=True):
        assert torch.equal(synchronized, free)


def test_all_at_once_equals_one_trajectory_after_another():
    chosen, steps = SyncSDE(5.0), SCHEDULE.steps(30)
    together = run(chosen)
    history = []  # history[j][k]: trajectory j before step k
    for i in range(COUNT):
        y, states = start(COUNT, SHAPE)[i], []
        for k, step in enumerate(steps):
            states.append(y)
            known = torch.zeros(COUNT, *SHAPE)
            known[: i + 1] = torch.stack([*(past[k] for past in history), y])
            mean, precision = (part[i] for part in COUPLING.gather(known))
            free = step.ddim(y[None], DENOISER.predict_noise(y[None], step))[0]
            y = free + chosen.gain(step) * precision * (mean - y)
        history.append(states)
        assert torch.allclose(together[-1][i], y, atol=1e-4)


def test_later_trajectories_never_change_the_first():
    free, synchronized = run(Independent())[-1], run(SyncSDE(5.0))[-1]
    assert torch.equal(free[0], synchronized[0])
    assert not torch.allclose(free[1:], synchronized[1:], atol=1e-3)


def gap(y):
    mean, precision = COUPLING.gather(y)
    return float((precision * (mean - y)).abs().sum() / precision.sum())


def test_synchronized_trajectories_agree_where_they_overlap():
    assert gap(run(SyncSDE(5.0))[22]) < 0.5 * gap(run(Independent())[22])


def patches():
    """A row of five crops, each of which sees four columns of the one before."""
    cells = torch.arange(SIDE)[:, None] * 14 + torch.arange(SIDE)
    cells = cells + 2 * torch.arange(COUNT)[:, None, None]
    return Canvas(SIDE, 14, cells, torch.ones(cells.shape)).overlap()


@pytest.mark.parametrize("schedule", [SCHEDULE, COSINE], ids=["linear", "cosine"])
@pytest.mark.parametrize("count", [4, 6, 10])
@pytest.mark.parametrize("name", [name for name in NAMES if name != "independent"])
def test_few_steps_stay_finite_and_synchronized(schedule, count, name):
    overlap = patches()

    def last(chosen):
        y = start(COUNT, SHAPE)
        y = first(overlap).replace(y) if chosen.shares_noise else y
        coupling = chosen.couple(overlap)
        states = sample(y, schedule.steps(count), GaussianDenoiser(), chosen, coupling)
        return [state.y for state in states][-1]

    apart = disagreement(last(Independent()), overlap)
    for strength in (5.0, 100.0):
        y = last(strategy(name, strength))
        assert y.abs().max() < 10
        assert disagreement(y, overlap) < 0.5 * apart


@pytest.mark.parametrize("name", NAMES)
def test_views_that_are_not_exact_stay_bounded(name):
    """As between views of a mesh: what i sees in j is not what j sees in i."""
    chosen = strategy(name, share=0.8)
    y = start(COUNT, SHAPE)
    y = first(OVERLAP).replace(y) if chosen.shares_noise else y
    states = sample(y, SCHEDULE.steps(30), GaussianDenoiser(), chosen, chosen.couple(OVERLAP))
    assert max(float(state.y.abs().max()) for state in states) < 6


def test_the_printed_correction_overshoots_on_a_cosine_schedule():
    """Paper: Eqs. 3 and 7 as printed; "clamped" is what keeps such schedules stable."""
    steps = COSINE.steps(30)

    def largest(correction):
        return max(float(y.abs().max()) for y in run(SyncSDE(5.0, correction), steps))

    assert largest("paper") > 2 * largest("clamped")


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("eta", [0.0, 1.0])
def test_every_strategy_continues_from_any_step_bit_for_bit(name, eta):
    chosen, steps = strategy(name, share=0.8), SCHEDULE.steps(12, eta)
    shared = first(OVERLAP) if chosen.shares_noise else None
    random = Noise(4, (COUNT, *SHAPE), torch.device("cpu"), shared)
    whole = run(chosen, steps, random.initial(), fresh=random.fresh)
    for k in range(11):
        again = Noise(4, (COUNT, *SHAPE), torch.device("cpu"), shared)
        rest = run(chosen, steps[k + 1 :], whole[k], fresh=again.fresh)
        assert torch.equal(rest[-1], whole[-1])


@pytest.mark.parametrize("name", NAMES)
def test_recorded_trajectories_are_read_and_never_sent_to_the_network(name):
    chosen, steps = strategy(name), SCHEDULE.steps(20)
    y = start(COUNT, SHAPE)
    free = torch.stack([y[:2], *(state[:2] for state in run(Independent(), steps, y[:2], TWO))])
    seen = []

    class Watching:
        def predict_noise(self, y, step):
            seen.append(len(y))
            return DENOISER.predict_noise(y, step)

    states = sample(y, steps, Watching(), chosen, chosen.couple(OVERLAP), recorded=free)
    for k, state in enumerate(states):
        assert torch.equal(state.y[:2], free[k + 1])
    assert set(seen) == {COUNT - 2}


TWO = random_overlap(2, SIDE * SIDE)


def test_a_recorded_trajectory_conditions_as_a_live_one_does():
    steps = SCHEDULE.steps(20)
    live = run(SyncSDE(5.0), steps)
    recorded = torch.stack([start(COUNT, SHAPE)[:1], *(y[:1] for y in live)])
    replayed = run(SyncSDE(5.0), steps, recorded=recorded)
    assert torch.allclose(replayed[-1], live[-1], atol=1e-4)


@pytest.mark.parametrize("name", ["synctweedies", "multidiffusion", "visual-anagrams"])
def test_a_recorded_trajectory_has_the_noise_that_leads_to_its_next_state(name):
    """What strategies average of it is what the network would have said, at every step."""
    chosen, steps = strategy(name), SCHEDULE.steps(20)
    coupling = chosen.couple(OVERLAP)
    y = start(COUNT, SHAPE)
    path = torch.stack([y[:2], *(state[:2] for state in run(Independent(), steps, y[:2], TWO))])
    states = sample(y, steps, DENOISER, chosen, coupling, recorded=path)
    for k, (state, step) in enumerate(zip(states, steps, strict=True)):
        y = torch.cat([path[k], y[2:]])
        y = chosen.advance(y, DENOISER.predict_noise(y, step), step, coupling, None)
        torch.testing.assert_close(state.y[2:], y[2:], atol=2e-4, rtol=0)


@pytest.mark.parametrize("step", [0, 7])
def test_a_state_that_is_not_finite_stops_the_run_at_once(step):
    class Broken:
        def predict_noise(self, y, at):
            eps = DENOISER.predict_noise(y, at)
            return eps * float("nan") if at.index == step else eps

    states = sample(start(COUNT, SHAPE), SCHEDULE.steps(30), Broken(), SyncSDE(5.0), COUPLING)
    with pytest.raises(NumericalFailure, match=f"after step {step + 1} of 30"):
        list(states)


def test_noise_depends_on_seed_trajectory_and_step_only():
    def of(count, seed=7):
        return Noise(seed, (count, *SHAPE), torch.device("cpu"))

    assert torch.equal(of(4).initial()[2], of(3).initial()[2])
    step = SCHEDULE.steps(30, 1.0)[4]
    assert torch.equal(of(4).fresh(step)[1], of(2).fresh(step)[1])
    assert of(4).fresh(SCHEDULE.steps(30)[4]) is None
    draws = [noise.gaussian(*key, SHAPE) for key in [(7, 0, 0), (8, 0, 0), (7, 1, 0), (7, 0, 1)]]
    for a in range(4):
        for b in range(a):
            assert not torch.equal(draws[a], draws[b])
    many = noise.gaussian(1, 0, 0, (100_000,))
    assert abs(float(many.mean())) < 0.02
    assert abs(float(many.std()) - 1) < 0.02
