# SPDX-License-Identifier: GPL-3.0-or-later
"""`syncsde models`: what is shipped, and what a model says of itself."""

import json
import shutil

from syncsde_engine.cli import main
from syncsde_engine.models import catalog


def test_mini_is_listed_and_shows_its_card_without_the_header(capsys):
    assert main(["models", "list"]) == 0
    assert capsys.readouterr().out.startswith("mini  ")
    assert main(["models", "show", "mini"]) == 0
    shown = capsys.readouterr().out
    assert shown.startswith("# mini ")
    assert "library_name" not in shown
    assert "## Limits" in shown


def test_programs_get_settings_and_vocabulary(capsys):
    assert main(["models", "show", "mini", "--json"]) == 0
    event = json.loads(capsys.readouterr().out)
    assert event["settings"]["image_size"] == 256
    assert "mossy stone" in event["vocabulary"]["materials"]


def test_a_model_without_a_card_shows_the_settings_it_gets(capsys, tmp_path):
    folder = tmp_path / "bare"
    shutil.copytree(catalog.EMBEDDED["mini"], folder)
    (folder / "README.md").unlink()
    (folder / "syncsde.json").unlink()
    assert main(["models", "show", str(folder)]) == 0
    found, _, settings = capsys.readouterr().out.partition("\n")
    assert found.startswith("Stable Diffusion model, float")
    assert json.loads(settings)["guidance_scale"] == 15.5


def test_an_unknown_model_is_one_sentence(capsys):
    assert main(["models", "show", "nothing-here"]) == 3
    assert "There is no model 'nothing-here'" in capsys.readouterr().err
