# SPDX-License-Identifier: GPL-3.0-or-later
"""The embedded model: small enough to ship, and it follows color and depth."""

import pytest
import torch

from syncsde_engine.mesh.mesh import normalize
from syncsde_engine.mesh.raster.rasterize import rasterizer
from syncsde_engine.mesh.views.cameras import Camera
from syncsde_engine.mesh.views.control import depth_control
from syncsde_engine.mesh.views.maps import view_maps
from syncsde_engine.mesh.views.pairs import view_to_view
from syncsde_engine.mesh.views.scene import observe
from syncsde_engine.method.coupling import earlier
from syncsde_engine.method.noise import Noise
from syncsde_engine.method.sampler import sample
from syncsde_engine.method.strategies import SyncSDE
from syncsde_engine.models import catalog
from syncsde_engine.models.loading import load
from tests.mesh.shapes import icosphere

FOLDER = catalog.locate("mini")
CPU = torch.device("cpu")


def test_all_its_files_are_small_and_none_is_a_pickle():
    files = [path for path in FOLDER.rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) <= 45e6
    assert {path.suffix for path in files} <= {".json", ".safetensors", ".md"}


@pytest.fixture(scope="module")
def draw():
    """Two views of a ball for a prompt, and where the ball is."""
    settings = catalog.settings(FOLDER)
    model = load(FOLDER, CPU, control=True)
    mesh, _ = normalize(icosphere(3))
    scene = observe(mesh, (Camera(0, 0), Camera(45, 0)), rasterizer("builtin"), 512)
    maps = view_maps(scene, 256)
    side = 256 // model.scale
    coupling = earlier(view_to_view(scene, side))

    def draw(prompt):
        denoiser = model.guided(
            [f"{prompt}, front view", f"{prompt}, side view"],
            ["", ""],
            settings.guidance_scale,
            None,
            control=depth_control(maps),
            control_scale=settings.control_scale,
        )
        y = Noise(0, (2, model.channels, side, side), CPU).initial()
        for state in sample(y, model.schedule.steps(10), denoiser, SyncSDE(), coupling):
            y = state.y
        return model.decode(y), maps.coverage

    return draw


COLORS = {  # which channels must be strong, which weak
    "a golden statue": ([0, 1], [2]),
    "a mossy stone statue": ([1], [2]),
    "a plain blue statue": ([2], [0]),
    "a red statue": ([0], [1, 2]),
    "a green statue": ([1], [0, 2]),
}


@pytest.mark.parametrize(("prompt", "channels"), COLORS.items())
def test_color_and_silhouette_follow(draw, prompt, channels):
    images, ball = draw(prompt)
    strong, weak = channels
    pixels = images.movedim(1, -1)
    inside, outside = pixels[ball], pixels[~ball]
    mean = inside.mean(0)
    assert mean[strong].min() > mean[weak].max() + 0.05, mean
    # The ball stands out from what is behind it, where the depth says.
    assert (inside.mean(0) - outside.mean(0)).abs().max() > 0.1
    assert (outside.mean(0) - outside.mean()).abs().max() < 0.1, "a neutral backdrop"
