# SPDX-License-Identifier: GPL-3.0-or-later
"""Jobs over HTTP: submitted, followed, moved, cancelled."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated, Any

from fastapi import FastAPI, Header, Path, Query, Request, Response
from fastapi.responses import StreamingResponse
from starlette.concurrency import run_in_threadpool

from syncsde_client import protocol
from syncsde_engine import __version__
from syncsde_engine.config import CONFIGS
from syncsde_engine.request import schema

from ..errors import MissingBlob
from .bodies import Move, Submission, read, read_request
from .engine import Content, Engine
from .errors import errors
from .waiting import stream_events, wait_for_end, wait_for_events

JobId = Annotated[str, Path(pattern=protocol.JOB_ID_PATTERN)]
Owner = Annotated[str | None, Header(alias=protocol.CLIENT_HEADER, pattern=protocol.KEY_PATTERN)]
Number = Annotated[int, Query(ge=0, lt=2**53)]
Wait = Annotated[float, Query(ge=0, le=protocol.MAX_WAIT, description="seconds")]

_EVENTS = {
    200: {
        "description": "Events",
        "content": {
            protocol.JSON_TYPE: {"schema": {"type": "object"}},
            protocol.EVENT_STREAM_TYPE: {"schema": {"type": "string"}},
        },
    }
}


def add_jobs(app: FastAPI, engine: Engine) -> None:
    _add_submission(app, engine)
    _add_reading(app, engine)
    _add_changing(app, engine)


def _add_submission(app: FastAPI, engine: Engine) -> None:
    @app.post(
        "/v1/jobs",
        status_code=201,
        openapi_extra=_body(_submission_schema()),
        responses={
            200: {"description": "The job that was made with this key before"},
            **errors(409, 422, 424, 429, 507),
        },
    )
    async def submit(request: Request, response: Response, owner: Owner = None) -> Content:
        """Queue a job; one with a result that is here already is done at once."""
        body = await request.body()
        job, is_new = await run_in_threadpool(accept, body, owner)
        engine.supervisor.wake()
        response.status_code = 201 if is_new else 200
        response.headers["Location"] = f"/v1/jobs/{job.id}"
        return asdict(job)

    def accept(body: bytes, owner: str | None) -> tuple[protocol.Job, bool]:
        wanted = read_request(body)
        engine.models.check(wanted)
        for name, sha256 in wanted.inputs.items():
            if not engine.store.touch(sha256):
                raise MissingBlob(
                    f"The blob {sha256} is not here.",
                    hint="Upload it first.",
                    field=f"inputs.{name}",
                )
        engine.room.require(len(body))
        recipe = engine.models.recipe(wanted, engine.device, __version__)
        return engine.jobs.submit(wanted, owner=owner, recipe=recipe, is_here=engine.store.touch)


def _add_reading(app: FastAPI, engine: Engine) -> None:
    jobs, changes = engine.jobs, engine.changes

    @app.get("/v1/jobs", responses=errors(422))
    def newest(
        limit: Annotated[int, Query(ge=1, le=1000)] = 100,
        mine: Annotated[bool, Query(description="only those of this client")] = False,
        owner: Owner = None,
    ) -> Content:
        """The jobs submitted last, latest first."""
        found = jobs.newest(limit, (owner or "") if mine else None)
        return {"jobs": [asdict(job) for job in found]}

    @app.get("/v1/jobs/{job_id}", responses=errors(404, 422))
    async def job(job_id: JobId, wait: Wait = 0) -> Content:
        """With `wait`, answer when the job has ended, or after so many seconds."""
        return asdict(await wait_for_end(jobs, changes, job_id, wait))

    @app.get(
        "/v1/jobs/{job_id}/events",
        response_model=None,
        responses={**_EVENTS, **errors(404, 422)},
    )
    async def events(
        job_id: JobId,
        after: Number = 0,
        wait: Wait = 0,
        accept: Annotated[str, Header()] = "",
        last_event_id: Annotated[str, Header(pattern=r"^[0-9]{0,15}$")] = "",
    ) -> Content | Response:
        """Events numbered above `after`; as server-sent events if Accept asks for them.

        With `wait`, answer when there is one, or after so many seconds.
        """
        if protocol.EVENT_STREAM_TYPE not in accept:
            found = await wait_for_events(jobs, changes, job_id, after, wait)
            return {"events": [asdict(event) for event in found]}
        await run_in_threadpool(jobs.get, job_id)  # not found is an answer, not a broken stream
        start = int(last_event_id) if last_event_id else after
        return StreamingResponse(
            stream_events(jobs, changes, job_id, start), media_type=protocol.EVENT_STREAM_TYPE
        )


def _add_changing(app: FastAPI, engine: Engine) -> None:
    @app.post("/v1/jobs/{job_id}/cancel", status_code=202, responses=errors(404, 422))
    def cancel(job_id: JobId) -> Content:
        """Cancel a job: at once if it waits, else after the step that it is in."""
        job = engine.jobs.ask_cancel(job_id)
        engine.supervisor.wake()
        return asdict(job)

    @app.post("/v1/jobs/{job_id}/forget", status_code=200, responses=errors(404, 409, 422))
    def forget(job_id: JobId) -> Content:
        """Forget a job that has ended, and delete its files, which no other job needs."""
        files = engine.jobs.get(job_id).result or {}
        engine.jobs.forget_job(job_id)
        used = engine.jobs.used_blobs()
        for file in files.values():
            if file["sha256"] not in used:
                engine.store.remove(file["sha256"])
        engine.room.drop_unused()
        return {"forgotten": job_id}

    @app.post("/v1/cancel", status_code=202, responses=errors(422))
    def cancel_mine(owner: Owner = None) -> Content:
        """Cancel all jobs of this client."""
        cancelled = engine.jobs.ask_cancel_all(owner)
        engine.supervisor.wake()
        return {"jobs": cancelled}

    @app.post(
        "/v1/jobs/{job_id}/move",
        openapi_extra=_body(Move.model_json_schema()),
        responses=errors(404, 409, 422),
    )
    async def move(job_id: JobId, request: Request) -> Content:
        """Give a queued job another place or another priority."""
        wanted = await run_in_threadpool(read, Move, await request.body())
        moved = await run_in_threadpool(
            engine.jobs.move, job_id, wanted.to, wanted.before, wanted.priority
        )
        return asdict(moved)


def _body(schema: dict[str, Any]) -> dict[str, Any]:
    return {"requestBody": {"required": True, "content": {protocol.JSON_TYPE: {"schema": schema}}}}


def _submission_schema() -> dict[str, Any]:
    """What may be submitted: for each task its parameters and inputs."""
    whole = Submission.model_json_schema()
    shared = whole["properties"]
    sha256 = {"type": "string", "pattern": protocol.SHA256_PATTERN}
    kinds = []
    for task, config in CONFIGS.items():
        names = (*config.inputs, *config.optional_inputs)
        inputs = {
            "type": "object",
            "properties": dict.fromkeys(names, sha256),
            "required": list(config.inputs),
            "additionalProperties": False,
        }
        own = {"task": {"const": task}, "parameters": schema(task), "inputs": inputs}
        required = [*whole["required"], *(["inputs"] if config.inputs else [])]
        kinds.append(
            {
                "type": "object",
                "properties": {**shared, **own},
                "required": required,
                "additionalProperties": False,
            }
        )
    return {"oneOf": kinds}
