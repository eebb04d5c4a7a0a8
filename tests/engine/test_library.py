# SPDX-License-Identifier: GPL-3.0-or-later
"""The picture library: what lies in it, who made it, and what prompts find."""

import hashlib
import json

import numpy as np
import pytest
import torch
from PIL import Image

from syncsde_engine import library, map_names
from syncsde_engine.cli import main
from syncsde_engine.errors import InvalidRequest
from syncsde_engine.exemplar import normals
from syncsde_engine.library import COLORS, match, recolor
from syncsde_engine.tasks.likeness import by_name

FREE = {"public domain", "CC0-1.0", "MIT", "CC-BY-3.0", "CC-BY-4.0"}


def test_every_picture_is_listed_whole_and_free():
    found = library.materials()
    assert len(found) >= 36
    assert len({material.name for material in found}) == len(found)
    for material in found:
        assert hashlib.sha256(material.path.read_bytes()).hexdigest() == material.sha256
        assert material.license in FREE
        assert material.author
        assert material.source
        assert material.color in {None, *COLORS}
        assert 0.3 < material.tile < 1.5
        with Image.open(material.path) as picture:
            assert picture.mode == "RGB"
            assert 256 <= min(picture.size) <= max(picture.size) <= 512
    lying = {path.name for path in (library.FOLDER / "pictures").iterdir()}
    maps = [path for material in found for path in map_names.beside(material.path).values()]
    assert lying == {path.name for path in (*(material.path for material in found), *maps)}
    files = [*maps, *(material.path for material in found)]
    assert sum(path.stat().st_size for path in files) < 4_500_000


def test_normal_maps_lie_beside_their_pictures():
    """Of their proportions, with green up, and credited."""
    text = (library.FOLDER / "README.md").read_text(encoding="utf-8")
    found = {m.name: map_names.beside(m.path) for m in library.materials()}
    having = [name for name, maps in found.items() if maps]
    assert len(having) >= 6
    for name in having:
        assert set(found[name]) == {"normal_gl"}
        assert f"`{found[name]['normal_gl'].name}`" in text
        pixels = np.asarray(Image.open(found[name]["normal_gl"]).convert("RGB"), np.float32) / 255
        vectors = normals.decoded(torch.from_numpy(pixels).movedim(-1, 0), "f")
        assert normals.green_up(vectors) > 0.2
        like = by_name(name, "", {})
        assert like.maps == {"normal": "OpenGL, as named"}
        assert like.picture.maps["normal"].shape == like.picture.image.shape


def test_credits_name_every_file_and_author():
    text = (library.FOLDER / "README.md").read_text(encoding="utf-8")
    for material in library.materials():
        assert material.path.name in text
        assert material.author in text
    assert "Permission is hereby granted, free of charge" in text


def test_no_two_materials_claim_the_same_words():
    claimed = {}
    for material in library.materials():
        for phrase in {
            tuple(match.singular(word) for word in match.WORD.findall(phrase.lower()))
            for phrase in (material.name, *material.words)
        }:
            assert claimed.setdefault(phrase, material.name) == material.name


@pytest.mark.parametrize("material", library.materials(), ids=lambda material: material.name)
def test_every_picture_tiles(material):
    """Where opposite edges meet, neighbors differ hardly more than in the liveliest row."""
    pixels = np.asarray(Image.open(material.path), np.float32)
    for axis in (0, 1):
        steps = np.abs(np.diff(pixels, axis=axis, append=pixels.take([0], axis))).mean(2)
        along = steps.mean(1 - axis)
        assert along[-1] < 1.65 * along[:-1].max()


@pytest.mark.parametrize(
    ("prompt", "name", "color"),
    [
        ("a brick vase", "brick", None),
        ("a red brick vase", "brick", None),  # it is red
        ("a blue brick vase", "brick", "blue"),
        ("Blue stone bricks", "stone brick", "blue"),
        ("a statue made of grey stone brick", "stone brick", None),
        ("a mossy stone statue", "mossy rock", None),
        ("a red mossy stone statue", "mossy rock", None),  # moss is green
        ("a mossy statue", "mossy rock", None),
        ("a stone statue", "rock", None),
        ("a pink old wooden chair", "planks", "pink"),
        ("a chair of purple wood", "planks", "purple"),
        ("a red dragon on a stone", "rock", None),
        ("a rusty metal robot", "rust", None),
        ("a teal tiled bathtub", "tiles", "teal"),
        ("a knight of riveted steel", "riveted metal", None),
        ("cobblestones", "fieldstone", None),
        ("a loaf of shingles", "roof tiles", None),
        ("a scaly dragon", "roof tiles", None),
        ("crimson roof tiles", "roof tiles", "red"),
    ],
)
def test_prompts_find_materials(prompt, name, color):
    found = library.find(prompt)
    assert found is not None
    assert (found.material.name, found.color) == (name, color)


@pytest.mark.parametrize(
    "prompt",
    ["", "a golden statue", "a brick red sphere", "an ice cream cone", "a rocket", "a planked"],
)
def test_other_prompts_find_none(prompt):
    assert library.find(prompt) is None


def test_users_pictures_come_first(tmp_path):
    Image.new("RGB", (64, 64), "teal").save(tmp_path / "Dragon_hide-2.png")
    Image.new("RGB", (64, 64), "red").save(tmp_path / "mine.jpg")
    (tmp_path / "notes.txt").write_text("not a picture")
    listing = [{"name": "brick", "file": "mine.jpg", "words": ["my stuff"], "tile": 2}]
    (tmp_path / "library.json").write_text(json.dumps(listing))
    found = library.find("a brick wall of my own", [tmp_path])
    assert found is not None
    assert found.material.path.parent != tmp_path  # "brick wall" is longer than "brick"
    for prompt, file in (("brick", "mine.jpg"), ("a dragon hide 2 lamp", "Dragon_hide-2.png")):
        found = library.find(prompt, [tmp_path])
        assert found is not None
        assert found.material.path == tmp_path / file
    assert library.materials([tmp_path])[0].tile == 2


@pytest.mark.parametrize(
    ("listing", "told"),
    [
        (None, "no pictures"),
        ("{", "cannot be read"),
        ("{}", "is not a list"),
        ('[{"name": "x"}]', "without name and file"),
        ('[{"name": "x", "file": "x.png"}]', "which is not there"),
        ('[{"name": "x", "file": "x.png", "tint": "no"}]', "'no' as tint"),
        ('[{"name": "x", "file": "x.png", "size": 3}]', "'size'"),
    ],
)
def test_unusable_folders_say_why(tmp_path, listing, told):
    if listing is not None:
        (tmp_path / "library.json").write_text(listing)
    with pytest.raises(InvalidRequest, match=told):
        library.materials([tmp_path])


def test_a_missing_folder_says_so(tmp_path, capsys):
    assert main(["library", "--folder", str(tmp_path / "gone")]) == 2
    assert "There is no folder" in capsys.readouterr().err


def test_recoloring_keeps_what_is_seen():
    material = next(found for found in library.materials() if found.name == "stone brick")
    pixels = np.asarray(Image.open(material.path))
    blue = recolor(pixels, "blue")
    assert blue.dtype == np.float32
    assert blue.shape == pixels.shape
    assert np.abs(blue.mean((0, 1)) - COLORS["blue"]).max() < 0.08
    before, after = ((image @ np.ones(3)).ravel() for image in (pixels / 255, blue))
    assert np.corrcoef(before, after)[0, 1] > 0.95
    with pytest.raises(InvalidRequest, match="no color 'mauve'"):
        recolor(pixels, "mauve")


def test_the_command_lists_and_draws(tmp_path, capsys):
    target = tmp_path / "sheets" / "library.png"
    assert main(["library", "--sheet", str(target)]) == 0
    assert "stone brick" in capsys.readouterr().out
    with Image.open(target) as sheet:
        assert sheet.width > 1000
    assert main(["library", "--json"]) == 0
    (event,) = map(json.loads, capsys.readouterr().out.splitlines())
    assert event["materials"][0]["license"] in FREE


def test_the_sheet_refuses_what_is_no_picture(tmp_path, capsys):
    (tmp_path / "broken.png").write_bytes(b"nothing")
    arguments = ["--folder", str(tmp_path), "--sheet", str(tmp_path / "sheet.png")]
    assert main(["library", *arguments]) == 2
    assert "broken.png" in capsys.readouterr().err
    assert main(["library", "--sheet", str(tmp_path / "sheet.gif")]) == 2


@pytest.mark.parametrize(
    ("prompt", "alone"),
    [
        ("brick", True),
        ("a seamless blue brick wall texture", True),
        ("old mossy stone bricks", True),
        ("grass field under a blue sky", False),
        ("city at night with brick houses", False),
        ("a brick vase", False),
    ],
)
def test_a_material_alone_is_told_from_a_scene(prompt, alone):
    found = library.find(prompt)
    assert found is not None
    assert library.names_nothing_else(found, prompt) is alone
