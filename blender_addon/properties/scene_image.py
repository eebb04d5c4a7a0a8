# SPDX-License-Identifier: GPL-3.0-or-later
"""What the panel in the Image Editor edits, saved with the scene: a group for each image task.

Images are chosen by pointer and several of something are a list; `arguments` says the same as the
operators take it: images by name, one line each.
"""

# Postponed annotations would hide the properties from Blender: no `from __future__` here.
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import bpy
from bpy.props import CollectionProperty, EnumProperty, IntProperty, PointerProperty, StringProperty

from ..library import suggestions
from .image import AmbiguousParameters, EditParameters, MaskParameters, WideParameters
from .sampling import LikePicture, fields, like_arguments

if TYPE_CHECKING:
    from bpy.stub_internal.rna_enums import OperatorReturnItems

TRANSFORMS = (
    ("rotate_cw", "Turn Right", "A quarter turn clockwise"),
    ("rotate_ccw", "Turn Left", "A quarter turn counterclockwise"),
    ("rotate_180", "Half Turn", "Upside down"),
    ("flip", "Flip", "Mirrored from top to bottom"),
    ("skew", "Skew", "Each column of pixels rolled further down than the one before"),
)


class SYNCSDE_PG_foreground(bpy.types.PropertyGroup):
    """A part of a mask image."""

    prompt: StringProperty(
        name="Foreground",
        description="What the white part of the mask shows",
        maxlen=2001,
        search=suggestions.for_prompt,
        search_options={"SUGGESTION"},
    )
    mask: PointerProperty(
        name="Mask",
        description="Image whose white part is painted; what is black or transparent is not",
        type=bpy.types.Image,
    )
    like: PointerProperty(
        name="Like",
        description="Picture of a material: the foreground is painted as this is",
        type=bpy.types.Image,
    )


class SYNCSDE_PG_change(bpy.types.PropertyGroup):
    """A change on the way along a wide image."""

    start: IntProperty(
        name="From",
        description="Pixel column (row, in a tall image) from which on this is shown",
        default=512,
        min=0,
        max=65535,
        subtype="PIXEL",
    )
    prompt: StringProperty(
        name="Prompt",
        description="What is shown from there on",
        maxlen=2001,
        search=suggestions.for_surface,
        search_options={"SUGGESTION"},
    )


class SYNCSDE_PG_view(bpy.types.PropertyGroup):
    """A further view of an ambiguous image."""

    transform: EnumProperty(
        name="Transform",
        description="How the image is turned to see this view",
        items=TRANSFORMS,
        default="rotate_180",
    )
    prompt: StringProperty(
        name="Prompt",
        description="What is seen then",
        maxlen=2001,
        search=suggestions.for_prompt,
        search_options={"SUGGESTION"},
    )


class SYNCSDE_PG_mask(MaskParameters, bpy.types.PropertyGroup):
    """What the panel edits for an image from masks."""

    like: PointerProperty(
        name="Like",
        description="Picture of a material: the background is painted as this is",
        type=bpy.types.Image,
    )
    parts: CollectionProperty(name="Foregrounds", type=SYNCSDE_PG_foreground)

    def arguments(self) -> dict[str, Any]:
        """What the operator is called with."""
        return {name: getattr(self, name) for name in fields(MaskParameters)} | {
            "foreground": lines(part.prompt for part in self.parts),
            "mask": "\n".join(part.mask.name if part.mask else "" for part in self.parts),
            "like": self.like.name if self.like else "",
            "like_for": "\n".join(
                f"{number}: {part.like.name}"
                for number, part in enumerate(self.parts, start=1)
                if part.like
            ),
        }


class SYNCSDE_PG_edit(EditParameters, bpy.types.PropertyGroup):
    """What the panel edits for an edited image."""

    image: PointerProperty(
        name="Image",
        description="Image to edit; it stays as it is",
        type=bpy.types.Image,
    )
    mask: PointerProperty(
        name="Mask",
        description="White where the image may change. None lets the model find the place",
        type=bpy.types.Image,
    )

    def arguments(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in fields(EditParameters)} | {
            "image": self.image.name if self.image else "",
            "mask": self.mask.name if self.mask else "",
        }


class SYNCSDE_PG_wide(WideParameters, LikePicture, bpy.types.PropertyGroup):
    """What the panel edits for a wide image."""

    extend: PointerProperty(
        name="Extend",
        description="Image that grows; it stays as it is. None makes all of the image anew",
        type=bpy.types.Image,
    )
    parts: CollectionProperty(name="Changes", type=SYNCSDE_PG_change)

    def arguments(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in fields(WideParameters)} | {
            "prompt_at": lines(f"{part.start} {part.prompt}" for part in self.parts),
            "extend": self.extend.name if self.extend else "",
            **like_arguments(self),
        }


class SYNCSDE_PG_ambiguous(AmbiguousParameters, bpy.types.PropertyGroup):
    """What the panel edits for an ambiguous image."""

    prompt: StringProperty(
        name="Upright",
        description="What the upright image shows",
        default="",
        maxlen=2001,
        search=suggestions.for_prompt,
        search_options={"SUGGESTION"},
    )
    parts: CollectionProperty(name="Views", type=SYNCSDE_PG_view)

    def arguments(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in fields(AmbiguousParameters)} | {
            "prompt": lines([self.prompt, *(part.prompt for part in self.parts)]),
            "transform": lines(part.transform for part in self.parts),
        }


def begin_part(settings: Any, _: bpy.types.Context) -> None:
    """Begin with what an image without is no such image: a second view."""
    if settings.task == "ambiguous" and not settings.ambiguous.parts:
        settings.ambiguous.parts.add()


class SYNCSDE_PG_image(bpy.types.PropertyGroup):
    """What the panel in the Image Editor edits, saved with the scene."""

    task: EnumProperty(
        name="Task",
        description="What to make",
        items=(
            ("mask", "From Masks", "A new image, with a description for each masked region"),
            ("edit", "Edit", "An image changed as a description says, the rest as it was"),
            ("wide", "Wide", "A wide or tall image, a panorama, or more of an image"),
            ("ambiguous", "Ambiguous", "An image that shows something else when it is turned"),
        ),
        default="mask",
        update=begin_part,
    )
    mask: PointerProperty(type=SYNCSDE_PG_mask)
    edit: PointerProperty(type=SYNCSDE_PG_edit)
    wide: PointerProperty(type=SYNCSDE_PG_wide)
    ambiguous: PointerProperty(type=SYNCSDE_PG_ambiguous)


class SYNCSDE_OT_add_part(bpy.types.Operator):
    """Add one more of what the image is made of"""

    bl_idname = "syncsde.add_part"
    bl_label = "Add"
    bl_options = {"INTERNAL", "UNDO"}  # noqa: RUF012

    def execute(self, context: bpy.types.Context) -> "set[OperatorReturnItems]":
        settings = context.scene.syncsde_image
        getattr(settings, settings.task).parts.add()
        return {"FINISHED"}


class SYNCSDE_OT_remove_part(bpy.types.Operator):
    """Remove this one"""

    bl_idname = "syncsde.remove_part"
    bl_label = "Remove"
    bl_options = {"INTERNAL", "UNDO"}  # noqa: RUF012

    index: IntProperty(name="Index", description="Which one, counted from 0", min=0)

    def execute(self, context: bpy.types.Context) -> "set[OperatorReturnItems]":
        settings = context.scene.syncsde_image
        getattr(settings, settings.task).parts.remove(self.index)
        return {"FINISHED"}


def lines(texts: Iterable[str]) -> str:
    """One line each."""
    return "\n".join(" ".join(text.split()) for text in texts)


CLASSES = (
    SYNCSDE_PG_foreground,
    SYNCSDE_PG_change,
    SYNCSDE_PG_view,
    SYNCSDE_PG_mask,
    SYNCSDE_PG_edit,
    SYNCSDE_PG_wide,
    SYNCSDE_PG_ambiguous,
    SYNCSDE_PG_image,
    SYNCSDE_OT_add_part,
    SYNCSDE_OT_remove_part,
)


_register_classes, _unregister_classes = bpy.utils.register_classes_factory(CLASSES)


def register() -> None:
    _register_classes()
    bpy.types.Scene.syncsde_image = bpy.props.PointerProperty(type=SYNCSDE_PG_image)


def unregister() -> None:
    del bpy.types.Scene.syncsde_image
    _unregister_classes()
