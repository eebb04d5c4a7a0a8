# SPDX-License-Identifier: GPL-3.0-or-later
"""The method against independent computations: Eqs. 3, 7, 18, 19 and what follows from them."""

import pytest
import torch
from diffusers import DDIMScheduler

from syncsde_engine import noise
from syncsde_engine.coupling import Pairs, couple
from syncsde_engine.errors import NumericalFailure
from syncsde_engine.sampler import sample
from syncsde_engine.schedule import Schedule
from syncsde_engine.strategies import Independent, SyncSDE
from tests.engine.exact import STABLE_DIFFUSION, ExactDenoiser, random_pairs

COUNT, CHANNELS, SIDE = 5, 4, 6
SCHEDULE = Schedule.from_config(STABLE_DIFFUSION)
PAIRS = random_pairs(COUNT, SIDE * SIDE)
COUPLING = couple(PAIRS)
DENOISER = ExactDenoiser(
    torch.randn(7, CHANNELS, SIDE, SIDE, generator=torch.Generator().manual_seed(3))
)


def start():
    return noise.initial(1, COUNT, (CHANNELS, SIDE, SIDE))


def run(strategy, coupling=COUPLING, steps=30, y=None):
    y = start() if y is None else y
    return [state.y for state in sample(y, SCHEDULE.steps(steps), DENOISER, strategy, coupling)]


def brute_force(y, i):
    """mean_i and M_i pixel by pixel, from the definition: the weighted mean over j < i."""
    mean, precision = torch.zeros(CHANNELS, SIDE * SIDE), torch.zeros(SIDE * SIDE)
    for p in range(SIDE * SIDE):
        weights = [float(PAIRS.weight[i, j, p]) for j in range(i)]
        if sum(weights) > 0:
            precision[p] = 1
            for j in range(i):
                mean[:, p] += weights[j] / sum(weights) * y[j].flatten(1)[:, PAIRS.index[i, j, p]]
    return mean.view(CHANNELS, SIDE, SIDE), precision.view(1, SIDE, SIDE)


def test_coupling_equals_its_definition():
    y = start()
    mean, precision = COUPLING.condition_on_earlier(y)
    for i in range(COUNT):
        expected_mean, expected_precision = brute_force(y, i)
        assert torch.equal(precision[i], expected_precision)
        assert torch.allclose(mean[i], expected_mean, atol=1e-6)
    assert not precision[0].any(), "the first trajectory is conditioned on nothing"
    assert precision[1:].any()


@pytest.mark.parametrize("correction", ["paper", "clamped"])
def test_a_step_is_the_printed_formula(correction):
    y = start()
    for step in SCHEDULE.steps(30):
        eps = DENOISER.predict_noise(y, step)
        a, b = step.alpha, step.alpha_prev
        gamma = (b / a) ** 0.5 - ((1 - b) / (1 - a)) ** 0.5
        gain = 5.0 * step.timestep / 1000 * gamma
        if correction == "clamped":
            gain = min(gain, ((1 - b) / (1 - a)) ** 0.5)
        if step.timestep <= 200:
            gain = 0.0
        clean = (y - (1 - a) ** 0.5 * eps) / a**0.5
        free = b**0.5 * clean + (1 - b) ** 0.5 * eps
        advanced = SyncSDE(5.0, correction).advance(y, eps, step, COUPLING)
        for i in range(COUNT):
            mean, precision = brute_force(y, i)
            assert torch.allclose(
                advanced[i], free[i] + gain * precision * (mean - y[i]), atol=1e-5
            )
        y = advanced


def test_infinite_lambda_is_independent_ddim_bit_for_bit():
    for synchronised, free in zip(run(SyncSDE(0.0)), run(Independent()), strict=True):
        assert torch.equal(synchronised, free)


def test_independent_is_diffusers_ddim():
    oracle = DDIMScheduler(**STABLE_DIFFUSION, clip_sample=False)
    oracle.set_timesteps(30)
    y = start()
    for step, ours in zip(SCHEDULE.steps(30), run(Independent()), strict=True):
        y = oracle.step(DENOISER.predict_noise(y, step), step.timestep, y).prev_sample
        assert (ours - y).abs().max() < 1e-5


def test_all_at_once_equals_one_trajectory_after_another():
    strategy, steps = SyncSDE(5.0), SCHEDULE.steps(30)
    together = run(strategy)
    history = []  # history[j][k]: trajectory j before step k
    for i in range(COUNT):
        y, states = start()[i], []
        for k, step in enumerate(steps):
            states.append(y)
            all_states = torch.stack([*(past[k] for past in history), y])
            mean, precision = brute_force(all_states, i)
            free = step.ddim(y[None], DENOISER.predict_noise(y[None], step))[0]
            y = free + strategy.gain(step) * precision * (mean - y)
        history.append(states)
        assert torch.allclose(together[-1][i], y, atol=1e-4)


def test_later_trajectories_never_change_the_first():
    free, synchronised = run(Independent())[-1], run(SyncSDE(5.0))[-1]
    assert torch.equal(free[0], synchronised[0])
    assert not torch.allclose(free[1:], synchronised[1:], atol=1e-3)


def test_identical_trajectories_need_no_correction():
    size = SIDE * SIDE
    identity = Pairs(torch.arange(size).expand(COUNT, COUNT, size), torch.ones(COUNT, COUNT, size))
    y = start()[:1].repeat(COUNT, 1, 1, 1)
    for synchronised, free in zip(
        run(SyncSDE(5.0), couple(identity), y=y), run(Independent(), y=y), strict=True
    ):
        assert torch.allclose(synchronised, free, atol=1e-4)


def test_synchronised_trajectories_agree_where_they_overlap():
    """With the last steps synchronised too, the gap to the mean shrinks many times over."""

    def gap(y):
        mean, precision = COUPLING.condition_on_earlier(y)
        return float((precision * (mean - y)).abs().sum() / precision.sum())

    assert gap(run(SyncSDE(5.0))[22]) < 0.5 * gap(run(Independent())[22])


def test_the_last_fifth_is_free_and_the_largest_gain_is_the_papers():
    gains = [SyncSDE(5.0, "paper").gain(step) for step in SCHEDULE.steps(30)]
    assert sum(gain > 0 for gain in gains) == 23
    assert gains[0] == pytest.approx(0.969, abs=1e-3)
    assert gains == [SyncSDE(5.0, "clamped").gain(step) for step in SCHEDULE.steps(30)]


@pytest.mark.parametrize("steps", [5, 10, 20, 50, 100])
def test_the_share_ends_exactly_at_its_timestep(steps):
    unshifted = Schedule.from_config({**STABLE_DIFFUSION, "steps_offset": 0})
    free = [step.timestep for step in unshifted.steps(steps) if SyncSDE().gain(step) == 0]
    assert free == [step.timestep for step in unshifted.steps(steps) if step.timestep <= 200]


@pytest.mark.parametrize("steps", [4, 5, 10])
def test_few_steps_stay_bounded_when_clamped(steps):
    assert run(SyncSDE(100.0), steps=steps)[-1].abs().max() < 10


def test_a_state_that_is_not_finite_stops_the_run():
    y = start()
    y[2, 0, 0, 0] = float("nan")
    with pytest.raises(NumericalFailure, match="after step 1 of 30"):
        run(SyncSDE(5.0), y=y)


def test_a_run_continues_from_a_saved_state():
    steps, whole = SCHEDULE.steps(30), run(SyncSDE(5.0))
    rest = [s.y for s in sample(whole[11], steps[12:], DENOISER, SyncSDE(5.0), COUPLING)]
    assert torch.equal(rest[-1], whole[-1])


def test_noise_depends_on_seed_trajectory_and_step_only():
    shape = (4, 8, 8)
    assert torch.equal(noise.initial(7, 4, shape)[2], noise.initial(7, 3, shape)[2])
    draws = [noise.gaussian(*key, shape) for key in [(7, 0, 0), (8, 0, 0), (7, 1, 0), (7, 0, 1)]]
    for a in range(4):
        for b in range(a):
            assert not torch.equal(draws[a], draws[b])
    many = noise.gaussian(1, 0, 0, (100_000,))
    assert abs(float(many.mean())) < 0.02
    assert abs(float(many.std()) - 1) < 0.02
