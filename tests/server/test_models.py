# SPDX-License-Identifier: GPL-3.0-or-later
"""Which models jobs may name, and what makes a job another one."""

import pytest

from syncsde_client.protocol import JobRequest
from syncsde_engine.errors import MissingWeights
from syncsde_server.commands.doctor import _models
from syncsde_server.models import Models


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "some").mkdir()
    (tmp_path / "some" / "model_index.json").write_text("{}")
    (tmp_path / "film.safetensors").write_bytes(b"1")
    (tmp_path / "film.ckpt").write_bytes(b"1")
    (tmp_path / "notes").mkdir()
    return tmp_path


def test_folders_and_files_of_models_are_offered(folder):
    assert list(Models([folder]).offered()) == ["film.safetensors", "some"]


def test_a_file_that_changes_makes_another_job(folder):
    models = Models([folder])
    asked = JobRequest("wide", {"prompt": "sea", "model": "film.safetensors"})
    models.check(asked)
    before = models.recipe(asked)
    assert models.recipe(asked) == before
    (folder / "film.safetensors").write_bytes(b"12")
    assert models.recipe(asked) != before


def test_paths_are_no_names(folder):
    with pytest.raises(MissingWeights, match=r"takes names, not paths"):
        Models([folder]).check(JobRequest("wide", {"model": str(folder / "film.safetensors")}))


def test_loras_are_named_with_their_weights(folder):
    models = Models([folder])
    (folder / "ink.safetensors").write_bytes(b"1")
    asked = JobRequest("wide", {"prompt": "sea", "lora": "film.safetensors:0.8,ink.safetensors"})
    models.check(asked)
    before = models.recipe(asked)
    (folder / "ink.safetensors").write_bytes(b"12")
    assert models.recipe(asked) != before
    with pytest.raises(MissingWeights, match=r"There is no model 'other\.safetensors'") as raised:
        models.check(JobRequest("wide", {"prompt": "sea", "lora": "other.safetensors:0.8"}))
    assert raised.value.field == "lora"


def test_the_doctor_weighs_files_too(folder):
    (folder / "models").mkdir()
    (folder / "models" / "film.safetensors").write_bytes(bytes(3_000_000))
    found = {finding.name: finding for finding in _models(folder)}
    assert found["model film.safetensors"].state == "ok"
    assert found["model film.safetensors"].found == "3 MB"
