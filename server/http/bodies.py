# SPDX-License-Identifier: GPL-3.0-or-later
"""Read what clients ask from untrusted JSON: one meaning or none."""

from __future__ import annotations

import json
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from syncsde_client.protocol import (
    JOB_ID_PATTERN,
    KEY_PATTERN,
    MAX_PRIORITY,
    SHA256_PATTERN,
    JobRequest,
)
from syncsde_engine.errors import InvalidRequest
from syncsde_engine.explain import explain
from syncsde_engine.request import build, check_budget, check_inputs, without_duplicates

from ..errors import Refused

STRICT = ConfigDict(strict=True, extra="forbid", allow_inf_nan=False)
Priority = Annotated[int, Field(ge=-MAX_PRIORITY, le=MAX_PRIORITY, description="higher goes first")]
Body = TypeVar("Body", bound=BaseModel)


class Submission(BaseModel):
    """protocol.JobRequest as it may come in."""

    model_config = STRICT

    task: Annotated[str, Field(min_length=1, max_length=64, description="its name")]
    parameters: Annotated[dict[str, Any], Field(description="what the task's schema describes")]
    inputs: Annotated[
        dict[str, Annotated[str, Field(pattern=SHA256_PATTERN)]],
        Field(max_length=16, description="name -> SHA-256 of a blob that is here already"),
    ] = {}
    key: Annotated[
        str | None,
        Field(
            pattern=KEY_PATTERN,
            description="1 to 64 of letters, digits, . _ and -; requests with the same key are one "
            "job",
        ),
    ] = None
    priority: Priority = 0


class Move(BaseModel):
    """Another place in the queue; without anything, the place stays."""

    model_config = STRICT

    to: Literal["first", "last"] | None = None
    before: Annotated[str | None, Field(pattern=JOB_ID_PATTERN)] = None
    priority: Priority | None = None


class Nothing(BaseModel):
    """An empty object, or no body at all."""

    model_config = STRICT


def read_request(body: bytes) -> JobRequest:
    """Decode and check a job, down to the task's parameters and the names of its inputs.

    Raises Refused if it is not plain JSON, InvalidRequest with the first wrong field.
    """
    submission = read(Submission, body)
    config = build(submission.task, submission.parameters)
    check_inputs(submission.task, config, submission.inputs)
    return JobRequest(**submission.model_dump())


def read(kind: type[Body], body: bytes) -> Body:
    """Decode and check the body of a request. Raises Refused or InvalidRequest."""
    try:
        content = json.loads(
            body,
            object_pairs_hook=without_duplicates,
            parse_constant=_constant,
            parse_float=_number,
        )
        check_budget(content)
    except (ValueError, RecursionError) as error:
        reason = "it is nested too deeply" if isinstance(error, RecursionError) else str(error)
        raise Refused(400, "invalid_json", f"The body is not JSON: {reason}.") from None
    if not isinstance(content, dict):
        raise InvalidRequest("The body must be a JSON object.", field="body")
    try:
        return kind.model_validate(content)
    except ValidationError as error:
        raise explain(error, kind.model_json_schema()["properties"]) from None


def _constant(name: str) -> Any:
    raise ValueError(f"{name} is not a number of JSON")


def _number(text: str) -> int | float:
    """3.0 is a whole number in JSON Schema; where a float is wanted, 3 is as good."""
    value = float(text)
    return int(value) if value.is_integer() else value
