# SPDX-License-Identifier: GPL-3.0-or-later
"""Noise levels and steps against diffusers' DDIM scheduler and closed forms."""

import math

import pytest
import torch
from diffusers import DDIMScheduler

from syncsde_engine.errors import InvalidRequest
from syncsde_engine.method.schedule import Schedule
from tests.engine.exact import STABLE_DIFFUSION

CASES = {
    "stable diffusion": STABLE_DIFFUSION,
    "trailing": {**STABLE_DIFFUSION, "timestep_spacing": "trailing"},
    "cosine": {"beta_schedule": "squaredcos_cap_v2", "set_alpha_to_one": True},
    "linear": {"beta_schedule": "linear", "set_alpha_to_one": True},
}


@pytest.mark.parametrize("count", [4, 10, 30, 50])
@pytest.mark.parametrize("config", CASES.values(), ids=CASES.keys())
def test_steps_equal_diffusers_ddim(config, count):
    oracle = DDIMScheduler(**config, clip_sample=False)
    oracle.set_timesteps(count)
    steps = Schedule.from_config(config).steps(count)
    assert [step.timestep for step in steps] == oracle.timesteps.tolist()
    y = torch.randn(2, 4, 8, 8, generator=torch.Generator().manual_seed(0))
    for step in steps:
        eps = torch.randn(2, 4, 8, 8, generator=torch.Generator().manual_seed(step.index + 1))
        expected = oracle.step(eps, step.timestep, y).prev_sample
        # At the noisiest cosine level 1 / sqrt(alpha) is about 150: compare at the state's scale.
        scale = max(1.0, float(expected.abs().max()))
        assert (step.ddim(y, eps) - expected).abs().max() < 1e-5 * scale
        y = expected / expected.std()


@pytest.mark.parametrize("count", [2, 4, 30])
def test_linspace_leaves_no_gap_between_steps(count):
    """diffusers' DDIM ends each step where intervals of another spacing would."""
    config = {**STABLE_DIFFUSION, "timestep_spacing": "linspace"}
    oracle = DDIMScheduler(**config, clip_sample=False)
    oracle.set_timesteps(count)
    steps = Schedule.from_config(config).steps(count)
    assert [step.timestep for step in steps] == oracle.timesteps.tolist()
    alphas = oracle.alphas_cumprod.tolist()
    ends = [alphas[step.timestep] for step in steps[1:]] + [float(oracle.final_alpha_cumprod)]
    assert [step.alpha_prev for step in steps] == pytest.approx(ends)


def test_gamma_is_the_score_coefficient_of_ddim():
    for step in Schedule.from_config(STABLE_DIFFUSION).steps(30):
        y, eps = torch.randn(2, 50, dtype=torch.float64)
        score = -eps / math.sqrt(1 - step.alpha)
        drift = math.sqrt(step.alpha_prev / step.alpha) * y
        assert torch.allclose(
            step.ddim(y, eps), drift + (1 - step.alpha) * step.gamma * score, atol=1e-12
        )
        assert step.gamma > 0


def test_paper_setting_walks_958_to_1():
    timesteps = [step.timestep for step in Schedule.from_config(STABLE_DIFFUSION).steps(30)]
    assert timesteps[:2] == [958, 925]
    assert timesteps[-1] == 1


@pytest.mark.parametrize("count", [0, 1001])
def test_impossible_step_counts_are_refused(count):
    with pytest.raises(InvalidRequest, match=f"steps {count}"):
        Schedule.from_config(STABLE_DIFFUSION).steps(count)


def test_unknown_beta_schedule_is_refused():
    with pytest.raises(InvalidRequest, match="sigmoid"):
        Schedule.from_config({"beta_schedule": "sigmoid"})


@pytest.mark.parametrize("switch", ["rescale_betas_zero_snr", "clip_sample"])
def test_arithmetic_that_is_not_ours_is_refused(switch):
    with pytest.raises(InvalidRequest, match=switch):
        Schedule.from_config({**STABLE_DIFFUSION, switch: True})
    Schedule.from_config({**STABLE_DIFFUSION, switch: False})


def test_thresholding_is_diffusers():
    config = {
        "beta_schedule": "squaredcos_cap_v2",
        "thresholding": True,
        "dynamic_thresholding_ratio": 0.95,
        "sample_max_value": 1.5,
    }
    oracle = DDIMScheduler(**config, clip_sample=False)
    oracle.set_timesteps(30)
    generator = torch.Generator().manual_seed(0)
    y = torch.randn(2, 3, 16, 16, generator=generator)
    for step in Schedule.from_config(config).steps(30):
        eps = torch.randn(y.shape, generator=generator)
        expected = oracle.step(eps, step.timestep, y).prev_sample
        assert (step.ddim(y, eps) - expected).abs().max() < 1e-5


def test_noise_is_what_leads_from_state_to_state():
    generator = torch.Generator().manual_seed(0)
    for step in Schedule.from_config(STABLE_DIFFUSION).steps(30):
        y, eps = torch.randn(2, 50, dtype=torch.float64, generator=generator)
        assert torch.allclose(step.noise_between(y, step.ddim(y, eps)), eps, atol=1e-9)
        assert torch.allclose(step.noise_in(y, step.tweedie(y, eps)), eps, atol=1e-9)
