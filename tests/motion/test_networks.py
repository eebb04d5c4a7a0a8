# SPDX-License-Identifier: GPL-3.0-or-later
"""mime's network: every frame is told, by two tokens that share it."""

import pytest
import torch

from syncsde_engine.models.motion_networks import Mime


@pytest.mark.parametrize(("together", "frames"), [(5, 60), (6, 120), (1, 8)])
def test_shapes_and_that_text_time_and_neighbors_matter(together, frames):
    torch.manual_seed(0)
    network = Mime(3, width=16, layers=2, heads=2, feed_forward=16, together=together)
    y = torch.randn(2, 263, 1, frames)
    text, timestep = torch.tensor([[1.0, 0, 0], [0, 1, 0]]), torch.tensor([3, 3])
    told = network(y, timestep, text)
    assert told.shape == y.shape
    for changed in (
        network(y, timestep, text.flip(0)),
        network(y, timestep + 9, text),
        network(torch.cat([y[..., :1] + 1, y[..., 1:]], dim=-1), timestep, text),
    ):
        assert (changed - told).abs().max() > 1e-6
    assert torch.allclose(network(y[:1], timestep[:1], text[:1]), told[:1], atol=1e-5)


def test_tokens_that_agree_are_told_as_they_are():
    network = Mime(3, width=16, layers=1, heads=2, feed_forward=16, together=4)
    told = torch.ones(1, 5, 263, 8) * 2.5
    blended = network._blended(told * network.share)
    assert blended.shape == (1, 263, 24)
    assert torch.allclose(blended[..., 4:-4], torch.tensor(2.5))
