# SPDX-License-Identifier: GPL-3.0-or-later
"""What can be asked of each task: one frozen dataclass each, without torch.

A task's fields are at once its command-line flags, the JSON of its jobs, the published schema and
the add-on's properties. Everything that needs neither model nor mesh is checked at construction.
"""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import AfterValidator, ConfigDict, Field, Strict
from pydantic.dataclasses import dataclass

from .errors import InvalidRequest
from .library.map_names import KINDS

STRICT = ConfigDict(defer_build=True, strict=True, extra="forbid", allow_inf_nan=False)
LONGEST_PROMPT = 2000  # characters
MOST_VIEWS = 64  # of a mesh
MOST_PEELED = 7  # surfaces that views look through
MOST_PARTS = 64  # objects and materials with prompts of their own
MOST_LAYERS = 8  # foregrounds of a mask image, views of an ambiguous one
MOST_SEGMENTS = 64  # of a motion
MOST_LORAS, MOST_LORA = 16, 10.0  # how many, and the weight of one
MOST_LIKES = 8  # objects and materials with pictures of their own
MOST_GIVEN = 8  # views that are given as pictures
GIVEN_VIEWS = tuple(f"view_{number}" for number in range(1, MOST_GIVEN + 1))
LIKES = ("like", *(f"like_{number}" for number in range(1, MOST_LIKES + 1)))


def _off_or_more(scale: float) -> float:
    """0 is what instructions of distilled models call "off": without guidance, as 1 is."""
    if 0 < scale < 1:
        raise ValueError("between 0 and 1 it would follow the negative prompt; 0 or 1 is off")
    return scale or 1.0


GuidanceScale = Annotated[float, Field(ge=0, le=100), AfterValidator(_off_or_more)]


def loras(given: str | None) -> tuple[tuple[str, float], ...]:
    """Read "film.safetensors:0.8,other.safetensors": names or paths, and weights.

    Raises ValueError.
    """
    if given is None:
        return ()
    pairs = []
    for each in given.split(","):
        name, colon, weight = each.strip().rpartition(":")
        try:
            pair = (name, float(weight)) if colon else (weight, 1.0)
        except ValueError:  # a colon of the path
            pair = (each.strip(), 1.0)
        if not pair[0]:
            raise ValueError("a name is missing")
        if not abs(pair[1]) <= MOST_LORA:
            raise ValueError(f"the weight {pair[1]:g} is not between -{MOST_LORA} and {MOST_LORA}")
        pairs.append(pair)
    if len(pairs) > MOST_LORAS:
        raise ValueError(f"these are {len(pairs)}, and at most {MOST_LORAS} are taken")
    return tuple(pairs)


def _loras(given: str) -> str:
    loras(given)
    return given


ControlScale = Annotated[float, Field(ge=0, le=10)]
ViewSize = Annotated[int, Field(ge=64, le=2048, multiple_of=8)]  # pixels
TileSize = Annotated[int, Field(ge=64, le=768, multiple_of=8)]  # pixels
Side = Annotated[int, Field(ge=64, le=65536)]  # pixels
Text = Annotated[str, Field(pattern=r"\S", max_length=LONGEST_PROMPT)]
Angle = Annotated[float, Strict(), Field(ge=1, le=150)]  # degrees
Coordinate = Annotated[float, Strict(), Field(ge=-1e30, le=1e30)]
Point = tuple[Coordinate, Coordinate, Coordinate]
Name = Annotated[str, Field(min_length=1, max_length=255)]
MaterialName = Annotated[
    Name | None,
    Field(description="picture of the library to look like; default: found by the prompt"),
]
StrategyName = Literal[
    "syncsde", "synctweedies", "multidiffusion", "visual-anagrams", "syncmvd", "independent"
]
TransformName = Literal["rotate_cw", "rotate_ccw", "rotate_180", "flip", "skew"]


@dataclass(frozen=True, kw_only=True, config=STRICT)
class Sampling:
    """What every task asks of the sampler and its model."""

    inputs: ClassVar[tuple[str, ...]] = ()  # the blobs it needs
    optional_inputs: ClassVar[tuple[str, ...]] = ("noise",)  # and those it may be given

    negative_prompt: Annotated[
        str | None,
        Field(max_length=LONGEST_PROMPT, description="what not to show; default: the model's"),
    ] = None
    seed: Annotated[int, Field(ge=0, lt=2**53, description="same seed, same result")] = 0
    steps: Annotated[int, Field(ge=1, le=1000, description="denoising steps")] = 50
    sampler: Annotated[
        Literal["ddim", "ddpm"], Field(description="ddpm adds fresh noise in every step")
    ] = "ddim"
    eta: Annotated[
        float, Field(ge=0, le=1, description="share of fresh noise with ddim; 1 is ddpm")
    ] = 0.0
    guidance_scale: Annotated[
        GuidanceScale | None,
        Field(description="classifier-free guidance, 0 or 1 is off; default: the model's"),
    ] = None
    strategy: Annotated[
        StrategyName, Field(description="how the trajectories are synchronized")
    ] = "syncsde"
    inverse_lambda: Annotated[
        float,
        Field(ge=0, le=100, description="1/lambda: how strongly trajectories agree; 0 is off"),
    ] = 5.0
    correction: Annotated[
        Literal["clamped", "paper"],
        Field(description="clamped never overshoots; paper is the authors' arithmetic"),
    ] = "clamped"
    synchronized_share: Annotated[
        float, Field(ge=0, le=1, description="share of the noise range that is synchronized")
    ] = 1.0
    model: Annotated[
        str,
        Field(
            min_length=1,
            description="name of a known model, or a diffusers folder. auto: exemplar where a "
            "picture is given or the prompt names one of the library, else mini",
        ),
    ] = "auto"
    lora: Annotated[
        Annotated[str, Field(pattern=r"\S", max_length=LONGEST_PROMPT), AfterValidator(_loras)]
        | None,
        Field(
            description="LoRAs that are added to the model: files, each with :WEIGHT where that is "
            "not 1, separated by commas"
        ),
    ] = None
    batch_size: Annotated[
        int | None,
        Field(ge=1, le=64, description="trajectories in the network at once; default: up to 10"),
    ] = None
    precision: Annotated[
        Literal["auto", "float32", "bfloat16", "float16"],
        Field(description="of the networks; the state is always float32. auto: float16 on CUDA"),
    ] = "auto"
    compile: Annotated[bool, Field(description="compile the networks; meant for CUDA")] = False
    device: Annotated[
        str,
        Field(pattern=r"^(auto|cpu|mps|cuda(:\d+)?)$", description="auto, cpu, cuda, cuda:1, mps"),
    ] = "auto"


# Strict itself, a dataclass would not be taken from JSON inside of another.
@dataclass(frozen=True, kw_only=True, config=ConfigDict(extra="forbid", allow_inf_nan=False))
class Viewpoint:
    """A camera of the user's own. Points and lengths are those of the mesh as it was given."""

    position: Annotated[Point, Field(description="where the camera stands, [x, y, z] with y up")]
    look_at: Annotated[
        Point | None, Field(description="what is in the middle of its image; default: the mesh")
    ] = None
    up: Annotated[Point, Field(description="what points up in its image")] = (0.0, 1.0, 0.0)
    fov: Annotated[
        Angle | None,
        Field(description="degrees across the shorter side; default: fov of all"),
    ] = None
    ortho_scale: Annotated[
        Annotated[float, Strict(), Field(gt=0)] | None,
        Field(description="makes it orthographic: the length that the shorter side shows"),
    ] = None
    layer: Annotated[
        Annotated[int, Strict(), Field(ge=0, le=MOST_PEELED)],
        Field(description="which surface along its rays it shows: 0 the nearest, 1 the next, ..."),
    ] = 0


@dataclass(frozen=True, kw_only=True, config=STRICT)
class TextureConfig(Sampling):
    """Texture a mesh from synchronized views, ten by default (section 3.3.5 of the paper)."""

    inputs: ClassVar[tuple[str, ...]] = ("mesh",)
    optional_inputs: ClassVar[tuple[str, ...]] = (
        "noise",
        "keep",
        "keep_mask",
        *GIVEN_VIEWS,
        *LIKES,
        *(f"{like}_{kind}" for like in LIKES for kind in KINDS),
    )

    prompt: Annotated[
        str,
        Field(
            max_length=LONGEST_PROMPT,
            description="what the surface should look like; or give a picture, as like or material",
        ),
    ] = ""
    material: MaterialName = None
    like_for: Annotated[
        tuple[Name, ...],
        Field(
            max_length=MOST_LIKES,
            description="objects or materials that look like a picture of their own",
        ),
    ] = ()
    view_for: Annotated[
        tuple[Annotated[int, Strict(), Field(ge=0, lt=MOST_VIEWS)], ...],
        Field(
            max_length=MOST_GIVEN,
            description="views that are given as pictures, by their numbers in views/: all others "
            "follow them",
        ),
    ] = ()
    tile_size: Annotated[
        Annotated[float, Strict(), Field(gt=0, le=100)] | None,
        Field(
            description="width of the picture on the mesh, whose longest reach from its middle "
            "is 1; default: the picture's own"
        ),
    ] = None
    maps: Annotated[
        bool,
        Field(
            description="paint the normals, roughness, metal and height, too, that come with the "
            "picture"
        ),
    ] = True
    quality: Annotated[
        Literal["draft", "standard"],
        Field(description="draft: fewer views and steps, unless they are given"),
    ] = "standard"
    prompt_for: Annotated[
        tuple[tuple[Name, Text], ...],
        Field(
            max_length=MOST_PARTS,
            description="what an object or material of this name should look like instead",
        ),
    ] = ()
    steps: Annotated[int, Field(ge=1, le=1000, description="denoising steps")] = 30
    synchronized_share: Annotated[
        float, Field(ge=0, le=1, description="share of the noise range that is synchronized")
    ] = 0.8
    controlnet: Annotated[
        str | None,
        Field(description="folder of the depth ControlNet, if the model's own folder has none"),
    ] = None
    control_scale: Annotated[
        ControlScale | None,
        Field(description="strength of the depth control; default: the model's"),
    ] = None
    sources: Annotated[
        Literal["average", "best"],
        Field(
            description="of the earlier views that see a spot: their mean, or the one that faces it"
        ),
    ] = "average"
    shared_attention: Annotated[
        Literal["off", "ring"],
        Field(description="ring: views attend to their neighbors and, early, to the front view"),
    ] = "off"
    view_size: Annotated[
        ViewSize | None,
        Field(description="shorter side of a view in pixels; default: the model's"),
    ] = None
    view_prompts: Annotated[
        bool, Field(description="append the viewing direction to the prompt")
    ] = True
    cameras: Annotated[
        int | None,
        Field(ge=1, le=MOST_VIEWS, description="views in even rings; default: the paper's ten"),
    ] = None
    extra_cameras: Annotated[
        int,
        Field(
            ge=0,
            le=MOST_VIEWS,
            description="at most so many further views, each where it shows most unseen surface",
        ),
    ] = 0
    coverage: Annotated[
        float | None,
        Field(
            gt=0,
            le=1,
            description="share of the texture's used part that views are to see: as many further "
            "ones as that takes, up to extra_cameras or, where that is 0, 64 views in all",
        ),
    ] = None
    peel: Annotated[
        int | None,
        Field(
            ge=0,
            le=MOST_PEELED,
            description="surfaces that a further view may look through at what they hide; "
            "default: 0, or 7 with coverage",
        ),
    ] = None
    viewpoints: Annotated[
        tuple[Viewpoint, ...],
        Field(
            max_length=MOST_VIEWS,
            description="cameras of your own, in place of the paper's ten or beside the rings: a "
            "list of position, look_at, up, fov or ortho_scale, and layer",
        ),
    ] = ()
    order: Annotated[
        Literal["front", "paper"],
        Field(
            description="order in which views condition each other. front: the front view first; "
            "paper: as listed, which starts the paper's ten and rings at the back"
        ),
    ] = "front"
    fov: Annotated[Angle, Field(description="degrees across the shorter side of a view")] = 60.0
    orthographic: Annotated[bool, Field(description="views without perspective")] = False
    aspect: Annotated[
        float, Field(ge=0.25, le=4, description="width of a view as a multiple of its height")
    ] = 1.0
    texture_size: Annotated[
        int, Field(ge=16, le=8192, description="side of the texture, pixels")
    ] = 1024
    uv: Annotated[
        Literal["auto", "keep", "unwrap"],
        Field(
            description="texture coordinates: auto makes some where there are none, keep never, "
            "unwrap everywhere"
        ),
    ] = "auto"
    fill: Annotated[
        Literal["smooth", "surface", "uv"],
        Field(
            description="what no view saw: several near spots blended, the nearest on the surface, "
            "or, as the paper, the nearest in the texture"
        ),
    ] = "smooth"
    rasterizer: Annotated[
        Literal["auto", "builtin", "nvdiffrast"],
        Field(description="auto takes nvdiffrast where CUDA has it"),
    ] = "auto"

    def __post_init__(self) -> None:
        views = (self.cameras or 0) + len(self.viewpoints) + self.extra_cameras
        if views > MOST_VIEWS:
            raise InvalidRequest(
                f"These are {views} views, and at most {MOST_VIEWS} are painted together.",
                hint="Lower cameras or extra_cameras.",
                field="cameras",
            )
        if self.peel and not self.extra_cameras and self.coverage is None:
            raise InvalidRequest(
                f"peel is {self.peel}, and there are no further views to look through surfaces.",
                hint="Raise extra_cameras, or ask for a coverage.",
                field="peel",
            )
        for number, viewpoint in enumerate(self.viewpoints):
            if viewpoint.fov is not None and viewpoint.ortho_scale is not None:
                raise InvalidRequest(
                    f"viewpoints[{number}] has both fov and ortho_scale.",
                    hint="Give fov for perspective, or ortho_scale for a view without.",
                    field="viewpoints",
                )
        if self.prompt_for and self.shared_attention != "off":
            raise InvalidRequest(
                "shared_attention is for views of one prompt each.",
                hint="Turn it off, or leave out prompt_for.",
                field="shared_attention",
            )


@dataclass(frozen=True, kw_only=True, config=STRICT)
class MaskConfig(Sampling):
    """Make an image from prompts for the regions of a mask (section 3.3.1 of the paper)."""

    inputs: ClassVar[tuple[str, ...]] = ("mask",)
    optional_inputs: ClassVar[tuple[str, ...]] = (
        "noise",
        *(f"mask_{number}" for number in range(2, MOST_LAYERS + 1)),
        "like",
        *(f"like_{number}" for number in range(1, MOST_LAYERS + 1)),
    )

    background: Annotated[Text, Field(description="what the black part of the masks shows")]
    foreground: Annotated[
        tuple[Text, ...],
        Field(
            min_length=1,
            max_length=MOST_LAYERS,
            description="what the white part of a mask shows; one for each mask, later on top",
        ),
    ]
    prompt: Annotated[Text, Field(description="what the whole image shows")]
    like_for: Annotated[
        tuple[Annotated[int, Field(ge=1, le=MOST_LAYERS)], ...],
        Field(
            max_length=MOST_LAYERS,
            description="masks, counted from 1, whose foreground looks like a picture of its own",
        ),
    ] = ()
    tile_size: Annotated[
        TileSize | None,
        Field(description="width of the pictures in the image; default: their own"),
    ] = None
    size: Annotated[
        ViewSize | None, Field(description="side of the image in pixels; default: the model's")
    ] = None

    def __post_init__(self) -> None:
        for number in self.like_for:
            if number > len(self.foreground):
                raise InvalidRequest(
                    f"like_for names mask {number}, and there are {len(self.foreground)}.",
                    hint="Masks are counted from 1, in the order of the foregrounds.",
                    field="like_for",
                )
            if self.like_for.count(number) > 1:
                raise InvalidRequest(f"like_for names mask {number} twice.", field="like_for")


@dataclass(frozen=True, kw_only=True, config=STRICT)
class EditConfig(Sampling):
    """Edit a real image by text (section 3.3.2 of the paper)."""

    inputs: ClassVar[tuple[str, ...]] = ("image",)
    optional_inputs: ClassVar[tuple[str, ...]] = ("noise", "mask")

    source_prompt: Annotated[Text, Field(description="what the image shows")]
    prompt: Annotated[Text, Field(description="what it shall show")]
    word: Annotated[
        str | None,
        Field(
            pattern=r"\S",
            max_length=LONGEST_PROMPT,
            description="the word or words of the source prompt that change; default: found by "
            "comparing the prompts",
        ),
    ] = None
    mask_threshold: Annotated[
        float,
        Field(ge=0, le=1, description="attention above which a pixel is foreground"),
    ] = 0.3
    strategy: Annotated[  # pyright: ignore[reportIncompatibleVariableOverride]
        Literal[StrategyName, "ddib", "sdedit", "masactrl", "pti"],
        Field(description="how source and target are synchronized, or a rival editing method"),
    ] = "syncsde"
    strength: Annotated[
        float, Field(gt=0, le=1, description="sdedit: share of the noise range that is redone")
    ] = 0.7
    size: Annotated[
        ViewSize | None,
        Field(description="longer side at which the model works; default: the model's"),
    ] = None


@dataclass(frozen=True, kw_only=True, config=STRICT)
class WideConfig(Sampling):
    """Make a wide, tall or wrapped image from overlapping patches (section 3.3.3 of the paper)."""

    optional_inputs: ClassVar[tuple[str, ...]] = ("noise", "extend", "like")

    prompt: Annotated[
        str,
        Field(
            max_length=LONGEST_PROMPT,
            description="what the image shows; or give a picture, as like or material",
        ),
    ] = ""
    material: MaterialName = None
    tile_size: Annotated[
        TileSize | None, Field(description="width of the picture in the image; default: its own")
    ] = None
    prompt_at: Annotated[
        tuple[tuple[int, Text], ...],
        Field(description="from this pixel column on (row, in a tall image), show that instead"),
    ] = ()
    width: Annotated[
        Side | None, Field(description="pixels; default: four patches, or the height of one")
    ] = None
    height: Annotated[Side | None, Field(description="pixels; default: one patch")] = None
    wrap: Annotated[bool, Field(description="join the right edge to the left: a full panorama")] = (
        False
    )
    extend_to: Annotated[
        Literal["right", "left"], Field(description="side on which a given image grows")
    ] = "right"
    patch_size: Annotated[
        ViewSize | None, Field(description="side of a patch in pixels; default: the model's")
    ] = None
    stride: Annotated[
        float,
        Field(gt=0, le=1, description="from patch to patch, as a share of the patch"),
    ] = 0.25
    # Paper: not said; the authors' command shares the noise.
    shared_noise: Annotated[
        bool, Field(description="start patches as crops of one noise, as the authors do")
    ] = True


@dataclass(frozen=True, kw_only=True, config=STRICT)
class AmbiguousConfig(Sampling):
    """Make an image that shows something else when turned (section 3.3.4 of the paper)."""

    prompt: Annotated[
        tuple[Text, ...],
        Field(
            min_length=2, max_length=MOST_LAYERS, description="what each view shows, upright first"
        ),
    ]
    transform: Annotated[
        tuple[TransformName, ...],
        Field(
            min_length=1,
            max_length=MOST_LAYERS - 1,
            description="from the upright image to each further view",
        ),
    ]
    steps: Annotated[int, Field(ge=1, le=1000, description="denoising steps")] = 30
    size: Annotated[
        ViewSize | None, Field(description="side of the image in pixels; default: the model's")
    ] = None
    upscaler: Annotated[
        str | None,
        Field(min_length=1, description="folder of DeepFloyd IF's second stage, for its first"),
    ] = None

    def __post_init__(self) -> None:
        if len(self.prompt) != len(self.transform) + 1:
            raise InvalidRequest(
                f"There are {len(self.prompt)} prompts and {len(self.transform)} transforms.",
                hint="Give one prompt for the upright image and one for each transform.",
                field="transform",
            )


@dataclass(frozen=True, kw_only=True, config=STRICT)
class MotionConfig(Sampling):
    """Make one long motion of a figure from a prompt for each segment (section 3.3.6).

    The defaults are the paper's: segments of 120 frames at 20 a second, of which neighbors share
    30, and 1/lambda = 3.
    """

    optional_inputs: ClassVar[tuple[str, ...]] = ("noise", "states")

    prompt: Annotated[
        tuple[Text, ...],
        Field(
            min_length=1,
            max_length=MOST_SEGMENTS,
            description="what happens, one after another: a segment for each",
        ),
    ]
    frames: Annotated[int, Field(ge=40, le=196, description="frames of a segment, 20 a second")] = (
        120
    )
    overlap: Annotated[
        int, Field(ge=0, le=98, description="frames that a segment shares with the next one")
    ] = 30
    join: Annotated[
        Literal["fade", "over"],
        Field(description="of what segments share. over: the later one, as the paper; fade: both"),
    ] = "fade"
    foot_lock: Annotated[
        bool, Field(description="keep feet where they stand, in the files for other programs")
    ] = False
    compare: Annotated[
        bool,
        Field(description="report the figures of independent segments from the same noise, too"),
    ] = False
    reroll: Annotated[
        int | None,
        Field(ge=1, description="make this segment of a finished motion again; 1 is the first"),
    ] = None
    extend_to: Annotated[
        Literal["end", "start"], Field(description="where a finished motion goes on")
    ] = "end"
    let_move: Annotated[
        bool,
        Field(description="what was there may move in the world, where new motion leads elsewhere"),
    ] = False
    strategy: Annotated[  # pyright: ignore[reportIncompatibleVariableOverride]
        Literal[StrategyName, "doubletake"],
        Field(description="how the segments are synchronized"),
    ] = "syncsde"
    inverse_lambda: Annotated[
        float,
        Field(ge=0, le=100, description="1/lambda: how strongly segments agree; 0 is off"),
    ] = 3.0
    model: Annotated[
        str,
        Field(
            min_length=1,
            description="mime, which has learned procedural motion only, or the folder of an "
            "imported model",
        ),
    ] = "mime"

    def __post_init__(self) -> None:
        if 2 * self.overlap > self.frames:
            raise InvalidRequest(
                f"overlap {self.overlap} is more than half of {self.frames} frames.",
                hint="A frame may lie in two segments at most.",
                field="overlap",
            )
        if self.reroll is not None and len(self.prompt) != 1:
            raise InvalidRequest(
                f"There are {len(self.prompt)} prompts for one segment to make again.",
                hint="Give the one of that segment.",
                field="prompt",
            )


TaskConfig = Sampling  # of whichever task
CONFIGS: dict[str, type[TaskConfig]] = {  # `plugins` adds tasks from elsewhere
    "texture": TextureConfig,
    "mask": MaskConfig,
    "edit": EditConfig,
    "wide": WideConfig,
    "ambiguous": AmbiguousConfig,
    "motion": MotionConfig,
}
