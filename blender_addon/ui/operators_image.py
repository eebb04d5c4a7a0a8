# SPDX-License-Identifier: GPL-3.0-or-later
"""The operators of images: one for each task, and one that adds their result.

bpy.ops.syncsde.mask(prompt="a cat on a sofa", background="a sofa", foreground="a cat", mask="Mask")
bpy.ops.syncsde.edit(image="Photo", source_prompt="a cat", prompt="a dog")
bpy.ops.syncsde.wide(prompt="a mountain range", width=1024, prompt_at="512 a harbor")
bpy.ops.syncsde.wide(like="Moss.jpg", wrap=True, width=512, height=512)
bpy.ops.syncsde.ambiguous(prompt="a duck\\na rabbit", transform="rotate_cw")

Images are named as in bpy.data.images. Where a task takes several, each has a line of its own.
"""

# Postponed annotations would hide the properties from Blender: no `from __future__` here.
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import bpy
from bpy.props import StringProperty

from ..client import engine, report
from ..jobs import results, session
from ..jobs.image_jobs import JOBS, Incomplete
from ..jobs.job import Request
from ..library import catalog, own_pictures
from ..properties import sampling
from ..properties.image import (
    AmbiguousLines,
    AmbiguousParameters,
    EditParameters,
    MaskLines,
    MaskParameters,
    WideLines,
    WideParameters,
)
from ..scene import images
from . import preferences
from .operators import WhenIdle, begin, fail

if TYPE_CHECKING:
    from bpy.stub_internal.rna_enums import OperatorReturnItems


def of_editor(context: bpy.types.Context, task: str) -> dict[str, Any]:
    """What the panel asks for; where no image to edit is chosen, of the one that is shown."""
    asked = getattr(context.scene.syncsde_image, task).arguments()
    if task == "edit" and not asked["image"] and (shown := shown_image(context)):
        asked["image"] = shown.name
    return asked


def shown_image(context: bpy.types.Context) -> bpy.types.Image | None:
    """The image that the Image Editor shows, if that is where this happens."""
    area = context.area
    return area.spaces.active.image if area is not None and area.type == "IMAGE_EDITOR" else None


def generate(operator: Any, context: bpy.types.Context, task: str) -> "set[OperatorReturnItems]":
    """Start the job that the operator's properties describe."""
    try:
        asked = JOBS[task](operator)
        pictures = images.read_named(asked.images)
        own, said = own_of(operator, task, asked.parameters)
        sent = own_pictures.inputs(own, [str(number) for number in said.get("like_for", ())])
        kept = sampling.kept_folder(operator)
        program = preferences.find_engine_program()
    except (
        Incomplete,
        images.ImageError,
        sampling.FolderError,
        engine.NotInstalled,
    ) as error:
        return fail(operator, task, error)
    folder = session.temporary_folder()
    request = Request(
        program=program,
        task=task,
        parameters=asked.parameters | said,
        inputs={
            **{name: partial(images.png_slices, pixels) for name, pixels in pictures.items()},
            **{name: each.content for name, each in sent.items()},
        },
        directory=kept or folder,
        folder=folder,
        file="image.png",
        keep_all=kept is not None,
        also=(report.FILE,),
        images=asked.images | {name: each.title for name, each in sent.items()},
    )
    area = context.area
    editor = area.as_pointer() if area is not None and area.type == "IMAGE_EDITOR" else 0
    return begin(operator, request, results.NewImage(images.shorten(asked.title), editor))


def own_of(
    operator: Any, task: str, asked: Mapping[str, Any]
) -> tuple[dict[str, catalog.Taken], dict[str, Any]]:
    """The user's own pictures that a job needs, and the parameters that they change."""
    if task == "wide":
        own = catalog.to_send(operator)
        return own, {"material": None} if own else {}
    if task == "mask":
        given = ([0] if operator.like else []) + asked["like_for"]
        own = catalog.for_regions(operator, [asked["background"], *asked["foreground"]], given)
        return own, {"like_for": asked["like_for"] + [int(name) for name in own if name]}
    return {}, {}


class SYNCSDE_OT_mask(
    MaskParameters,
    MaskLines,
    sampling.LikeImage,
    sampling.KeptFiles,
    WhenIdle,
    bpy.types.Operator,
):
    """Generate an image from descriptions of its background and of masked regions"""

    bl_idname = "syncsde.mask"
    bl_label = "Generate Image"
    bl_options = {"REGISTER"}  # noqa: RUF012

    mask: StringProperty(
        name="Mask",
        description="Name of the image whose white part the foreground fills, one line for each",
        default="",
    )

    def invoke(
        self, context: bpy.types.Context, event: bpy.types.Event
    ) -> "set[OperatorReturnItems]":
        sampling.fill(self, of_editor(context, "mask"))
        return self.execute(context)

    def execute(self, context: bpy.types.Context) -> "set[OperatorReturnItems]":
        return generate(self, context, "mask")


class SYNCSDE_OT_edit(EditParameters, sampling.KeptFiles, WhenIdle, bpy.types.Operator):
    """Generate a changed copy of an image from descriptions of what it shows and shall show"""

    bl_idname = "syncsde.edit"
    bl_label = "Generate Edited Image"
    bl_options = {"REGISTER"}  # noqa: RUF012

    image: StringProperty(
        name="Image",
        description="Name of the image to edit, which stays as it is",
        default="",
    )
    mask: StringProperty(
        name="Mask",
        description="Name of an image that is white where the other may change. "
        "Empty lets the model find the place",
        default="",
    )

    def invoke(
        self, context: bpy.types.Context, event: bpy.types.Event
    ) -> "set[OperatorReturnItems]":
        sampling.fill(self, of_editor(context, "edit"))
        return self.execute(context)

    def execute(self, context: bpy.types.Context) -> "set[OperatorReturnItems]":
        return generate(self, context, "edit")


class SYNCSDE_OT_wide(
    WideParameters,
    WideLines,
    sampling.LikeImage,
    sampling.KeptFiles,
    WhenIdle,
    bpy.types.Operator,
):
    """Generate a wide or tall image, more of an image, or a seamless one like a picture"""

    bl_idname = "syncsde.wide"
    bl_label = "Generate Wide Image"
    bl_options = {"REGISTER"}  # noqa: RUF012

    extend: StringProperty(
        name="Extend",
        description="Name of an image that grows; it stays as it is. Empty makes all anew",
        default="",
    )

    def invoke(
        self, context: bpy.types.Context, event: bpy.types.Event
    ) -> "set[OperatorReturnItems]":
        sampling.fill(self, of_editor(context, "wide"))
        return self.execute(context)

    def execute(self, context: bpy.types.Context) -> "set[OperatorReturnItems]":
        return generate(self, context, "wide")


class SYNCSDE_OT_ambiguous(
    AmbiguousParameters,
    AmbiguousLines,
    sampling.KeptFiles,
    WhenIdle,
    bpy.types.Operator,
):
    """Generate an image that shows something else when it is turned"""

    bl_idname = "syncsde.ambiguous"
    bl_label = "Generate Ambiguous Image"
    bl_options = {"REGISTER"}  # noqa: RUF012

    def invoke(
        self, context: bpy.types.Context, event: bpy.types.Event
    ) -> "set[OperatorReturnItems]":
        sampling.fill(self, of_editor(context, "ambiguous"))
        return self.execute(context)

    def execute(self, context: bpy.types.Context) -> "set[OperatorReturnItems]":
        return generate(self, context, "ambiguous")


class SYNCSDE_OT_add_image(bpy.types.Operator):
    """Add an image file to the blend file, packed"""

    bl_idname = "syncsde.add_image"
    bl_label = "Add Generated Image"
    bl_options = {"INTERNAL", "UNDO"}  # noqa: RUF012

    filepath: StringProperty(name="Image", description="The image file", subtype="FILE_PATH")
    name: StringProperty(name="Name", description="Name of the new image")
    editor: StringProperty(
        name="Editor",
        description="Address of the Image Editor that shows it, in hexadecimal digits",
        default="0",
    )

    def execute(self, context: bpy.types.Context) -> "set[OperatorReturnItems]":
        try:
            image = images.load(Path(self.filepath), self.name)
        except RuntimeError as error:
            self.report({"ERROR"}, results.sentence(error))
            return {"CANCELLED"}
        image.use_fake_user = True  # or a file that is saved before it is used would lose it
        for window in context.window_manager.windows:
            for area in window.screen.areas:
                if area.as_pointer() == int(self.editor, 16) and area.type == "IMAGE_EDITOR":
                    area.spaces.active.image = image
        return {"FINISHED"}


CLASSES = (
    SYNCSDE_OT_mask,
    SYNCSDE_OT_edit,
    SYNCSDE_OT_wide,
    SYNCSDE_OT_ambiguous,
    SYNCSDE_OT_add_image,
)

register, unregister = bpy.utils.register_classes_factory(CLASSES)
