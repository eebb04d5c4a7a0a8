# SPDX-License-Identifier: GPL-3.0-or-later
"""The engine's parameters as Blender properties: what all tasks share, and how a job is read.

Classes such as these hold annotations only; the scene's groups and the operators take them over.
"""

# Postponed annotations would hide the properties from Blender: no `from __future__` here.
from pathlib import Path
from typing import Any

import bpy
import numpy as np
from bpy.props import (
    BoolProperty,
    EnumProperty,
    FloatProperty,
    IntProperty,
    PointerProperty,
    StringProperty,
)

from ..library import catalog, suggestions

# Blender has no empty numbers: these values mean "as the model has it" and are sent as null.
UNSET: dict[str, object] = {
    "negative_prompt": "",
    "guidance_scale": -1.0,
    "lora": "",
    "batch_size": 0,
    "controlnet": "",
    "control_scale": -1.0,
    "material": "",
    "tile_size": 0,
    "view_size": 0,
    "cameras": 0,
    "coverage": 0,
    "peel": -1,
    "size": 0,
    "word": "",
    "width": 0,
    "height": 0,
    "patch_size": 0,
    "upscaler": "",
    "reroll": 0,
}
# What a number begins with when the user takes it over from the model.
CHOSEN: dict[str, float] = {
    "guidance_scale": 7.5,
    "control_scale": 1.0,
    "batch_size": 4,
    "tile_size": 1,
    "view_size": 512,
    "cameras": 10,
    "coverage": 0.95,
    "peel": 1,
    "size": 512,
    "width": 2048,
    "height": 512,
    "patch_size": 512,
}
# What a draft has less of, and what it has then: the panel's settings become so.
DRAFT: dict[str, int] = {"steps": 12, "cameras": 6, "texture_size": 512}


class SamplingParameters:
    """What every task asks of the sampler and its model: the engine's names and ranges."""

    negative_prompt: StringProperty(
        name="Negative Prompt",
        description="What should not be seen. Empty takes the model's own",
        default="",
        maxlen=2001,
    )
    seed: IntProperty(
        name="Seed",
        description="Same seed, same result",
        default=0,
        min=0,
    )
    steps: IntProperty(
        name="Steps",
        description="Denoising steps. More take longer and show finer detail",
        default=50,
        min=1,
        max=1000,
        soft_max=100,
    )
    sampler: EnumProperty(
        name="Sampler",
        description="How one denoising step follows another",
        items=(
            ("ddim", "DDIM", "Few steps suffice"),
            ("ddpm", "DDPM", "Adds fresh noise in every step, and wants more of them"),
        ),
        default="ddim",
    )
    eta: FloatProperty(
        name="Fresh Noise",
        description="Share of fresh noise in each step of DDIM (eta). 1 is DDPM",
        default=0.0,
        min=0.0,
        max=1.0,
        subtype="FACTOR",
    )
    guidance_scale: FloatProperty(
        name="Guidance Scale",
        description="How closely the prompt is followed, 0 or 1 is off. -1 takes the model's own",
        default=-1.0,
        min=-1.0,
        max=100.0,
        soft_max=20.0,
    )
    strategy: EnumProperty(
        name="Strategy",
        description="How the parts are made to fit each other",
        items=(
            ("syncsde", "SyncSDE", "Each part is guided by the ones before it"),
            ("synctweedies", "SyncTweedies", "Parts meet in the mean of their clean estimates"),
            ("multidiffusion", "MultiDiffusion", "Parts meet in their mean after every step"),
            ("visual-anagrams", "Visual Anagrams", "Parts share the mean of their noise"),
            ("syncmvd", "SyncMVD", "Means of clean estimates, with fresh noise in every step"),
            ("independent", "Independent", "Parts know nothing of each other, for comparison"),
        ),
        default="syncsde",
    )
    inverse_lambda: FloatProperty(
        name="Synchronization",
        description="How strongly the parts agree with SyncSDE (1/lambda), 0 is off",
        default=5.0,
        min=0.0,
        max=100.0,
        soft_max=20.0,
    )
    correction: EnumProperty(
        name="Correction",
        description="How the pull towards agreement is computed",
        items=(
            ("clamped", "Clamped", "Never overshoots"),
            ("paper", "Paper", "The authors' arithmetic"),
        ),
        default="clamped",
    )
    synchronized_share: FloatProperty(
        name="Synchronized",
        description="Share of the noise range that is synchronized; the rest refines freely",
        default=1.0,
        min=0.0,
        max=1.0,
        subtype="FACTOR",
    )
    model: StringProperty(
        name="Model",
        description="Name of a model: auto, exemplar, mini, or a folder in the Models of the "
        "preferences. Auto takes exemplar for pictures and prompts that name one, else mini",
        default="auto",
        search=suggestions.for_model,
        search_options={"SUGGESTION"},
    )
    lora: StringProperty(
        name="LoRA",
        description="Files that are added to the model, in the Models of the preferences: names, "
        "each with :WEIGHT where that is not 1, separated by commas",
        default="",
        maxlen=2001,
    )
    batch_size: IntProperty(
        name="Batch Size",
        description="Parts in the network at once; fewer need less memory. 0 takes up to ten",
        default=0,
        min=0,
        max=64,
    )
    precision: EnumProperty(
        name="Precision",
        description="Of the networks",
        items=(
            ("auto", "Auto", "Half precision on CUDA, full elsewhere"),
            ("float32", "Full", "Single-precision floats"),
            ("bfloat16", "BFloat16", "Half the memory, coarse but wide"),
            ("float16", "Half", "Half the memory"),
        ),
        default="auto",
    )
    compile: BoolProperty(
        name="Compile",
        description="Compile the networks first: slow to start, then faster",
        default=False,
    )
    device: StringProperty(
        name="Device",
        description="Where the engine computes: auto, cpu, cuda, cuda:1 or mps",
        default="auto",
        search=suggestions.for_device,
        search_options={"SUGGESTION"},
    )


class LikeImage:
    """The picture that an operator's result looks like, by its name."""

    like: StringProperty(
        name="Like",
        description="Name of the image of a material that is painted as this is, whatever the "
        "prompt says",
        default="",
    )


class LikePicture:
    """The same choices in a panel: any image, or a thumbnail for the field `material`."""

    like: PointerProperty(
        type=bpy.types.Image,
        name="Like",
        description="Picture of a material: it is painted as this is, whatever the prompt says",
    )
    library: EnumProperty(
        name="Library",
        description="Picture of the library that it looks like",
        items=catalog.items,
        get=catalog.get_number,
        set=catalog.set_number,
    )


class KeptFiles:
    """Where an operator leaves the engine's files, if anywhere."""

    directory: StringProperty(
        name="Directory",
        description="Folder that keeps all files of the result and the report. Empty keeps none",
        subtype="DIR_PATH",
        default="",
        options={"SKIP_SAVE"},
    )


class FolderError(ValueError):
    """There is no such place for files; the text says what to do."""


def kept_folder(operator: Any) -> Path | None:
    """The folder that keeps an operator's files, if any. Raises FolderError."""
    directory = operator.directory
    if not directory:
        return None
    if directory.startswith("//") and not bpy.data.filepath:
        raise FolderError(
            f"The folder {directory!r} is beside the blend file, and that has not been saved yet: "
            "save it, or name another folder."
        )
    return Path(bpy.path.abspath(directory)).absolute()


def fields(parameters: type) -> tuple[str, ...]:
    """Name the properties of one of the classes above, in the engine's order."""
    return tuple(
        dict.fromkeys(
            name
            for each in reversed(parameters.__mro__)
            for name in getattr(each, "__annotations__", {})
        )
    )


def to_job(source: Any, parameters: type) -> dict[str, Any]:
    """Read a job's parameters, as the engine names them, from a scene's group or an operator.

    A draft's fewer steps and views are for what an operator's caller left open: all else is said.
    """
    values = {name: _exact(getattr(source, name)) for name in fields(parameters)}
    for name, value in values.items():
        if name in UNSET and value == UNSET[name]:
            values[name] = None
    if values.get("quality") == "draft" and hasattr(source, "properties"):
        for name in DRAFT:
            if not source.properties.is_property_set(name):
                del values[name]
    return values


def set_quality(settings: Any, _: bpy.types.Context) -> None:
    """Set a panel's settings to what its quality means."""
    for name, drafted in DRAFT.items():
        usual = settings.bl_rna.properties[name].default
        setattr(settings, name, drafted if settings.quality == "draft" else usual)


def like_arguments(settings: Any) -> dict[str, str]:
    """What an operator is told of a panel's picture: Blender's own go before the library's."""
    nothing = {"like": "", "material": ""}
    if like_material_of(settings):
        return nothing
    if settings.like:
        return nothing | {"like": settings.like.name}
    return nothing | {"material": settings.material}


def like_material_of(settings: Any) -> str:
    """The name of the material that a panel's result looks like, if it is to look like one."""
    material = getattr(settings, "like_material", None)
    return material.name if material else ""


def fill(operator: bpy.types.Operator, values: dict[str, Any]) -> None:
    """Set what the operator's caller left open; of two kinds of pictures only the caller's.

    Whoever says a quality means its steps and views, not those of the panel.
    """
    if "quality" in values and operator.properties.is_property_set("quality"):
        values = {name: value for name, value in values.items() if name not in DRAFT}
    pictures = [name for name in ("like", "material", "like_material") if name in values]
    if any(operator.properties.is_property_set(name) for name in pictures):
        values = values | dict.fromkeys(pictures, "")
    for name, value in values.items():
        if not operator.properties.is_property_set(name):
            setattr(operator, name, value)


def _exact(value: object) -> object:
    """Undo Blender's rounding to single precision, so that 0.8 is the 0.8 of other front ends."""
    return float(str(np.float32(value))) if isinstance(value, float) else value
