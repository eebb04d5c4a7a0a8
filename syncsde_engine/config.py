# SPDX-License-Identifier: GPL-3.0-or-later
"""What can be asked of each task: one frozen dataclass each, without torch.

A task's fields are at once its command-line flags, the JSON of its jobs, the published schema and
the add-on's properties. Everything that needs neither model nor mesh is checked at construction.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal

from pydantic import ConfigDict, Field, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass

from .errors import InvalidRequest

STRICT = ConfigDict(strict=True, extra="forbid", allow_inf_nan=False)

GuidanceScale = Annotated[float, Field(ge=0, le=100)]
ControlScale = Annotated[float, Field(ge=0, le=10)]
ViewSize = Annotated[int, Field(ge=64, le=2048, multiple_of=8)]  # pixels


@dataclass(frozen=True, config=STRICT)
class TextureConfig:
    """Texture a mesh from ten synchronised views (section 3.3.5 of the paper)."""

    inputs: ClassVar[tuple[str, ...]] = ("mesh",)

    prompt: Annotated[
        str, Field(pattern=r"\S", max_length=2000, description="what the surface should look like")
    ]
    negative_prompt: Annotated[
        str | None,
        Field(max_length=2000, description="what it should not look like; default: the model's"),
    ] = None
    seed: Annotated[int, Field(ge=0, lt=2**53, description="same seed, same result")] = 0
    steps: Annotated[int, Field(ge=1, le=1000, description="denoising steps")] = 30
    guidance_scale: Annotated[
        GuidanceScale | None,
        Field(description="classifier-free guidance, 1 is off; default: the model's"),
    ] = None
    strategy: Annotated[
        Literal["syncsde", "independent"], Field(description="how the views are synchronised")
    ] = "syncsde"
    inverse_lambda: Annotated[
        float, Field(ge=0, le=100, description="1/lambda: how strongly views agree; 0 is off")
    ] = 5.0
    correction: Annotated[
        Literal["clamped", "paper"],
        Field(description="clamped never overshoots; paper is the authors' arithmetic"),
    ] = "clamped"
    synchronized_share: Annotated[
        float, Field(ge=0, le=1, description="share of the noise range that is synchronised")
    ] = 0.8
    model: Annotated[
        str, Field(min_length=1, description="name of a known model, or a diffusers folder")
    ] = "mini"
    controlnet: Annotated[
        str | None,
        Field(description="folder of the depth ControlNet, if the model's own folder has none"),
    ] = None
    control_scale: Annotated[
        ControlScale | None,
        Field(description="strength of the depth control; default: the model's"),
    ] = None
    view_size: Annotated[
        ViewSize | None,
        Field(description="side of a view in pixels; default: the model's"),
    ] = None
    view_prompts: Annotated[
        bool, Field(description="append the viewing direction to the prompt")
    ] = True
    texture_size: Annotated[
        int, Field(ge=16, le=8192, description="side of the texture, pixels")
    ] = 1024
    batch_size: Annotated[
        int | None,
        Field(ge=1, le=64, description="views in the network at once; default: all of them"),
    ] = None
    device: Annotated[
        str,
        Field(pattern=r"^(auto|cpu|mps|cuda(:\d+)?)$", description="auto, cpu, cuda, cuda:1, mps"),
    ] = "auto"
    rasterizer: Annotated[
        Literal["auto", "builtin", "nvdiffrast"],
        Field(description="auto takes nvdiffrast where CUDA has it"),
    ] = "auto"


TaskConfig = TextureConfig
CONFIGS: dict[str, type[TaskConfig]] = {"texture": TextureConfig}


def build(task: str, parameters: Mapping[str, Any]) -> TaskConfig:
    """Make a task's Config from decoded JSON. Raises InvalidRequest with the first wrong field."""
    if task not in CONFIGS:
        raise InvalidRequest(
            f"There is no task {task!r}.", hint=f"Known: {', '.join(CONFIGS)}.", field="task"
        )
    known = {field.name for field in dataclasses.fields(CONFIGS[task])}
    for name in parameters:
        if name not in known:
            raise InvalidRequest(
                f"There is no parameter {name!r}.", hint="See the task's schema.", field=name
            )
    try:
        return CONFIGS[task](**parameters)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        field = ".".join(str(part) for part in first["loc"]) or "parameters"
        value = first.get("input")
        shown = "" if first["type"] == "missing" else f" (got {value!r})"
        raise InvalidRequest(f"{field}: {first['msg']}{shown}.", field=field) from None


def schema(task: str) -> dict[str, Any]:
    """The task's JSON Schema, for the HTTP interface and other front ends."""
    return TypeAdapter(CONFIGS[task]).json_schema()
