# SPDX-License-Identifier: GPL-3.0-or-later
import pytest

from tests.engine.tiny import save_pipeline


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory):
    """A diffusers folder with Stable Diffusion's layout and random weights."""
    return save_pipeline(tmp_path_factory.mktemp("models") / "tiny")
