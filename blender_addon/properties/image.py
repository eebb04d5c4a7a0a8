# SPDX-License-Identifier: GPL-3.0-or-later
"""The parameters of the four image tasks as Blender properties.

Where a task takes several of something, an operator has text with one line each, which is easy to
write in a script; the panel has a list of parts instead (see scene_image.py).
"""

# Postponed annotations would hide the properties from Blender: no `from __future__` here.
from bpy.props import BoolProperty, EnumProperty, FloatProperty, IntProperty, StringProperty

from ..library import suggestions
from .sampling import SamplingParameters


class MaskParameters(SamplingParameters):
    """The fields of the engine's mask task of which there is one."""

    background: StringProperty(
        name="Background",
        description="What the black part of the masks shows",
        default="",
        maxlen=2001,
        search=suggestions.for_prompt,
        search_options={"SUGGESTION"},
    )
    prompt: StringProperty(
        name="Whole Image",
        description="What the whole image shows",
        default="",
        maxlen=2001,
        search=suggestions.for_prompt,
        search_options={"SUGGESTION"},
    )
    tile_size: IntProperty(
        name="Tile Size",
        description="Width of the pictures in the image, a multiple of 8. 0 takes their own",
        default=0,
        min=0,
        max=768,
        step=8,
        subtype="PIXEL",
    )
    size: IntProperty(
        name="Size",
        description="Shorter side of the image in pixels, a multiple of 8. 0 takes the model's own",
        default=0,
        min=0,
        max=2048,
        step=8,
        subtype="PIXEL",
    )


class MaskLines:
    """What a mask operator takes several of."""

    foreground: StringProperty(
        name="Foreground",
        description="What the white part of each mask shows, one line for each mask",
        default="",
    )
    like_for: StringProperty(
        name="Like For",
        description="Which image the foreground of a mask looks like, one line each: the mask's "
        "number, a colon and the image's name, such as 1: Rust.png",
        default="",
    )


class EditParameters(SamplingParameters):
    """The fields of the engine's edit task."""

    strategy: EnumProperty(
        name="Strategy",
        description="How old and new image are made to fit each other, or a rival method",
        items=(
            ("syncsde", "SyncSDE", "The new image is guided by the old one"),
            ("synctweedies", "SyncTweedies", "Both meet in the mean of their clean estimates"),
            ("multidiffusion", "MultiDiffusion", "Both meet in their mean after every step"),
            ("visual-anagrams", "Visual Anagrams", "Both share the mean of their noise"),
            ("syncmvd", "SyncMVD", "Means of clean estimates, with fresh noise in every step"),
            ("independent", "Independent", "The new image does not look at the old one"),
            ("ddib", "DDIB", "Turns the image into noise and paints that anew"),
            ("sdedit", "SDEdit", "Adds noise, as much as the strength says, and paints anew"),
            ("masactrl", "MasaCtrl", "Borrows the old image's features through attention"),
            ("pti", "PTI", "Tunes the empty prompt so that the old image is met"),
        ),
        default="syncsde",
    )
    source_prompt: StringProperty(
        name="Shows",
        description="What the image shows now",
        default="",
        maxlen=2001,
        search=suggestions.for_prompt,
        search_options={"SUGGESTION"},
    )
    prompt: StringProperty(
        name="Prompt",
        description="What the image shall show",
        default="",
        maxlen=2001,
        search=suggestions.for_prompt,
        search_options={"SUGGESTION"},
    )
    word: StringProperty(
        name="Word",
        description="The words of the old description that change. Empty compares old and new",
        default="",
        maxlen=2001,
    )
    mask_threshold: FloatProperty(
        name="Mask Threshold",
        description="How clearly a spot must belong to the word to change, if there is no mask",
        default=0.3,
        min=0.0,
        max=1.0,
        subtype="FACTOR",
    )
    strength: FloatProperty(
        name="Strength",
        description="How much SDEdit redoes, as a share of the noise range",
        default=0.7,
        min=0.01,
        max=1.0,
        subtype="FACTOR",
    )
    size: IntProperty(
        name="Size",
        description="Longer side at which the model works, a multiple of 8. 0 takes its own",
        default=0,
        min=0,
        max=2048,
        step=8,
        subtype="PIXEL",
    )


class WideParameters(SamplingParameters):
    """The fields of the engine's wide task of which there is one."""

    prompt: StringProperty(
        name="Prompt",
        description="What the image shows, unless there is a picture to look like",
        default="",
        maxlen=2001,
        search=suggestions.for_surface,
        search_options={"SUGGESTION"},
    )
    material: StringProperty(
        name="Material",
        description="Name of a picture of the library to look like, such as stone brick. Empty "
        "takes the one that the prompt names",
        default="",
        maxlen=255,
    )
    tile_size: IntProperty(
        name="Tile Size",
        description="Width of the picture in the image, a multiple of 8. 0 takes its own",
        default=0,
        min=0,
        max=768,
        step=8,
        subtype="PIXEL",
    )
    width: IntProperty(
        name="Width",
        description="Width in pixels. 0 takes four patches, or the height of one",
        default=0,
        min=0,
        max=65536,
        subtype="PIXEL",
    )
    height: IntProperty(
        name="Height",
        description="Height in pixels. 0 takes one patch",
        default=0,
        min=0,
        max=65536,
        subtype="PIXEL",
    )
    wrap: BoolProperty(
        name="Wrap",
        description="Join the right edge to the left, for a panorama all around",
        default=False,
    )
    extend_to: EnumProperty(
        name="Extend To",
        description="Side on which the chosen image grows",
        items=(
            ("right", "Right", "New parts are on the right"),
            ("left", "Left", "New parts are on the left"),
        ),
        default="right",
    )
    patch_size: IntProperty(
        name="Patch Size",
        description="Side of a patch in pixels, a multiple of 8. 0 takes the model's own",
        default=0,
        min=0,
        max=2048,
        step=8,
        subtype="PIXEL",
    )
    stride: FloatProperty(
        name="Stride",
        description="From patch to patch, as a share of the patch. Less takes longer and fits more",
        default=0.25,
        min=0.01,
        max=1.0,
        subtype="FACTOR",
    )
    shared_noise: BoolProperty(
        name="Shared Noise",
        description="Start patches as crops of one noise, as the authors do",
        default=True,
    )


class WideLines:
    """What a wide operator takes several of."""

    prompt_at: StringProperty(
        name="Prompt At",
        description="Changes on the way, one line each: the pixel column (row, in a tall image) "
        "from which on something else is shown, then what, such as 1024 a harbor",
        default="",
    )


class AmbiguousParameters(SamplingParameters):
    """The fields of the engine's ambiguous task of which there is one."""

    steps: IntProperty(
        name="Steps",
        description="Denoising steps. More take longer and show finer detail",
        default=30,
        min=1,
        max=1000,
        soft_max=100,
    )
    size: IntProperty(
        name="Size",
        description="Side of the image in pixels, a multiple of 8. 0 takes the model's own",
        default=0,
        min=0,
        max=2048,
        step=8,
        subtype="PIXEL",
    )
    upscaler: StringProperty(
        name="Upscaler",
        description="Name of DeepFloyd IF's second stage in the Models of the preferences, if the "
        "model is its first",
        default="",
    )


class AmbiguousLines:
    """What an ambiguous operator takes several of."""

    prompt: StringProperty(
        name="Prompt",
        description="What each view shows, one line each, the upright image first",
        default="",
    )
    transform: StringProperty(
        name="Transform",
        description="From the upright image to each further view, one line each: "
        "rotate_cw, rotate_ccw, rotate_180, flip or skew",
        default="",
    )
