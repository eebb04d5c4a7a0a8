# SPDX-License-Identifier: GPL-3.0-or-later
"""The command line as a user meets it: files, exit codes, one sentence for whatever is wrong."""

import dataclasses
import io
import json
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from PIL import Image

from syncsde_engine.cli import main, parser, read_inputs
from syncsde_engine.config import CONFIGS
from syncsde_engine.errors import InvalidRequest
from syncsde_engine.mesh.files.io import from_safetensors
from syncsde_engine.models.stable_diffusion import StableDiffusion
from syncsde_engine.request import build
from tests import meshes

SMALL = ["--prompt", "moss", "--steps", "2", "--view-size", "64", "--texture-size", "64"]


@pytest.fixture
def obj(tmp_path):
    return meshes.save_obj_with_uvs(tmp_path / "ball.obj")


@pytest.fixture
def texture(tiny_model, tmp_path, obj):
    def texture(*arguments, mesh=obj, output=tmp_path / "out"):
        model = [] if "--model" in arguments else ["--model", str(tiny_model)]
        return main(["texture", str(mesh), *SMALL, *model, "--output", str(output), *arguments])

    return texture


@pytest.mark.parametrize("suffix", [".obj", ".glb", ".ply", ".stl"])
def test_every_format_gives_a_textured_mesh(texture, tmp_path, suffix):
    mesh = meshes.save(tmp_path / f"plain{suffix}")
    assert texture(mesh=mesh) == 0
    files = {path.name for path in (tmp_path / "out").iterdir()}
    expected = {"texture.png", "textured.glb", "views", "contact_sheet.png", "report.json"}
    assert files == expected | ({"textured.obj", "textured.mtl"} if suffix == ".obj" else set())


@pytest.mark.parametrize("size", [1e-30, 1e30])
def test_no_scale_is_too_small_or_too_large(texture, tmp_path, size):
    corners = [(0, 0, 0), (size, 0, 0), (0, size, 0), (0, 0, size)]
    lines = [f"v {x} {y} {z}" for x, y, z in corners]
    mesh = tmp_path / "odd.obj"
    mesh.write_text("\n".join([*lines, "f 1 3 2", "f 1 2 4", "f 2 3 4", "f 1 4 3"]))
    assert texture(mesh=mesh) == 0
    assert json.loads((tmp_path / "out" / "report.json").read_text())["coverage"]["seen"] > 0.5


def test_a_prompt_for_a_part_is_a_flag_or_a_field(texture, tmp_path, capsys):
    job = tmp_path / "job.json"
    job.write_text(json.dumps({"prompt_for": [["ball", "gold"]]}))
    assert texture("--prompt-for", "ball", "gold") == 0
    flag = (tmp_path / "out" / "texture.png").read_bytes()
    assert texture("--job", str(job)) == 0
    assert (tmp_path / "out" / "texture.png").read_bytes() == flag
    assert texture("--prompt-for", "bal", "gold") == 2
    assert "Do you mean 'ball'?" in capsys.readouterr().err


def test_a_finished_texture_is_gone_on_with(texture, tmp_path, capsys):
    """The mesh of the first run is the input of the second, whose job file says the rest."""
    first, mask = tmp_path / "out", tmp_path / "mask.png"
    assert texture() == 0
    half = Image.new("L", (64, 64), 255)
    half.paste(0, (0, 0, 64, 32))
    half.save(mask)
    (tmp_path / "job.json").write_text(json.dumps({"prompt": "rust", "texture_size": 64}))
    keep = ["--keep", str(first / "texture.png"), "--keep-mask", str(mask)]
    more = [*keep, "--job", str(tmp_path / "job.json")]
    assert texture(*more, mesh=first / "textured.glb", output=tmp_path / "second") == 0
    old, new = (
        np.asarray(Image.open(folder / "texture.png")) for folder in (first, tmp_path / "second")
    )
    assert (old[32:] == new[32:]).all()
    assert (old[:32] != new[:32]).any()
    report = json.loads((tmp_path / "second" / "report.json").read_text())
    assert report["kept"] == {"compared": 64 * 32, "changed": 0}
    mask.write_text("no picture")
    assert texture(*keep, mesh=first / "textured.glb") == 2
    assert "mask.png'" in capsys.readouterr().err


def test_json_lines_tell_the_progress(texture, capsys):
    assert texture("--json") == 0
    events = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert events[0] == {"event": "progress", "stage": "load", "step": 0, "total": 1}
    assert events[-1]["event"] == "done"
    assert events[-1]["disagreement"] > 0


IMAGE_TASKS = {
    "wide": ("--prompt moss --width 96 --patch-size 64", {"image.png"}),
    "mask": (
        "--background sea --foreground a --foreground b --prompt c --size 64 "
        "--mask left.png --mask top.png",
        {"image.png"},
    ),
    "edit": (
        "image.png --source-prompt cat --prompt dog --size 64 --mask left.png",
        {"image.png", "mask.png", "reconstruction.png", "sheet.png"},
    ),
    "ambiguous": (
        "--prompt a --prompt b --transform flip --size 64",
        {"image.png", "views", "sheet.png"},
    ),
}


@pytest.fixture
def image_task(tiny_model, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    left = Image.new("L", (64, 64))
    left.paste(255, (0, 0, 32, 64))
    left.save("left.png")
    left.transpose(Image.Transpose.ROTATE_90).save("top.png")
    Image.new("RGB", (64, 64), "teal").save("image.png")

    def image_task(task, *arguments):
        own, _ = IMAGE_TASKS[task]
        fixed = ["--model", str(tiny_model), "--steps", "2", "--output", "out"]
        return main([task, *own.split(), *fixed, *arguments])

    return image_task


@pytest.mark.parametrize("task", IMAGE_TASKS)
def test_an_image_task_writes_an_image_and_tells_of_it(image_task, tmp_path, capsys, task):
    assert image_task(task, "--json") == 0
    files = {path.name for path in (tmp_path / "out").iterdir()}
    assert files == IMAGE_TASKS[task][1] | {"report.json"}
    done = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert set(done) == {"event", "output", "disagreement", "timings"}
    assert done["disagreement"] > 0
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    assert (report["task"], report["seed"], report["strategy"]) == (task, 0, "syncsde")
    assert report["network_evaluations"]["unet"] > 0
    assert report["peak_memory_bytes"] != 0


def test_the_summary_names_the_picture(image_task, capsys):
    assert image_task("wide") == 0
    (line,) = capsys.readouterr().out.splitlines()
    assert line.startswith(os.path.join("out", "image.png") + ": ")
    assert "disagreement" in line


def test_masks_and_foregrounds_go_in_pairs(image_task, capsys):
    assert image_task("mask", "--mask", "top.png") == 2
    assert "2 foregrounds and 3 masks" in capsys.readouterr().err


def test_a_picture_that_is_none_is_named(image_task, tmp_path, capsys):
    (tmp_path / "top.png").write_text("no picture")
    assert image_task("mask") == 2
    error = capsys.readouterr().err
    assert "'top.png'" in error
    assert "not a PNG, JPEG, WebP or TIFF" in error
    assert not (tmp_path / "out").exists()


def test_a_finished_run_is_extended_by_its_folder(image_task, tmp_path):
    assert image_task("wide") == 0
    assert image_task("wide", "--width", "160", "--extend", "out", "--output", "wider") == 0
    assert image_task("wide", "--width", "160", "--extend", "out/image.png") == 0
    wider = (tmp_path / "wider" / "image.png").read_bytes()
    assert wider == (tmp_path / "out" / "image.png").read_bytes()
    assert Image.open(io.BytesIO(wider)).size == (160, 64)


def test_flags_of_several_values(image_task, tmp_path):
    assert image_task("wide", "--prompt-at", "32", "sand", "--prompt-at", "64", "sea") == 0
    parameters = json.loads((tmp_path / "out" / "report.json").read_text())["parameters"]
    assert parameters["prompt_at"] == [[32, "sand"], [64, "sea"]]


@pytest.mark.parametrize("task", CONFIGS)
def test_every_field_has_a_flag_and_is_explained(capsys, task):
    with pytest.raises(SystemExit) as left:
        parser().parse_args([task, "--help"])
    assert left.value.code == 0
    text = capsys.readouterr().out
    for field in dataclasses.fields(CONFIGS[task]):
        assert f"  --{field.name.replace('_', '-')}" in text
    assert text.index(f"\n{task}:") < text.index("\nsampling:") < text.index("\nfiles:")
    assert max(len(line) for line in text.splitlines()[2:]) < 120


EARLY = [
    ["wide", "--prompt", ""],
    ["wide", "--prompt", "a", "--steps", "0"],
    ["wide", "--prompt", "a", "--strategy", "magic"],
    ["wide", "--prompt", "a", "--noise", "nowhere"],
    ["wide", "--prompt", "a", "--extend", "nowhere"],
    ["wide", "--prompt", "a", "--save-latents", "."],
    ["wide", "--prompt", "a", "--prompt-at", "left", "b"],
    ["ambiguous", "--prompt", "a", "--prompt", "b", "--transform", "turn"],
    ["ambiguous", "--prompt", "a", "--transform", "flip"],
    ["edit", "nowhere.png", "--source-prompt", "a", "--prompt", "b"],
    ["edit", ".", "--source-prompt", "a", "--prompt", "b"],
    ["mask", "--background", "a", "--foreground", "b", "--prompt", "c"],
    ["mask", "--background", "a", "--foreground", "b", "--prompt", "c", "--mask", "nowhere"],
    ["mask", "--background", "a", "--prompt", "c", "--mask", "nowhere"],
    ["texture", "nowhere.obj", "--prompt", "a"],
    ["compare", "wide", "--prompt", "a", "--strategies", "magic"],
]


def test_what_is_wrong_on_the_command_line_is_told_before_torch_is_imported(tmp_path):
    program = f"""if True:
        import sys
        from syncsde_engine.cli import main
        for arguments in {EARLY!r}:
            assert main([*arguments, "--output", "out"]) == 2, arguments
        assert "torch" not in sys.modules
    """
    run = subprocess.run(
        [sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, timeout=120
    )
    assert run.returncode == 0, run.stderr
    sentences = run.stderr.splitlines()
    assert len(sentences) == len(EARLY)
    assert not list(tmp_path.iterdir())


SENTENCES = [
    ("edit", {"source_prompt": "a"}, "prompt is missing."),
    ("mask", {"prompt": "a"}, "background, foreground are missing."),
    ("edit", {"source_prompt": "a", "prompt": " "}, "prompt is empty."),
    ("wide", {"prompt": "a", "steps": "3"}, "steps must be a whole number (got '3')."),
    ("wide", {"prompt": "a", "steps": 2.5}, "steps must be a whole number (got 2.5)."),
    ("wide", {"prompt": "a", "wrap": 1}, "wrap must be true or false (got 1)."),
    ("wide", {"prompt": "a", "eta": 2}, "eta must be at most 1 (got 2)."),
    ("wide", {"prompt": "a", "stride": 0.0}, "stride must be more than 0 (got 0.0)."),
    ("wide", {"prompt": "a", "patch_size": 65}, "patch_size must be a multiple of 8 (got 65)."),
    ("wide", {"prompt": "a", "device": "gpu"}, "device cannot be 'gpu'."),
    ("wide", {"prompt": "a", "sampler": "euler"}, "sampler cannot be 'euler'."),
    ("wide", {"prompt": "a" * 2001}, "prompt has 2001 characters, and at most 2000 are taken."),
    ("wide", {"prompt": "a", "prompt_at": [[0, ""]]}, "prompt_at[0][1] is empty."),
    ("wide", {"prompt": "a", "prompt_at": 3}, "prompt_at must be a list (got 3)."),
    ("texture", {"prompt": "a", "viewpoints": [3]}, "viewpoints[0] must be a JSON object (got 3)."),
    ("texture", {"prompt": "a", "viewpoints": [{}]}, "viewpoints[0].position is missing."),
    (
        "texture",
        {"prompt": "a", "viewpoints": [{"position": [1, 2, "3"]}]},
        "viewpoints[0].position[2] must be a number (got '3').",
    ),
    (
        "texture",
        {"prompt": "a", "viewpoints": [{"position": [1, 2, 3], "zoom": 2}]},
        "There is no viewpoints[0].zoom.",
    ),
    (
        "texture",
        {"prompt": "a", "viewpoints": [{"position": [1, 2, 3], "fov": 9, "ortho_scale": 2}]},
        "viewpoints[0] has both fov and ortho_scale.",
    ),
    (
        "texture",
        {"prompt": "a", "cameras": 40, "extra_cameras": 30},
        "These are 70 views, and at most 64 are painted together.",
    ),
    (
        "texture",
        {"prompt": "a", "peel": 2},
        "peel is 2, and there are no further views to look through surfaces.",
    ),
    (
        "texture",
        {"prompt": "a", "viewpoints": [{"position": [1, 2, 3], "layer": 8}]},
        "viewpoints[0].layer must be at most 7 (got 8).",
    ),
    (
        "ambiguous",
        {"prompt": ["a"], "transform": ["flip"]},
        "prompt has 1 entry, and at least 2 must be given.",
    ),
]


@pytest.mark.parametrize(("task", "parameters", "sentence"), SENTENCES)
def test_a_wrong_parameter_is_explained_in_plain_words(task, parameters, sentence):
    with pytest.raises(InvalidRequest) as caught:
        build(task, parameters)
    assert caught.value.message == sentence
    assert caught.value.field is not None
    assert caught.value.field.split(".")[0] in {f.name for f in dataclasses.fields(CONFIGS[task])}


def test_cameras_come_from_a_file_of_their_own(texture, tmp_path, capsys):
    file = tmp_path / "cameras.json"
    file.write_text('[{"position": [0, 0, 3]}, {"position": [3, 1, 0], "ortho_scale": 2}]')
    assert texture("--viewpoints", str(file), "--order", "paper", "--aspect", "1.5") == 0
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    assert [camera["direction"] for camera in report["cameras"]] == ["front", "side"]
    assert [camera.get("ortho_scale") for camera in report["cameras"]] == [None, pytest.approx(2)]
    assert report["cameras"][0]["position"] == pytest.approx([0, 0, 3])
    with Image.open(tmp_path / "out" / "views" / "01.png") as view:
        assert view.size == (96, 64)
    for content, named in (("{}", "one JSON list"), ("[", "is not JSON")):
        file.write_text(content)
        assert texture("--viewpoints", str(file)) == 2
        assert named in capsys.readouterr().err
    assert texture("--viewpoints", "nowhere.json") == 2


def test_flags_win_over_the_job_file(texture, tmp_path):
    job = tmp_path / "job.json"
    job.write_text(json.dumps({"steps": 3, "seed": 5, "control_scale": 0.5}))
    assert texture("--job", str(job)) == 0
    parameters = json.loads((tmp_path / "out" / "report.json").read_text())["parameters"]
    assert (parameters["steps"], parameters["seed"], parameters["control_scale"]) == (2, 5, 0.5)


WRONG = {
    "missing mesh": (["--mesh", "nowhere.obj"], 2, "nowhere.obj"),
    "texture size 0": (["--texture-size", "0"], 2, "texture_size"),
    "steps that are no number": (["--steps", "many"], 2, "many"),
    "unknown flag": (["--frobnicate"], 2, "frobnicate"),
    "unknown strategy": (["--strategy", "magic"], 2, "magic"),
    "empty prompt": (["--prompt", ""], 2, "prompt"),
    "unknown model": (["--model", "no-such-model"], 3, "no-such-model"),
    "absent rasterizer": (["--rasterizer", "nvdiffrast"], 3, "nvdiffrast"),
    "prompt of spaces": (["--prompt", "  "], 2, "prompt"),
    "missing job file": (["--job", "nowhere.json"], 2, "nowhere.json"),
}


@pytest.mark.parametrize(("arguments", "code", "named"), WRONG.values(), ids=WRONG.keys())
def test_wrong_input_is_one_sentence(texture, tmp_path, capsys, arguments, code, named):
    options = {}
    if arguments[0] == "--mesh":
        arguments, options = [], {"mesh": tmp_path / arguments[1]}
    assert texture(*arguments, **options) == code
    output = capsys.readouterr()
    assert output.err.count("\n") == 1
    assert named in output.err
    assert "Traceback" not in output.err
    assert not (tmp_path / "out").exists(), "nothing half-written stays"


MESHES = {
    "empty file": "",
    "no faces": "v 0 0 0\nv 1 0 0\nv 0 1 0\n",
    "nan": "v 0 0 nan\nv 1 0 0\nv 0 1 0\nf 1 2 3\n",
    "index out of range": "v 0 0 0\nv 1 0 0\nv 0 1 0\nf 1 2 4\n",
    "beyond single precision": "v 0 0 1e39\nv 1 0 0\nv 0 1 0\nf 1 2 3\n",
    "no area": "v 0 0 0\nv 1 0 0\nv 2 0 0\nf 1 2 3\n",
    "not a mesh": "\x00\x01\x02 f f f",
}


@pytest.mark.parametrize("content", MESHES.values(), ids=MESHES.keys())
def test_a_bad_mesh_is_one_sentence(texture, tmp_path, capsys, content):
    mesh = tmp_path / "bad.obj"
    mesh.write_text(content)
    assert texture(mesh=mesh) == 2
    assert capsys.readouterr().err.count("\n") == 1
    assert not (tmp_path / "out").exists()


JOBS = {
    "wrong type": ({"steps": "3"}, "steps"),
    "bool for a number": ({"seed": True}, "seed"),
    "unknown field": ({"stepz": 3}, "stepz"),
    "pydantic's own name": ({"__dataclass_self__": 3}, "__dataclass_self__"),
    "not a number": ({"inverse_lambda": float("nan")}, "inverse_lambda"),
}


@pytest.mark.parametrize(("job", "named"), JOBS.values(), ids=JOBS.keys())
def test_a_bad_job_is_one_sentence(tmp_path, obj, capsys, job, named):
    path = tmp_path / "job.json"
    path.write_text(json.dumps({"prompt": "moss", **job}))
    arguments = ["texture", str(obj), "--job", str(path), "--output", str(tmp_path / "out")]
    assert main(arguments) == 2
    assert named in capsys.readouterr().err


@pytest.mark.parametrize("content", ["{", "[1]", "\xff", "[" * 100_000])
def test_a_job_that_is_no_json_object(tmp_path, obj, capsys, content):
    path = tmp_path / "job.json"
    path.write_text(content, encoding="latin-1")
    arguments = ["texture", str(obj), "--job", str(path), "--output", str(tmp_path / "out")]
    assert main(arguments) == 2
    assert "job.json" in capsys.readouterr().err


def test_an_output_folder_that_is_a_file(texture, tmp_path, capsys):
    (tmp_path / "taken").write_text("mine")
    assert texture(output=tmp_path / "taken") == 2
    assert "taken" in capsys.readouterr().err
    assert (tmp_path / "taken").read_text() == "mine"


def test_an_output_that_cannot_be_replaced_leaves_all_old_files(texture, tmp_path, capsys):
    output = tmp_path / "out"
    output.mkdir()
    (output / "texture.png").write_text("old")
    (output / "views").write_text("in the way")
    assert texture() == 2
    assert str(output) in capsys.readouterr().err
    assert {path.name: path.read_text() for path in output.iterdir()} == {
        "texture.png": "old",
        "views": "in the way",
    }


def test_an_impossible_output_leaves_no_folders(texture, tmp_path):
    assert texture(output=tmp_path / "a" / ("b" * 300)) == 2
    assert not (tmp_path / "a").exists()


def test_old_results_are_replaced(texture, tmp_path):
    assert texture() == 0
    before = (tmp_path / "out" / "texture.png").read_bytes()
    assert texture("--seed", "3") == 0
    assert (tmp_path / "out" / "texture.png").read_bytes() != before
    assert not [path for path in (tmp_path / "out").iterdir() if path.name.startswith(".")]


@pytest.mark.parametrize(
    "error", [MemoryError(), RuntimeError("DefaultCPUAllocator: can't allocate memory: 9 bytes")]
)
def test_running_out_of_memory_has_its_own_code(texture, monkeypatch, tmp_path, capsys, error):
    def decode(*_):
        raise error

    monkeypatch.setattr(StableDiffusion, "decode", decode)
    assert texture() == 4
    assert "batch_size" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def start(tiny_model, obj, output, *arguments, **options):
    command = [sys.executable, "-m", "syncsde_engine", "texture", str(obj), *SMALL]
    command += ["--model", str(tiny_model), "--output", str(output), "--json", *arguments]
    return subprocess.Popen(
        command, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE, **options
    )


@pytest.mark.skipif(os.name == "nt", reason="file size limits are POSIX")
def test_a_full_disk_leaves_the_old_results_alone(tiny_model, obj, tmp_path):
    import resource

    def limit():  # a write past 5 kB fails like one on a full disk
        resource.setrlimit(resource.RLIMIT_FSIZE, (5_000, 5_000))
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)

    output = tmp_path / "out"
    output.mkdir()
    (output / "texture.png").write_text("old")
    process = start(tiny_model, obj, output, preexec_fn=limit)
    stdout, stderr = process.communicate(timeout=120)
    assert process.returncode == 2, stderr
    error = json.loads(stdout.splitlines()[-1])
    assert (error["event"], error["field"]) == ("error", "output")
    assert {path.name for path in output.iterdir()} == {"texture.png"}
    assert (output / "texture.png").read_text() == "old"


@pytest.mark.skipif(os.name == "nt", reason="signals are POSIX")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_cancelled_run_writes_nothing(tiny_model, obj, tmp_path, number):
    def restore():  # a shell ignores Ctrl-C for what it runs in the background
        signal.signal(signal.SIGINT, signal.SIG_DFL)

    more = ["--trace", str(tmp_path / "trace"), "--save-latents", str(tmp_path / "new" / "latents")]
    process = start(tiny_model, obj, tmp_path / "out", "--steps", "500", *more, preexec_fn=restore)
    assert process.stdout
    for line in process.stdout:
        if '"views"' in line:
            break
    process.send_signal(number)
    started = time.monotonic()
    _, stderr = process.communicate(timeout=60)
    assert process.returncode == 5
    assert time.monotonic() - started < 20
    assert "Traceback" not in stderr
    assert [path.name for path in tmp_path.iterdir()] == [obj.name]


def test_a_name_given_twice_in_a_job_file_is_refused(tmp_path, capsys):
    path = tmp_path / "twice.json"
    path.write_text('{"prompt": "a", "prompt": "b"}')
    assert main(["wide", "--job", str(path), "--output", str(tmp_path / "out")]) == 2
    assert "the name 'prompt' is given twice" in capsys.readouterr().err


def test_a_result_folder_has_a_name(capsys):
    assert main(["wide", "--prompt", "a", "--output", ""]) == 2
    assert "the folder has no name" in capsys.readouterr().err


def test_flags_say_how_a_mesh_file_is_read(tmp_path):
    """A triangle whose last corner is up in the file's z, which PLY has up by default."""
    path = tmp_path / "a.ply"
    path.write_text(
        "ply\nformat ascii 1.0\nelement vertex 3\nproperty float x\nproperty float y\n"
        "property float z\nelement face 1\nproperty list uchar int vertex_indices\nend_header\n"
        "0 0 0\n1 0 0\n0 0 1\n3 0 1 2\n"
    )

    def top(*flags):
        given = ["texture", str(path), "--output", str(tmp_path / "out"), *flags]
        _, blobs = read_inputs(parser().parse_args(given))
        mesh = from_safetensors(blobs["mesh"])
        return mesh.positions[2].tolist(), len(mesh.notes)

    assert top() == ([0, 1, 0], 1)
    assert top("--up", "z") == ([0, 1, 0], 0)
    assert top("--up", "y") == ([0, 0, 1], 0)
    assert top("--up=-z") == ([0, -1, 0], 0)
    assert top("--front=z", "--up=y") == ([0, 0, 1], 0)
    with pytest.raises(InvalidRequest, match="one set of texture coordinates"):
        top("--uv-set", "1")
    with pytest.raises(InvalidRequest, match="--up: invalid choice: 'w'"):
        top("--up", "w")
