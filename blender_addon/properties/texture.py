# SPDX-License-Identifier: GPL-3.0-or-later
"""The parameters of a texture job as Blender properties, shared by the scene and the operator."""

# Postponed annotations would hide the properties from Blender: no `from __future__` here.
import bpy
from bpy.props import (
    BoolProperty,
    EnumProperty,
    FloatProperty,
    IntProperty,
    PointerProperty,
    StringProperty,
)

from ..library import suggestions
from .sampling import LikeImage, LikePicture, SamplingParameters, set_quality


class TextureParameters(SamplingParameters):
    """The fields of the engine's texture task."""

    steps: IntProperty(
        name="Steps",
        description="Denoising steps. More take longer and show finer detail",
        default=30,
        min=1,
        max=1000,
        soft_max=100,
    )
    synchronized_share: FloatProperty(
        name="Synchronized",
        description="Share of the noise range that is synchronized; the rest refines freely",
        default=0.8,
        min=0.0,
        max=1.0,
        subtype="FACTOR",
    )
    prompt: StringProperty(
        name="Prompt",
        description="What the surface should look like, unless there is a picture of it",
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
    tile_size: FloatProperty(
        name="Tile Size",
        description="Width of the picture on the objects, whose longest reach from their "
        "middle is 1. 0 takes the picture's own",
        default=0.0,
        min=0.0,
        max=100.0,
        soft_max=4.0,
        step=10,
    )
    maps: BoolProperty(
        name="Maps",
        description="Paint the normals, roughness, metal and height, too, that come with the "
        "picture",
        default=True,
    )
    quality: EnumProperty(
        name="Quality",
        description="How much work goes into the texture",
        items=(
            ("draft", "Draft", "Fewer views and steps, in a third of the time or less"),
            ("standard", "Standard", "What the other settings say"),
        ),
        default="standard",
    )
    controlnet: StringProperty(
        name="ControlNet",
        description="Name of the depth ControlNet in the Models of the preferences, if the model "
        "has none of its own",
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
    sources: EnumProperty(
        name="Sources",
        description="What a view takes from the earlier views that see the same spot",
        items=(
            ("average", "Average", "Their mean, those that face the spot counting most"),
            ("best", "Best", "Only the view that faces the spot most"),
        ),
        default="average",
    )
    shared_attention: EnumProperty(
        name="Shared Attention",
        description="Whether views look at each other inside the network",
        items=(
            ("off", "Off", "Each view sees itself alone"),
            ("ring", "Ring", "Views see their neighbors and, early, the front view"),
        ),
        default="off",
    )
    view_size: IntProperty(
        name="View Size",
        description="Shorter side of a view in pixels, a multiple of 8. 0 takes the model's own",
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
    cameras: IntProperty(
        name="Views",
        description="How many views, in even rings around the object. 0 takes the paper's ten",
        default=0,
        min=0,
        max=64,
        soft_max=20,
    )
    extra_cameras: IntProperty(
        name="Extra Views",
        description="At most so many further views, each where it shows most unseen surface",
        default=0,
        min=0,
        max=64,
        soft_max=10,
    )
    coverage: FloatProperty(
        name="Coverage",
        description="Share of the texture's used part that views are to see: as many extra views "
        "as that takes, up to 64 views in all. 0 asks for no share",
        default=0.0,
        min=0.0,
        max=1.0,
        step=5,
    )
    peel: IntProperty(
        name="Peel",
        description="Surfaces that an extra view may look through, at what they hide. -1 takes 0, "
        "or 7 with a coverage",
        default=-1,
        min=-1,
        max=7,
    )
    order: EnumProperty(
        name="Order",
        description="In which order the views are conditioned on each other",
        items=(
            ("front", "Front", "From the front outwards"),
            ("paper", "Paper", "As the paper lists them, from the back round"),
        ),
        default="front",
    )
    fov: FloatProperty(
        name="Field Of View",
        description="Degrees across the shorter side of a view",
        default=60.0,
        min=1.0,
        max=150.0,
    )
    orthographic: BoolProperty(
        name="Orthographic",
        description="Views without perspective",
        default=False,
    )
    aspect: FloatProperty(
        name="Aspect",
        description="Width of a view as a multiple of its height",
        default=1.0,
        min=0.25,
        max=4.0,
    )
    texture_size: IntProperty(
        name="Texture Size",
        description="Side of the texture in pixels",
        default=1024,
        min=16,
        max=8192,
        subtype="PIXEL",
    )
    uv: EnumProperty(
        name="UVs",
        description="Which UV layer is painted on",
        items=(
            ("auto", "Auto", "The active UV layer, or a new one if there is none"),
            ("keep", "Keep", "The active UV layer, with UDIM tiles that islands may cross"),
            ("unwrap", "Unwrap", "A new UV layer"),
        ),
        default="auto",
    )
    fill: EnumProperty(
        name="Fill",
        description="Where what no view saw takes its color from",
        items=(
            ("smooth", "Smooth", "Blends several near spots of the surface"),
            ("surface", "Surface", "The nearest spot on the surface"),
            ("uv", "UV", "The nearest spot in the texture, as in the paper"),
        ),
        default="smooth",
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


class TextureLines:
    """What the operator takes several of."""

    like_for: StringProperty(
        name="Like For",
        description="Which image an object or a material should look like instead, one line each: "
        "its name, a colon and the image's name, such as Helmet: Rust.png",
        default="",
    )
    view_for: StringProperty(
        name="View For",
        description="Images in place of views, which all others follow, one line each: the number "
        "of the view, a colon and the image's name, such as 0: View 00",
        default="",
    )
    prompt_for: StringProperty(
        name="Prompt For",
        description="What an object or a material should look like instead, one line each: its "
        "name, a colon and the prompt, such as Helmet: rusty metal",
        default="",
    )
    viewpoints: StringProperty(
        name="Viewpoints",
        description="Names of camera objects to paint from, in place of the paper's ten or beside "
        "the rings, one line for each",
        default="",
    )


class TextureImages(LikeImage):
    """The images that the operator takes, by their names: what to look like, what to keep."""

    keep: StringProperty(
        name="Keep",
        description="Name of the image of a texture to paint on: what the mask shows, or what is "
        "opaque, stays as it is. The new texture has its size",
        default="",
    )
    keep_mask: StringProperty(
        name="Keep Mask",
        description="Name of the image that is white where the texture stays and black where it "
        "is painted anew",
        default="",
    )
    repaint_mask: StringProperty(
        name="Repaint Mask",
        description="Name of the image that is white where the texture is painted anew; the rest "
        "stays. Without Keep, of the texture that the active object shows",
        default="",
    )


class LikeMaterial:
    """Another way of the operator to say what the surface looks like."""

    like_material: StringProperty(
        name="Like Material",
        description="Name of a material of this file that is painted as it is: the images of its "
        "base color, normals, roughness, metal and height",
        default="",
    )


class SYNCSDE_PG_texture(TextureParameters, LikePicture, bpy.types.PropertyGroup):
    """What the panel edits, saved with the scene."""

    quality: EnumProperty(
        name="Quality",
        description="Sets Steps, Views and Texture Size, which can be changed after that",
        items=(
            ("draft", "Draft", "A quarter of the work: 12 steps, 6 views, 512 pixels"),
            ("standard", "Standard", "As in the paper: 30 steps, ten views; 1024 pixels"),
        ),
        default="standard",
        update=set_quality,
    )
    like_material: PointerProperty(
        type=bpy.types.Material,
        name="Like Material",
        description="Material that is painted as it is: the images of its base color, normals, "
        "roughness, metal and height",
    )
    keep: PointerProperty(
        type=bpy.types.Image,
        name="Keep",
        description="Texture to paint on: what the mask shows, or what is opaque, stays as it is",
    )
    keep_mask: PointerProperty(
        type=bpy.types.Image,
        name="Keep Mask",
        description="White where the texture stays, black where it is painted anew",
    )

    repaint_mask: PointerProperty(
        type=bpy.types.Image,
        name="Repaint",
        description="White where the texture is painted anew; what is black or transparent stays",
    )

    selected_cameras: BoolProperty(
        name="Selected Cameras",
        description="Paint from the selected camera objects, in place of the ten views or beside "
        "the rings",
        default=False,
    )


def register() -> None:
    bpy.utils.register_class(SYNCSDE_PG_texture)
    bpy.types.Scene.syncsde = PointerProperty(type=SYNCSDE_PG_texture)
    for owner in (bpy.types.Object, bpy.types.Material):
        owner.syncsde_prompt = StringProperty(
            name="Own Prompt",
            description="What this part should look like instead of the prompt",
            default="",
            maxlen=2001,
            search=suggestions.for_surface,
            search_options={"SUGGESTION"},
        )
        owner.syncsde_like = PointerProperty(
            type=bpy.types.Image,
            name="Own Like",
            description="Picture that this part should look like, whatever its prompt says",
        )


def unregister() -> None:
    del bpy.types.Scene.syncsde
    for owner in (bpy.types.Object, bpy.types.Material):
        del owner.syncsde_prompt
        del owner.syncsde_like
    bpy.utils.unregister_class(SYNCSDE_PG_texture)
