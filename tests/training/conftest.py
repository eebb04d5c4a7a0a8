# SPDX-License-Identifier: GPL-3.0-or-later
import pytest

from training.plan import PRESETS


@pytest.fixture(scope="session")
def smoke_plan():
    """The smallest plan: every stage runs in seconds and nothing is learned."""
    return PRESETS["smoke"]
