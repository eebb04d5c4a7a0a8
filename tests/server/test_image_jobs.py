# SPDX-License-Identifier: GPL-3.0-or-later
"""Real image jobs through a real engine process: the same bytes as without it."""

from __future__ import annotations

import dataclasses
import hashlib
import io
import json
import os
import pickle
import signal
import struct
import sys
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from PIL import Image, ImageDraw

from syncsde_client.client import EngineError
from syncsde_client.protocol import Job, JobRequest, JobState
from syncsde_client.tensors import tensors_to_bytes
from syncsde_engine.config import CONFIGS
from syncsde_engine.request import build
from syncsde_engine.tasks import Artifacts, follow, run
from tests.server.running import Engine, start, wait_until

SMALL = {"steps": 2, "seed": 7}
EMPTY = tensors_to_bytes({})
MASK = {
    **SMALL,
    "prompt": "a cat on grass",
    "background": "grass",
    "foreground": ["a cat"],
    "size": 64,
}
WIDE = {
    **SMALL,
    "prompt": "hills",
    "prompt_at": [[64, "a harbor"]],
    "width": 128,
    "height": 64,
    "patch_size": 64,
    "stride": 0.5,
}


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory, tiny_model: Path) -> Iterator[Engine]:
    folder = tmp_path_factory.mktemp("engine") / "state"
    command = [sys.executable, "-m", "syncsde_engine", "serve"]
    running = start(folder, "--models-dir", str(tiny_model.parent), command=command)
    yield running
    running.end()


def a_mask(kind: str) -> bytes:
    """White in a disc in the middle."""
    picture = Image.new("RGB", (96, 96))
    ImageDraw.Draw(picture).ellipse((24, 24, 72, 72), fill="white")
    file = io.BytesIO()
    picture.save(file, kind)
    return file.getvalue()


def a_bomb(side: int) -> bytes:
    """A PNG of a few bytes that says that it has that many pixels on a side."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return (
            struct.pack(">I", len(content))
            + kind
            + content
            + struct.pack(">I", zlib.crc32(kind + content))
        )

    header = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    content = zlib.compress(bytes(90_001))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", content)


def in_process(task: str, parameters: Mapping[str, Any], inputs: Mapping[str, bytes]) -> Artifacts:
    return follow(run(task, build(task, parameters), inputs))


def over_http(
    engine: Engine, task: str, parameters: Mapping[str, Any], inputs: Mapping[str, bytes]
) -> Job:
    uploaded = {name: engine.client.put_blob(content) for name, content in inputs.items()}
    job = engine.client.submit(JobRequest(task, parameters, uploaded))
    return wait_until(lambda: (now := engine.client.job(job.id)).state.ended and now, 120)


@pytest.mark.parametrize(
    ("task", "parameters", "formats"),
    [
        ("mask", MASK, {"mask": "PNG"}),
        ("mask", MASK, {"mask": "WEBP"}),
        ("mask", MASK, {"mask": "TIFF"}),
        ("wide", WIDE, {}),
    ],
)
def test_the_engine_process_gives_the_same_bytes(
    engine: Engine,
    tiny_model: Path,
    task: str,
    parameters: Mapping[str, Any],
    formats: Mapping[str, str],
) -> None:
    inputs = {name: a_mask(kind) for name, kind in formats.items()}
    direct = in_process(task, {**parameters, "model": str(tiny_model)}, inputs)
    done = over_http(engine, task, {**parameters, "model": tiny_model.name}, inputs)
    assert done.state == JobState.DONE, done.error
    result = done.result or {}
    assert set(result) == set(direct) >= {"image.png", "report.json"}
    for name in set(direct) - {"report.json"}:  # it tells the time
        assert engine.client.get_blob(result[name]["sha256"]) == direct[name], name
    report = json.loads(engine.client.get_blob(result["report.json"]["sha256"]))
    asked = json.loads(direct["report.json"])["parameters"] | {"model": tiny_model.name}
    assert report["parameters"] == asked
    stages = [e.data["stage"] for e in engine.client.events(done.id) if e.type == "progress"]
    assert list(dict.fromkeys(stages)) == ["load", "views", "write"]


def test_motion_is_a_job_too_and_goes_on_from_its_states(engine: Engine) -> None:
    asked = {"prompt": ["a person walks", "a person sits"], "frames": 60, "overlap": 12, "steps": 3}
    direct = in_process("motion", asked, {})
    done = over_http(engine, "motion", asked, {})
    assert done.state == JobState.DONE, done.error
    result = done.result or {}
    assert set(result) == set(direct)
    for name in set(direct) - {"report.json"}:
        assert engine.client.get_blob(result[name]["sha256"]) == direct[name], name
    more = {**asked, "prompt": ["a person waves"]}
    states = {"states": direct["states.safetensors"]}
    longer = over_http(engine, "motion", more, states)
    assert longer.state == JobState.DONE, longer.error
    wanted = in_process("motion", more, states)["motion.bvh"]
    assert engine.client.get_blob((longer.result or {})["motion.bvh"]["sha256"]) == wanted


def test_killed_worker_ends_in_the_same_bytes(engine: Engine, tiny_model: Path) -> None:
    """The real sampler goes on from its checkpoint, with fresh noise in every step."""
    asked = {**WIDE, "steps": 200, "sampler": "ddpm", "batch_size": 1}
    direct = in_process("wide", {**asked, "model": str(tiny_model)}, {})
    job = engine.client.submit(JobRequest("wide", {**asked, "model": tiny_model.name}))
    path = engine.folder / "checkpoints" / f"{job.id}.safetensors"
    wait_until(path.exists, 60)
    os.kill(engine.worker, signal.SIGKILL)
    done = engine.client.finish(job.id)
    assert (done.state, done.attempts) == (JobState.DONE, 2)
    events = engine.client.events(job.id)
    assert [event.data["code"] for event in events if event.type == "notice"] == ["resumed"]
    assert any(event.data.get("preview") for event in events)
    result = done.result or {}
    assert engine.client.get_blob(result["image.png"]["sha256"]) == direct["image.png"]
    assert not path.exists()


NO_PICTURES = {
    "bomb": a_bomb(10_000),
    "larger bomb": a_bomb(30_000),
    "cut": a_mask("PNG")[:200],
}
NO_FILES = {  # of ours: they do not even become a blob
    "text": b"this is a letter, not a picture",
    "another format": a_mask("PPM"),
    "empty": b"",
    "pickle": pickle.dumps({"weights": [1.0]}),
    "page": b"<html><script>alert(1)</script></html>",
    "drawing": b'<svg xmlns="http://www.w3.org/2000/svg"/>',
    "archive": b"PK\x03\x04",
}


@pytest.mark.parametrize("kind", NO_PICTURES)
def test_what_is_no_picture_fails_the_job_alone(
    engine: Engine, tiny_model: Path, kind: str
) -> None:
    worker = engine.worker
    failed = over_http(
        engine, "mask", {**MASK, "model": tiny_model.name}, {"mask": NO_PICTURES[kind]}
    )
    assert failed.state == JobState.FAILED
    assert failed.error is not None
    assert (failed.error["code"], failed.error["field"]) == ("invalid_request", "inputs.mask")
    assert failed.error["message"].startswith("The picture ")
    assert ("million pixels" in failed.error["message"]) == kind.endswith("bomb")
    assert failed.error["hint"]
    assert engine.client.status()["worker_pid"] == worker


@pytest.mark.parametrize("kind", NO_FILES)
def test_what_is_no_file_of_ours_is_not_stored(engine: Engine, kind: str) -> None:
    with pytest.raises(EngineError) as raised:
        engine.client.put_blob(NO_FILES[kind])
    assert (raised.value.code, raised.value.field) == ("invalid_request", "body")
    assert not engine.client.has_blob(hashlib.sha256(NO_FILES[kind]).hexdigest())


@pytest.mark.parametrize(
    ("task", "parameters", "inputs", "field"),
    [
        ("mask", MASK, {}, "inputs.mask"),
        ("mask", MASK, {"mask_2": EMPTY}, "inputs.mask"),
        ("wide", WIDE, {"mask": EMPTY}, "inputs.mask"),
        ("mask", {**MASK, "foreground": "a cat"}, {"mask": EMPTY}, "foreground"),
        ("mask", {**MASK, "foreground": []}, {"mask": EMPTY}, "foreground"),
        ("wide", {**WIDE, "prompt_at": [[64.5, "a harbor"]]}, {}, "prompt_at.0.0"),
        ("ambiguous", {"prompt": ["a", "b"], "transform": ["turn"]}, {}, "transform.0"),
        ("ambiguous", {"prompt": ["a", "b", "c"], "transform": ["flip"]}, {}, "transform"),
    ],
)
def test_refused_before_it_becomes_a_job(
    engine: Engine,
    task: str,
    parameters: Mapping[str, Any],
    inputs: Mapping[str, bytes],
    field: str,
) -> None:
    before = engine.client.status()["jobs"]
    with pytest.raises(EngineError) as raised:
        over_http(engine, task, parameters, inputs)
    assert (raised.value.code, raised.value.field) == ("invalid_request", field)
    assert engine.client.status()["jobs"] == before


def test_all_tasks_are_published_with_schema_and_inputs(engine: Engine) -> None:
    published = engine.client.tasks()
    assert set(published) == {"texture", "mask", "edit", "wide", "ambiguous", "motion"}
    for task, description in published.items():
        fields = {field.name for field in dataclasses.fields(CONFIGS[task])}
        assert set(description["schema"]["properties"]) == fields
        assert description["schema"]["additionalProperties"] is False
    assert {task: each["inputs"] for task, each in published.items()} == {
        "texture": ["mesh"],
        "mask": ["mask"],
        "edit": ["image"],
        "wide": [],
        "ambiguous": [],
        "motion": [],
    }
    assert published["edit"]["optional_inputs"] == ["noise", "mask"]
    assert {"mask_8", "like", "like_8"} <= set(published["mask"]["optional_inputs"])
    places = published["wide"]["schema"]["properties"]["prompt_at"]
    assert (places["type"], places["default"]) == ("array", [])
