# SPDX-License-Identifier: GPL-3.0-or-later
"""What is asked of an image operator as the parameters and input images of a job.

Each task's function takes an operator, or whatever else has an operator's properties, and raises
Incomplete if something is still to be chosen or written.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from ..properties.image import AmbiguousParameters, EditParameters, MaskParameters, WideParameters
from ..properties.sampling import to_job
from ..scene.images import title


class ImageJob(NamedTuple):
    """A job without the pixels."""

    parameters: dict[str, Any]
    images: dict[str, str]  # the engine's name of an input -> the image's name in Blender
    title: str


class Incomplete(ValueError):
    """Something is still to be chosen or written; the text says what."""


def mask(source: Any) -> ImageJob:
    """An image from masks; the first mask's input is `mask`, the second's `mask_2`."""
    foregrounds, masks = split(source.foreground), split(source.mask)
    need(source.prompt, "Describe the whole image first.")
    need(source.background, "Describe the background first.")
    need(foregrounds, "Add a foreground and describe it first.")
    need(all(each.strip() for each in foregrounds), "Describe each foreground first.")
    need(all(masks) and len(masks) == len(foregrounds), "Choose a mask for each foreground first.")
    likes = [numbered(line) for line in split(source.like_for)]
    parameters = to_job(source, MaskParameters) | {
        "foreground": foregrounds,
        "like_for": [number for number, _ in likes],
    }
    names = ("mask", *(f"mask_{number}" for number in range(2, len(masks) + 1)))
    images = dict(zip(names, masks, strict=True)) | ({"like": source.like} if source.like else {})
    images |= {f"like_{place}": image for place, (_, image) in enumerate(likes, start=1)}
    return ImageJob(parameters, images, f"Masks: {source.prompt}")


def numbered(line: str) -> tuple[int, str]:
    """Read a line such as "1: Rust.png"."""
    number, _, image = line.strip().partition(":")
    if not number.strip().isdecimal() or not image.strip():
        raise Incomplete(f"{line!r} is not the number of a mask, a colon and an image's name.")
    return int(number), image.strip()


def edit(source: Any) -> ImageJob:
    """An edited image."""
    need(source.image, "Choose the image to edit first.")
    need(source.source_prompt, "Describe what the image shows now first.")
    need(source.prompt, "Describe what the image shall show first.")
    given = {"image": source.image, "mask": source.mask}
    images = {name: image for name, image in given.items() if image}
    return ImageJob(to_job(source, EditParameters), images, f"Edit: {source.prompt}")


def wide(source: Any) -> ImageJob:
    """A wide image."""
    need(
        source.prompt.strip() or source.like or source.material,
        "Describe the image, or choose a picture that it looks like, first.",
    )
    parameters = to_job(source, WideParameters) | {
        "prompt_at": [change(line) for line in split(source.prompt_at)]
    }
    given = {"extend": source.extend, "like": source.like}
    images = {name: image for name, image in given.items() if image}
    return ImageJob(
        parameters, images, f"Wide: {title(source.prompt, source.material, source.like)}"
    )


def change(line: str) -> tuple[int, str]:
    """Read a line such as "512 a harbor"."""
    start, _, prompt = line.strip().partition(" ")
    if not start.isdecimal():
        raise Incomplete(f"{line!r} must start with a pixel position, as in '512 a harbor'.")
    need(prompt, f"Describe what is shown from pixel {start} on first.")
    return int(start), prompt.strip()


def ambiguous(source: Any) -> ImageJob:
    """An ambiguous image."""
    prompts, transforms = split(source.prompt), split(source.transform)
    need(prompts, "Describe the upright image first.")
    need(transforms, "Add a view first: how the image is turned, and what is seen then.")
    need(all(each.strip() for each in prompts), "Describe each view first.")
    parameters = to_job(source, AmbiguousParameters) | {
        "prompt": prompts,
        "transform": [each.strip() for each in transforms],
    }
    return ImageJob(parameters, {}, f"Ambiguous: {' / '.join(prompts)}")


JOBS: dict[str, Callable[[Any], ImageJob]] = {
    "mask": mask,
    "edit": edit,
    "wide": wide,
    "ambiguous": ambiguous,
}


def split(text: str) -> list[str]:
    """One entry for each line; an empty text has none."""
    return text.split("\n") if text else []


def need(something: Any, otherwise: str) -> None:
    """Raise Incomplete unless there is something, more than blanks."""
    if not (something.strip() if isinstance(something, str) else something):
        raise Incomplete(otherwise)
