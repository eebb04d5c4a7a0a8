# SPDX-License-Identifier: GPL-3.0-or-later
"""Ambiguous images: the transforms against numpy, the chain of views, the files of a run."""

import io
import itertools
import json

import numpy as np
import pytest
import torch
from PIL import Image

from syncsde_engine import tasks
from syncsde_engine.config import AmbiguousConfig
from syncsde_engine.errors import InvalidRequest
from syncsde_engine.method.coupling import earlier
from syncsde_engine.method.sampler import sample
from syncsde_engine.method.schedule import Schedule
from syncsde_engine.method.strategies import Independent, SyncSDE
from syncsde_engine.method.transforms import TRANSFORMS, turned
from tests.engine.exact import STABLE_DIFFUSION, ExactDenoiser, start


def roll_columns(x, sign):
    """Section 3.3.4's skew, or with sign -1 its inverse, column by column."""
    size = x.shape[-1]
    columns = [np.roll(x[..., j], sign * int(1.5 * (j - size / 2)), axis=-1) for j in range(size)]
    return np.stack(columns, axis=-1)


NUMPY = {
    "rotate_cw": lambda x: np.rot90(x, -1, axes=(1, 2)),
    "rotate_ccw": lambda x: np.rot90(x, 1, axes=(1, 2)),
    "rotate_180": lambda x: np.rot90(x, 2, axes=(1, 2)),
    "flip": lambda x: x[:, ::-1],
    "skew": lambda x: roll_columns(x, 1),
}
BACK = NUMPY | {
    "rotate_cw": NUMPY["rotate_ccw"],
    "rotate_ccw": NUMPY["rotate_cw"],
    "skew": lambda x: roll_columns(x, -1),
}


def noise(*shape):
    return torch.randn(shape, generator=torch.Generator().manual_seed(0))


def run(model, **parameters):
    """The files, and the last state of all trajectories."""
    given = {"prompt": ("a red dog", "a cat"), "transform": ("flip",), "steps": 2, "size": 64}
    given |= {"model": str(model)} | parameters
    steps = []
    files = tasks.follow(tasks.run("ambiguous", AmbiguousConfig(**given), {}), steps.append)
    return files, [step.state for step in steps if step.state is not None][-1].y


def pixels(png):
    return np.asarray(Image.open(io.BytesIO(png)))


def test_every_transform_has_a_test():
    assert set(NUMPY) == set(TRANSFORMS)


@pytest.mark.parametrize("size", [2, 9, 64])
@pytest.mark.parametrize("name", NUMPY)
def test_transforms_equal_numpy_and_turn_back_exactly(name, size):
    x = noise(3, size, size)
    canvas = turned([name], size)
    upright, view = canvas.seen(x)
    assert np.array_equal(upright, x)
    assert np.array_equal(view, NUMPY[name](x.numpy()))
    assert np.array_equal(BACK[name](view.numpy()), x)
    assert np.array_equal(canvas.composed(torch.stack([torch.zeros_like(x), view])), x)


@pytest.mark.parametrize("names", list(itertools.permutations(NUMPY, 3)))
def test_every_view_follows_the_one_before(names):
    """Eq. 16: X~^i = f_i f_{i-1}^-1 (y^{i-1}); Eq. 17: M = 1."""
    y = noise(4, 3, 16, 16)
    seen = earlier(turned(names, 16).overlap()).gather(y)
    assert not seen.precision[0].any()
    assert (seen.precision[1:] == 1).all()
    upright = y[0].numpy()
    for i, name in enumerate(names, start=1):
        assert np.array_equal(seen.mean[i], NUMPY[name](upright))
        upright = BACK[name](y[i].numpy())


class Views:
    """Each trajectory's data are two pictures as its view shows them."""

    def __init__(self, data):
        self.data = data  # (2, N, C, h, w)

    def predict_noise(self, y, step):
        parts = [
            ExactDenoiser(self.data[:, i]).predict_noise(y[i : i + 1], step) for i in range(len(y))
        ]
        return torch.cat(parts)


@pytest.mark.parametrize(("strategy", "agree"), [(SyncSDE(), True), (Independent(), False)])
def test_synchronized_views_show_the_same_picture(strategy, agree):
    canvas = turned(["rotate_cw", "skew"], 8)
    data = torch.stack([canvas.seen(picture) for picture in noise(2, 3, 8, 8)])
    steps = Schedule.from_config(STABLE_DIFFUSION).steps(50)
    coupling = earlier(canvas.overlap())
    same = []
    for seed in range(6):
        y = start(3, (3, 8, 8), seed)
        for state in sample(y, steps, Views(data), strategy, coupling):
            y = state.y
        shown = [
            [bool((y[i] - picture[i]).abs().max() < 0.5) for picture in data] for i in range(3)
        ]
        assert all(sum(which) == 1 for which in shown)
        same.append(shown[0] == shown[1] == shown[2])
    assert all(same) == agree


STRATEGIES = (
    "syncsde",
    "synctweedies",
    "multidiffusion",
    "visual-anagrams",
    "syncmvd",
    "independent",
)


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_views_are_the_picture_with_its_pixels_moved(tiny_model, strategy):
    names = ("rotate_cw", "skew", "flip")
    prompts = ("a red dog", "a cat", "a house", "the sea")
    files, _ = run(tiny_model, prompt=prompts, transform=names, strategy=strategy)
    image = pixels(files["image.png"])
    assert image.shape == (64, 64, 3)
    assert np.array_equal(pixels(files["views/00.png"]), image)
    for number, name in enumerate(names, start=1):
        view = NUMPY[name](image.transpose(2, 0, 1)).transpose(1, 2, 0)
        assert np.array_equal(pixels(files[f"views/{number:02d}.png"]), view)
    report = json.loads(files["report.json"])
    agree = strategy in ("synctweedies", "multidiffusion", "visual-anagrams", "syncmvd")
    assert (report["disagreement"] < 1e-5) == agree
    assert sorted(files) == sorted(
        ["image.png", "report.json", "sheet.png", *(f"views/{i:02d}.png" for i in range(4))]
    )


def test_the_last_view_is_what_its_trajectory_shows(tiny_model):
    from syncsde_engine import pictures
    from syncsde_engine.models.stable_diffusion import StableDiffusion

    files, y = run(tiny_model, transform=("skew",))
    model = StableDiffusion.load(tiny_model, torch.device("cpu"))
    shown = pictures.to_bytes(model.decode(y[-1:])[0])
    assert np.array_equal(pixels(files["views/01.png"]), shown)
    report = json.loads(files["report.json"])
    assert report["network_evaluations"]["unet"] == 2 * 2 * 2
    assert report["network_evaluations"]["vae_decoder"] == 1


def test_the_papers_numbers_are_the_defaults(tiny_model):
    assert AmbiguousConfig(prompt=("a", "b"), transform=("flip",)).steps == 30
    files, _ = run(tiny_model)
    assert json.loads(files["report.json"])["parameters"]["guidance_scale"] == 10.0


@pytest.mark.parametrize(
    ("parameters", "field"),
    [
        ({"prompt": ("a", "b", "c")}, "transform"),
        ({"transform": ("flip", "skew")}, "transform"),
        ({"upscaler": "anywhere"}, "upscaler"),
    ],
)
def test_what_does_not_fit_is_refused(tiny_model, parameters, field):
    with pytest.raises(InvalidRequest) as error:
        run(tiny_model, **parameters)
    assert error.value.field == field
