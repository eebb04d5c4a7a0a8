# SPDX-License-Identifier: GPL-3.0-or-later
import pytest

from syncsde_engine.mesh.intake.charts import chart_unwrap
from syncsde_engine.mesh.raster.rasterize import rasterizer
from syncsde_engine.mesh.views.cameras import paper_cameras
from syncsde_engine.mesh.views.scene import Scene, observe
from tests.mesh.shapes import lumpy


@pytest.fixture(scope="session")
def scene() -> Scene:
    """1280 faces under the paper's cameras, with texture coordinates."""
    return observe(chart_unwrap(lumpy(3), 256, 4), paper_cameras(), rasterizer("builtin"))
