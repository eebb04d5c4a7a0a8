# SPDX-License-Identifier: GPL-3.0-or-later
"""Every strategy against its printed formula, computed independently on random tensors."""

import dataclasses
import math

import pytest
import torch
from diffusers import DDIMScheduler, DDPMScheduler

from syncsde_engine.config import StrategyName
from syncsde_engine.method.coupling import earlier, everyone
from syncsde_engine.method.schedule import Schedule
from syncsde_engine.method.strategies import Averaged, Independent, SyncSDE, strategy
from tests.engine.exact import STABLE_DIFFUSION, random_overlap, start

COUNT, CHANNELS, SIDE = 5, 4, 6
SHAPE = (CHANNELS, SIDE, SIDE)
SCHEDULE = Schedule.from_config(STABLE_DIFFUSION)
COSINE = Schedule.from_config({"beta_schedule": "squaredcos_cap_v2"})
OVERLAP = random_overlap(COUNT, SIDE * SIDE)
NAMES = StrategyName.__args__


def draws():
    return start(COUNT, SHAPE, 1), start(COUNT, SHAPE, 2), start(COUNT, SHAPE, 3)


def advance(chosen, step, fresh=None):
    y, eps, _ = draws()
    return chosen.advance(y, eps, step, chosen.couple(OVERLAP), fresh)


def view_of_mean(values, exponent=1.0):
    """f_i(F(v)): the weighted mean of what all see at each spot; own value where nobody looks."""
    flat = values.movedim(1, -1).reshape(-1, CHANNELS)
    matrix = torch.zeros(len(flat), len(flat))
    matrix.index_put_((OVERLAP.looks, OVERLAP.source), OVERLAP.weight**exponent, accumulate=True)
    total = matrix.sum(1, keepdim=True)
    mean = torch.where(total > 0, matrix @ flat / total, flat)
    return mean.view(COUNT, SIDE, SIDE, -1).movedim(-1, 1)


@pytest.mark.parametrize("correction", ["paper", "clamped"])
@pytest.mark.parametrize("reference", ["first", "training"])
@pytest.mark.parametrize("share", [0.8, 1.0])
def test_syncsde_is_equations_3_7_and_8(correction, reference, share):
    """Paper: T of the decay t / T is the first timestep, for meshes the training length."""
    y, eps, _ = draws()
    mean, precision = earlier(OVERLAP).gather(y)
    steps = SCHEDULE.steps(30)
    for step in steps:
        a, b = step.alpha, step.alpha_prev
        gamma = (b / a) ** 0.5 - ((1 - b) / (1 - a)) ** 0.5
        gain = 5.0 * gamma * step.timestep / (steps[0].timestep if reference == "first" else 1000)
        if correction == "clamped":
            gain = min(gain, ((1 - b) / (1 - a)) ** 0.5)
        if share == 0.8 and step.timestep <= 200:
            gain = 0.0
        clean = (y - (1 - a) ** 0.5 * eps) / a**0.5
        free = b**0.5 * clean + (1 - b) ** 0.5 * eps
        advanced = advance(SyncSDE(5.0, correction, share, reference), step)
        assert torch.allclose(advanced, free + gain * precision * (mean - y), atol=1e-5)


def test_syncsde_is_a_score_step_with_the_papers_gaussian():
    """Eq. 7 with p(X~ | y) = N(y, lambda (1 - alpha) / M) as printed; (1 - alpha) cancels."""
    step = SCHEDULE.steps(50)[10]
    y, eps, _ = (draw.double() for draw in draws())
    mean, precision = earlier(OVERLAP).gather(y)
    y.requires_grad_(True)
    variance = (1 - step.alpha) / (5.0 * step.decay)
    log_p = -((mean - y) ** 2 * precision).sum() / (2 * variance)
    (score,) = torch.autograd.grad(log_p, y)
    y = y.detach()
    expected = step.ddim(y, eps) + (1 - step.alpha) * step.gamma * score
    advanced = SyncSDE(5.0, "paper").advance(y, eps, step, earlier(OVERLAP), None)
    assert torch.allclose(advanced, expected, atol=1e-12)


@pytest.mark.parametrize("step", SCHEDULE.steps(30)[::6], ids=lambda step: str(step.timestep))
def test_synctweedies_averages_clean_estimates_and_derives_the_direction_again(step):
    y, eps, _ = draws()
    a, b = step.alpha, step.alpha_prev
    clean = view_of_mean((y - (1 - a) ** 0.5 * eps) / a**0.5)
    expected = b**0.5 * clean + ((1 - b) / (1 - a)) ** 0.5 * (y - a**0.5 * clean)
    assert torch.allclose(advance(strategy("synctweedies"), step), expected, atol=1e-5)


@pytest.mark.parametrize("step", SCHEDULE.steps(30)[::6], ids=lambda step: str(step.timestep))
def test_multidiffusion_averages_the_stepped_states(step):
    y, eps, _ = draws()
    expected = view_of_mean(step.ddim(y, eps))
    assert torch.allclose(advance(strategy("multidiffusion"), step), expected, atol=1e-5)


@pytest.mark.parametrize("step", SCHEDULE.steps(30)[::6], ids=lambda step: str(step.timestep))
def test_visual_anagrams_averages_the_noise(step):
    y, eps, _ = draws()
    a, b = step.alpha, step.alpha_prev
    y, mean = view_of_mean(y), view_of_mean(eps)  # views of one canvas: all show the same of it
    expected = (b / a) ** 0.5 * (y - (1 - a) ** 0.5 * mean) + (1 - b) ** 0.5 * mean
    assert torch.allclose(advance(strategy("visual-anagrams"), step), expected, atol=1e-5)


@pytest.mark.parametrize("index", [0, 7, 15, 29])
def test_syncmvd_is_the_ddpm_posterior_with_weights_that_sharpen(index):
    steps = SCHEDULE.steps(30, eta=1.0)
    step = steps[index]
    y, eps, fresh = draws()
    a, b = step.alpha, step.alpha_prev
    exponent = 6 * index / 30 if index else 1.0
    clean = view_of_mean((y - (1 - a) ** 0.5 * eps) / a**0.5, exponent)
    alpha = a / b  # of this step alone
    expected = b**0.5 * (1 - alpha) / (1 - a) * clean + alpha**0.5 * (1 - b) / (1 - a) * y
    expected += ((1 - b) / (1 - a) * (1 - alpha)) ** 0.5 * fresh
    assert torch.allclose(advance(strategy("syncmvd"), step, fresh), expected, atol=1e-5)


@pytest.mark.parametrize("quantity", ["clean", "state", "noise"])
def test_averaging_leaves_the_last_part_free(quantity):
    for step in SCHEDULE.steps(30):
        same = torch.equal(advance(Averaged(quantity, 0.8), step), advance(Independent(), step))
        assert same == (step.timestep <= 200)
        assert Averaged(quantity, 0.8).gain(step) == float(not same)


@pytest.mark.parametrize("eta", [0.0, 0.5])
def test_independent_is_diffusers_ddim(eta):
    oracle = DDIMScheduler(**STABLE_DIFFUSION, clip_sample=False)
    oracle.set_timesteps(30)
    y, eps, fresh = draws()
    for step in SCHEDULE.steps(30, eta):
        expected = oracle.step(
            eps, step.timestep, y, eta=eta, variance_noise=fresh if eta else None
        )
        ours = advance(Independent(), step, fresh if step.sigma else None)
        assert (ours - expected.prev_sample).abs().max() < 1e-5


def test_eta_one_is_diffusers_ddpm(monkeypatch):
    config = {**STABLE_DIFFUSION, "set_alpha_to_one": True, "steps_offset": 0}
    del config["set_alpha_to_one"]
    oracle = DDPMScheduler(**config, clip_sample=False, variance_type="fixed_small")
    oracle.set_timesteps(40)
    y, eps, fresh = draws()
    monkeypatch.setattr(
        "diffusers.schedulers.scheduling_ddpm.randn_tensor", lambda *args, **options: fresh
    )
    steps = Schedule.from_config({**config, "set_alpha_to_one": True}).steps(40, eta=1.0)
    assert [step.timestep for step in steps] == oracle.timesteps.tolist()
    for step in steps[:-1]:
        expected = oracle.step(eps, step.timestep, y).prev_sample
        assert (advance(Independent(), step, fresh) - expected).abs().max() < 1e-5
    assert steps[-1].sigma == 0


def test_paper_correction_keeps_the_deterministic_gamma_with_fresh_noise():
    """Paper: the authors' mesh code adds fresh noise but keeps the gamma of DDIM."""
    for still, noisy in zip(SCHEDULE.steps(30), SCHEDULE.steps(30, 1.0), strict=True):
        assert SyncSDE(5.0, "paper").gain(noisy) == SyncSDE(5.0, "paper").gain(still)
        if noisy.sigma:
            s, a = noisy.alpha / noisy.alpha_prev, noisy.alpha
            kappa = (1 - s) / (math.sqrt(s) * (1 - a))  # of the ancestral step
            assert noisy.gamma == pytest.approx(kappa, rel=1e-9)
            assert SyncSDE(2.0).gain(noisy) == pytest.approx(
                min(2.0 * noisy.decay * kappa, noisy.rho)
            )


def test_clamping_changes_nothing_at_the_papers_settings():
    for count, reference, share in [(50, "first", 1.0), (30, "training", 0.8)]:
        for step in SCHEDULE.steps(count):
            gains = [
                SyncSDE(5.0, kind, share, reference).gain(step) for kind in ("paper", "clamped")
            ]
            assert gains[0] == gains[1]
    first = SCHEDULE.steps(50)[0]
    assert SyncSDE(5.0, "paper").gain(first) == pytest.approx(0.618, abs=1e-3)
    assert SyncSDE(5.0, "paper").gain(COSINE.steps(30)[0]) == pytest.approx(3.94, abs=1e-2)
    assert SyncSDE(5.0).gain(COSINE.steps(30)[0]) < 1


def test_the_mesh_setting_frees_seven_of_thirty_steps():
    gains = [SyncSDE(5.0, "paper", 0.8, "training").gain(step) for step in SCHEDULE.steps(30)]
    assert sum(gain > 0 for gain in gains) == 23
    assert gains[0] == pytest.approx(0.969, abs=1e-3)


@pytest.mark.parametrize("steps", [5, 10, 20, 50, 100])
def test_the_share_ends_exactly_at_its_timestep(steps):
    unshifted = Schedule.from_config({**STABLE_DIFFUSION, "steps_offset": 0}).steps(steps)
    free = [step.timestep for step in unshifted if SyncSDE(share=0.8).gain(step) == 0]
    assert free == [step.timestep for step in unshifted if step.timestep <= 200]


@pytest.mark.parametrize("name", NAMES)
def test_every_name_makes_a_strategy_that_steps(name):
    step = dataclasses.replace(SCHEDULE.steps(10)[3], sigma=0.1)
    y, eps, fresh = draws()
    chosen = strategy(name)
    stepped = chosen.advance(y, eps, step, chosen.couple(OVERLAP), fresh)
    assert stepped.shape == y.shape
    assert torch.isfinite(stepped).all()


def test_identical_views_that_agree_are_left_alone_by_averaging():
    step = SCHEDULE.steps(30)[5]
    y, eps, _ = draws()
    y, eps = y[:1].expand_as(y), eps[:1].expand_as(eps)
    size = SIDE * SIDE
    looks = torch.arange(COUNT * size).repeat(COUNT)
    source = looks.view(COUNT, -1) % size + size * torch.arange(COUNT)[:, None]
    overlap = dataclasses.replace(
        OVERLAP, looks=looks, source=source.flatten(), weight=torch.rand(len(looks)) + 0.1
    )
    for quantity in ("clean", "state", "noise"):
        stepped = Averaged(quantity).advance(y, eps, step, everyone(overlap), None)
        assert torch.allclose(stepped, step.ddim(y, eps), atol=1e-5)
