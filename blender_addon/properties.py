# SPDX-License-Identifier: GPL-3.0-or-later
"""The parameters of a texture job as Blender properties, shared by the scene and the operator."""

# Postponed annotations would hide the properties from Blender: no `from __future__` here.
from typing import Any

import bpy
import numpy as np
from bpy.props import BoolProperty, EnumProperty, FloatProperty, IntProperty, StringProperty

# Blender has no empty numbers: these values mean "as the model has it" and are sent as null.
UNSET: dict[str, object] = {
    "negative_prompt": "",
    "guidance_scale": -1.0,
    "controlnet": "",
    "control_scale": -1.0,
    "view_size": 0,
    "batch_size": 0,
}


class TextureParameters:
    """The fields of the engine's texture task: same names, defaults and ranges."""

    prompt: StringProperty(
        name="Prompt",
        description="What the surface should look like",
        default="",
        maxlen=2000,
    )
    negative_prompt: StringProperty(
        name="Negative Prompt",
        description="What the surface should not look like. Empty takes the model's own",
        default="",
        maxlen=2000,
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
        default=30,
        min=1,
        max=1000,
        soft_max=100,
    )
    guidance_scale: FloatProperty(
        name="Guidance Scale",
        description="How closely the prompt is followed, 1 is off. -1 takes the model's own",
        default=-1.0,
        min=-1.0,
        max=100.0,
        soft_max=20.0,
    )
    strategy: EnumProperty(
        name="Strategy",
        description="How the views are synchronised",
        items=(
            ("syncsde", "SyncSDE", "Each view is guided by the ones before it"),
            ("independent", "Independent", "Views know nothing of each other, for comparison"),
        ),
        default="syncsde",
    )
    inverse_lambda: FloatProperty(
        name="Synchronization",
        description="How strongly the views agree (1/lambda), 0 is off",
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
        name="Synchronized Share",
        description="Share of the noise range that is synchronised; the rest refines freely",
        default=0.8,
        min=0.0,
        max=1.0,
        subtype="FACTOR",
    )
    model: StringProperty(
        name="Model",
        description="Name of a model the engine knows, or a folder in diffusers format",
        default="mini",
    )
    controlnet: StringProperty(
        name="ControlNet",
        description="Folder of the depth ControlNet, if the model's own folder has none",
        default="",
    )
    control_scale: FloatProperty(
        name="Control Scale",
        description="Strength of the depth control. -1 takes the model's own",
        default=-1.0,
        min=-1.0,
        max=10.0,
        soft_max=2.0,
    )
    view_size: IntProperty(
        name="View Size",
        description="Side of a view in pixels, a multiple of 8. 0 takes the model's own",
        default=0,
        min=0,
        max=2048,
        step=8,
        subtype="PIXEL",
    )
    view_prompts: BoolProperty(
        name="View Prompts",
        description="Append the viewing direction to the prompt",
        default=True,
    )
    texture_size: IntProperty(
        name="Texture Size",
        description="Side of the texture in pixels",
        default=1024,
        min=16,
        max=8192,
        subtype="PIXEL",
    )
    batch_size: IntProperty(
        name="Batch Size",
        description="Views in the network at once; fewer need less memory. 0 takes all",
        default=0,
        min=0,
        max=64,
    )
    device: StringProperty(
        name="Device",
        description="Where the engine computes: auto, cpu, cuda, cuda:1 or mps",
        default="auto",
    )
    rasterizer: EnumProperty(
        name="Rasterizer",
        description="How the engine draws the mesh",
        items=(
            ("auto", "Auto", "Takes nvdiffrast where CUDA has it"),
            ("builtin", "Built-In", "Runs everywhere"),
            ("nvdiffrast", "nvdiffrast", "Needs CUDA and an installed nvdiffrast"),
        ),
        default="auto",
    )


FIELDS = tuple(TextureParameters.__annotations__)


class SYNCSDE_PG_texture(TextureParameters, bpy.types.PropertyGroup):
    """What the panel edits, saved with the scene."""


def to_job(source: Any) -> dict[str, object]:
    """Read a job's parameters, as the engine names them, from a scene's group or an operator."""
    parameters = {name: _exact(getattr(source, name)) for name in FIELDS}
    for name, unset in UNSET.items():
        if parameters[name] == unset:
            parameters[name] = None
    for name in ("model", "controlnet"):
        if parameters[name]:
            parameters[name] = bpy.path.abspath(parameters[name])
    return parameters


def _exact(value: object) -> object:
    """Undo Blender's rounding to single precision, so that 0.8 is the 0.8 of other front ends."""
    return float(str(np.float32(value))) if isinstance(value, float) else value


def register() -> None:
    bpy.utils.register_class(SYNCSDE_PG_texture)
    bpy.types.Scene.syncsde = bpy.props.PointerProperty(type=SYNCSDE_PG_texture)


def unregister() -> None:
    del bpy.types.Scene.syncsde
    bpy.utils.unregister_class(SYNCSDE_PG_texture)
