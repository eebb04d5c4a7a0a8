# SPDX-License-Identifier: GPL-3.0-or-later
"""A run's views as images: paint on one, and all others are made anew to follow it."""

# Postponed annotations would hide the properties from Blender: no `from __future__` here.
import hashlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import bpy

from ..jobs import results, runs
from ..properties import sampling
from ..properties.texture import TextureParameters
from ..scene import images, textures
from .operators import WhenIdle
from .operators_result import OfRun

if TYPE_CHECKING:
    from bpy.stub_internal.rna_enums import OperatorReturnItems

RUN, NUMBER, CONTENT = "syncsde_run", "syncsde_view", "syncsde_content"  # our properties of images
MOST_GIVEN = 8  # the engine takes no more


class SYNCSDE_OT_open_views(OfRun, bpy.types.Operator):
    """Open the views that this texture was made from, as images to paint on"""

    bl_idname = "syncsde.open_views"
    bl_label = "Views"
    bl_options = {"REGISTER", "UNDO"}  # noqa: RUF012

    def execute(self, context: bpy.types.Context) -> "set[OperatorReturnItems]":
        if (run := self.run()) is None:
            return {"CANCELLED"}
        files = sorted(Path(run.directory).glob(textures.VIEWS))
        if not files:
            self.report({"ERROR"}, "The views of this run were not kept: generate again.")
            return {"CANCELLED"}
        there = opened(run)
        for number, path in enumerate(files):
            if number not in there:
                there[number] = image = images.load(path, f"View {number:02}: {run.title}")
                image.use_fake_user = True  # nothing else uses it
                image[RUN], image[NUMBER], image[CONTENT] = run.folder, number, content_of(image)
        show(context, there[0])
        self.report({"INFO"}, f"{len(files)} views are images now: paint, then Re-Synchronize.")
        return {"FINISHED"}


class SYNCSDE_OT_resynchronize(OfRun, WhenIdle, bpy.types.Operator):
    """Make the texture anew: views that you have painted on stay, and all others follow them"""

    bl_idname = "syncsde.resynchronize"
    bl_label = "Re-Synchronize"
    bl_options = {"REGISTER"}  # noqa: RUF012

    def execute(self, context: bpy.types.Context) -> "set[OperatorReturnItems]":
        if (run := self.run()) is None:
            return {"CANCELLED"}
        changed = {n: i for n, i in opened(run).items() if content_of(i) != i[CONTENT]}
        reason = why_not(run, len(changed))
        if reason:
            self.report({"ERROR"}, reason)
            return {"CANCELLED"}
        select(context, run)
        lines = [f"{number}: {image.name}" for number, image in changed.items()]
        try:
            return bpy.ops.syncsde.texture(**arguments(run), view_for="\n".join(lines))
        except (RuntimeError, TypeError) as error:
            self.report({"ERROR"}, results.sentence(error))
            return {"CANCELLED"}


def opened(run: runs.Run) -> dict[int, bpy.types.Image]:
    """The images of a run's views that this file has, by their numbers."""
    found = [image for image in bpy.data.images if image.get(RUN) == run.folder]
    return {image[NUMBER]: image for image in sorted(found, key=lambda image: image[NUMBER])}


def why_not(run: runs.Run, changed: int) -> str:
    """Say why the other views cannot follow, or nothing."""
    if not opened(run):
        return "Open the views of this run first."
    if not changed:
        return "No view is changed: paint on one of the images first."
    if changed > MOST_GIVEN:
        return f"{changed} views are changed, and at most {MOST_GIVEN} can be."
    if run.parameters.get("viewpoints"):
        return "The run has cameras of its own: give its views to the operator, with the cameras."
    if not [each for each in results.read(run.result).targets if each.find() is not None]:
        return "The objects of this run are not in this file."
    return ""


def arguments(run: runs.Run) -> dict[str, Any]:
    """What the run was asked, as the operator takes it; what it left to the model is left open."""
    said = {name: run.parameters.get(name) for name in sampling.fields(TextureParameters)}
    prompts = run.parameters.get("prompt_for") or []
    return {
        **{name: value for name, value in said.items() if isinstance(value, (str, int, float))},
        "prompt_for": "\n".join(f"{name}: {prompt}" for name, prompt in prompts),
    }


def select(context: bpy.types.Context, run: runs.Run) -> None:
    """Select the objects of a run, and no others."""
    found = [target.find() for target in results.read(run.result).targets]
    for obj in context.view_layer.objects:
        obj.select_set(obj in found)
    context.view_layer.objects.active = next(obj for obj in found if obj is not None)


def content_of(image: bpy.types.Image) -> str:
    """A digest of an image's pixels."""
    return hashlib.sha256(images.read(image).tobytes()).hexdigest()


def show(context: bpy.types.Context, image: bpy.types.Image) -> None:
    """Show an image in the Image Editors of the window, if there are any."""
    for area in context.screen.areas if context.screen else ():
        if area.type == "IMAGE_EDITOR":
            area.spaces.active.image = image


CLASSES = (SYNCSDE_OT_open_views, SYNCSDE_OT_resynchronize)

register, unregister = bpy.utils.register_classes_factory(CLASSES)
