# SPDX-License-Identifier: GPL-3.0-or-later
import numpy as np
import pytest
from scipy import ndimage

from syncsde_engine.mesh.bake import nearest
from syncsde_engine.mesh.bake.nearest import nearest_chosen


def spots(height: int, width: int, share: float, seed: int) -> np.ndarray:
    chosen = np.random.default_rng(seed).uniform(size=(height, width)) < share
    chosen[seed % height, (7 * seed) % width] = True
    return chosen


@pytest.mark.parametrize("plain", [False, True], ids=["compiled", "plain"])
@pytest.mark.parametrize("size", [(1, 1), (1, 200), (200, 1), (97, 61), (256, 300)])
@pytest.mark.parametrize("share", [0.0, 0.001, 0.05, 0.6, 1.0])
def test_distances_are_those_of_scipy(size, share, plain, monkeypatch):
    if plain:
        monkeypatch.setattr(nearest, "_nearest", None)
    chosen = spots(*size, share, seed=3)
    row, column = nearest_chosen(chosen)
    assert chosen[row, column].all()
    rows, columns = np.indices(size)
    distance = np.hypot(row - rows, column - columns)
    np.testing.assert_allclose(distance, ndimage.distance_transform_edt(~chosen), atol=1e-9)


def test_nothing_chosen_and_too_large_are_refused():
    with pytest.raises(ValueError, match="nothing chosen"):
        nearest_chosen(np.zeros((4, 4), bool))
    with pytest.raises(ValueError, match="too large"):
        nearest_chosen(np.ones((1, 40000), bool))
