# SPDX-License-Identifier: GPL-3.0-or-later
"""The add-on's properties are the fields of the engine's tasks, read without Blender."""

import ast
import dataclasses
import math
import types
import typing
from pathlib import Path

import pytest

from syncsde_engine.config import CONFIGS, TransformName
from syncsde_engine.request import DRAFT, build, schema

ADDON = Path(__file__).resolve().parents[2] / "blender_addon"
KINDS = {
    str: "StringProperty",
    int: "IntProperty",
    float: "FloatProperty",
    bool: "BoolProperty",
}
TASKS = tuple(CONFIGS)
CLASSES = {task: f"{task.capitalize()}Parameters" for task in TASKS}
LINES = {
    "texture": "TextureLines",
    "mask": "MaskLines",
    "wide": "WideLines",
    "ambiguous": "AmbiguousLines",
    "motion": "MotionLines",
}
VALID = {
    "texture": {"prompt": "moss"},
    "mask": {"prompt": "a", "background": "b", "foreground": ["c"]},
    "edit": {"source_prompt": "a", "prompt": "b"},
    "wide": {"prompt": "a"},
    "ambiguous": {"prompt": ["a", "b"], "transform": ["flip"]},
    "motion": {"prompt": ["a"]},
}
# Ends of ranges that need another setting.
BESIDE = {
    ("motion", "frames", "min"): {"overlap": 20},
    ("motion", "overlap", "max"): {"frames": 196},
    ("texture", "peel", "max"): {"extra_cameras": 1},
}


def read_classes():
    """Return class -> name -> (kind, keywords) of its properties, the inherited ones first."""
    classes, constants = {}, {}
    for module in ("sampling", "texture", "image", "scene_image", "motion"):
        for node in ast.parse(
            (ADDON / "properties" / f"{module}.py").read_text(encoding="utf-8")
        ).body:
            if isinstance(node, ast.AnnAssign):
                constants[node.target.id] = ast.literal_eval(node.value)
            if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "TRANSFORMS":
                constants["TRANSFORMS"] = ast.literal_eval(node.value)
            if isinstance(node, ast.ClassDef):
                properties = {}
                for base in node.bases:
                    properties |= classes.get(getattr(base, "id", ""), {})
                for field in node.body:
                    if isinstance(field, ast.AnnAssign):
                        call = field.annotation
                        keywords = {k.arg: value_of(k.value) for k in call.keywords}
                        properties[field.target.id] = (call.func.id, keywords)
                classes[node.name] = properties
    return classes, constants


def value_of(node):
    """A literal, or the source of what is none."""
    try:
        return ast.literal_eval(node)
    except ValueError:
        return ast.unparse(node)


PROPERTIES, CONSTANTS = read_classes()
UNSET = CONSTANTS["UNSET"]
SINGLE = [(task, name) for task in TASKS for name in PROPERTIES[CLASSES[task]]]


def accepts(task, name, value, **other):
    try:
        build(task, {**VALID[task], name: value, **other})
    except Exception:
        return False
    return True


def is_several(hint):
    return typing.get_origin(hint) is tuple


@pytest.mark.parametrize("task", TASKS)
def test_same_names_in_the_same_order(task):
    hints = typing.get_type_hints(CONFIGS[task])
    fields = [field.name for field in dataclasses.fields(CONFIGS[task])]
    assert list(PROPERTIES[CLASSES[task]]) == [
        name for name in fields if not is_several(hints[name])
    ]
    several = list(PROPERTIES[LINES[task]]) if task in LINES else []
    assert several == [name for name in fields if is_several(hints[name])]


def test_several_of_something_are_text_with_a_line_each():
    for name in LINES.values():
        for kind, keywords in PROPERTIES[name].values():
            assert kind == "StringProperty"
            assert keywords["default"] == ""
            assert "one line" in keywords["description"]


@pytest.mark.parametrize(("task", "name"), SINGLE)
def test_kind_and_default_are_the_engines(task, name):
    kind, keywords = PROPERTIES[CLASSES[task]][name]
    hint = typing.get_type_hints(CONFIGS[task])[name]
    if typing.get_origin(hint) is typing.Literal:
        assert kind == "EnumProperty"
        assert [item[0] for item in keywords["items"]] == list(typing.get_args(hint))
    else:
        unions = (types.UnionType, typing.Union)
        options = typing.get_args(hint) if typing.get_origin(hint) in unions else (hint,)
        assert kind in {KINDS[option] for option in options if option in KINDS}
    default = None if UNSET.get(name, ...) == keywords["default"] else keywords["default"]
    if name in VALID[task]:  # these have no default in the engine
        assert default == ""
    else:
        assert default == CONFIGS[task].__dataclass_fields__[name].default


@pytest.mark.parametrize(("task", "name"), SINGLE)
def test_ends_of_the_range_are_valid_in_the_engine(task, name):
    _, keywords = PROPERTIES[CLASSES[task]][name]
    for end in ("min", "max", "soft_min", "soft_max"):
        if end in keywords and keywords[end] != UNSET.get(name, ...):
            value, other = keywords[end], BESIDE.get((task, name, end), {})
            assert accepts(task, name, value, **other)
    assert accepts(task, name, None) == (name in UNSET)
    limits = schema(task)["properties"][name]
    limits = next((o for o in limits.get("anyOf", [limits]) if o.get("type") != "null"), limits)
    if "maximum" in limits and name != "seed":
        assert keywords["max"] == limits["maximum"]
    if "minimum" in limits:
        assert keywords["min"] == UNSET.get(name, limits["minimum"])
    if "exclusiveMinimum" in limits:
        lowest = UNSET.get(name, limits["exclusiveMinimum"] + 0.01)
        assert keywords["min"] == pytest.approx(lowest)
    if "maxLength" in limits:
        # One more, so that what is too long is refused and not cut.
        assert keywords["maxlen"] in (limits["maxLength"], limits["maxLength"] + 1)


def test_values_that_mean_null_are_no_values_of_their_own():
    for task, name in SINGLE:
        value = UNSET.get(name)
        if isinstance(value, str):
            assert value == ""
        elif value is not None:
            assert math.isfinite(value)
            assert not accepts(task, name, value)
    assert set(UNSET) <= {name for _, name in SINGLE}


def test_a_draft_is_the_engines_and_what_is_said_goes_before_it():
    assert CONSTANTS["DRAFT"] == DRAFT
    draft = build("texture", {"prompt": "moss", "quality": "draft", "steps": 20})
    assert (draft.steps, draft.cameras, draft.texture_size) == (20, 6, 512)
    assert build("texture", {"prompt": "moss", "quality": "standard"}).steps == 30


def test_parts_of_the_panel_are_what_the_engine_takes():
    assert [item[0] for item in CONSTANTS["TRANSFORMS"]] == list(typing.get_args(TransformName))
    longest = PROPERTIES["SYNCSDE_PG_change"]["start"][1]
    assert accepts("wide", "prompt_at", [[longest["min"], "a"], [longest["max"], "b"]])
    for name in ("SYNCSDE_PG_foreground", "SYNCSDE_PG_change", "SYNCSDE_PG_view"):
        assert PROPERTIES[name]["prompt"][1]["maxlen"] == 2001


@pytest.mark.parametrize("name", PROPERTIES)
def test_labels_and_descriptions_follow_blenders_style(name):
    for kind, keywords in PROPERTIES[name].values():
        if kind != "CollectionProperty" and not keywords.get("type", "").startswith("SYNCSDE"):
            assert all(word[0].isupper() for word in keywords["name"].split())
            assert keywords["description"][0].isupper()
            assert not keywords["description"].endswith(".")
        items = keywords.get("items", ())
        if items == "catalog.items":  # the pictures' names
            continue
        for _, label, description in CONSTANTS["TRANSFORMS"] if items == "TRANSFORMS" else items:
            assert label[0].isupper() or label == "nvdiffrast"
            assert description[0].isupper()
            assert not description.endswith(".")
