# SPDX-License-Identifier: GPL-3.0-or-later
"""Folders of models that somebody else wrote: what makes no sense is one sentence."""

from __future__ import annotations

import json
import shutil

import pytest
import torch

from syncsde_engine.errors import MissingWeights
from syncsde_engine.models import loading
from syncsde_engine.models.folder import class_name

STRANGE = {
    "layers without end": ("text_encoder/config.json", {"num_hidden_layers": 1_000_000}),
    "blocks without end": ("unet/config.json", {"layers_per_block": 1_000_000}),
    "huge width": ("text_encoder/config.json", {"hidden_size": 10**12}),
    "code of a hub": ("text_encoder/config.json", {"_attn_implementation": "evil/kernel"}),
    "other code": ("text_encoder/config.json", {"auto_map": {"AutoModel": "evil--x.Y"}}),
    "quantized": ("unet/config.json", {"quantization_config": {"quant_method": "bitsandbytes"}}),
    "nested": ("unet/config.json", {"block_out_channels": {"a": {"b": 1}}}),
    "class that is a list": ("unet/config.json", {"_class_name": ["UNet2DConditionModel"]}),
    "steps below zero": ("scheduler/scheduler_config.json", {"num_train_timesteps": -5}),
    "steps without end": ("scheduler/scheduler_config.json", {"num_train_timesteps": 10**12}),
    "no beta": ("scheduler/scheduler_config.json", {"beta_start": None}),
    "beta that is text": ("scheduler/scheduler_config.json", {"beta_end": "0.1"}),
    "beta above one": ("scheduler/scheduler_config.json", {"beta_end": 7}),
}


def changed(tiny_model, tmp_path, name, fields):
    folder = shutil.copytree(tiny_model, tmp_path / "model")
    path = folder / name
    path.write_text(json.dumps(json.loads(path.read_text()) | fields))
    return folder


@pytest.fixture(autouse=True)
def forget():
    loading._last.clear()
    yield
    loading._last.clear()


@pytest.mark.parametrize("name", STRANGE)
def test_strange_fields_are_refused(tiny_model, tmp_path, name):
    folder = changed(tiny_model, tmp_path, *STRANGE[name])
    with pytest.raises(MissingWeights) as raised:
        loading.load(folder, torch.device("cpu"))
    assert str(raised.value).count("\n") == 0
    assert "Traceback" not in str(raised.value)


@pytest.mark.parametrize("value", [["a"], {"a": 1}, 1, None])
def test_a_class_that_is_no_name(tmp_path, value):
    (tmp_path / "model_index.json").write_text(json.dumps({"_class_name": value}))
    with pytest.raises(MissingWeights):
        class_name(tmp_path)


def test_a_tokenizer_that_was_not_told_its_window(tiny_model, tmp_path):
    """1e30 is what transformers writes then."""
    name = "tokenizer/tokenizer_config.json"
    folder = changed(tiny_model, tmp_path, name, {"model_max_length": int(1e30)})
    model = loading.load(folder, torch.device("cpu"))
    loading._last.clear()
    known = loading.load(tiny_model, torch.device("cpu"))
    assert torch.equal(model.encode_prompts(["moss"]), known.encode_prompts(["moss"]))
