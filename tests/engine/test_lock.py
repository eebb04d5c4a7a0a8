# SPDX-License-Identifier: GPL-3.0-or-later
"""Keeping a part of a texture: what stays is byte-equal, and the rest is painted to fit it."""

import io
import json

import numpy as np
import pytest
import torch
from PIL import Image

from syncsde_engine.errors import InvalidRequest
from syncsde_engine.mesh.bake.blend import bake
from syncsde_engine.mesh.bake.texels import used_texels
from syncsde_engine.mesh.files.io import load, to_safetensors
from syncsde_engine.mesh.raster.rasterize import rasterizer
from syncsde_engine.mesh.views.cameras import paper_cameras
from syncsde_engine.mesh.views.pairs import view_to_view
from syncsde_engine.mesh.views.scene import observe
from syncsde_engine.method.coupling import earlier, everyone
from syncsde_engine.method.noise import Noise
from syncsde_engine.models.loading import load as load_model
from syncsde_engine.pictures import png as picture
from syncsde_engine.request import build
from syncsde_engine.tasks import run
from syncsde_engine.tasks.texture_lock import Lock
from tests import meshes
from tests.engine.running import finish
from tests.mesh.shapes import quad

SIDE = 64
SMALL = {"prompt": "moss", "steps": 4, "view_size": 64, "texture_size": SIDE, "guidance_scale": 2.0}


@pytest.fixture(scope="module")
def mesh(tmp_path_factory):
    folder = tmp_path_factory.mktemp("mesh")
    return to_safetensors(load(meshes.save_obj_with_uvs(folder / "ball.obj")))


OLD = np.random.default_rng(0).integers(0, 256, (SIDE, SIDE, 3), np.uint8)
HALF = np.zeros((SIDE, SIDE), np.uint8)
HALF[: SIDE // 2] = 255


@pytest.fixture(scope="module")
def texture(tiny_model, mesh):
    def texture(inputs, **parameters):
        parameters = {**SMALL, "model": str(tiny_model), **parameters}
        return finish("texture", parameters, {"mesh": mesh, **inputs})

    return texture


@pytest.fixture(scope="module")
def locked(texture):
    return texture({"keep": picture(OLD), "keep_mask": picture(HALF)})


def pixels(files):
    return np.asarray(Image.open(io.BytesIO(files["texture.png"])))


def test_kept_texels_are_byte_equal_and_the_report_says_so(locked):
    report = json.loads(locked["report.json"])
    assert report["kept"] == {"compared": SIDE * SIDE // 2, "changed": 0}
    assert (pixels(locked)[: SIDE // 2] == OLD[: SIDE // 2]).all()
    new = np.abs(pixels(locked)[SIDE // 2 :].astype(int) - OLD[SIDE // 2 :])
    assert new.mean() > 10


def test_what_is_transparent_is_painted_anew(texture, locked):
    layer = np.dstack([OLD, HALF])
    files = texture({"keep": picture(layer)})
    assert json.loads(files["report.json"])["kept"]["compared"] == SIDE * SIDE // 2
    assert (pixels(files)[: SIDE // 2] == OLD[: SIDE // 2]).all()
    same = pixels(files) == pixels(locked)
    assert same.mean() > 0.99, "a mask and transparency are two ways to say one thing"


def test_the_kept_part_conditions_the_views(texture, locked):
    """Another texture under the lock makes other views; without coupling it does not."""
    mask = {"keep_mask": picture(HALF)}
    other = texture({"keep": picture(255 - OLD), **mask})
    alone, other_alone = (
        texture({"keep": picture(old), **mask}, strategy="independent") for old in (OLD, 255 - OLD)
    )
    names = [name for name in locked if name.startswith("views/")]
    assert len(names) == 10
    assert all(locked[name] != other[name] for name in names)
    assert all(alone[name] == other_alone[name] for name in names)
    assert len(json.loads(locked["report.json"])["cameras"]) == 10


def test_a_lock_costs_no_passes_of_the_denoising_network(texture, locked):
    free, kept = (
        json.loads(files["report.json"])["network_evaluations"] for files in (texture({}), locked)
    )
    assert kept["unet"] == free["unet"]
    assert kept["vae_encoder"] == 10


@pytest.mark.parametrize("strategy", ["independent", "synctweedies", "syncmvd"])
def test_every_strategy_takes_locks(texture, strategy):
    files = texture({"keep": picture(OLD), "keep_mask": picture(HALF)}, strategy=strategy)
    assert json.loads(files["report.json"])["kept"]["changed"] == 0


@pytest.fixture(scope="module")
def conditions(tiny_model):
    """A lock on the left half of a square that two cameras see."""
    scene = observe(quad(0.8), (paper_cameras()[4], paper_cameras()[5]), rasterizer("builtin"))
    model = load_model(tiny_model, torch.device("cpu"), control=True)
    kept = np.zeros((1, 64, 64), bool)
    kept[:, :, :32] = True
    overlap = view_to_view(scene, 8)
    noise = Noise(0, (2, 4, 8, 8), torch.device("cpu")).initial()
    steps = model.schedule.steps(5)
    lock = Lock(np.full((1, 64, 64, 3), 200, np.uint8), kept)
    return overlap, noise, steps, lock.conditions(scene, model, 64, steps, overlap, noise)


def test_known_states_walk_from_the_noise_of_the_view_to_the_kept_picture(conditions):
    _, noise, steps, (_, recorded, starts) = conditions
    assert recorded.shape == (6, 2, 4, 8, 8)
    assert torch.equal(starts[2], noise[0])
    assert torch.equal(starts[3], noise[1])
    for step in steps:  # each step of it is DDIM's with that noise
        eps = step.noise_between(recorded[step.index], recorded[step.index + 1])
        torch.testing.assert_close(eps, noise, atol=2e-3, rtol=0)
    clean = (recorded[-1] - (1 - steps[-1].alpha_prev) ** 0.5 * noise) / steps[-1].alpha_prev ** 0.5
    torch.testing.assert_close(steps[0].tweedie(recorded[0], noise), clean, atol=1e-3, rtol=0)


@pytest.mark.parametrize("who", [earlier, everyone])
def test_kept_pixels_look_at_the_kept_picture_alone(conditions, who):
    overlap, _, _, (locked, recorded, _) = conditions
    before, after = who(overlap), who(locked)
    y = torch.cat([recorded[0], torch.zeros_like(recorded[0])])
    mean, precision = after.gather(y)
    known = (mean[2:] == recorded[0]).all(1) & (precision[2:, 0] > 0)
    shown = torch.zeros(2 * 64, dtype=torch.bool)
    shown[overlap.looks] = True
    shown = shown.view(2, 8, 8)
    assert known[0, :, 5:].sum() == 0, "the right half is free"
    assert known[0, 2:6, 2:4].all(), "the left half of the square is kept"
    assert not (known & ~shown).any()
    assert not precision[:2].any() or who is everyone
    free = shown & ~known
    sources = everyone(locked)
    assert free.any()
    assert not (mean[2:].movedim(1, -1)[free] == recorded[0].movedim(1, -1)[free]).all()
    assert len(sources.rows) >= len(before.rows)


def test_new_paint_takes_on_the_shade_of_what_it_joins():
    """Views that are all too light by 0.1 come out right beside the kept half, and so far away."""
    scene = observe(quad(0.9), (paper_cameras()[4],), rasterizer("builtin"))
    texels = used_texels(scene, 64)
    kept = np.zeros((1, 64, 64), bool)
    kept[:, :, :32] = True
    lock = Lock(np.full((1, 64, 64, 3), 102, np.uint8), kept)
    baked = bake(scene, torch.full((1, 3, 128, 128), 0.5), texels)
    joined = lock.onto(baked)
    row = texels.spread(joined.color)[0, 32, 1:-1, 0]
    torch.testing.assert_close(row[:31], torch.full((31,), 0.4))
    assert row[31] == pytest.approx(0.4, abs=0.01)
    assert (row[31:].diff() > -1e-6).all()
    assert row[-1] == pytest.approx(0.5)
    assert (joined.weight >= baked.weight).all()


@pytest.mark.parametrize(
    ("inputs", "parameters", "message"),
    [
        ({"keep_mask": picture(HALF)}, {}, "no texture. Give keep"),
        ({"keep": picture(OLD)}, {}, "All of the texture.*Give keep_mask"),
        ({"keep": picture(OLD), "keep_mask": picture(0 * HALF)}, {}, "Nothing of the texture"),
        ({"keep": picture(OLD)}, {"texture_size": 128}, "64 x 64 pixels.*Set texture_size to 64"),
        ({"keep": picture(OLD[:32])}, {}, "64 x 32 pixels.*must be square"),
        ({"keep": picture(OLD), "keep_mask": picture(HALF[:32, :32])}, {}, "mask has 32 x 32"),
        ({"keep": b"no picture"}, {}, "not a PNG"),
        ({"keep": picture(OLD), "keep_mask": picture(HALF)}, {"uv": "unwrap"}, "made anew"),
    ],
)
def test_what_cannot_be_kept_is_said_in_one_sentence(tiny_model, mesh, inputs, parameters, message):
    config = build("texture", {**SMALL, "model": str(tiny_model), **parameters})
    generator = run("texture", config, {"mesh": mesh, **inputs})
    with pytest.raises(InvalidRequest, match=message) as failure:
        for _ in generator:
            pass
    assert failure.value.field in ("inputs.keep", "inputs.keep_mask")
