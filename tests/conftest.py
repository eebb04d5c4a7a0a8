# SPDX-License-Identifier: GPL-3.0-or-later
import os

import pytest

os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["HF_HUB_DISABLE_PROGRESS_BARS"] = "1"
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # as the command line has it
os.environ.setdefault("GOMP_SPINCOUNT", "30000")


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory):
    """A diffusers folder with Stable Diffusion's layout and random weights."""
    from tests.tiny import save_pipeline  # imports torch

    return save_pipeline(tmp_path_factory.mktemp("models") / "tiny")
