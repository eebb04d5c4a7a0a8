# SPDX-License-Identifier: GPL-3.0-or-later
import pytest
import torch

from training.evaluate import held_out_depth
from training.materials import COLORS
from training.measure import follows


def test_perfect_views_measure_as_perfect_and_swapped_colours_do_not():
    depth = held_out_depth("monkey", 20, 0, 64)
    depths = depth[None].repeat(len(COLORS), 1, 1, 1)
    palette = torch.tensor(list(COLORS.values()))[:, :, None, None]
    views = torch.where(depths > 0, palette, 0.5)
    figures = follows(views, depths)
    assert figures["color_accuracy"] == 1
    assert figures["backdrop_error"] == pytest.approx(0, abs=1e-6)
    # Gray cannot be told from the backdrop, and the outline is measured one pixel wider than drawn.
    assert figures["silhouette_iou"] > 0.75
    assert follows(views.roll(1, 0), depths)["color_accuracy"] == 0
