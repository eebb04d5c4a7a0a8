# SPDX-License-Identifier: GPL-3.0-or-later
"""The maps beside a picture: which files they are, which way green is meant, what is refused."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from syncsde_engine import library
from syncsde_engine.cli import main
from syncsde_engine.cli.flags import Parser, add_task
from syncsde_engine.cli.input_files import input_paths
from syncsde_engine.errors import InvalidRequest
from syncsde_engine.exemplar import normals
from syncsde_engine.exemplar.maps import PLAIN, maps_of, stacked
from syncsde_engine.library import map_names
from syncsde_engine.request import build, check_inputs
from syncsde_engine.tasks.likeness import by_name, from_input, likenesses

SIDE = 48


def bumps(side=SIDE, seed=0):
    """A periodic height in [0, 1], rows down: a sum of waves in all directions."""
    random = np.random.default_rng(seed)
    row, column = np.indices((side, side)) / side
    height = np.zeros((side, side))
    for _ in range(12):
        across, down = random.integers(-5, 6, 2)
        phase = random.random() * 2 * np.pi
        height += np.cos(2 * np.pi * (across * column + down * row) + phase)
    return (height - height.min()) / np.ptp(height)


def normals_of(height, strength=8.0):
    """Unit vectors (3, H, W), right, up and out, of a height whose rows run down."""
    right = (np.roll(height, -1, 1) - np.roll(height, 1, 1)) / 2
    up = (np.roll(height, 1, 0) - np.roll(height, -1, 0)) / 2
    vectors = np.stack([-strength * right, -strength * up, np.ones_like(height)])
    return vectors / np.linalg.norm(vectors, axis=0)


def as_bytes(vectors):
    """(3, H, W) in [-1, 1] -> (H, W, 3) uint8."""
    return np.uint8(np.clip(127.5 * vectors + 128, 0, 255)).transpose(1, 2, 0)


def png(pixels):
    file = io.BytesIO()
    Image.fromarray(np.uint8(pixels)).save(file, "PNG")
    return file.getvalue()


def image(pixels):
    """(H, W, 3) or (H, W) uint8 -> (3, H, W) in [0, 1]."""
    pixels = np.float32(pixels) / 255
    if pixels.ndim == 2:
        pixels = pixels[..., None].repeat(3, 2)
    return torch.from_numpy(pixels.transpose(2, 0, 1).copy())


NORMAL = normals_of(bumps())
DOWN = NORMAL * np.array([1, -1, 1])[:, None, None]
GRAY = np.uint8(255 * bumps(seed=1))
PHOTO = np.random.default_rng(3).integers(0, 255, (SIDE, SIDE, 3), np.uint8)


# Names.


@pytest.mark.parametrize(
    ("picture", "files", "found"),
    [
        (
            "brick_color.png",
            ["brick_normal.png", "brick_roughness.jpg", "brick_metalness.png", "brick_height.tif"],
            {"normal": 0, "roughness": 1, "metallic": 2, "height": 3},
        ),
        (
            "brick_wall_001_diff_1k.jpg",
            [
                "brick_wall_001_nor_gl_1k.png",
                "brick_wall_001_nor_dx_1k.png",
                "brick_wall_001_arm_1k.jpg",
                "brick_wall_001_disp_1k.png",
                "brick_wall_002_rough_1k.jpg",
            ],
            {"normal_gl": 0, "orm": 2, "height": 3},
        ),
        (
            "Bricks075A_2K-JPG_Color.jpg",
            [
                "Bricks075A_1K-JPG_NormalDX.jpg",
                "Bricks075A_2K-JPG_NormalDX.jpg",
                "Bricks075A_2K-JPG_Roughness.jpg",
                "Bricks075A_2K-JPG_AmbientOcclusion.jpg",
            ],
            {"normal_dx": 1, "roughness": 2, "occlusion": 3},
        ),
        ("trak4_brick2a.png", ["trak4_brick2a_nm.png", "trak4_brick2_nm.png"], {"normal": 0}),
        ("wall.png", ["wall_n.png", "wall_r.png", "wall_gloss.png"], {"normal": 0, "roughness": 1}),
        (
            "wall-albedo.png",
            ["wall-Normal-DX.png", "wall_bump.webp"],
            {"normal_dx": 0, "height": 1},
        ),
        ("metal.png", ["metal_metal.png", "metal_nrm.exr", "rough.png"], {"metallic": 0}),
        ("base_color.png", ["color_normal.png"], {}),
        ("rock_basecolor.png", ["rock_glossiness.png", "rock_Base_Color.jpg"], {"gloss": 0}),
        ("rusty_metal.png", ["rusty_metal_nm.png", "rusty_r.png", "rusty.png"], {"normal": 0}),
        ("Normal.png", ["Normal_rough.png"], {"roughness": 0}),
        ("T_Brick_D.png", ["T_Brick_N.png", "T_Brick_ORM.png"], {"normal": 0, "orm": 1}),
        (
            "BrickWall.png",
            ["BrickWallNormal.png", "brickwall_height.png"],
            {"normal": 0, "height": 1},
        ),
    ],
)
def test_maps_are_found_by_their_names(picture, files, found):
    paths = [Path("there") / name for name in files]
    chosen = map_names.among(Path("there") / picture, paths)
    assert chosen == {kind: paths[number] for kind, number in found.items()}


def test_maps_in_a_folder_of_pictures_are_no_materials(tmp_path):
    maps = ("moss_normal.png", "moss_rough.png", "old_metal_n.png")
    for name in ("moss.png", "lonely_bump.png", "old_metal.png", *maps):
        Image.fromarray(PHOTO).save(tmp_path / name)
    names = [each.name for each in library.in_folder(tmp_path)]
    assert names == ["lonely bump", "moss", "old metal"]


# Normals.


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("noise", [0, 0.1])
def test_a_field_without_curl_has_green_up(seed, noise):
    """Normals of heights are told apart from the same with green down, also noisy ones."""
    vectors = normals_of(bumps(seed=seed))
    vectors = vectors + np.random.default_rng(seed).normal(0, noise, vectors.shape)
    up = torch.from_numpy(vectors).float()
    down = up * torch.tensor([1.0, -1.0, 1.0])[:, None, None]
    least = 0.99 if noise == 0 else 0.15
    assert normals.green_up(up) > least
    assert normals.green_up(down) < -least


def test_a_pattern_along_one_side_means_the_same_either_way():
    row = np.cos(np.arange(SIDE) / SIDE * 8 * np.pi)
    vectors = torch.from_numpy(normals_of(np.tile(row, (SIDE, 1)))).float()
    assert normals.green_up(vectors) == 0
    found = maps_of({"normal": (image(as_bytes(vectors.numpy())), "f")}, SIDE, SIDE)
    assert "does not tell" in found.told["normal"]


@pytest.mark.parametrize(
    ("kind", "given", "told"),
    [
        ("normal", NORMAL, "OpenGL, by its curl (+"),
        ("normal", DOWN, "DirectX, by its curl (-"),
        ("normal_gl", NORMAL, "OpenGL, as named"),
        ("normal_dx", DOWN, "DirectX, as named"),
    ],
)
def test_green_is_up_in_the_end(kind, given, told):
    found = maps_of({kind: (image(as_bytes(given)), "f")}, SIDE, SIDE)
    assert found.told["normal"].startswith(told)
    np.testing.assert_allclose(found.values["normal"], NORMAL, atol=0.012)


@pytest.mark.parametrize("zero", [127, 128])
def test_flat_is_exactly_flat_also_resampled(zero):
    flat = np.full((SIDE, SIDE, 3), (zero, zero, 255), np.uint8)
    for side in (SIDE, 30, 100):
        found = maps_of({"normal": (image(flat), "f")}, side, side).values["normal"]
        np.testing.assert_allclose(found[2], 1)
        np.testing.assert_allclose(found[:2], 0, atol=1e-5)


def test_two_channels_are_enough():
    pixels = as_bytes(NORMAL)
    pixels[..., 2] = 0
    found = maps_of({"normal_gl": (image(pixels), "f")}, SIDE, SIDE)
    np.testing.assert_allclose(found.values["normal"], NORMAL, atol=0.012)


# Others.


def test_gray_maps_gloss_and_packed_ones():
    assert maps_of({"gloss": (image(255 - GRAY), "f")}, SIDE, SIDE).values[
        "roughness"
    ].numpy() == pytest.approx(GRAY[None] / 255, abs=1e-6)
    packed = np.stack([GRAY, GRAY.T, 255 - GRAY], axis=2)
    given = {"orm": (image(packed), "f"), "metallic": (image(GRAY), "g")}
    found = maps_of(given, SIDE, SIDE)
    for name, gray in (("occlusion", GRAY), ("roughness", GRAY.T), ("metallic", GRAY)):
        assert found.values[name].numpy() == pytest.approx(gray[None] / 255, abs=1e-6)
    layers = stacked(found.values, ["normal", "metallic"], SIDE, SIDE)
    assert layers.shape == (4, SIDE, SIDE)
    assert layers[:3, 0, 0].tolist() == list(PLAIN["normal"])
    assert torch.equal(layers[3:], found.values["metallic"])


def test_another_size_is_resampled():
    half = maps_of({"height": (image(GRAY), "f")}, SIDE // 2, SIDE // 2).values["height"]
    assert half.shape == (1, SIDE // 2, SIDE // 2)
    means = GRAY.reshape(SIDE // 2, 2, SIDE // 2, 2).mean((1, 3)) / 255
    assert np.abs(half[0].numpy() - means).max() < 0.05


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"normal": PHOTO}, "is no normal map in tangent space: its mean color is"),
        ({"normal_gl": GRAY}, "is no normal map in tangent space"),
        ({"normal": as_bytes(-NORMAL)}, "is no normal map in tangent space"),
        ({"roughness": PHOTO}, "has colors, and roughness is gray"),
        ({"height": GRAY[: SIDE // 2]}, "48 x 24 pixels and its picture 48 x 48: they do not lie"),
        ({"gloss": GRAY, "roughness": GRAY}, "Two maps tell the roughness: roughness, and gloss"),
        (
            {"normal_gl": as_bytes(NORMAL), "normal_dx": as_bytes(NORMAL)},
            "Two maps tell the normal",
        ),
    ],
)
def test_what_is_no_map_is_refused(given, message):
    blobs = {"like": png(PHOTO), **{f"like_{kind}": png(of) for kind, of in given.items()}}
    with pytest.raises(InvalidRequest, match=message) as failure:
        likenesses(build("texture", {}), blobs)
    assert failure.value.field in {f"inputs.like_{kind}" for kind in given}
    assert failure.value.hint
    assert likenesses(build("texture", {"maps": False}), blobs), "without maps nothing is wrong"


# What a run takes.


def test_maps_of_a_picture_are_cut_as_it_is():
    pixels = np.dstack([PHOTO, np.full((SIDE, SIDE), 255, np.uint8)])
    pixels[:10, :, 3] = 0
    maps = {"like_2_height": png(GRAY), "like_height": png(255 - GRAY)}
    found = from_input(png(pixels), "like_2", maps).picture
    assert found.image.shape == (3, SIDE - 10, SIDE)
    np.testing.assert_allclose(found.maps["height"][0], GRAY[10:] / np.float32(255), atol=1e-6)


def test_maps_lie_beside_pictures_of_a_library(tmp_path, monkeypatch):
    Image.fromarray(PHOTO).save(tmp_path / "weave.png")
    Image.fromarray(as_bytes(DOWN)).save(tmp_path / "weave_nm.png")
    Image.fromarray(GRAY).save(tmp_path / "weave_rough.png")
    monkeypatch.setenv("SYNCSDE_LIBRARY", str(tmp_path))
    like = by_name("weave", "", {"like_roughness": png(255 - GRAY)})
    assert set(like.maps) == {"normal", "roughness"}
    np.testing.assert_allclose(like.picture.maps["normal"], NORMAL, atol=0.012)
    np.testing.assert_allclose(
        like.picture.maps["roughness"][0], 1 - GRAY / np.float32(255), atol=1e-6
    )
    assert by_name("weave", "").maps == {}, "a wide image has none"
    Image.fromarray(PHOTO).save(tmp_path / "weave_nm.png")
    with pytest.raises(InvalidRequest, match=r"weave_nm.png', a map of the material 'weave'"):
        by_name("weave", "", {})


def test_names_and_pictures_of_maps_go_together():
    config = build("texture", {"prompt": "brick", "like_for": ["a"]})
    check_inputs("texture", config, {"mesh": 0, "like_normal": 0, "like_1": 0, "like_1_height": 0})
    with pytest.raises(InvalidRequest, match="'like_2_height' has no picture 'like_2'"):
        check_inputs("texture", config, {"mesh": 0, "like_1": 0, "like_2_height": 0})
    with pytest.raises(InvalidRequest, match="no input 'like_smell'") as failure:
        check_inputs("texture", config, {"mesh": 0, "like_1": 0, "like_smell": 0})
    assert len(failure.value.hint or "") < 400
    with pytest.raises(InvalidRequest, match="paints from words, and a picture is given"):
        likenesses(build("texture", {"prompt": "moss", "model": "mini"}), {"like_normal": b""})


def paths_of(*arguments):
    parser = Parser(prog="syncsde")
    add_task(parser, "texture")
    return input_paths("texture", parser.parse_args(["mesh.obj", *arguments]))


def test_the_command_line_takes_what_lies_beside(tmp_path):
    names = ["brick.png", "brick_nm.png", "brick_rough.png", "rust.png", "rust_metal.png"]
    for name in names:
        (tmp_path / name).touch()
    brick, normal, rough, rust, metal = (tmp_path / name for name in names)
    like = ["--like", str(brick), "--like-for", "Helmet", str(rust)]
    plain = {"mesh": Path("mesh.obj"), "like": brick, "like_1": rust}
    found = {"like_normal": normal, "like_roughness": rough, "like_1_metallic": metal}
    assert paths_of(*like) == plain | found
    assert paths_of(*like, "--no-maps") == plain
    own = paths_of(*like, "--like-map", "normal_dx", "mine.png", "--like-map", "height", "h.png")
    del found["like_normal"]
    own_maps = {"like_normal_dx": Path("mine.png"), "like_height": Path("h.png")}
    assert own == plain | found | own_maps
    with pytest.raises(InvalidRequest, match="no kind of map 'smell'"):
        paths_of(*like, "--like-map", "smell", "mine.png")


def test_a_map_that_is_none_is_named_by_its_file(tmp_path, capsys):
    from tests import meshes

    mesh = meshes.save_obj_with_uvs(tmp_path / "ball.obj")
    for name in ("photo.png", "photo_normal.png"):
        Image.fromarray(PHOTO).save(tmp_path / name)
    asked = ["texture", str(mesh), "--like", str(tmp_path / "photo.png"), "--output"]
    assert main([*asked, str(tmp_path / "out")]) == 2
    said = capsys.readouterr().err
    assert "photo_normal.png': The picture is no normal map" in said
    assert "leave it out" in said
