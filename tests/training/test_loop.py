# SPDX-License-Identifier: GPL-3.0-or-later
import pytest
import torch
from torch import nn

from training.checkpoint import Average, replace_file
from training.loop import Clock, Stage, rate_factor
from training.plan import PRESETS, Plan, load_plan, save_plan, with_changes


def _stage(path, steps=20):
    torch.manual_seed(0)
    module = nn.Linear(3, 3)
    optimizer = torch.optim.AdamW(module.parameters(), lr=0.01)
    return Stage("toy", path, {"m": module}, optimizer, Average([module], 0.9), steps, 0.3)


def _loss(stage):
    def loss_at(step):
        x = torch.randn(4, 3, generator=torch.Generator().manual_seed(step))
        return (stage.modules["m"](x) - x).square().mean()

    return loss_at


def test_rate_warms_up_holds_and_cools_down():
    factors = [rate_factor(step, 1000, 0.3) for step in range(1000)]
    assert factors[0] == pytest.approx(0.01)
    assert factors[100] == factors[690] == 1
    assert factors[999] < 0.03
    assert factors[700:] == sorted(factors[700:], reverse=True)


def test_the_held_rate_does_not_depend_on_the_length():
    assert rate_factor(500, 1000, 0.3) == rate_factor(500, 5000, 0.3)


def test_without_moments_the_rate_warms_up_again():
    assert rate_factor(5000, 100_000, 0.3, warmed_from=5000) == pytest.approx(0.01)
    assert rate_factor(5100, 100_000, 0.3, warmed_from=5000) == 1


def test_interrupted_and_straight_runs_end_bit_equal(tmp_path):
    straight = _stage(tmp_path / "a.pt")
    straight.resume()
    assert straight.run(_loss(straight), Clock(1), 1, 10)

    first = _stage(tmp_path / "b.pt", steps=20)
    first.resume()

    clock, loss_at = Clock(1), _loss(first)

    def stopped_in_step_seven(step):
        if step == 6:
            clock.stop()
        return loss_at(step)

    assert not first.run(stopped_in_step_seven, clock, 1, 10)
    second = _stage(tmp_path / "b.pt")
    assert second.resume()
    assert second.step == 7
    assert second.run(_loss(second), Clock(1), 1, 10)

    for a, b in zip(straight.average.values, second.average.values, strict=True):
        assert torch.equal(a, b)


def test_a_loss_that_is_not_finite_stops_the_stage(tmp_path):
    stage = _stage(tmp_path / "c.pt")
    stage.resume()
    with pytest.raises(RuntimeError, match="toy: the loss at step 1 is nan"):
        stage.run(lambda step: _loss(stage)(step) * torch.nan, Clock(1), 1, 1)


def test_swapping_averages_twice_changes_nothing():
    module = nn.Linear(2, 2)
    average = Average([module], 0.5)
    with torch.no_grad():
        module.weight += 1
    before = module.weight.clone()
    average.swap()
    assert not torch.equal(module.weight, before)
    average.swap()
    assert torch.equal(module.weight, before)


def test_a_failed_write_leaves_the_old_file(tmp_path):
    path = tmp_path / "state"
    replace_file(path, lambda temporary: temporary.write_text("old"))

    def fails(temporary):
        temporary.write_text("ne")
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        replace_file(path, fails)
    assert path.read_text() == "old"


def test_plans_survive_a_round_trip_and_take_changes(tmp_path):
    for plan in PRESETS.values():
        save_plan(plan, tmp_path / "plan.json")
        assert load_plan(tmp_path / "plan.json") == plan
    changed = with_changes(Plan(), ["batch=8", "unet_widths=[16,32,48]"])
    assert (changed.batch, changed.unet_widths) == (8, (16, 32, 48))


@pytest.mark.parametrize("change", ["color=1", "size=100", "unet_widths=[10,20,30]"])
def test_impossible_plans_are_refused(change):
    with pytest.raises(ValueError, match=r"size|unet_widths|no plan field"):
        with_changes(Plan(), [change])
