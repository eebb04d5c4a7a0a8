# SPDX-License-Identifier: GPL-3.0-or-later
"""Views given as pictures: they stay as they are, keep their numbers, and others follow."""

import io
import json

import numpy as np
import pytest
from PIL import Image

from syncsde_engine import cli
from syncsde_engine.errors import InvalidRequest
from syncsde_engine.mesh.files.io import load, to_safetensors
from syncsde_engine.pictures import png as picture
from tests import meshes
from tests.engine.running import finish

SIDE = 64
SMALL = {"prompt": "moss", "steps": 4, "view_size": SIDE, "texture_size": 64, "cameras": 6}
GIVEN = 2  # the view that is given; views are told by the numbers of a run without


@pytest.fixture(scope="module")
def mesh(tmp_path_factory):
    folder = tmp_path_factory.mktemp("mesh")
    return to_safetensors(load(meshes.save_obj_with_uvs(folder / "ball.obj")))


DRAWN = np.random.default_rng(0).integers(0, 256, (SIDE, SIDE, 3), np.uint8)


@pytest.fixture(scope="module")
def texture(tiny_model, mesh):
    def texture(inputs=(), **parameters):
        parameters = {**SMALL, "model": str(tiny_model), **parameters}
        return finish("texture", parameters, {"mesh": mesh, **dict(inputs)})

    return texture


@pytest.fixture(scope="module")
def given(texture):
    return texture({"view_1": picture(DRAWN)}, view_for=[GIVEN])


def views(files):
    names = sorted(name for name in files if name.startswith("views/"))
    return [np.asarray(Image.open(io.BytesIO(files[name]))) for name in names]


def test_the_given_view_is_as_given_under_its_number(texture, given):
    plain = json.loads(texture()["report.json"])
    report = json.loads(given["report.json"])
    assert (views(given)[GIVEN] == DRAWN).all()
    assert report["cameras"] == plain["cameras"]
    assert report["given_views"] == [GIVEN]


def test_it_costs_no_passes_of_the_network(texture, given):
    counts = [
        json.loads(files["report.json"])["network_evaluations"] for files in (texture(), given)
    ]
    assert counts[1]["unet"] * 6 == counts[0]["unet"] * 5


def test_views_that_know_nothing_of_it_are_as_without(texture):
    """Each view keeps the noise of its number."""
    plain = views(texture(strategy="independent"))
    others = views(texture({"view_1": picture(DRAWN)}, view_for=[GIVEN], strategy="independent"))
    for number in set(range(6)) - {GIVEN}:
        assert np.abs(plain[number].astype(int) - others[number]).max() <= 1


def test_other_views_follow_it(texture, given):
    """Two pictures for one view lead to others, though the noise is the same."""
    other = texture({"view_1": picture(255 - DRAWN)}, view_for=[GIVEN])
    azimuths = [camera["azimuth"] for camera in json.loads(given["report.json"])["cameras"]]
    for number, azimuth in enumerate(azimuths):
        apart = np.abs(views(given)[number].astype(int) - views(other)[number])
        if abs((azimuth - azimuths[GIVEN] + 180) % 360 - 180) == 60:  # it shows a part of that
            assert apart.max() > 3, number


@pytest.mark.parametrize("strategy", ["synctweedies", "multidiffusion", "syncmvd"])
def test_every_strategy_takes_given_views(texture, strategy):
    files = texture({"view_1": picture(DRAWN)}, view_for=[GIVEN], strategy=strategy)
    assert (views(files)[GIVEN] == DRAWN).all()


def test_a_given_view_and_a_lock_go_together(texture):
    keep = np.zeros((64, 64), np.uint8)
    keep[:32] = 255
    old = picture(np.full((64, 64, 3), 90, np.uint8))
    inputs = {"keep": old, "keep_mask": picture(keep), "view_1": picture(DRAWN)}
    files = texture(inputs, view_for=[GIVEN])
    report = json.loads(files["report.json"])
    assert report["kept"] == {"compared": 64 * 32, "changed": 0}
    assert (views(files)[GIVEN] == DRAWN).all()


def test_several_views_in_any_order(texture):
    files = texture({"view_1": picture(DRAWN), "view_2": picture(255 - DRAWN)}, view_for=[3, 0])
    assert (views(files)[3] == DRAWN).all()
    assert (views(files)[0] == 255 - DRAWN).all()


SQUARE = {"view_1": picture(DRAWN)}


@pytest.mark.parametrize(
    ("inputs", "parameters", "message"),
    [
        (SQUARE, {"view_for": [6]}, "There is no view 6: the 6 views are numbered from 0"),
        ({"view_1": picture(DRAWN[:40])}, {"view_for": [1]}, "64 x 40 pixels, and a view 64 x 64"),
        ({}, {"view_for": [1]}, "view_for has 1 numbers, and there are 0 pictures"),
        (SQUARE, {}, "view_for has 0 numbers, and there are 1 pictures"),
        (
            {f"view_{n}": picture(DRAWN) for n in (1, 2, 3)},
            {"view_for": [0, 1, 2], "cameras": 3},
            "All 3 views are given",
        ),
        (
            {"view_1": picture(DRAWN), "view_2": picture(DRAWN)},
            {"view_for": [1, 1]},
            "names view 1 twice",
        ),
        (
            {**SQUARE, "like": picture(DRAWN)},
            {"view_for": [1], "model": "auto"},
            "view_for is for networks",
        ),
    ],
)
def test_what_cannot_be_given_is_said_in_one_sentence(texture, inputs, parameters, message):
    with pytest.raises(InvalidRequest, match=message):
        texture(inputs, **parameters)


def test_the_command_line_takes_a_number_and_a_file(tiny_model, tmp_path, capsys):
    mesh = meshes.save_obj_with_uvs(tmp_path / "ball.obj")
    (tmp_path / "drawn.png").write_bytes(picture(DRAWN))
    asked = ["texture", str(mesh), "--prompt", "moss", "--model", str(tiny_model), "--steps", "2"]
    asked += ["--view-size", "64", "--texture-size", "64", "--cameras", "4"]
    asked += ["--view-for", "2", str(tmp_path / "drawn.png"), "--output", str(tmp_path / "out")]
    assert cli.main(asked) == 0, capsys.readouterr().err
    written = np.asarray(Image.open(tmp_path / "out" / "views" / "02.png"))
    assert (written == DRAWN).all()
