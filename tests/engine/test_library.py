# SPDX-License-Identifier: GPL-3.0-or-later
"""The picture library: what lies in it, who made it, and what prompts find."""

import hashlib
import json
import os
import struct
import zlib

import numpy as np
import pytest
import torch
from PIL import Image

from syncsde_engine import library
from syncsde_engine.cli import main
from syncsde_engine.errors import InvalidRequest
from syncsde_engine.exemplar import normals
from syncsde_engine.library import COLORS, map_names, match, recolor
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
        ("a stone dragon on grass", "rock", None),  # grass is where it is
        ("moss on stone bricks", "mossy rock", None),
        ("a cat on grass, made of brick", "brick", None),
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
    [
        *(
            "",
            "a golden statue",
            "a brick red sphere",
            "an ice cream cone",
            "a rocket",
            "a planked",
        ),
        *("a cat on grass", "a red dragon on a stone", "a vase in front of a brick wall"),
    ],
)
def test_other_prompts_find_none(prompt):
    assert library.find(prompt) is None


@pytest.mark.parametrize(
    ("prompt", "name", "color"),
    [
        ("a blue statue", "brick", "blue"),
        ("a statue in blue", "brick", "blue"),
        ("a statue painted blue", "brick", "blue"),
        ("a grey old statue, moss around it", "brick", "gray"),
        ("a blue brick statue", "brick", "blue"),
        ("a blue statue of brick", "brick", "blue"),
        ("a red statue", "brick", None),  # it is red
        ("a statue", "brick", None),
        ("", "brick", None),
        ("a stone statue with a red hat", "granite", None),
        ("a blue statue with a red hat", "granite", "blue"),
        ("a knight in red armor", "granite", None),
        ("a statue, a red one behind it", "granite", None),
        ("a hat of red", "granite", "red"),
        ("a statue with a hat in red", "granite", None),
        ("a blue stone statue", "brick", None),  # the stone is blue
        ("a blue old stone statue in green", "brick", "green"),
        ("a blue and white statue", "brick", None),  # which of the two?
        ("a statue of blue brick with green moss", "brick", "blue"),
        ("a red statue", "mossy rock", None),  # not to be recolored
    ],
)
def test_a_chosen_material_takes_the_color_of_what_the_prompt_is_about(prompt, name, color):
    known = library.materials()
    chosen = next(material for material in known if material.name == name)
    assert library.color_of(known, chosen, prompt) == color


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


@pytest.mark.parametrize("said", ["X-Ray_Film", "x-ray film", "X Ray Film"])
def test_a_material_is_called_by_its_name_however_it_is_spelled(said, tmp_path, monkeypatch):
    """Hyphens of a list's own names count no more than those of what is asked for."""
    shown = np.random.default_rng(0).integers(0, 256, (16, 16, 3), np.uint8)
    Image.fromarray(shown).save(tmp_path / "film.png")
    listing = [{"name": "X-Ray Film", "file": "film.png"}]
    (tmp_path / "library.json").write_text(json.dumps(listing))
    monkeypatch.setenv("SYNCSDE_LIBRARY", str(tmp_path))
    assert by_name(said, "").name == "X-Ray Film"


def test_recoloring_keeps_what_is_seen():
    material = next(found for found in library.materials() if found.name == "stone brick")
    pixels = np.asarray(Image.open(material.path))
    blue = recolor(pixels, "blue")
    assert blue.dtype == np.float32
    assert blue.shape == pixels.shape
    hue = blue.mean((0, 1)) - blue.mean()
    wanted = np.array(COLORS["blue"]) - np.mean(COLORS["blue"])
    assert hue @ wanted > 0.99 * np.linalg.norm(hue) * np.linalg.norm(wanted)
    assert 0.4 < np.linalg.norm(hue) / np.linalg.norm(wanted) < 1
    before, after = ((image @ np.ones(3)).ravel() for image in (pixels / 255, blue))
    assert np.corrcoef(before, after)[0, 1] > 0.95
    with pytest.raises(InvalidRequest, match="no color 'mauve'"):
        recolor(pixels, "mauve")


def test_recoloring_bricks_leaves_the_joints():
    """The library's brick has red stones in joints of light gray."""
    material = next(found for found in library.materials() if found.name == "brick")
    pixels = np.asarray(Image.open(material.path)) / np.float32(255)
    blue = recolor(pixels, "blue")
    joint = pixels.min(-1) > 0.8
    stone = pixels[..., 0] > 1.5 * pixels[..., 2]
    assert min(joint.mean(), stone.mean()) > 0.02
    assert np.abs(blue - pixels)[joint].mean() < 0.05
    assert (blue[stone].mean(0).argmax(), pixels[stone].mean(0).argmax()) == (2, 0)


def test_black_and_white_are_what_they_say():
    material = next(found for found in library.materials() if found.name == "stone brick")
    pixels = np.asarray(Image.open(material.path))
    assert recolor(pixels, "white").mean() > 0.75
    assert recolor(pixels, "black").mean() < 0.12


def test_the_command_lists_and_draws(tmp_path, capsys):
    target = tmp_path / "sheets" / "library.png"
    assert main(["library", "--sheet", str(target)]) == 0
    assert "stone brick" in capsys.readouterr().out
    with Image.open(target) as sheet:
        assert sheet.width > 1000
    assert main(["library", "--json"]) == 0
    (event,) = map(json.loads, capsys.readouterr().out.splitlines())
    assert event["materials"][0]["license"] in FREE


def test_the_sheet_is_a_png(tmp_path):
    assert main(["library", "--sheet", str(tmp_path / "sheet.gif")]) == 2


def save_own(folder):
    """Two pictures that are of use, and what is not; returns the names and what is said."""
    folder.mkdir()
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 255, (48, 64, 3), np.uint8))
    noise.save(folder / "Dragon_hide.png")
    noise.convert("CMYK").save(folder / "print.jpg")
    noise.save(folder / "cut.png")
    (folder / "cut.png").write_bytes((folder / "cut.png").read_bytes()[:300])
    noise.save(folder / "moving.webp", "GIF", save_all=True, append_images=[noise.rotate(90)])
    header = struct.pack(">IIBBBBB", 20_000, 20_000, 8, 2, 0, 0, 0)
    chunks = [b"IHDR" + header, b"IDAT" + zlib.compress(b""), b"IEND"]
    huge = b"".join(
        struct.pack(">I", len(chunk) - 4) + chunk + struct.pack(">I", zlib.crc32(chunk))
        for chunk in chunks
    )
    (folder / "huge.png").write_bytes(b"\x89PNG\r\n\x1a\n" + huge)
    said = [
        "cut.png' cannot be read",
        "moving.webp' is a GIF, not a PNG",
        "has 400.0 million pixel",
    ]
    return ["dragon hide", "print"], said


def test_the_command_lists_the_users_folders_and_names_what_is_of_no_use(
    tmp_path, monkeypatch, capsys
):
    names, said = save_own(tmp_path / "mine")
    (tmp_path / "empty").mkdir()
    folders = [tmp_path / name for name in ("mine", "empty", "gone")]
    monkeypatch.setenv("SYNCSDE_LIBRARY", os.pathsep.join(map(str, folders)))
    asked = ["library", "--folder", str(tmp_path / "other"), "--sheet", str(tmp_path / "a.png")]
    assert main(asked) == 0
    told = capsys.readouterr()
    lines = told.out.splitlines()
    assert lines[0] == f"Your folder {folders[0]}:"
    assert [line.strip() for line in lines[1:3]] == names
    assert lines[3] == "The engine's own:"
    said += ["empty' has no pictures", "no folder '" + str(folders[2]), "other'. Give a folder"]
    for sentence in said:
        (line,) = [line for line in told.err.splitlines() if sentence in line]
        assert line.startswith("syncsde: The")
        assert ("take the folder out of SYNCSDE_LIBRARY" in line) == (
            "mpty" in line or "gone" in line
        )
    assert len(told.err.splitlines()) == len(said)
    with Image.open(tmp_path / "a.png") as sheet:
        assert np.asarray(sheet)[:100, :100].std() > 20, "the user's own come first"
    assert main([*asked, "--json"]) == 0
    (event,) = map(json.loads, capsys.readouterr().out.splitlines())
    assert [each["name"] for each in event["materials"][:2]] == names
    assert {each["folder"] for each in event["materials"]} == {
        str(folders[0]),
        str(library.FOLDER),
    }
    assert len(event["unusable"]) == len(said)
    assert all(each["code"] == "invalid_request" and each["hint"] for each in event["unusable"])


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
    assert (found is not None and library.names_nothing_else(found, prompt)) is alone
