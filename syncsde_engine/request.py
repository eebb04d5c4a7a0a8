# SPDX-License-Identifier: GPL-3.0-or-later
"""What was asked for, from decoded JSON to a task's Config; without torch."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterable, Mapping
from typing import Any

from pydantic import TypeAdapter, ValidationError

from .config import CONFIGS, MaskConfig, TaskConfig, TextureConfig, WideConfig
from .errors import InvalidRequest
from .explain import explain

MOST_VALUES = 20_000  # of all that is in a request
MOST_DEPTH = 16
DRAFT: dict[str, Any] = {"steps": 12, "cameras": 6, "texture_size": 512}


def build(task: str, parameters: Mapping[str, Any]) -> TaskConfig:
    """Make a task's Config from decoded JSON. Raises InvalidRequest with the first wrong field."""
    if task not in CONFIGS:
        raise InvalidRequest(
            f"There is no task {task!r}.", hint=f"Known: {', '.join(CONFIGS)}.", field="task"
        )
    if parameters.get("quality") == "draft":
        own = parameters.get("viewpoints")  # then no rings are added
        draft = {name: value for name, value in DRAFT.items() if not own or name != "cameras"}
        parameters = {**draft, **parameters}
    known = {field.name for field in dataclasses.fields(CONFIGS[task])}
    for name in parameters:
        if name not in known:
            raise InvalidRequest(
                f"There is no parameter {name!r}.", hint="See the task's schema.", field=name
            )
    try:
        return CONFIGS[task](**_without_lists(parameters))
    except ValidationError as error:
        raise explain(error, schema(task)["properties"]) from None


def without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Make a JSON object; raises ValueError if a name is given twice."""
    found = {}
    for name, value in pairs:
        if name in found:
            raise ValueError(f"the name {name[:64]!r} is given twice")
        found[name] = value
    return found


def check_budget(content: Any) -> None:
    """Raise ValueError if decoded JSON is deeper or more than any request is, or no Unicode.

    Whatever comes after may then walk through it by recursion, show it, and write it down.
    """
    left, layer = MOST_VALUES, [content]
    for _ in range(MOST_DEPTH):
        left -= len(layer)
        if left < 0:
            raise ValueError(f"it has more than {MOST_VALUES} values")
        deeper: list[Any] = []
        for value in layer:
            if isinstance(value, dict):
                deeper += [*value, *value.values()]
            elif isinstance(value, list):
                deeper += value
            elif isinstance(value, str) and not value.isascii():
                _check_unicode(value)
        layer = deeper
    if layer:
        raise ValueError(f"it is nested deeper than {MOST_DEPTH}")


def _check_unicode(text: str) -> None:
    try:
        text.encode()
    except UnicodeEncodeError:
        raise ValueError(f"the text {text[:40]!a} has half of a character") from None


def check_inputs(task: str, config: TaskConfig, given: Mapping[str, Any]) -> None:
    """Raise InvalidRequest for an input that is missing or that the task does not know."""
    if isinstance(config, TextureConfig | WideConfig):
        check_subject(config, given)
    check_pictures(config, given)
    for name in config.inputs:
        if name not in given:
            raise InvalidRequest(f"Task {task!r} needs the input {name!r}.", field=f"inputs.{name}")
    known = (*config.inputs, *config.optional_inputs)
    for name in given:
        if name not in known:
            raise InvalidRequest(
                f"Task {task!r} has no input {name!r}.",
                hint=f"Its inputs: {', '.join(_without_maps(known))}.",
                field=f"inputs.{name}",
            )


def check_subject(config: TextureConfig | WideConfig, given: Mapping[str, Any]) -> None:
    """Raise InvalidRequest unless a run knows what to paint: words, or a picture."""
    if not (config.prompt.strip() or config.material or "like" in given):
        raise InvalidRequest(
            "There is no prompt.",
            hint="Say what it should look like, or give a picture: like, or a material.",
            field="prompt",
        )
    if config.material and "like" in given:
        raise InvalidRequest(
            f"Both a picture and the material {config.material!r} are given.",
            hint="Leave one of like and material out.",
            field="material",
        )


def check_pictures(config: TaskConfig, given: Mapping[str, Any]) -> None:
    """Raise InvalidRequest unless each name, or number of a mask, in like_for has its picture."""
    names = config.like_for if isinstance(config, TextureConfig | MaskConfig) else ()
    told = "numbers" if isinstance(config, MaskConfig) else "names"
    pictures = sorted(name for name in given if re.fullmatch(r"like_\d+", name))
    if pictures != [f"like_{number}" for number in range(1, len(names) + 1)]:
        raise InvalidRequest(
            f"like_for has {len(names)} {told}, and there are {len(pictures)} pictures for them.",
            hint="Give one picture for each: like_1, like_2, ...",
            field="like_for",
        )
    check_views(config, given)
    for name in given:
        of_part = re.match(r"like_\d+(?=_)", name)
        if of_part and of_part[0] not in given:
            raise InvalidRequest(
                f"The map {name!r} has no picture {of_part[0]!r}.",
                hint="Give the picture that it belongs to, too.",
                field=f"inputs.{name}",
            )


def check_views(config: TaskConfig, given: Mapping[str, Any]) -> None:
    """Raise InvalidRequest unless each number in view_for has its picture, and is there once."""
    numbers = config.view_for if isinstance(config, TextureConfig) else ()
    views = sorted(name for name in given if re.fullmatch(r"view_\d+", name))
    if views != [f"view_{number}" for number in range(1, len(numbers) + 1)]:
        raise InvalidRequest(
            f"view_for has {len(numbers)} numbers, and there are {len(views)} pictures for them.",
            hint="Give one picture for each: view_1, view_2, ...",
            field="view_for",
        )
    if len(set(numbers)) < len(numbers):
        twice = next(number for number in numbers if numbers.count(number) > 1)
        raise InvalidRequest(f"view_for names view {twice} twice.", field="view_for")


def _without_maps(names: Iterable[str]) -> list[str]:
    """Each picture may have nine maps of the same endings: those of the first tell them all."""
    return [name for name in names if not re.match(r"like_\d+_", name)]


def schema(task: str) -> dict[str, Any]:
    """The task's JSON Schema, for the HTTP interface and other front ends."""
    return TypeAdapter(CONFIGS[task]).json_schema()


def _without_lists(value: Any) -> Any:
    """JSON has lists where a frozen dataclass has tuples."""
    if isinstance(value, Mapping):
        return {name: _without_lists(entry) for name, entry in value.items()}
    return tuple(_without_lists(entry) for entry in value) if isinstance(value, list) else value
