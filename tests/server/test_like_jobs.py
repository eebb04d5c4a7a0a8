# SPDX-License-Identifier: GPL-3.0-or-later
"""Pictures to paint like, over HTTP: what is of no use fails its job alone, in one sentence."""

from __future__ import annotations

import io
import sys
from collections.abc import Iterator

import numpy as np
import pytest
from PIL import Image

from syncsde_client.client import EngineError
from syncsde_client.protocol import Job, JobRequest, JobState
from tests.engine.test_like_pictures import UNUSABLE, checks, encoded
from tests.server.running import Engine, start, wait_until

ASKED = {"width": 128, "height": 64, "patch_size": 64, "stride": 0.5, "steps": 3, "tile_size": 64}
REFUSED = ("moving", "text", "empty")  # no blobs


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    folder = tmp_path_factory.mktemp("engine") / "state"
    running = start(folder, command=[sys.executable, "-m", "syncsde_engine", "serve"])
    yield running
    running.end()


def painted_like(engine: Engine, content: bytes) -> Job:
    inputs = {"like": engine.client.put_blob(content)}
    job = engine.client.submit(JobRequest("wide", ASKED, inputs))
    return wait_until(lambda: (now := engine.client.job(job.id)).state.ended and now, 240)


@pytest.mark.parametrize("kind", [kind for kind in UNUSABLE if kind not in REFUSED])
def test_unusable_pictures_fail_their_job_alone(engine: Engine, kind: str) -> None:
    content, sentence = UNUSABLE[kind]
    failed = painted_like(engine, content)
    assert failed.state == JobState.FAILED
    assert failed.error is not None
    assert (failed.error["code"], failed.error["field"]) == ("invalid_request", "inputs.like")
    assert failed.error["message"].startswith("The picture ")
    assert sentence in f"{failed.error['message']} {failed.error['hint']}"


@pytest.mark.parametrize("kind", REFUSED)
def test_what_is_no_picture_is_refused_with_the_remedy(engine: Engine, kind: str) -> None:
    with pytest.raises(EngineError, match="Save a picture as one of PNG, JPEG, WebP, TIFF"):
        engine.client.put_blob(UNUSABLE[kind][0])


def test_a_print_is_painted_like(engine: Engine) -> None:
    done = painted_like(engine, encoded(checks().convert("CMYK"), "JPEG", quality=95))
    assert done.state == JobState.DONE, done.error
    image = Image.open(io.BytesIO(engine.client.files(done)["image.png"])).convert("RGB")
    assert (np.asarray(image).argmax(-1) == 0).mean() > 0.99, "all of it is red"
