# SPDX-License-Identifier: GPL-3.0-or-later
"""Meshes and wide images painted like pictures, from the command line to the files."""

from __future__ import annotations

import dataclasses
import io
import json

import numpy as np
import pytest
from PIL import Image

from syncsde_engine import tasks
from syncsde_engine.cli import main
from syncsde_engine.config import CONFIGS
from syncsde_engine.errors import InvalidRequest
from syncsde_engine.library import find, materials, recolor
from syncsde_engine.mesh.files.io import load, to_safetensors
from syncsde_engine.request import build
from syncsde_engine.tasks.wide_likeness import MOST_TILE
from tests import meshes
from tests.engine.running import finish
from tests.mesh.shapes import touching

SIDE = 64
SMALL = {"steps": 3, "view_size": 128, "texture_size": SIDE, "cameras": 4, "seed": 3}
STATUE = {"prompt": "a blue brick statue"}
STRATEGIES = [
    "syncsde",
    "synctweedies",
    "multidiffusion",
    "visual-anagrams",
    "syncmvd",
    "independent",
]


@pytest.fixture(scope="module")
def obj(tmp_path_factory):
    return meshes.save_obj_with_uvs(tmp_path_factory.mktemp("mesh") / "ball.obj")


@pytest.fixture(scope="module")
def ball(obj):
    return {"mesh": to_safetensors(load(obj))}


def follow(task, parameters, inputs, resume=None):
    """The states, the files and the report of a run."""
    states = []
    run = tasks.run(task, build(task, parameters), inputs, resume)
    files = tasks.follow(run, lambda step: states.append(tasks.saved(step)))
    report = json.loads(files.pop("report.json"))
    return [state for state in states if state is not None], files, report


@pytest.fixture(scope="module")
def statue(ball):
    return follow("texture", SMALL | STATUE, ball)


def pixels(content):
    return np.asarray(Image.open(io.BytesIO(content)).convert("RGB")).astype(int)


def png(image):
    file = io.BytesIO()
    Image.fromarray(np.uint8(image)).save(file, "PNG")
    return file.getvalue()


def dyed(name, color):
    """A material of the library in another color, as a file."""
    path = next(material.path for material in materials() if material.name == name)
    image = np.asarray(Image.open(path).convert("RGB"), np.float32) / 255
    return png(recolor(image, color) * 255)


def checks(*colors, side=32):
    """Squares of two colors."""
    row, column = np.indices((side, side)) // 8
    return png(np.array(colors)[(row + column) % 2])


def test_words_find_the_picture(statue):
    _, files, report = statue
    assert report["parameters"]["model"] == "exemplar"
    assert report["materials"] == {"": "blue brick"}
    assert report["network_evaluations"]["exemplar"] == 4 * 3 + 4, "each step, and at the end"
    assert report["network_evaluations"]["unet"] == 0
    assert report["disagreement"] < 0.2
    assert len(report["model_sha256"]) == 64
    red, _, blue = pixels(files["texture.png"]).mean((0, 1))
    assert blue > red + 10
    assert pixels(files["texture.png"]).std() > 5


def test_same_seed_same_bytes_and_another_seed_others(statue, ball):
    _, files, _ = statue
    assert follow("texture", SMALL | STATUE, ball)[1] == files
    image, _ = image_of({"prompt": "brick"})
    other, _ = image_of({"prompt": "brick", "seed": 1})
    assert (image == image_of({"prompt": "brick"})[0]).all()
    assert (image != other).any()


def test_a_run_goes_on_from_a_saved_state(statue, ball):
    states, files, _ = statue
    assert [state.step for state in states] == [1, 2, 3]
    _, again, report = follow("texture", SMALL | STATUE, ball, states[1])
    assert again == files
    assert report["resumed_at_step"] == 2


def test_the_command_line_takes_a_picture(obj, tmp_path):
    (tmp_path / "photo.png").write_bytes(checks((200, 40, 30), (90, 20, 10)))
    small = [f"--{name.replace('_', '-')}={value}" for name, value in SMALL.items()]
    fixed = ["texture", str(obj), *small, "--output", str(tmp_path / "out")]
    assert main([*fixed, "--like", str(tmp_path / "photo.png")]) == 0
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    assert report["parameters"]["model"] == "exemplar"
    assert report["materials"] == {"": "like"}
    painted = pixels((tmp_path / "out" / "texture.png").read_bytes())
    assert (painted[..., 0] > painted[..., 2] + 40).mean() > 0.99
    assert set(np.unique(painted[..., 0] > 145)) == {False, True}, "both colors are there"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--like", "photo.png", "--model", "mini"], "paints from words, and a picture is given"),
        (["--material", "brick", "--model", "mini"], "paints from words, and a picture is given"),
        ([], "There is no prompt"),
        (["--like", "photo.png", "--material", "brick"], "Both a picture and the material"),
        (["--material", "brik"], "no material 'brik'. Do you mean 'brick'?"),
        (["--prompt", "xyzzy", "--model", "exemplar"], "No picture of the library is named"),
        (["--like", "gray.png"], "one color only"),
        (["--like", "tiny.png"], "4 x 4 pixels"),
        (["--like", "photo.png", "--like-for", "bal", "photo.png"], "Do you mean 'ball'?"),
    ],
)
def test_what_cannot_be_painted_is_one_sentence(
    obj, tmp_path, monkeypatch, capsys, arguments, message
):
    monkeypatch.chdir(tmp_path)
    for name, content in {
        "photo.png": checks((200, 40, 30), (90, 20, 10)),
        "gray.png": png(np.full((16, 16, 3), 90)),
        "tiny.png": checks((0, 0, 0), (255, 255, 255), side=4),
    }.items():
        (tmp_path / name).write_bytes(content)
    assert main(["texture", str(obj), "--output", "out", *arguments]) == 2
    assert message in capsys.readouterr().err


def test_colors_stay_on_their_objects():
    """Red on one box, green on the box that it touches, blue on the plate on that."""
    inputs = {
        "mesh": to_safetensors(touching()),
        "like": checks((30, 180, 40), (10, 90, 10)),
        "like_1": checks((200, 40, 30), (90, 20, 10)),
    }
    asked = {"like_for": ["box"], "prompt_for": [["plate", "blue brick"]]}
    _, files, report = follow("texture", SMALL | asked, inputs)
    assert report["materials"] == {"": "like", "box": "like_1", "plate": "blue brick"}
    box, metal = pixels(files["textures/box.png"]), pixels(files["textures/other.png"])
    assert (box.argmax(-1) == 0).mean() > 0.99
    assert (metal.argmax(-1) == 0).mean() < 0.01
    assert (metal.argmax(-1) == 1).mean() > 0.99
    assert (pixels(files["textures/plate.png"]).argmax(-1) == 2).mean() > 0.99


OLD = np.random.default_rng(0).integers(0, 256, (SIDE, SIDE, 3), np.uint8)
HALF = np.zeros((SIDE, SIDE), np.uint8)
HALF[: SIDE // 2] = 255


def test_what_is_kept_keeps_its_bytes(ball):
    locked = {"keep": png(OLD), "keep_mask": png(HALF)}
    _, files, report = follow("texture", SMALL | STATUE, ball | locked)
    assert report["kept"] == {"compared": SIDE * SIDE // 2, "changed": 0}
    painted = pixels(files["texture.png"])
    assert (painted[: SIDE // 2] == OLD[: SIDE // 2]).all()
    assert np.abs(painted[SIDE // 2 :] - OLD[SIDE // 2 :]).mean() > 10
    assert painted[SIDE // 2 :, :, 2].mean() > painted[SIDE // 2 :, :, 0].mean()


def test_a_tile_too_small_for_the_views_is_refused(ball):
    with pytest.raises(
        InvalidRequest, match=r"tile_size 0.01 is too small.*Set tile_size to"
    ) as failure:
        follow("texture", SMALL | STATUE | {"tile_size": 0.01}, ball)
    assert failure.value.field == "tile_size"


@pytest.mark.parametrize("strategy", ["synctweedies", "independent"])
def test_meshes_take_other_strategies(statue, ball, strategy):
    asked = {"strategy": strategy, "material": "brick", "prompt": "a blue statue"}
    _, files, report = follow("texture", SMALL | asked, ball)
    assert report["materials"] == {"": "blue brick"}, "a named material takes the prompt's color"
    assert files["texture.png"] != statue[1]["texture.png"]
    assert pixels(files["texture.png"]).std() > 5


WIDE = {"steps": 3, "patch_size": 64, "width": 160, "stride": 0.5, "tile_size": 64}


def image_of(parameters, inputs=None):
    files = finish("wide", WIDE | parameters, inputs)
    return pixels(files["image.png"]), json.loads(files["report.json"])


@pytest.mark.parametrize("task", ["wide", "mask"])
def test_pictures_in_images_are_as_wide_as_they_can_be_drawn(task):
    fields = dataclasses.fields(CONFIGS[task])
    asked = {"prompt": "a", "background": "b", "foreground": ["c"]}
    asked = {name: asked[name] for name in asked if name in {field.name for field in fields}}
    assert build(task, asked | {"tile_size": MOST_TILE}).tile_size == MOST_TILE
    with pytest.raises(InvalidRequest, match="768"):
        build(task, asked | {"tile_size": MOST_TILE + 8})


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_wide_images_take_every_strategy(strategy):
    image, report = image_of({"prompt": "stone brick wall", "strategy": strategy})
    assert image.shape == (64, 160, 3)
    assert report["materials"] == {"": "stone brick"}
    assert image.std() > 5


@pytest.mark.parametrize("name", ["bark", "brick"])
def test_a_wrapped_image_joins_its_edges(name, tmp_path):
    path = next(material.path for material in materials() if material.name == name)
    wrapped = {"wrap": True, "steps": 6}
    image, report = image_of(wrapped, {"like": path.read_bytes()})
    assert report["materials"] == {"": "like"}
    ring = np.concatenate([image, image[:, :1]], axis=1)
    steps = np.abs(np.diff(ring, axis=1)).mean((0, 2))
    assert steps[-1] <= 2 * np.median(steps), "from the last column to the first"


def test_a_wide_image_like_a_picture_is_made_of_its_colors(tmp_path):
    given = checks((200, 40, 30), (90, 20, 10), side=64)
    image, _ = image_of({"steps": 6}, {"like": given})
    nearest = np.minimum(
        *(np.abs(image - np.array(color)).max(-1) for color in ((200, 40, 30), (90, 20, 10)))
    )
    assert np.median(nearest) < 20


def test_words_of_two_kinds_are_for_a_network():
    change = {"prompt": "brick", "prompt_at": [[100, "sand"]], "model": "exemplar"}
    with pytest.raises(InvalidRequest, match="prompt_at changes words") as failure:
        image_of(change)
    assert failure.value.field == "prompt_at"


def test_an_image_like_a_picture_is_not_extended():
    given = {"extend": checks((0, 0, 0), (255, 255, 255), side=64)}
    with pytest.raises(InvalidRequest, match="cannot be extended") as failure:
        image_of({"prompt": "brick"}, given)
    assert failure.value.field == "inputs.extend"


def test_the_color_of_a_prompt_dyes_the_picture():
    found = find("a green brick wall")
    assert found is not None
    assert found.color == "green"
    image, _ = image_of({"prompt": "a green brick wall"})
    assert (image.argmax(-1) == 1).mean() > 0.9
    same, _ = image_of({}, {"like": dyed("brick", "green")})
    assert (same.argmax(-1) == 1).mean() > 0.9
