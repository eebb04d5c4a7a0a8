# SPDX-License-Identifier: GPL-3.0-or-later
"""The command for a lent GPU, rehearsed on this machine at the smallest size."""

import importlib.util
import json
import subprocess
from pathlib import Path

import pytest
import torch

ROOT = Path(__file__).resolve().parents[2]

pytestmark = pytest.mark.filterwarnings("ignore")  # of diffusers and transformers, about each other


@pytest.fixture(scope="module")
def tool():
    spec = importlib.util.spec_from_file_location("gpu_tool", ROOT / "tools" / "gpu.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    import sys

    sys.modules["gpu_tool"] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def stay(tool, tmp_path_factory):
    output = tmp_path_factory.mktemp("stay")
    torch.set_num_threads(1)
    assert tool.main(["--minutes", "3", "--output", str(output), "--tiny", "--skip-checks"]) == 0
    return output


def test_a_stay_leaves_a_model_in_parts_and_a_report(stay):
    report = json.loads((stay / "report.json").read_text())
    assert report["decoder"] == "finished"
    assert report["joint_step"] >= 1
    assert report["minutes_used"] < 3
    assert report["parts"] == sorted(path.name for path in stay.glob("*.part*"))
    assert all((stay / name).stat().st_size < 16e6 for name in report["parts"])
    packed = b"".join((stay / name).read_bytes() for name in report["parts"])
    (stay / "whole.tar").write_bytes(packed)
    subprocess.run(["tar", "xf", "whole.tar"], cwd=stay, check=True)
    assert (stay / "mini" / "unet" / "config.json").is_file()


def test_the_next_stay_goes_on_from_it(tool, stay, tmp_path):
    if not (stay / "mini").is_dir():
        test_a_stay_leaves_a_model_in_parts_and_a_report(stay)
    output = tmp_path / "next"
    options = ["--minutes", "3", "--tiny", "--skip-checks", "--output", str(output)]
    assert tool.main([*options, "--from", str(stay / "mini")]) == 0
    report = json.loads((output / "report.json").read_text())
    assert "unet" not in report
    assert "autoencoder" not in report
    assert report["joint_step"] >= 1


def test_a_stay_goes_on_from_a_snapshot(tool, stay, tmp_path):
    from training.snapshot import take_snapshot

    stage, step = take_snapshot(stay / "run", tmp_path / "snapshot")
    assert stage == "joint"
    output = tmp_path / "next"
    options = ["--minutes", "3", "--tiny", "--skip-checks", "--output", str(output)]
    assert tool.main([*options, "--snapshot", str(tmp_path / "snapshot")]) == 0
    report = json.loads((output / "report.json").read_text())
    assert "autoencoder" not in report
    assert report["joint_step"] >= step


def test_figures_of_networks_are_taken(tool):
    figures = tool.pace(torch.device("cpu"), True, 0.0)
    assert figures["size"] == 64


def test_a_data_set_that_is_not_complete_is_cut(tool, smoke_plan, tmp_path):
    (tmp_path / "renders").mkdir()
    for shard in (0, 1, 3):
        (tmp_path / "renders" / f"scenes-{shard:04}.json").write_text("[]")
    assert tool.cut_to_rendered(smoke_plan, tmp_path).images == 2 * smoke_plan.shard
