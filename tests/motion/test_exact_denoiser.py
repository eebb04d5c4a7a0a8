# SPDX-License-Identifier: GPL-3.0-or-later
"""What the method does to motion, with an exact denoiser in the place of a network."""

import numpy as np
import pytest
import torch

from syncsde_engine.method.coupling import disagreement
from syncsde_engine.method.noise import Noise
from syncsde_engine.method.sampler import sample
from syncsde_engine.method.schedule import Schedule
from syncsde_engine.method.strategies import SyncSDE, strategy
from syncsde_engine.motion import metrics
from syncsde_engine.motion.features import decode
from syncsde_engine.motion.sequence import Layout, compose
from syncsde_engine.tasks.motion import canvas_of
from tests.motion.gaussian import GaussianMotion, Normal
from training.motion.clips import draw_clip
from training.motion.train import statistics

NATIVE = Schedule.from_config(
    {"num_train_timesteps": 50, "beta_schedule": "squaredcos_cap_v2", "set_alpha_to_one": True}
)
LAYOUT = Layout(3, 120, 30)
VERBS = ("walk", "wave", "punch")


def test_the_native_schedule():
    first, *rest = NATIVE.steps(50)
    assert first.gamma == pytest.approx(30.6, abs=0.05)
    assert first.alpha == pytest.approx(9.7e-7, rel=0.01)
    clamped = SyncSDE(3.0, "clamped")
    gains = [clamped.gain(step) for step in (first, *rest)]
    assert all(gain <= step.rho for gain, step in zip(gains, (first, *rest), strict=True))
    printed = [SyncSDE(3.0, "paper").gain(step) for step in (first, *rest)]
    expected = {0: 91.9, 1: 2.94, 2: 1.44, 3: 0.94, 5: 0.55, 10: 0.26, 20: 0.12}
    for index, value in expected.items():
        assert printed[index] == pytest.approx(value, rel=0.04)
    assert [a != b for a, b in zip(gains, printed, strict=True)].index(False) == 3


def test_sampling_gives_mean_and_covariance():
    generator = torch.Generator().manual_seed(0)
    directions, _ = torch.linalg.qr(torch.randn(12, 3, generator=generator))
    normal = Normal(torch.linspace(-1, 1, 12), directions, torch.tensor([2.0, 1.0, 0.5]), 0.05)
    steps = Schedule.from_config({"beta_schedule": "squaredcos_cap_v2"}).steps(250)
    noise = torch.randn(4000, 1, 1, 12, generator=generator)

    class Same:
        def predict_noise(self, y, step):
            clean = normal.posterior_mean(y.flatten(1), step.alpha).view_as(y)
            return step.noise_in(y, clean)

    chosen = strategy("independent")
    coupling = chosen.couple(canvas_of(Layout(1, 12, 0), (0,), ramps=False).overlap())
    *_, last = sample(noise, steps, Same(), chosen, coupling)
    found = last.y.flatten(1)
    expected = directions @ torch.diag(normal.spread) @ directions.T + 0.05 * torch.eye(12)
    assert (found.mean(0) - normal.mean).abs().max() < 0.1
    assert (found.T.cov() - expected).abs().max() < 0.15


@pytest.fixture(scope="module")
def motion():
    """The denoiser of three verbs, and features' mean and deviation."""
    rows = np.stack(
        [[draw_clip(21, n, verb).features() for n in range(50)] for verb in VERBS]
    )  # (verbs, clips, F, C)
    mean, std = statistics(rows.reshape(-1, *rows.shape[2:]))
    states = torch.from_numpy((rows - mean) / std).transpose(2, 3).flatten(2)
    return GaussianMotion(tuple(Normal.fitted(each, 40, 0.004) for each in states)), mean, std


@pytest.fixture(scope="module")
def made(motion):
    """Gap and the largest jerk at a seam, of strategies and ways to join, over two seeds."""
    denoiser, mean, std = motion
    found = {}
    for name, chosen in {
        "independent": strategy("independent"),
        "syncsde": SyncSDE(3.0, "clamped"),
        "printed": SyncSDE(3.0, "paper"),
        "synctweedies": strategy("synctweedies"),
        "doubletake": strategy("doubletake"),
    }.items():
        overlap = canvas_of(LAYOUT, (0, 1, 2), ramps=name == "doubletake").overlap()
        coupling = chosen.couple(overlap)
        for seed in (0, 1):
            y = Noise(seed, (3, 263, 1, 120), torch.device("cpu")).initial()
            *_, last = sample(y, NATIVE.steps(50), denoiser, chosen, coupling)
            rows = last.y[:, :, 0].transpose(1, 2).numpy() * std + mean
            for join in ("over", "fade"):
                joints = decode(compose(rows, LAYOUT, join))
                peaks = [metrics.seam(joints, *LAYOUT.seam(i), 0.05).peak for i in range(2)]
                found.setdefault((name, join), []).append(
                    (disagreement(last.y, overlap), float(np.mean(peaks)))
                )
    return {key: np.mean(values, axis=0) for key, values in found.items()}


def test_gaps_come_in_their_order(made):
    gaps = {name: gap for (name, _), (gap, _) in made.items()}
    assert gaps["independent"] > 1.5 * gaps["syncsde"]
    assert gaps["syncsde"] > 0.05
    assert gaps["synctweedies"] < 1e-4
    assert gaps["doubletake"] < 1e-4


def test_the_printed_step_explodes_and_the_clamped_one_does_not(made):
    assert made["printed", "over"][1] > 1.5 * made["syncsde", "over"][1]
    assert made["printed", "over"][0] > 1.5 * made["syncsde", "over"][0]


def test_fading_is_smoother_than_cutting(made):
    for name in ("independent", "syncsde"):
        assert made[name, "fade"][1] < made[name, "over"][1]
    assert made["syncsde", "over"][1] < made["independent", "over"][1]
