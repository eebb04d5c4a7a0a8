# SPDX-License-Identifier: GPL-3.0-or-later
"""`syncsde compare`: the cross product of variants and seeds, one sheet and one table."""

import io
import json

import pytest
import torch
from PIL import Image

from syncsde_engine import config
from syncsde_engine.cli import main, table
from syncsde_engine.method.strategies import SyncSDE
from syncsde_engine.models.stable_diffusion import StableDiffusion
from tests import meshes

WIDE = ["--prompt", "moss", "--width", "128", "--patch-size", "64", "--stride", "0.5"]
ALL = ["syncsde", "synctweedies", "multidiffusion", "visual-anagrams", "syncmvd", "independent"]


@pytest.fixture
def compare(tiny_model, tmp_path):
    def compare(*arguments, task="wide", given=WIDE):
        fixed = ["--model", str(tiny_model), "--steps", "2", "--guidance-scale", "2"]
        return main(
            ["compare", task, *given, *fixed, "--output", str(tmp_path / "out"), *arguments]
        )

    return compare


def read(tmp_path):
    return json.loads((tmp_path / "out" / "compare.json").read_text())


def sheet_size(tmp_path):
    content = (tmp_path / "out" / "compare.png").read_bytes()
    return Image.open(io.BytesIO(content)).size


def test_strategies_times_seeds(compare, tmp_path, capsys):
    assert compare("--strategies", "syncsde,independent", "--seeds", "4,5") == 0
    told = read(tmp_path)
    runs = [(run["variant"], run["seed"], run["folder"]) for run in told["runs"]]
    assert runs == [
        ("syncsde", 4, "syncsde/seed-4"),
        ("syncsde", 5, "syncsde/seed-5"),
        ("independent", 4, "independent/seed-4"),
        ("independent", 5, "independent/seed-5"),
    ]
    reports = [
        json.loads((tmp_path / "out" / folder / "report.json").read_text()) for *_, folder in runs
    ]
    assert [(r["strategy"], r["seed"]) for r in reports] == [run[:2] for run in runs]
    for run, report in zip(told["runs"], reports, strict=True):
        assert run["disagreement"] == report["disagreement"]
        assert run["network_evaluations"] == report["network_evaluations"]
    first, second = (r["disagreement"] for r in reports[:2])
    assert told["variants"][0]["disagreement"] == pytest.approx((first + second) / 2)
    assert told["variants"][0]["network_evaluations"]["unet"] == 3 * 2 * 2
    markdown = (tmp_path / "out" / "compare.md").read_text()
    assert f"{(first + second) / 2:.4f}" in markdown
    out = capsys.readouterr().out
    assert "| independent" in out
    assert "| independent" in markdown
    assert {path.name for path in (tmp_path / "out" / "syncsde" / "seed-4").iterdir()} == {
        "image.png",
        "report.json",
    }


def test_a_run_of_a_comparison_is_the_run_on_its_own(compare, tiny_model, tmp_path):
    assert compare("--strategies", "syncsde,syncmvd", "--seeds", "4,5") == 0
    alone = ["--model", str(tiny_model), "--steps", "2", "--guidance-scale", "2", "--seed", "5"]
    output = ["--strategy", "syncmvd", "--output", str(tmp_path / "alone")]
    assert main(["wide", *WIDE, *alone, *output]) == 0
    compared = tmp_path / "out" / "syncmvd" / "seed-5" / "image.png"
    assert compared.read_bytes() == (tmp_path / "alone" / "image.png").read_bytes()


def test_the_sheet_has_a_row_for_each_variant_and_a_column_for_each_seed(compare, tmp_path):
    sizes = {}
    for name, arguments in {
        "one": ["--strategies", "syncsde"],
        "beside": ["--strategies", "syncsde,independent,syncmvd"],
        "rows": ["--strategies", "syncsde,independent,syncmvd", "--seeds", "1,2"],
    }.items():
        assert compare(*arguments) == 0
        sizes[name] = sheet_size(tmp_path)
    (width, height), (title, gap) = sizes["one"], (20, 4)
    assert sizes["beside"] == (gap + 3 * (width - gap), height), "one seed: room for three"
    assert sizes["rows"] == (gap + 2 * (width - gap), title + 3 * (height - title))
    assert width - 2 * gap == 512, "the picture, 2 : 1"


def test_inverse_lambdas(compare, tmp_path):
    assert compare("--inverse-lambdas", "0,0.5,5") == 0
    told = read(tmp_path)
    assert [row["variant"] for row in told["variants"]] == [
        "1/lambda = 0",
        "1/lambda = 0.5",
        "1/lambda = 5",
    ]
    folder = tmp_path / "out" / "inverse-lambda-0.5" / "seed-0"
    parameters = json.loads((folder / "report.json").read_text())["parameters"]
    assert parameters["inverse_lambda"] == 0.5


def test_all_strategies_of_a_task_by_default(compare, tmp_path):
    assert compare() == 0
    assert [row["variant"] for row in read(tmp_path)["variants"]] == ALL


def test_editing_has_its_rivals(compare, tmp_path):
    image = tmp_path / "image.png"
    Image.new("RGB", (64, 64), "teal").save(image)
    given = [str(image), "--source-prompt", "a cat", "--prompt", "a dog", "--size", "64"]
    assert compare("--strategies", "ddib,sdedit", task="edit", given=given) == 0
    assert [row["variant"] for row in read(tmp_path)["variants"]] == ["ddib", "sdedit"]
    with pytest.raises(SystemExit):
        main(["compare", "edit", "--help"])


def test_a_texture_is_shown_with_three_views(compare, tmp_path):
    mesh = meshes.save_obj_with_uvs(tmp_path / "ball.obj")
    given = [str(mesh), "--prompt", "moss", "--view-size", "64", "--texture-size", "64"]
    assert compare("--strategies", "syncsde", task="texture", given=given) == 0
    assert sheet_size(tmp_path)[0] == 4 + 4 * 256 + 4
    assert (tmp_path / "out" / "syncsde" / "seed-0" / "textured.glb").exists()


def test_the_model_is_loaded_once(compare, monkeypatch):
    loaded = []
    load = StableDiffusion.load

    def counted(*arguments, **options):
        loaded.append(arguments)
        return load(*arguments, **options)

    from syncsde_engine.models import loading

    monkeypatch.setattr(loading, "_last", [])
    monkeypatch.setattr(StableDiffusion, "load", counted)
    assert compare("--strategies", "syncsde,independent", "--seeds", "1,2") == 0
    assert len(loaded) == 1


@pytest.fixture
def exploding(monkeypatch):
    """SyncSDE with a strong pull leaves all bounds in its second step."""
    advance = SyncSDE.advance

    def explode(self, y, eps, step, coupling, fresh):
        bad = step.index == 1 and self.inverse_lambda > 4
        return advance(self, y, eps, step, coupling, fresh) * (torch.nan if bad else 1)

    monkeypatch.setattr(SyncSDE, "advance", explode)


@pytest.mark.usefixtures("exploding")
def test_a_run_that_is_not_finite_is_told_and_the_others_go_on(compare, tmp_path, capsys):
    assert compare("--inverse-lambdas", "1,5") == 6
    told = read(tmp_path)
    assert told["runs"][1] == {
        "variant": "1/lambda = 5",
        "seed": 0,
        "error": "not finite at step 2",
    }
    assert told["runs"][0]["disagreement"] > 0
    assert "seed 0: not finite at step 2" in (tmp_path / "out" / "compare.md").read_text()
    assert "not finite at step 2" in capsys.readouterr().out
    assert not (tmp_path / "out" / "inverse-lambda-5").exists()


@pytest.mark.usefixtures("exploding")
def test_if_none_is_finite_the_comparison_fails(compare, tmp_path, capsys):
    assert compare("--inverse-lambdas", "5,6") == 1
    assert "not finite after step 2 of 2" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_states_are_kept_with_each_run(compare, tmp_path):
    assert compare("--inverse-lambdas", "0,5", "--save-latents", "l.st", "--trace", "states") == 0
    for variant in ("inverse-lambda-0", "inverse-lambda-5"):
        folder = tmp_path / "out" / variant / "seed-0"
        assert (folder / "l.st").is_file()
        assert (folder / "states" / "step_001.safetensors").is_file()


def test_progress_names_variant_and_seed(compare, capsys):
    assert compare("--strategies", "syncsde", "--seeds", "3", "--json") == 0
    events = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert {(event["variant"], event["seed"]) for event in events[:-1]} == {("syncsde", 3)}
    assert events[-1]["event"] == "done"
    assert events[-1]["variants"][0]["variant"] == "syncsde"


WRONG = {
    "both": (["--strategies", "syncsde", "--inverse-lambdas", "3"], "--inverse-lambdas"),
    "unknown strategy": (["--strategies", "syncsde,magic"], "magic"),
    "rival of another task": (["--strategies", "ddib"], "ddib"),
    "no number": (["--inverse-lambdas", "3,x"], "'x'"),
    "negative": (["--inverse-lambdas", "0,-1"], "-1"),
    "empty": (["--strategies", ""], "empty"),
    "seed twice": (["--seeds", "1,2", "--seed", "3"], "--seeds"),
    "lambdas of another strategy": (
        ["--inverse-lambdas", "1,2", "--strategy", "syncmvd"],
        "syncmvd",
    ),
    "missing noise": (["--noise", "nowhere.safetensors"], "nowhere"),
}


@pytest.mark.parametrize(("arguments", "named"), WRONG.values(), ids=WRONG.keys())
def test_wrong_usage_is_one_sentence(compare, tmp_path, capsys, arguments, named):
    assert compare(*arguments) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert named in error
    assert not (tmp_path / "out").exists()


def result(variant, seed, disagreement, unet):
    timings = {"load": 5.0, "total": 12.0, "network": 4.0}
    evaluations = {"unet": unet, "vae_decoder": 1, "controlnet": 0}
    report = {
        "disagreement": disagreement,
        "network_evaluations": evaluations,
        "timings": timings,
    }
    return table.Result(variant, seed, "folder", report, None)


def test_the_table_by_hand():
    results = [
        result("a", 1, 0.25, 10),
        result("a", 2, 0.75, 10),
        result("longer", 1, None, 4),
        table.Result("longer", 2, None, None, 3),
    ]
    assert table.markdown(results).splitlines() == [
        "| variant | disagreement | UNet | VAE decoder | seconds | in networks | "
        "                      failed |",
        "| ------- | -----------: | ---: | ----------: | ------: | ----------: | "
        "---------------------------: |",
        "| a       |       0.5000 |   10 |           1 |     7.0 |         4.0 | "
        "                             |",
        "| longer  |            - |    4 |           1 |     7.0 |         4.0 | "
        "seed 2: not finite at step 3 |",
    ]


def test_every_task_can_be_compared(capsys):
    for task in config.CONFIGS:
        with pytest.raises(SystemExit) as left:
            main(["compare", task, "--help"])
        assert left.value.code == 0
        assert "--inverse-lambdas" in capsys.readouterr().out


def test_a_picture_as_wide_as_it_is_tall_is_shown_at_256_pixels():
    from syncsde_engine.cli import sheet

    file = io.BytesIO()
    Image.new("RGB", (50, 50)).save(file, "PNG")
    assert sheet.picture({"image.png": file.getvalue()}).shape == (256, 256, 3)
