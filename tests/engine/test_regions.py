# SPDX-License-Identifier: GPL-3.0-or-later
"""Several prompts in one view: who owns a cell, and that each region follows its own prompt."""

import pytest
import torch

from syncsde_engine.method.coupling import Overlap
from syncsde_engine.method.regions import RegionalDenoiser, Regions, guided_rows, regions
from syncsde_engine.method.sampler import sample
from syncsde_engine.method.schedule import Schedule
from syncsde_engine.method.strategies import strategy
from tests.engine.exact import STABLE_DIFFUSION, ExactDenoiser, start

SIDE = 8


def halves(left: int, right: int, side: int = SIDE) -> torch.Tensor:
    owner = torch.full((1, side, side), left)
    owner[:, :, side // 2 :] = right
    return owner


def test_cells_on_a_border_are_shared_and_all_add_up():
    owner = torch.full((1, 8, 8), 2)
    owner[0, :, 3:] = 0
    parts = regions(owner, 4)
    assert parts.view.tolist() == [0, 0]
    assert parts.prompt.tolist() == [0, 2]
    expected = torch.tensor([[[0.25, 1], [0.25, 1]], [[0.75, 0], [0.75, 0]]])
    assert torch.equal(parts.share[:, 0], expected)


def test_background_goes_with_the_nearest_region():
    owner = torch.full((1, 8, 16), -1)
    owner[0, 2:6, 2:6], owner[0, 2:6, 10:14] = 1, 3
    parts = regions(owner, 1)
    assert parts.prompt.tolist() == [1, 3]
    assert torch.equal(parts.share[0, 0], (torch.arange(16) < 8).float().expand(8, 16))
    assert torch.equal(parts.share.sum(0), torch.ones(1, 8, 16))


def test_less_than_a_cell_is_not_worth_a_row():
    owner = halves(1, 2)
    owner[0, 0, :3] = 5
    assert regions(owner, 2).prompt.tolist() == [1, 2]
    owner[0, 1, 0] = 5
    assert regions(owner, 2).prompt.tolist() == [1, 2, 5]
    alone = torch.full((1, 8, 8), -1)
    alone[0, 4, 4] = 3
    parts = regions(alone, 4)
    assert parts.prompt.tolist() == [3]
    assert parts.share.min() == 1


def test_every_view_has_its_own_rows_and_an_empty_one_the_first_prompt():
    owner = torch.cat([halves(1, 2), halves(-1, -1), halves(2, 2)])
    parts = regions(owner, 2)
    assert parts.view.tolist() == [0, 0, 1, 2]
    assert parts.prompt.tolist() == [1, 2, 0, 2]


class ByRow:
    """Each row has an exact denoiser of its own; counts what it is asked."""

    def __init__(self, data: list[torch.Tensor]) -> None:
        self.data, self.asked = data, 0

    def predict_noise(self, y, step):
        assert len(y) == len(self.data)
        self.asked += len(y)
        rows = zip(self.data, y, strict=True)
        return torch.cat([ExactDenoiser(d).predict_noise(row[None], step) for d, row in rows])


@pytest.mark.parametrize("guidance_scale", [1.0, 3.0])
def test_each_region_becomes_what_its_prompt_shows(guidance_scale: float):
    """One datum for each prompt: its region ends exactly there, whatever lies beside it."""
    generator = torch.Generator().manual_seed(0)
    red, blue, gray = (torch.randn(1, 4, SIDE, SIDE, generator=generator) for _ in range(3))
    parts = regions(halves(0, 1), 1)
    unwanted = [gray] if guidance_scale != 1 else []
    rows = ByRow([red, blue, *unwanted])
    denoiser = RegionalDenoiser(rows, guided_rows(parts, guidance_scale))
    steps = Schedule.from_config(STABLE_DIFFUSION).steps(20, 0.0)
    none = strategy("independent", 5.0, "clamped", 1.0)
    pixels = SIDE * SIDE
    own = torch.arange(pixels)
    overlap = Overlap(1, pixels, own, own, torch.ones(pixels), "blend")
    y = start(1, (4, SIDE, SIDE))
    for state in sample(y, steps, denoiser, none, none.couple(overlap)):
        y = state.y
    assert rows.asked == 20 * (3 if unwanted else 2)
    if not unwanted:
        wanted = torch.cat([red[..., : SIDE // 2], blue[..., SIDE // 2 :]], dim=-1)
        torch.testing.assert_close(y, wanted, atol=0.2, rtol=0)


def test_weights_are_guidance_within_each_region():
    generator = torch.Generator().manual_seed(0)
    y, *eps = (torch.randn(2, 4, SIDE, SIDE, generator=generator) for _ in range(4))
    parts = Regions(
        torch.tensor([0, 0, 1]),
        torch.tensor([0, 1, 1]),
        torch.stack([torch.rand(1, SIDE, SIDE, generator=generator) for _ in range(3)]),
    )
    parts.share[1], parts.share[2] = 1 - parts.share[0], 1.0

    class Given:
        def predict_noise(self, states, step):
            assert torch.equal(states, y[[0, 0, 1, 0, 1]])
            return torch.stack([eps[0][0], eps[1][0], eps[1][1], eps[2][0], eps[2][1]])

    found = RegionalDenoiser(Given(), guided_rows(parts, 4.0)).predict_noise(y, None)
    wanted = torch.stack([parts.share[0] * eps[0][0] + parts.share[1] * eps[1][0], eps[1][1]])
    torch.testing.assert_close(found, eps[2] + 4.0 * (wanted - eps[2]), atol=1e-5, rtol=1e-5)
