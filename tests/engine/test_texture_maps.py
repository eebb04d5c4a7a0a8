# SPDX-License-Identifier: GPL-3.0-or-later
"""Whole materials on meshes: all maps lie where the colors lie."""

from __future__ import annotations

import io
import json

import numpy as np
import pytest
from PIL import Image

from syncsde_engine.mesh.io import load, to_safetensors
from syncsde_engine.tasks.texture_files import map_files
from tests import meshes
from tests.engine.running import finish
from tests.mesh.shapes import touching

SMALL = {"steps": 2, "view_size": 128, "texture_size": 64, "cameras": 3, "seed": 3}


def png(image):
    file = io.BytesIO()
    Image.fromarray(image).save(file, "PNG")
    return file.getvalue()


def stones(side=32, seed=0):
    """A rough picture of even patches, (side, side, 3) uint8."""
    patches = np.random.default_rng(seed).integers(20, 235, (8, 8, 3), np.uint8)
    return patches.repeat(side // 8, 0).repeat(side // 8, 1)


FLAT = np.full((32, 32, 3), (128, 128, 255), np.uint8)


def image(content):
    pixels = np.asarray(Image.open(io.BytesIO(content)))
    return pixels.astype(float)


@pytest.fixture(scope="module", params=["smooth", "surface"])
def run(request, tmp_path_factory):
    """Maps that are channels of the picture: what they must be is known at every texel."""
    path = meshes.save_obj_with_uvs(tmp_path_factory.mktemp("mesh") / "ball.obj")
    photo = stones()
    inputs = {
        "mesh": to_safetensors(load(path)),
        "like": png(photo),
        "like_normal": png(FLAT),
        "like_roughness": png(photo[..., 0].copy()),
        "like_metallic": png(photo[..., 1].copy()),
        "like_height": png(photo[..., 2].copy()),
    }
    files = finish("texture", SMALL | {"fill": request.param}, inputs)
    return files, json.loads(files["report.json"])


def test_maps_lie_where_the_colors_lie(run):
    files, _ = run
    color = image(files["texture.png"])
    assert color.std() > 20
    for number, kind in enumerate(("roughness", "metallic", "height")):
        levels = 257 if kind == "height" else 1
        apart = np.abs(image(files[f"texture_{kind}.png"]) / levels - color[..., number])
        assert apart.max() <= 1


def test_flat_normals_are_flat_to_the_last_bit(run):
    files, _ = run
    colors = np.unique(image(files["texture_normal.png"]).reshape(-1, 3), axis=0)
    assert colors.tolist() == [[128, 128, 255]]


def test_report_and_glb_have_them(run):
    files, report = run
    kinds = ["normal", "roughness", "metallic", "height"]
    assert list(report["maps"][""]) == kinds
    assert report["map_files"] == {kind: {"ball": f"texture_{kind}.png"} for kind in kinds}
    assert report["relief"] > 0
    glb = files["textured.glb"]
    size = int.from_bytes(glb[12:16], "little")
    document, body = json.loads(glb[20 : 20 + size]), glb[28 + size :]
    (material,) = document["materials"]
    surface = material["pbrMetallicRoughness"]

    def pixels(texture):
        source = document["textures"][texture["index"]]["source"]
        view = document["bufferViews"][document["images"][source]["bufferView"]]
        return image(body[view["byteOffset"] :][: view["byteLength"]])

    packed = pixels(surface["metallicRoughnessTexture"])
    assert (packed[..., 1] == image(files["texture_roughness.png"])).all()
    assert (packed[..., 2] == image(files["texture_metallic.png"])).all()
    assert (packed[..., 0] == 255).all(), "nothing is known of occlusion"
    assert (pixels(material["normalTexture"]) == image(files["texture_normal.png"])).all()


def test_what_has_no_map_is_even_and_matte():
    """Of two pictures one has normals and roughness; without maps there are none."""
    slanted = np.full((32, 32, 3), (190, 128, 238), np.uint8)
    inputs = {
        "mesh": to_safetensors(touching()),
        "like": png(stones(seed=1)),
        "like_1": png(stones(seed=2)),
        "like_1_normal_gl": png(slanted),
        "like_1_roughness": png(np.full((32, 32), 40, np.uint8)),
    }
    asked = SMALL | {"like_for": ["box"]}
    files = finish("texture", asked, inputs)
    report = json.loads(files["report.json"])
    assert report["maps"] == {"box": {"normal": "OpenGL, as named", "roughness": "roughness"}}
    names = report["map_files"]
    box, other = "box", "other"
    assert set(np.unique(image(files[names["roughness"][box]]))) == {40}
    assert set(np.unique(image(files[names["roughness"][other]]))) == {204}
    normal = image(files[names["normal"][other]]).reshape(-1, 3)
    assert np.unique(normal, axis=0).tolist() == [[128, 128, 255]]
    # Turned with the charts, a slope stays as steep as it was.
    normal = image(files[names["normal"][box]]) / 127.5 - 1
    assert normal[..., 2] == pytest.approx(238 / 127.5 - 1, abs=0.02)
    assert np.linalg.norm(normal[..., :2], axis=-1) == pytest.approx(190 / 127.5 - 1, abs=0.03)
    bare = finish("texture", asked | {"maps": False}, inputs)
    assert not [name for name in bare if "normal" in name]
    assert "maps" not in json.loads(bare["report.json"])


def test_files_of_maps_collide_with_no_texture():
    one = {"normal": [np.zeros((1, 1, 3), np.uint8)] * 2}
    textures = ["textures/a.png", "textures/A_Normal.png"]
    assert map_files(one, textures)["normal"] == [
        "textures/a_normal-2.png",
        "textures/A_Normal_normal.png",
    ]
