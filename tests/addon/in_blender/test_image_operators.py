# SPDX-License-Identifier: GPL-3.0-or-later
"""The four image operators as scripts and the panel call them, against a real engine."""

import json
import os
import types

import numpy as np
import pytest

MODEL = os.path.basename(os.environ.get("SYNCSDE_TEST_MODEL", "mini"))
SMALL = {"model": MODEL, "steps": 2, "seed": 3}
DISC = np.ones((64, 64, 4))
DISC[..., :3] = (np.hypot(*np.mgrid[-20:44, -20:44]) < 16)[..., None]  # towards the top left
ASKED = {
    "mask": {
        "prompt": "a cat on grass",
        "background": "grass",
        "foreground": "a cat",
        "mask": "Mask",
        "size": 64,
    },
    "edit": {
        "image": "Photo",
        "source_prompt": "a cat",
        "prompt": "a dog",
        "mask": "Mask",
        "size": 64,
    },
    "wide": {"prompt": "hills", "width": 128, "height": 64, "patch_size": 64, "stride": 0.5},
    "ambiguous": {"prompt": "a duck\na rabbit", "transform": "rotate_180", "size": 64},
}
SIZES = {"mask": (64, 64), "edit": (64, 64), "wide": (128, 64), "ambiguous": (64, 64)}
NAMES = {
    "mask": "Masks: a cat on grass",
    "edit": "Edit: a dog",
    "wide": "Wide: hills",
    "ambiguous": "Ambiguous: a duck / a rabbit",
}


@pytest.fixture
def photo(an_image):
    pixels = np.ones((64, 64, 4))
    pixels[..., :3] = np.random.default_rng(1).random((64, 64, 3))
    return an_image("Photo", pixels)


@pytest.fixture
def mask(an_image):
    return an_image("Mask", DISC)


def contents(bpy, besides=()):
    """All images and objects as comparable values."""
    return {
        image.name: (
            tuple(image.size),
            image.filepath_raw,
            image.colorspace_settings.name,
            image.alpha_mode,
            bool(image.packed_file),
            image.is_dirty,
            image.use_fake_user,
            bytes(np.array(image.pixels[:], np.float32)),
        )
        for image in bpy.data.images
        if image.name not in besides
    } | {"objects": sorted(bpy.data.objects.keys()), "selected": bpy.context.selected_objects}


def operator(bpy, task):
    return getattr(bpy.ops.syncsde, task)


@pytest.mark.parametrize("task", ASKED)
def test_operator_makes_one_new_image_and_touches_nothing(
    bpy, addon, photo, mask, real_engine, tmp_path, task
):
    before = contents(bpy)
    assert operator(bpy, task)("EXEC_DEFAULT", **ASKED[task], **SMALL, directory=str(tmp_path)) == {
        "FINISHED"
    }
    assert contents(bpy, {NAMES[task]}) == before
    image = bpy.data.images[NAMES[task]]
    assert tuple(image.size) == SIZES[task]
    assert image.packed_file is not None
    assert image.packed_file.data == (tmp_path / "image.png").read_bytes()
    assert image.colorspace_settings.name == "sRGB"
    assert image.use_fake_user
    assert len(set(image.pixels)) > 20  # not one flat color
    report = json.loads((tmp_path / "report.json").read_text())
    assert report["task"] == task
    assert report["parameters"]["seed"] == 3
    assert addon.session.last_error == ""
    assert addon.session.outcome.note == f"Painted by {MODEL}"
    assert not addon.session.is_running()


def test_several_masks_and_changes_go_line_by_line(bpy, an_image, mask, real_engine, tmp_path):
    an_image("Other", DISC[::-1])
    asked = ASKED["mask"] | {"foreground": "a cat\na dog", "mask": "Mask\nOther"}
    bpy.ops.syncsde.mask(**asked, **SMALL, directory=str(tmp_path / "a"))
    said = json.loads((tmp_path / "a" / "report.json").read_text())["parameters"]
    assert said["foreground"] == ["a cat", "a dog"]
    asked = ASKED["wide"] | {"prompt_at": "64 a harbor, at night\n96 a forest"}
    bpy.ops.syncsde.wide(**asked, **SMALL, directory=str(tmp_path / "b"))
    said = json.loads((tmp_path / "b" / "report.json").read_text())["parameters"]
    assert said["prompt_at"] == [[64, "a harbor, at night"], [96, "a forest"]]


def test_regions_look_like_images(bpy, an_image, mask, real_engine, tmp_path):
    checks = np.ones((32, 32, 4))
    checks[..., :3] = 0.2 * (np.indices((32, 32)) // 8 % 2).sum(0)[..., None] % 0.4
    an_image("Red", checks + np.array([0.5, 0, 0, 0]))
    an_image("Blue", checks + np.array([0, 0, 0.5, 0]))
    bpy.ops.syncsde.mask(
        **ASKED["mask"],
        steps=2,
        like="Red",
        like_for="1: Blue",
        directory=str(tmp_path),
    )
    report = json.loads((tmp_path / "report.json").read_text())
    assert report["materials"] == {"background": "like", "mask 1": "like_1"}
    painted = bpy.data.images[NAMES["mask"]]
    assert tuple(painted.size) == (64, 64)
    strongest = np.array(painted.pixels).reshape(64, 64, 4)[::-1, :, :3].argmax(-1)
    assert set(np.unique(strongest)) == {0, 2}
    assert ((strongest == 2) == (DISC[..., 0] > 0)).mean() > 0.97


def test_extended_image_keeps_its_pixels_where_it_was(bpy, addon, photo, real_engine):
    """Rows, columns and colors all arrive and come back as they were sent."""
    asked = {"prompt": "hills", "width": 96, "patch_size": 64, "stride": 0.5}
    bpy.ops.syncsde.wide(**asked, **SMALL, extend="Photo")
    grown = addon.images.read(bpy.data.images["Wide: hills"])
    assert grown.shape == (64, 96, 3)
    np.testing.assert_array_equal(grown[:, :64], addon.images.read(photo))


class Invoked:
    """Stands for an operator that the panel's button calls; background Blender invokes none."""

    def __init__(self, **given):
        self.given = given
        self.__dict__.update(given)
        self.properties = types.SimpleNamespace(is_property_set=lambda name: name in given)

    def execute(self, context):
        return {"FINISHED"}


@pytest.mark.parametrize("task", ASKED)
def test_panel_and_script_say_the_same(bpy, photo, mask, task):
    settings = getattr(bpy.context.scene.syncsde_image, task)
    images = {"mask": mask, "image": photo}
    for name, value in {**ASKED[task], **SMALL}.items():
        if not hasattr(settings, "parts") or name not in ("foreground", "mask", "transform"):
            setattr(settings, name, images.get(name, value))
    if task == "mask":
        part = settings.parts.add()
        part.prompt, part.mask = "a cat", mask
    if task == "ambiguous":
        settings.prompt = "a duck"
        part = settings.parts.add()
        part.prompt, part.transform = "a rabbit", "rotate_180"
    operator_class = getattr(bpy.types, f"SYNCSDE_OT_{task}")
    invoked = Invoked()
    assert operator_class.invoke(invoked, bpy.context, None) == {"FINISHED"}
    for name, value in {**ASKED[task], **SMALL}.items():
        assert getattr(invoked, name) == value, name
    known = getattr(bpy.ops.syncsde, task).get_rna_type().properties.keys()
    assert set(invoked.__dict__) - {"given", "properties"} == set(known) - {"rna_type", "directory"}
    invoked = Invoked(prompt="said by the caller", seed=99)
    operator_class.invoke(invoked, bpy.context, None)
    assert (invoked.prompt, invoked.seed, invoked.steps) == ("said by the caller", 99, 2)


INCOMPLETE = {
    "no prompt": ("wide", {"prompt": " "}, "Describe the image, or choose a picture that it looks"),
    "unknown like": ("wide", {"like": "Nothing"}, "no image 'Nothing': open it"),
    "change": ("wide", {"prompt_at": "harbor"}, "'harbor' must start with a pixel position"),
    "empty change": ("wide", {"prompt_at": "12"}, "shown from pixel 12 on first"),
    "extend": ("wide", {"extend": "Nothing"}, "no image 'Nothing': open it"),
    "no image": ("edit", {"image": ""}, "Choose the image to edit first"),
    "unknown image": ("edit", {"image": "Nothing"}, "no image 'Nothing': open it"),
    "no source": ("edit", {"source_prompt": ""}, "Describe what the image shows now first"),
    "no foreground": ("mask", {"foreground": ""}, "Add a foreground and describe it first"),
    "no mask": ("mask", {"mask": ""}, "Choose a mask for each foreground first"),
    "too few masks": ("mask", {"foreground": "a\nb"}, "Choose a mask for each foreground first"),
    "no view": ("ambiguous", {"transform": ""}, "Add a view first"),
    "empty view": ("ambiguous", {"prompt": "a duck\n"}, "Describe each view first"),
}


@pytest.mark.parametrize("name", INCOMPLETE)
def test_what_is_missing_is_one_sentence(bpy, addon, photo, mask, no_engine, name):
    task, change, sentence = INCOMPLETE[name]
    before = contents(bpy)
    with pytest.raises(RuntimeError, match=sentence) as refused:
        operator(bpy, task)(**(ASKED[task] | change))
    assert "Traceback" not in str(refused.value)
    assert addon.session.last_task == task
    assert sentence in addon.session.last_error
    assert contents(bpy) == before
    assert not addon.session.is_running()


def test_what_the_engine_refuses_is_one_sentence(bpy, addon, photo, an_image, real_engine):
    an_image("Black", DISC * 0)
    before = contents(bpy)
    for task, change, sentence in (
        ("mask", {"mask": "Black"}, "The mask covers nothing"),
        ("wide", {"width": 32}, "width"),
        ("ambiguous", {"transform": "turn"}, "transform"),
    ):
        with pytest.raises(RuntimeError, match=sentence) as refused:
            operator(bpy, task)(**{**ASKED[task], **SMALL, **change})
        assert "Traceback" not in str(refused.value)
    assert contents(bpy) == before


def test_no_engine_is_one_sentence(bpy, no_engine):
    with pytest.raises(RuntimeError, match="The SyncSDE engine is not installed: click"):
        bpy.ops.syncsde.wide(prompt="hills")


def test_one_job_at_a_time_whichever_task(bpy, addon, suzanne, real_engine):
    """As in the window: the job is left to the timer, here to `session`."""
    before = contents(bpy)
    folder = addon.session.temporary_folder()
    request = addon.job.Request(
        program=addon.preferences.find_engine_program(),
        task="wide",
        parameters={"prompt": "hills", "model": MODEL, "steps": 900, "patch_size": 64},
        inputs={},
        directory=folder,
        file="image.png",
        keep_all=False,
        folder=folder,
    )
    addon.session.start(request, addon.results.NewImage("Wide: hills"))
    for task in ("texture", *ASKED):
        assert not operator(bpy, task).poll()
        with pytest.raises(RuntimeError, match="One job at a time: wait for it, or cancel it"):
            operator(bpy, task)(prompt="hills")
    while addon.session.current.fraction <= 0.1:
        assert addon.session.current.pump(), addon.session.current.error
    assert addon.session.current.stage.startswith("Painting the Image")
    assert bpy.ops.syncsde.cancel() == {"FINISHED"}
    assert contents(bpy) == before
    for task in ("texture", *ASKED):
        assert operator(bpy, task).poll()
