# SPDX-License-Identifier: GPL-3.0-or-later
"""The add-on's properties are the fields of the engine's texture task, read without Blender."""

import ast
import dataclasses
import math
import types
import typing
from pathlib import Path

import pytest

from syncsde_engine.config import TextureConfig, build, schema

SOURCE = Path(__file__).resolve().parents[2] / "blender_addon" / "properties.py"
KINDS = {
    str: "StringProperty",
    int: "IntProperty",
    float: "FloatProperty",
    bool: "BoolProperty",
}


def read_source():
    """Return name -> (kind, keywords) of the properties, and the values that mean null."""
    properties, unset = {}, {}
    for node in ast.parse(SOURCE.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.AnnAssign) and getattr(node.target, "id", "") == "UNSET":
            unset = ast.literal_eval(node.value)
        if isinstance(node, ast.ClassDef) and node.name == "TextureParameters":
            for field in node.body:
                if isinstance(field, ast.AnnAssign):
                    call = field.annotation
                    keywords = {k.arg: ast.literal_eval(k.value) for k in call.keywords}
                    properties[field.target.id] = (call.func.id, keywords)
    return properties, unset


PROPERTIES, UNSET = read_source()
FIELDS = {field.name: field for field in dataclasses.fields(TextureConfig)}
HINTS = typing.get_type_hints(TextureConfig)


def accepts(name, value):
    try:
        build("texture", {"prompt": "moss", name: value})
    except Exception:
        return False
    return True


def test_same_names_in_the_same_order():
    assert list(PROPERTIES) == list(FIELDS)


@pytest.mark.parametrize("name", PROPERTIES)
def test_kind_and_default_are_the_engines(name):
    kind, keywords = PROPERTIES[name]
    hint = HINTS[name]
    if typing.get_origin(hint) is typing.Literal:
        assert kind == "EnumProperty"
        assert [item[0] for item in keywords["items"]] == list(typing.get_args(hint))
    else:
        unions = (types.UnionType, typing.Union)
        options = typing.get_args(hint) if typing.get_origin(hint) in unions else (hint,)
        assert kind in {KINDS[option] for option in options if option in KINDS}
    default = None if UNSET.get(name, ...) == keywords["default"] else keywords["default"]
    if name != "prompt":  # the one field that has no default in the engine
        assert default == FIELDS[name].default


@pytest.mark.parametrize("name", PROPERTIES)
def test_ends_of_the_range_are_valid_in_the_engine(name):
    _, keywords = PROPERTIES[name]
    for end in ("min", "max", "soft_min", "soft_max"):
        if end in keywords and keywords[end] != UNSET.get(name, ...):
            assert accepts(name, keywords[end])
    assert accepts(name, None) == (name in UNSET)
    limits = schema("texture")["properties"][name]
    limits = next((o for o in limits.get("anyOf", [limits]) if o.get("type") != "null"), limits)
    if "maximum" in limits and name != "seed":
        assert keywords["max"] == limits["maximum"]
    if "minimum" in limits:
        assert keywords["min"] == UNSET.get(name, limits["minimum"])
    if "maxLength" in limits:
        assert keywords["maxlen"] == limits["maxLength"]


def test_values_that_mean_null_are_no_values_of_their_own():
    for name, value in UNSET.items():
        if isinstance(value, str):
            assert value == ""
        else:
            assert math.isfinite(value)
            assert not accepts(name, value)


@pytest.mark.parametrize("name", PROPERTIES)
def test_labels_and_descriptions_follow_blenders_style(name):
    _, keywords = PROPERTIES[name]
    assert all(word[0].isupper() or word == "nvdiffrast" for word in keywords["name"].split())
    assert keywords["description"][0].isupper()
    assert not keywords["description"].endswith(".")
