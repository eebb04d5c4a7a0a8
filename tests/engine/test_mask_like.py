# SPDX-License-Identifier: GPL-3.0-or-later
"""Regions of mask images painted like pictures, from the command line to the files."""

from __future__ import annotations

import io
import json

import numpy as np
import pytest
import torch
from PIL import Image

from syncsde_engine.cli import main
from syncsde_engine.config import MaskConfig
from syncsde_engine.errors import InvalidRequest
from syncsde_engine.exemplar.sites import PATCH, flat, region
from syncsde_engine.request import build, check_inputs
from syncsde_engine.tasks.mask_likeness import edges
from tests.engine.running import finish
from tests.engine.test_texture_like import STRATEGIES, checks, png

SMALL = {"steps": 4, "size": 128, "tile_size": 64, "seed": 2}
WORDS = {"background": "green brick", "foreground": ["blue sand"], "prompt": "sand on a wall"}
BOX = np.zeros((60, 90), np.uint8)
BOX[15:45, 30:70] = 255
LOW = np.zeros((60, 90), np.uint8)
LOW[40:] = 255
RED, GREEN = ((200, 40, 30), (90, 20, 10)), ((30, 180, 40), (10, 90, 10))
BLUE = ((20, 40, 200), (10, 20, 90))


def image_of(parameters, inputs):
    files = finish("mask", SMALL | parameters, inputs)
    image = np.asarray(Image.open(io.BytesIO(files["image.png"]))).astype(int)
    return image, json.loads(files["report.json"])


def shown(mask, image):
    return np.asarray(Image.fromarray(mask).resize(image.shape[1::-1])) > 127


def test_words_of_all_regions_find_pictures():
    image, report = image_of(WORDS, {"mask": png(BOX)})
    assert image.shape == (128, 192, 3)
    assert report["parameters"]["model"] == "exemplar"
    assert report["materials"] == {"background": "green brick", "mask 1": "blue sand"}
    assert report["network_evaluations"]["exemplar"] == 3 * 4 + 2, "each step, each region"
    assert report["disagreement"] < 0.3
    inside = shown(BOX, image)
    assert (image.argmax(-1)[inside] == 2).mean() > 0.98
    assert (image.argmax(-1)[~inside] == 1).mean() > 0.98
    again, _ = image_of(WORDS, {"mask": png(BOX)})
    assert (again == image).all()


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_every_strategy_paints_each_region_like_its_picture(strategy):
    """Red in the box, blue in front of it, green behind."""
    asked = {"background": "a", "foreground": ["b", "c"], "prompt": "d", "like_for": [2, 1]}
    inputs = {"mask": png(BOX), "mask_2": png(LOW)}
    inputs |= {"like": checks(*GREEN), "like_1": checks(*BLUE), "like_2": checks(*RED)}
    image, report = image_of(asked | {"strategy": strategy, "tile_size": 64}, inputs)
    assert report["materials"] == {"background": "like", "mask 1": "like_2", "mask 2": "like_1"}
    box, low = shown(BOX, image), shown(LOW, image)
    largest = image.argmax(-1)
    assert (largest[low] == 2).mean() > 0.98
    assert (largest[box & ~low] == 0).mean() > 0.98
    assert (largest[~box & ~low] == 1).mean() > 0.98
    for place in (low, box & ~low, ~box & ~low):
        assert image[place].std(0).max() > 10, "both colors of the checks are there"


def test_a_region_of_words_that_name_no_picture_is_for_a_network():
    asked = WORDS | {"foreground": ["a cat"], "steps": 1, "size": 64}
    _, report = image_of(asked, {"mask": png(BOX)})
    assert report["parameters"]["model"] == "mini"
    assert "materials" not in report
    asked = WORDS | {"background": "a field of grass", "steps": 1, "size": 64}
    assert image_of(asked, {"mask": png(BOX)})[1]["parameters"]["model"] == "mini", "a scene"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--like", "photo.png"], "named in 'a cat', the words of mask 1.*like-for 1"),
        (["--like-for", "1", "photo.png"], "named in 'sea', the words of the background.*--like)"),
        (["--model", "exemplar"], "named in 'sea', the words of the background"),
        (["--like", "photo.png", "--model", "mini"], "paints from words, and a picture is given"),
        (["--like", "photo.png", "--negative-prompt", "x"], "negative_prompt is for networks"),
        (["--like-for", "2", "photo.png"], "like_for names mask 2, and there are 1"),
        (["--like-for", "1", "photo.png", "--like-for", "1", "photo.png"], "names mask 1 twice"),
        (["--like-for", "cat", "photo.png"], "'cat' is not a whole number"),
        (["--like", "gray.png", "--like-for", "1", "photo.png"], "one color only"),
    ],
)
def test_what_cannot_be_painted_is_one_sentence(tmp_path, monkeypatch, capsys, arguments, message):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "photo.png").write_bytes(checks(*RED))
    (tmp_path / "gray.png").write_bytes(png(np.full((16, 16, 3), 90)))
    (tmp_path / "box.png").write_bytes(png(BOX))
    words = "mask --background sea --prompt c --mask box.png --output out --steps 2"
    assert main([*words.split(), "--foreground", "a cat", *arguments]) == 2
    said = capsys.readouterr().err
    for part in message.split(".*"):
        assert part in said


def test_the_command_line_takes_pictures(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "red.png").write_bytes(checks(*RED))
    (tmp_path / "green.png").write_bytes(checks(*GREEN))
    (tmp_path / "box.png").write_bytes(png(BOX))
    words = "mask --background b --foreground f --prompt c --mask box.png --output out --steps 2"
    given = ["--like", "green.png", "--like-for", "1", "red.png", "--size", "128"]
    assert main([*words.split(), *given]) == 0
    assert "like green.png, red.png" in capsys.readouterr().out
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    assert report["materials"] == {"background": "like", "mask 1": "like_1"}


def test_a_picture_for_each_number():
    config = build("mask", WORDS | {"like_for": [1]})
    with pytest.raises(InvalidRequest, match="1 numbers, and there are 0 pictures") as failure:
        check_inputs("mask", config, {"mask": b""})
    assert failure.value.field == "like_for"
    assert isinstance(config, MaskConfig)


# What a site of a region looks at.


def test_a_region_is_a_flat_image_with_an_edge_of_its_own():
    """A rectangle that can be halved has the sites of an image of that size."""
    shape = np.zeros((16, 16), np.bool_)
    shape[8:16, 8:16] = True
    views = np.array([1, 3], np.int32)
    for found, whole in zip(region(shape, views, 3), flat(2, 8, 8, 3), strict=True):
        for name in ("patch", "near", "offset", "parent", "inside", "quadrant"):
            assert np.array_equal(getattr(found, name), getattr(whole, name)), name
        assert found.view.tolist() == np.repeat(views, found.count // 2).tolist()


def test_patches_stay_in_their_region():
    shape = np.random.default_rng(0).random((14, 18)) > 0.4
    for level, found in enumerate(region(shape, np.array([0, 2], np.int32), 3)):
        count = found.count // 2
        assert found.patch.min() == 0
        assert found.patch.max() == found.count - 1
        assert (found.patch[:count] < count).all()
        assert (found.patch[count:] >= count).all()
        middle = PATCH.index((0, 0))
        assert (found.patch[:, middle] == np.arange(found.count)).all()
        if level == 0:
            assert (found.pixel[:count] == np.flatnonzero(shape)).all()
            assert (found.pixel[count:] == np.flatnonzero(shape) + 2 * shape.size).all()


def test_edges_are_those_of_the_masks_near_their_cells():
    mask = torch.zeros(64, 64, dtype=torch.bool)
    mask[:, 29:] = True
    mask[:, :1] = True  # too thin for a cell
    labels = torch.zeros(8, 8, dtype=torch.int64)
    labels[:, 4:] = 1
    found = edges([mask], labels, 64, 64)
    assert (found[:, 29:] == 1).all()
    assert (found[:, :29] == 0).all()
