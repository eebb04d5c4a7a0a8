# SPDX-License-Identifier: GPL-3.0-or-later
"""A run that goes on from a saved state ends as the undisturbed run does, byte for byte."""

from __future__ import annotations

import io
import json

import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw
from torch.nn.functional import avg_pool2d

from syncsde_engine import tasks
from syncsde_engine.mesh.files.io import load as load_mesh
from syncsde_engine.mesh.files.io import to_safetensors
from syncsde_engine.models import catalog, loading
from syncsde_engine.preview import side_by_side
from syncsde_engine.request import build
from tests import meshes
from tests.tiny_deepfloyd import save_first_stage, save_second_stage

SIZE = {"steps": 4, "seed": 5}
EDIT = {"source_prompt": "a cat on grass", "prompt": "a dog on grass", "size": 64}


def picture(kind: str = "photo") -> bytes:
    image = Image.new("RGB", (64, 64), "black" if kind == "mask" else "teal")
    ImageDraw.Draw(image).ellipse((16, 16, 48, 48), fill="white")
    file = io.BytesIO()
    image.save(file, "PNG")
    return file.getvalue()


def follow(task, parameters, inputs, resume=None):
    """All steps and the files of a run; the report is left out, since it tells the time."""
    steps = []
    run = tasks.run(task, build(task, {**SIZE, **parameters}), inputs, resume)
    files = tasks.follow(run, steps.append)
    report = json.loads(files.pop("report.json"))
    return steps, files, report


CASES = {
    "texture": ("texture", {"prompt": "moss", "view_size": 64, "texture_size": 32}, ["mesh"]),
    "wide, fresh noise": (
        "wide",
        {"prompt": "hills", "width": 128, "patch_size": 64, "stride": 0.5, "sampler": "ddpm"},
        [],
    ),
    "wide, extended": (
        "wide",
        {"prompt": "hills", "width": 96, "patch_size": 64, "stride": 0.5},
        ["extend"],
    ),
    "mask": (
        "mask",
        {"prompt": "a cat", "background": "grass", "foreground": ["a cat"], "size": 64},
        ["mask"],
    ),
    "edit": ("edit", EDIT, ["image", "mask"]),
    "edit, rival": ("edit", {**EDIT, "strategy": "pti"}, ["image"]),
    "edit, from the middle": ("edit", {**EDIT, "strategy": "sdedit"}, ["image"]),
    "ambiguous": ("ambiguous", {"prompt": ["a", "b"], "transform": ["flip"], "size": 64}, []),
}


@pytest.mark.parametrize("name", CASES)
def test_resumed_bytes_are_equal(name, tiny_model, tmp_path):
    task, parameters, wanted = CASES[name]
    contents = {"image": picture(), "mask": picture("mask"), "extend": picture()}
    if "mesh" in wanted:
        ball = load_mesh(meshes.save_obj_with_uvs(tmp_path / "ball.obj"))
        contents["mesh"] = to_safetensors(ball)
    inputs = {each: contents[each] for each in wanted}
    parameters = {**parameters, "model": str(tiny_model)}
    steps, files, report = follow(task, parameters, inputs)
    states = [state for step in steps if (state := tasks.saved(step)) is not None]
    resume = states[-2]
    resumed, again, told = follow(task, parameters, inputs, resume)
    assert again == files
    assert told["resumed_at_step"] == resume.step
    assert told["disagreement"] == report["disagreement"] if "disagreement" in report else True
    # Only what was left of the sampling is done again.
    taken = [step for step in resumed if step.state is not None]
    assert [step.step for step in taken] == list(range(resume.step + 1, SIZE["steps"] + 1))


def test_second_stage_goes_on(tmp_path):
    first, second = save_first_stage(tmp_path / "one"), save_second_stage(tmp_path / "two")
    parameters = {
        "prompt": ["a horse", "a village"],
        "transform": ["rotate_180"],
        "steps": 3,
        "model": str(first),
        "upscaler": str(second),
    }
    steps, files, _ = follow("ambiguous", parameters, {})
    states = [state for step in steps if (state := tasks.saved(step)) is not None]
    assert [state.stage for state in states] == ["views"] * 3 + ["upscale"] * 3
    assert follow("ambiguous", parameters, {}, states[4])[1] == files
    shown = [step.preview for step in steps if step.preview is not None]
    assert Image.open(io.BytesIO(shown[-1]())).size == (128, 128)


def test_state_of_another_shape_is_not_used(tiny_model):
    parameters = {"prompt": "hills", "width": 128, "patch_size": 64, "model": str(tiny_model)}
    _, files, _ = follow("wide", parameters, {})
    foreign = tasks.Saved("views", 2, np.zeros((1, 4, 8, 8), np.float32))
    assert follow("wide", parameters, {}, foreign)[1] == files


def test_preview_shows_the_colors_that_the_autoencoder_decodes():
    """mini's autoencoder against the linear map: the whole picture in one matrix."""
    model = loading.load(catalog.locate("mini"), torch.device("cpu"))
    colors = torch.tensor([[0.7, 0.3, 0.2], [0.3, 0.6, 0.3], [0.2, 0.3, 0.7], [0.6, 0.6, 0.5]])
    plain = colors[:, :, None, None].expand(-1, -1, 64, 64)
    latents = model.encode(plain)
    shown = model.to_rgb(latents).mean((2, 3))
    wanted = avg_pool2d(model.decode(latents), model.scale).mean((2, 3))
    assert shown.shape == (4, 3)
    assert (shown - wanted).abs().max() < 0.15
    assert torch.equal(shown.argmax(1)[:3], wanted.argmax(1)[:3])


def test_previews_lie_side_by_side():
    y = torch.arange(7.0)[:, None, None, None].expand(7, 1, 2, 3)
    grid = side_by_side(y)
    assert grid.shape == (1, 4, 15)
    assert grid[0, 0, ::3].tolist() == [0, 1, 2, 3, 4]
    assert grid[0, 2, ::3].tolist() == [5, 6, 0, 0, 0]


def test_preview_of_a_step(tiny_model):
    parameters = {"prompt": "hills", "width": 128, "patch_size": 64, "model": str(tiny_model)}
    steps, _, report = follow("wide", parameters, {})
    pictures = [step.preview() for step in steps if step.preview is not None]
    assert len(pictures) == SIZE["steps"]
    first = Image.open(io.BytesIO(pictures[0]))
    assert first.width == 2 * first.height
    assert report["network_evaluations"]["vae_encoder"] == 0  # fitting the map is not the run's
