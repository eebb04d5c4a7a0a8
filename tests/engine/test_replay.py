# SPDX-License-Identifier: GPL-3.0-or-later
"""`syncsde replay` and `verify`: the same bytes again, or what is not as it was."""

import json
import os
import shutil
import subprocess
import sys

import pytest
import torch

from syncsde_engine.cli import main
from syncsde_engine.hashes import file_sha256
from syncsde_engine.mesh.intake.unwrap import FLAGS, GROUP
from tests import meshes


@pytest.fixture(scope="module")
def textured(tiny_model, tmp_path_factory):
    """A finished texture run and its mesh; not to be changed."""
    folder = tmp_path_factory.mktemp("made")
    mesh = meshes.save_obj_with_uvs(folder / "ball.obj")
    small = ["--steps", "2", "--view-size", "64", "--texture-size", "64", "--cameras", "2"]
    asked = ["--prompt", "moss", *small, "--model", str(tiny_model), "--up=z", "--seed", "7"]
    assert main(["texture", str(mesh), *asked, "--output", str(folder / "out")]) == 0
    return folder


@pytest.fixture
def made(textured, tmp_path):
    return shutil.copytree(textured, tmp_path / "made")


def edit(report, **entries):
    report.write_text(json.dumps(json.loads(report.read_text()) | entries))


def test_a_result_is_made_again_byte_for_byte(made, capsys):
    assert main(["replay", str(made / "out"), "--output", str(made / "again")]) == 0
    assert "texture.png" in capsys.readouterr().out
    for path in (made / "out").rglob("*.*"):
        if path.name != "report.json":  # it tells the time
            assert (made / "again" / path.relative_to(made / "out")).read_bytes() == (
                path.read_bytes()
            )
    assert main(["verify", str(made)]) == 0


def test_what_was_left_to_the_program_is_left_to_it_again(tmp_path):
    """A prompt that names a material makes "auto" the exemplar, which cannot be asked for so."""
    size = ["--width", "64", "--height", "64", "--patch-size", "64", "--tile-size", "64"]
    asked = ["wide", "--prompt", "bricks", *size, "--steps", "1", "--output", str(tmp_path)]
    assert main(asked) == 0
    report = json.loads((tmp_path / "report.json").read_text())
    assert report["model"] == "exemplar"
    assert report["asked"]["model"] == "auto"
    assert main(["replay", str(tmp_path / "report.json")]) == 0


def test_replay_takes_as_many_threads_as_there_were(tiny_model, tmp_path):
    """Two threads of torch round other than one, and the report tells how many there were."""
    asked = ["wide", "--prompt", "moss", "--width", "96", "--patch-size", "64", "--steps", "60"]
    asked += ["--guidance-scale", "2", "--seed", "2", "--model", str(tiny_model)]
    before = torch.get_num_threads()
    images = []
    for threads in (1, 2):
        torch.set_num_threads(threads)
        try:
            assert main([*asked, "--output", str(tmp_path / str(threads))]) == 0
        finally:
            torch.set_num_threads(before)
        images.append((tmp_path / str(threads) / "image.png").read_bytes())
    assert images[0] != images[1]  # else this says nothing
    for threads in "12":
        assert main(["replay", str(tmp_path / threads)]) == 0
    assert torch.get_num_threads() == before


@pytest.mark.skipif(os.name != "posix", reason="links are for administrators there")
def test_a_result_behind_a_link_finds_its_inputs(made, tmp_path):
    (made / "elsewhere").mkdir()
    (made / "elsewhere" / "deep").mkdir()
    (tmp_path / "link").symlink_to(made / "elsewhere" / "deep")
    small = ["--steps", "1", "--view-size", "64", "--texture-size", "64", "--cameras", "1"]
    model = json.loads((made / "out" / "report.json").read_text())["model"]
    asked = ["--prompt", "moss", *small, "--model", model, "--output", str(tmp_path / "link")]
    assert main(["texture", str(made / "ball.obj"), *asked]) == 0
    report = json.loads((tmp_path / "link" / "report.json").read_text())
    assert report["sources"] == {"mesh": "../../ball.obj"}
    assert main(["replay", str(tmp_path / "link")]) == 0


@pytest.mark.parametrize(
    ("entries", "told"),
    [
        ({"version": "0.0.9"}, "version was '0.0.9'"),
        ({"torch": "1.0"}, "torch was '1.0'"),
        ({"device": "cuda"}, "device was 'cuda' and is 'cpu'"),
        ({"model_sha256": "0" * 64}, "weights of the model"),
        ({"inputs": {"mesh": "0" * 64}}, "the input 'mesh'"),
        ({"sources": {}}, "--input mesh FILE"),
        ({"files": None}, "a version without hashes"),
        ({"files": {"texture.png": "0" * 64}}, "Not the same"),
    ],
)
def test_what_differs_is_named(made, capsys, entries, told):
    edit(made / "out" / "report.json", **entries)
    assert main(["replay", str(made / "out"), "--output", str(made / "again")]) == 2
    assert told in capsys.readouterr().err
    assert not (made / "again").exists()


def test_an_input_that_has_moved_or_changed(made, capsys):
    (made / "elsewhere").mkdir()
    moved_to = (made / "ball.obj").rename(made / "elsewhere" / "ball.obj")
    assert main(["replay", str(made / "out")]) == 2
    assert "Cannot read" in capsys.readouterr().err
    moved = ["--input", "mesh", str(moved_to)]
    assert main(["replay", str(made / "out"), *moved]) == 0
    text = moved_to.read_text()
    moved_to.write_text(text.replace("v 0", "v 0.1", 1))
    assert main(["replay", str(made / "out"), *moved]) == 2
    assert "the input 'mesh'" in capsys.readouterr().err
    assert main(["replay", str(made / "out"), "--input", "image", "a.png"]) == 2


def test_verify_tells_of_every_file(made, capsys):
    report = made / "out" / "report.json"
    with (made / "out" / "texture.png").open("ab") as file:
        file.write(b"x")
    (made / "out" / "views" / "00.png").unlink()
    assert main(["verify", str(made)]) == 2
    said = capsys.readouterr()
    assert "out/texture.png: has changed" in said.out
    assert "out/views/00.png: is missing" in said.out
    assert "2 of 7 files" in said.err
    edit(report, files={"../ball.obj": file_sha256(made / "ball.obj")})
    assert main(["verify", str(made)]) == 2
    assert "leads out of the folder" in capsys.readouterr().out
    report.unlink()
    assert main(["verify", str(made)]) == 2


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such groups")
def test_ctrl_c_does_not_reach_xatlas():
    """Ctrl-C goes to all processes of a terminal's group: the parent alone answers it."""
    code = "import os; print(os.getpgrp())"
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        check=True,
        process_group=GROUP,
        creationflags=FLAGS,
    )
    assert int(done.stdout) != os.getpgrp()
