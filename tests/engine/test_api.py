# SPDX-License-Identifier: GPL-3.0-or-later
"""One Python call for every task."""

import dataclasses
import io
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from syncsde_engine import run
from syncsde_engine.config import CONFIGS, WideConfig
from syncsde_engine.errors import InvalidRequest
from tests import meshes
from tests.engine.running import finish

WIDE = {"prompt": "brick", "width": 256, "height": 128, "patch_size": 128, "steps": 3, "seed": 4}


def png(image):
    content = io.BytesIO()
    image.save(content, "PNG")
    return content.getvalue()


@pytest.fixture(scope="module")
def photo():
    values = np.random.default_rng(0).integers(0, 256, (48, 48, 3), np.uint8)
    return Image.fromarray(values).resize((96, 96), Image.Resampling.BICUBIC)


def test_parameters_and_a_config_make_the_same_files():
    seen = []
    result = run("wide", on_progress=seen.append, **WIDE)
    again = run("wide", WideConfig(**WIDE))
    expected = finish("wide", WIDE)
    assert result.files["image.png"] == again.files["image.png"] == expected["image.png"]
    assert result.config == again.config
    assert result.image.size == (256, 128)
    assert result.report["materials"] == {"": "brick"}
    assert [(step.stage, step.step) for step in seen if step.stage == "views"][-1] == ("views", 3)


def test_an_input_is_a_path_bytes_or_an_image(tmp_path, photo):
    photo.save(tmp_path / "photo.png")
    asked = {**WIDE, "prompt": ""}
    paths = [tmp_path / "photo.png", str(tmp_path / "photo.png")]
    made = [run("wide", like=each, **asked).files["image.png"] for each in [*paths, photo]]
    assert made == [run("wide", like=png(photo), **asked).files["image.png"]] * 3


def test_a_mesh_file_becomes_a_texture_in_a_folder(tmp_path):
    mesh = meshes.save_obj_with_uvs(tmp_path / "ball.obj")
    small = {"steps": 2, "cameras": 2, "view_size": 96, "texture_size": 64, "tile_size": 2.0}
    result = run("texture", mesh=mesh, prompt="rust", **small)
    saved = result.save(tmp_path / "out")
    assert {path.relative_to(tmp_path / "out").as_posix() for path in saved} == set(result.files)
    assert (tmp_path / "out" / "texture.png").read_bytes() == result.files["texture.png"]
    with pytest.raises(InvalidRequest, match=r"Cannot write to .*ball\.obj"):
        result.save(mesh)


@pytest.mark.parametrize(
    ("task", "config", "given", "field"),
    [
        ("wider", None, {}, "task"),
        ("wide", None, {"prompt": "brick", "wdith": 256}, "wdith"),
        ("wide", None, {**WIDE, "like": 3}, "inputs.like"),
        ("wide", None, {**WIDE, "like": "/no/photo.png"}, "inputs.like"),
        ("texture", None, {"prompt": "brick"}, "inputs.mesh"),
        ("wide", WideConfig(**WIDE), {"width": 512}, "width"),
        ("mask", WideConfig(**WIDE), {}, "config"),
    ],
)
def test_what_is_wrong_is_named(task, config, given, field):
    with pytest.raises(InvalidRequest) as failure:
        run(task, config, **given)
    assert failure.value.field == field


def test_an_error_of_the_callers_goes_through_and_ends_the_run():
    seen = []

    def stop(progress):
        seen.append(progress)
        raise StopAsyncIteration("enough")

    with pytest.raises(StopAsyncIteration, match="enough"):
        run("wide", on_progress=stop, **WIDE)
    assert len(seen) == 1


def test_no_parameter_is_called_as_an_input_is():
    for config in CONFIGS.values():
        fields = {field.name for field in dataclasses.fields(config)}
        assert not fields & {*config.inputs, *config.optional_inputs}


def test_importing_it_loads_no_torch():
    code = "import sys, syncsde_engine; sys.exit('torch' in sys.modules or 'numba' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], timeout=60).returncode == 0
