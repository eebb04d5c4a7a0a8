# SPDX-License-Identifier: GPL-3.0-or-later
"""`syncsde batch`: the same bytes as single runs, in whatever order and after whatever happened."""

import contextlib
import errno
import json
import os
import signal
import subprocess
import sys

import pytest

from syncsde_engine import tasks
from syncsde_engine.cli import main
from syncsde_engine.cli.batch import records
from syncsde_engine.cli.batch.assets import assets_of
from syncsde_engine.cli.batch.command import part_of
from syncsde_engine.cli.batch.manifest import read
from syncsde_engine.models.stable_diffusion import StableDiffusion
from syncsde_engine.output import Stage, unwritable
from tests import meshes

NOT_MADE = ("report.json", "result.json")  # they tell the time


@pytest.fixture
def wide(tiny_model):
    """What all lines of these tests say."""
    small = {"patch_size": 64, "width": 96, "steps": 2, "guidance_scale": 2.0}
    return {"task": "wide", "prompt": "moss", "model": str(tiny_model), **small}


@pytest.fixture
def batch(tmp_path, wide):
    """Write a manifest of some lines, with defaults, and run it."""

    def batch(*lines, arguments=(), output="out", name="manifest.jsonl"):
        manifest = tmp_path / name
        rows = [{"defaults": wide}, *lines]
        manifest.write_text("\n".join(json.dumps(row) for row in rows))
        folder = str(tmp_path / output)
        return main(["batch", str(manifest), "--output", folder, *arguments])

    return batch


def made(folder):
    """Every file of results, by its path."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name not in (*NOT_MADE, "report.html")
    }


def record(folder):
    return json.loads((folder / "result.json").read_text())


def of_ids(*ids, **more):
    return [{"id": each, "seed": number, **more} for number, each in enumerate(ids)]


def test_bytes_are_those_of_single_runs_in_any_order(batch, wide, tiny_model, tmp_path):
    mesh = meshes.save_obj_with_uvs(tmp_path / "ball.obj")
    small = {"view_size": 64, "texture_size": 64, "cameras": 2, "steps": 2}
    ball = {"task": "texture", "mesh": "ball.obj", **small}
    lines = [*of_ids("a", "b"), {**ball, "guidance_scale": None, "output": "props/{stem}"}]
    assert batch(*lines) == 0
    assert batch(*reversed(lines), output="reversed") == 0
    for part in ("1/3", "3/3", "2-2"):
        assert batch(*lines, output="parts", arguments=["--chunk", part]) == 0
    single = tmp_path / "single"
    size = ["--width", "96", "--patch-size", "64", "--guidance-scale", "2"]
    common = ["--prompt", "moss", "--steps", "2", "--model", str(tiny_model)]
    for seed, name in enumerate("ab"):
        more = [*common, *size, "--seed", str(seed), "--output", str(single / name)]
        assert main(["wide", *more]) == 0
    more = ["--view-size", "64", "--texture-size", "64", "--cameras", "2"]
    more += ["--output", str(single / "props" / "ball")]
    assert main(["texture", str(mesh), *common, *more]) == 0
    assert set(made(single)) >= {"a/image.png", "b/image.png", "props/ball/texture.png"}
    assert made(single)["a/image.png"] != made(single)["b/image.png"]
    for name in ("out", "reversed", "parts"):
        assert made(tmp_path / name) == made(single)
        assert main(["verify", str(tmp_path / name)]) == 0
    assert main(["replay", str(tmp_path / "out" / "props" / "ball")]) == 0


def test_numbas_threads_leave_torch_as_many_as_it_has(tiny_model):
    """Else networks sum in another order once a mesh was textured before them."""
    code = f"""
import numpy as np, torch
from syncsde_engine import run
run("wide", prompt="a", model={str(tiny_model)!r}, patch_size=64, width=64, steps=1)
def double(values):
    for i in numba.prange(len(values)):
        values[i] *= 2
import numba
numba.njit(double, parallel=True)(np.ones(4))
assert numba.get_num_threads() == 2
assert torch.get_num_threads() == 1, torch.get_num_threads()
"""
    threads = {"OMP_NUM_THREADS": "1", "NUMBA_NUM_THREADS": "2", "HF_HUB_OFFLINE": "1"}
    subprocess.run([sys.executable, "-c", code], check=True, env=os.environ | threads, timeout=300)


def test_every_wrong_line_is_told_and_nothing_is_made(batch, tmp_path, capsys):
    (tmp_path / "here.obj").write_text("")
    lines = {
        "There is no parameter 'prompts'": {"prompts": "x"},
        "There is no parameter 'wrap' of texture": {"task": "texture", "wrap": True},
        "There is no task 'wde'": {"task": "wde"},
        "Cannot read": {"task": "texture", "mesh": "nix.obj"},
        "No file is like": {"task": "texture", "mesh": "nix/*.obj"},
        "There is no model '/nix'": {"model": "/nix"},
        "steps": {"steps": "2"},
        "no folder that every system takes": {"output": "../out"},
        "{nix}": {"output": "{nix}"},
        "There is no prompt": {"prompt": None},
        "id is 3": {"id": 3},
    }
    assert batch(*lines.values()) == 2
    said = capsys.readouterr().err.splitlines()
    for number, told in enumerate(lines, start=2):
        (line,) = [line for line in said if f"manifest.jsonl, line {number}: " in line]
        assert told in line
    assert f"{len(lines)} lines" in said[-1]
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("{", "line 1: This is not JSON"),
        ('{"task": "wide", "task": "mask"}', "given twice"),
        ("[1]", "one JSON object"),
        ('{"defaults": 3}', "The defaults"),
        ("", "names no asset"),
        ('{"id": "\\ud800"}', "half of a character"),
    ],
)
def test_a_manifest_that_is_none(tmp_path, capsys, text, told):
    manifest = tmp_path / "manifest.jsonl"
    manifest.write_text(text)
    assert main(["batch", str(manifest), "--output", str(tmp_path / "out")]) == 2
    assert told in capsys.readouterr().err


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"id": "a"}, {"id": "a"}),
        ({"id": "a", "output": "x"}, {"id": "b", "output": "X"}),
        ({"id": "a", "output": "x"}, {"id": "b", "output": "x/y"}),
    ],
)
def test_no_two_assets_share_a_folder(batch, capsys, one, other):
    assert batch(one, other) == 2
    assert "of line 2" in capsys.readouterr().err


@pytest.mark.parametrize("folder", ["con", "a//b", "/a", "a.", ".a", "a b ", "a\nb", "x" * 300])
def test_folders_have_names_that_every_system_takes(batch, folder):
    assert batch({"output": folder}) == 2


def test_csv_says_the_same_as_json(tmp_path, wide):
    (tmp_path / "moss.obj").write_text("")
    rows = [
        {"task": "texture", "id": "é, 1", "mesh": "moss.obj", "prompt": "a", "seed": 3, "fov": 50.0}
        | {"maps": False, "prompt_for": [["lid", "gold"]], "up": "-z", "uv_set": 1},
        {"task": "ambiguous", "prompt": ["a", "b"], "transform": ["flip"], "model": wide["model"]},
    ]
    names = list(dict.fromkeys(name for row in rows for name in row))
    (tmp_path / "a.jsonl").write_text("\n".join(json.dumps(row) for row in rows))
    table = (
        "\ufefftask,id,mesh,prompt,seed,fov,maps,prompt_for,up,uv_set,transform,model\r\n"
        'texture,"é, 1",moss.obj,a,3,50,no,"[[""lid"", ""gold""]]",-z,1,,\r\n'
        f'ambiguous,,,"[""a"", ""b""]",,,,,,,flip,{wide["model"]}\r\n'
    )
    assert set(table.splitlines()[0].lstrip("\ufeff").split(",")) == set(names)
    (tmp_path / "a.csv").write_bytes(table.encode())
    assets = []
    for name in ("a.jsonl", "a.csv"):
        lines, unread = read(tmp_path / name, None)
        found, wrong = assets_of(lines, None)
        assert (unread, wrong) == ([], [])
        assets.append(found)
    for one, other in zip(*assets, strict=True):
        assert (one.config, one.spec, one.paths) == (other.config, other.spec, other.paths)
    assert [asset.id for asset in assets[0]] == ["é, 1", "line-0002"]


def test_pictures_for_parts_and_the_maps_beside_them(tmp_path):
    for name in ("moss.obj", "rust.png", "rust_normal.png", "gloss.png"):
        (tmp_path / name).write_text("")
    line = {"task": "texture", "mesh": "moss.obj", "prompt": "a", "like": "rust.png"}
    line |= {"like_for": [["lid", "rust.png"]], "like_map": [["gloss", "gloss.png"]]}
    (tmp_path / "a.jsonl").write_text(json.dumps(line))
    (asset,), wrong = assets_of(read(tmp_path / "a.jsonl", None)[0], None)
    assert not wrong
    assert asset.config.like_for == ("lid",)
    assert {name: path.name for name, path in asset.paths.items()} == {
        "mesh": "moss.obj",
        "like": "rust.png",
        "like_normal": "rust_normal.png",
        "like_gloss": "gloss.png",
        "like_1": "rust.png",
        "like_1_normal": "rust_normal.png",
    }


def test_wrong_cells_are_told(tmp_path, capsys):
    (tmp_path / "a.csv").write_text("task,seed,wrap\nwide,x,\nwide,1,maybe\nwide,1\n")
    assert main(["batch", str(tmp_path / "a.csv"), "--output", str(tmp_path / "out")]) == 2
    said = capsys.readouterr().err
    for told in ("line 2: seed: 'x'", "line 3: wrap is 'maybe'", "line 4: There are 2 cells"):
        assert told in said


def test_patterns_name_assets_by_their_place(tmp_path, batch, capsys):
    for name in ("chair.obj", "lamps/tall.obj", "lamps/lo[w].obj"):
        (tmp_path / "assets" / name).parent.mkdir(parents=True, exist_ok=True)
        meshes.save_obj_with_uvs(tmp_path / "assets" / name)
    (tmp_path / "defaults.json").write_text(json.dumps({"mesh": "assets/lamps/lo[w].obj"}))
    clear = {"task": "texture", "material": "brick"}
    clear |= {"model": None, "guidance_scale": None}
    lines = [{**clear, "mesh": "assets/**/*.obj"}, {**clear, "id": "again"}]
    job = ["--job", str(tmp_path / "defaults.json"), "--dry-run"]
    assert batch(*lines, arguments=job) == 0
    said = capsys.readouterr().out
    assert [line.split()[-1] for line in said.splitlines()[:-1]] == [
        *("chair", "lamps/lo[w]", "lamps/tall"),
        "again",
    ]
    assert not (tmp_path / "out").exists()


def test_resume_makes_what_is_not_as_it_is_asked(batch, tmp_path, capsys, monkeypatch):
    lines = of_ids("a", "b", "c")
    assert batch(*lines) == 0
    before = made(tmp_path / "out")
    assert batch(*lines) == 2
    assert "results of 3" in capsys.readouterr().err

    def states(*lines, arguments=("--resume",)):
        capsys.readouterr()
        assert batch(*lines, arguments=[*arguments, "--json"]) == 0
        events = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
        return [event["state"] for event in events if event["event"] == "asset"]

    assert states(*lines) == ["skipped"] * 3
    (tmp_path / "out" / "b" / "image.png").unlink()
    assert states(*lines) == ["skipped", "done", "skipped"]
    (tmp_path / "out" / "a" / "result.json").write_text('{"state": "done"}')
    assert states(*lines) == ["done", "skipped", "skipped"]
    assert made(tmp_path / "out") == before
    assert states(*lines[:2], {**lines[2], "steps": 3}) == ["skipped", "skipped", "done"]
    assert made(tmp_path / "out") != before
    monkeypatch.setattr(records, "__version__", "9")
    assert states(*lines[:1]) == ["done"]


def test_an_input_that_changes_is_seen_and_old_files_go(tmp_path, batch, capsys):
    mesh = meshes.save_obj_with_uvs(tmp_path / "ball.obj")
    line = {"task": "texture", "mesh": "ball.obj"}
    line |= {"view_size": 64, "texture_size": 64, "guidance_scale": None}
    assert batch({**line, "cameras": 2}) == 0
    views = tmp_path / "out" / "ball" / "views"
    assert len(list(views.iterdir())) == 2
    (views / "mine.txt").write_text("not ours")
    assert batch({**line, "cameras": 1}, arguments=["--resume"]) == 0
    assert {path.name for path in views.iterdir()} == {"00.png", "mine.txt"}
    before = record(tmp_path / "out" / "ball")
    mesh.write_text(mesh.read_text().replace("v 0", "v 0.1", 1))
    capsys.readouterr()
    assert batch({**line, "cameras": 1}, arguments=["--dry-run"]) == 0
    assert "1 of 1 to make" in capsys.readouterr().out
    assert batch({**line, "cameras": 1}, arguments=["--resume"]) == 0
    assert record(tmp_path / "out" / "ball")["identity"] != before["identity"]
    capsys.readouterr()
    assert batch({**line, "cameras": 1}, arguments=["--dry-run"]) == 0
    assert "0 of 1 to make, about 0 s" in capsys.readouterr().out


def test_a_bad_asset_fails_alone_and_is_tried_again_when_asked(tmp_path, batch, capsys):
    line = {"task": "texture", "mesh": "bad.obj"}
    line |= {"view_size": 64, "texture_size": 64, "cameras": 1, "guidance_scale": None}
    (tmp_path / "bad.obj").write_text("f 1 2")
    lines = [line, *of_ids("a")]
    assert batch(*lines) == 6
    said = capsys.readouterr().out
    assert "| bad" in said
    assert "1 made, 0 skipped, 1 failed" in said
    assert record(tmp_path / "out" / "bad")["error"]["code"] == "invalid_mesh"
    assert [path.name for path in (tmp_path / "out" / "bad").iterdir()] == ["result.json"]
    assert batch(*lines, arguments=["--resume"]) == 6
    assert "failed before" in capsys.readouterr().out
    assert batch(*lines, arguments=["--retry-failed"]) == 6
    meshes.save_obj_with_uvs(tmp_path / "bad.obj")
    assert batch(*lines, arguments=["--resume"]) == 0
    assert record(tmp_path / "out" / "bad")["state"] == "done"


def test_what_nobody_thought_of_fails_alone(batch, tmp_path, monkeypatch, capsys):
    real = tasks.run

    def run(task, config, inputs, resume=None):
        if config.seed == 0:
            raise ZeroDivisionError("by nothing")
        return real(task, config, inputs, resume)

    monkeypatch.setattr(tasks, "run", run)
    assert batch(*of_ids("a", "b")) == 6
    assert "ZeroDivisionError" in record(tmp_path / "out" / "a")["error"]["message"]
    assert record(tmp_path / "out" / "b")["state"] == "done"


def test_an_asset_that_ends_the_program_is_not_tried_for_ever(batch, tmp_path):
    line = of_ids("a")[0]
    assert batch(line) == 0
    killed = record(tmp_path / "out" / "a") | {"state": "started", "tries": 2}
    place = tmp_path / "out" / "a" / "result.json"
    place.write_text(json.dumps(killed))
    assert batch(line, arguments=["--resume"]) == 0
    place.write_text(json.dumps(killed | {"tries": 3}))
    assert batch(line, arguments=["--resume"]) == 6
    assert "3 times in a row" in record(tmp_path / "out" / "a")["error"]["message"]
    assert batch(line, arguments=["--retry-failed"]) == 0


def test_a_folder_that_cannot_be_written_ends_the_batch(batch, tmp_path, capsys):
    (tmp_path / "out").write_text("")
    assert batch(*of_ids("a", "b")) == 2
    assert capsys.readouterr().err.count("Cannot write") == 1


def test_a_full_disk_ends_the_batch_and_fails_no_asset(batch, tmp_path, monkeypatch, capsys):
    real = Stage.add

    def add(self, name, content):
        if self.folder.name == "b" and name == "image.png":
            with unwritable(self.folder, self.parameter):
                raise OSError(errno.ENOSPC, "No space left on device")
        real(self, name, content)

    monkeypatch.setattr(Stage, "add", add)
    assert batch(*of_ids("a", "b", "c")) == 2
    assert "No space left on device" in capsys.readouterr().err
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["a"]
    monkeypatch.setattr(Stage, "add", real)
    assert batch(*of_ids("a", "b", "c"), arguments=["--resume"]) == 0


def test_the_model_stays_loaded(batch, monkeypatch):
    loads = []
    real = StableDiffusion.load.__func__

    def load(kind, *arguments, **options):
        loads.append(arguments)
        return real(kind, *arguments, **options)

    monkeypatch.setattr(StableDiffusion, "load", classmethod(load))
    monkeypatch.setattr("syncsde_engine.models.loading._last", [])
    assert batch(*of_ids("a", "b", "c")) == 0
    assert len(loads) == 1


def test_chunks_are_all_of_it(batch, tmp_path, wide):
    lines = [wide | line for line in of_ids(*"abcdefg")]
    (tmp_path / "m.jsonl").write_text("\n".join(json.dumps(line) for line in lines))
    assets, _ = assets_of(read(tmp_path / "m.jsonl", None)[0], None)
    parts = [part_of(assets, f"{number}/3", []) for number in (1, 2, 3)]
    assert sorted(asset.id for part in parts for asset in part) == list("abcdefg")
    assert [asset.id for asset in part_of(assets, "2-3,7", [])] == ["b", "c", "g"]
    for wrong in ("0/3", "4/3", "6-8", "0-2", "3-2", "x"):
        assert batch(*of_ids(*"abcdefg"), arguments=["--chunk", wrong, "--dry-run"]) == 2


@contextlib.contextmanager
def started(tmp_path, wide, lines, arguments=()):
    manifest = tmp_path / "m.jsonl"
    rows = [wide | line for line in lines]
    manifest.write_text("\n".join(json.dumps(row) for row in rows))
    command = [sys.executable, "-m", "syncsde_engine", "batch", str(manifest), "--json"]
    command += ["--output", str(tmp_path / "out"), *arguments]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True) as process:
        yield process


@pytest.mark.skipif(os.name != "posix", reason="signals of Windows are others")
def test_ctrl_c_finishes_the_asset_at_hand_and_a_second_stops_at_once(batch, tmp_path, wide):
    lines = [line | {"steps": 30} for line in of_ids("a", "b", "c")]
    assert batch(*lines, output="whole") == 0
    with started(tmp_path, wide, lines) as process:
        for line in process.stdout:
            if '"step": 3,' in line:
                process.send_signal(signal.SIGINT)
                break
        rest = process.stdout.read()
        assert "Ctrl-C again" in process.stderr.read()
    assert process.returncode == 5
    assert json.loads(rest.splitlines()[-1]) == {
        "event": "done",
        "output": str(tmp_path / "out"),
        "counts": {"done": 1},
        "left": 2,
    }
    with started(tmp_path, wide, lines, ["--resume"]) as process:
        for line in process.stdout:
            if '"asset": "b"' in line and '"step": 3,' in line:
                process.send_signal(signal.SIGINT)
                assert "Ctrl-C again" in process.stderr.readline()
                process.send_signal(signal.SIGINT)
                break
        assert '"state": "done"' not in process.stdout.read()
    assert process.returncode == 5
    assert not (tmp_path / "out" / "b").exists()
    with started(tmp_path, wide, lines, ["--resume"]) as process:
        for line in process.stdout:
            if '"asset": "b"' in line and '"step": 3,' in line:
                process.kill()
                break
        process.stdout.read()
    assert record(tmp_path / "out" / "b")["state"] == "started"
    with started(tmp_path, wide, lines, ["--resume"]) as process:
        process.communicate()
    assert process.returncode == 0
    assert made(tmp_path / "out") == made(tmp_path / "whole")
    assert not list((tmp_path / "out").rglob(".*"))
