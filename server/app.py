# SPDX-License-Identifier: GPL-3.0-or-later
"""The HTTP interface: what each path does, once the guard has let a request in."""

from __future__ import annotations

import logging
import sqlite3
from dataclasses import asdict, dataclass
from http import HTTPStatus
from typing import Annotated, Any

from fastapi import FastAPI, Header, Path, Query, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import FileResponse, JSONResponse, StreamingResponse
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from blender_addon import protocol
from syncsde_engine import __version__
from syncsde_engine.config import CONFIGS, schema
from syncsde_engine.errors import SyncSDEError

from .blobs import BlobStore
from .changes import Changes
from .errors import MissingBlob, NotFound, Refused, disk_full, is_disk_full, status_of
from .follow import stream_events, wait_for_end
from .jobs import Jobs
from .strict import Submission, invalid, read_request
from .supervisor import Supervisor

log = logging.getLogger(__name__)

Sha256 = Annotated[str, Path(pattern=protocol.SHA256_PATTERN)]
JobId = Annotated[str, Path(pattern=protocol.JOB_ID_PATTERN)]
Content = dict[str, Any]

_JOB_BODY = {
    "requestBody": {
        "required": True,
        "content": {protocol.JSON_TYPE: {"schema": Submission.model_json_schema()}},
    }
}
_BLOB_BODY = {
    "requestBody": {
        "required": True,
        "content": {protocol.BLOB_TYPE: {"schema": {"type": "string", "format": "binary"}}},
    }
}


@dataclass(frozen=True)
class Engine:
    """The parts that the routes speak to."""

    instance: str
    device: str
    jobs: Jobs
    store: BlobStore
    supervisor: Supervisor
    changes: Changes


def create_app(engine: Engine) -> FastAPI:
    app = FastAPI(
        title="SyncSDE engine",
        version=__version__,
        openapi_url="/v1/openapi.json",
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
    )
    _add_errors(app)
    _add_status(app, engine)
    _add_blobs(app, engine)
    _add_jobs(app, engine)
    return app


def _add_status(app: FastAPI, engine: Engine) -> None:
    @app.get("/healthz")
    def healthz() -> Content:
        state = engine.supervisor.state()
        return {
            "instance": engine.instance,
            "protocol": protocol.PROTOCOL,
            "version": __version__,
            "supervisor_age": state["supervisor_age"],
            "worker_age": state["worker_age"],
        }

    @app.get("/v1/status")
    def status() -> Content:
        return {
            "instance": engine.instance,
            "version": __version__,
            "device": engine.device,
            **engine.supervisor.state(),
            "jobs": engine.jobs.counts(),
            "free_bytes": engine.store.free_bytes(),
        }

    @app.get("/v1/tasks")
    def tasks() -> Content:
        return {
            task: {
                "inputs": list(config.inputs),
                "optional_inputs": list(config.optional_inputs),
                "schema": schema(task),
            }
            for task, config in CONFIGS.items()
        }


def _add_blobs(app: FastAPI, engine: Engine) -> None:
    @app.put("/v1/blobs/{sha256}", status_code=201, openapi_extra=_BLOB_BODY)
    async def put_blob(sha256: Sha256, request: Request) -> Content:
        if int(request.headers.get("content-length", 0)) > engine.store.free_bytes():
            raise disk_full()
        with engine.store.writing(sha256) as incoming:
            async for chunk in request.stream():
                incoming.write(chunk)
            await run_in_threadpool(incoming.commit)
        return {"sha256": sha256, "size": incoming.size}

    @app.head("/v1/blobs/{sha256}", response_class=Response)
    @app.get("/v1/blobs/{sha256}", response_class=Response)
    def get_blob(sha256: Sha256) -> Response:
        path = engine.store.find(sha256)
        if path is None:
            raise NotFound(f"There is no blob {sha256}.")
        return FileResponse(
            path,
            media_type=protocol.BLOB_TYPE,
            headers={"Content-Disposition": "attachment", "ETag": f'"{sha256}"'},
        )


def _add_jobs(app: FastAPI, engine: Engine) -> None:
    jobs, changes = engine.jobs, engine.changes

    @app.post("/v1/jobs", status_code=201, openapi_extra=_JOB_BODY)
    async def submit(request: Request, response: Response) -> Content:
        wanted = await run_in_threadpool(read_request, await request.body())
        for name, sha256 in wanted.inputs.items():
            if engine.store.find(sha256) is None:
                raise MissingBlob(
                    f"The blob {sha256} is not here.",
                    hint="Upload it first.",
                    field=f"inputs.{name}",
                )
        job, is_new = await run_in_threadpool(jobs.submit, wanted)
        engine.supervisor.wake()
        response.status_code = 201 if is_new else 200
        response.headers["Location"] = f"/v1/jobs/{job.id}"
        return asdict(job)

    @app.get("/v1/jobs")
    def newest(limit: Annotated[int, Query(ge=1, le=1000)] = 100) -> Content:
        return {"jobs": [asdict(job) for job in jobs.newest(limit)]}

    @app.get("/v1/jobs/{job_id}")
    async def job(
        job_id: JobId, wait: Annotated[float, Query(ge=0, le=protocol.MAX_WAIT)] = 0
    ) -> Content:
        """With `wait`, answer when the job has ended, or after so many seconds."""
        return asdict(await wait_for_end(jobs, changes, job_id, wait))

    @app.get("/v1/jobs/{job_id}/events", response_model=None)
    async def events(
        job_id: JobId,
        after: Annotated[int, Query(ge=0, lt=2**53)] = 0,
        accept: Annotated[str, Header()] = "",
        last_event_id: Annotated[int | None, Header(ge=0, lt=2**53)] = None,
    ) -> Content | Response:
        """Events numbered above `after`; as server-sent events if Accept asks for them."""
        if protocol.EVENT_STREAM_TYPE not in accept:
            found = await run_in_threadpool(jobs.events, job_id, after)
            return {"events": [asdict(event) for event in found]}
        await run_in_threadpool(jobs.get, job_id)  # not found is an answer, not a broken stream
        start = after if last_event_id is None else last_event_id
        return StreamingResponse(
            stream_events(jobs, changes, job_id, start), media_type=protocol.EVENT_STREAM_TYPE
        )

    @app.post("/v1/jobs/{job_id}/cancel", status_code=202)
    def cancel(job_id: JobId) -> Content:
        job = jobs.ask_cancel(job_id)
        engine.supervisor.wake()
        return asdict(job)


def _add_errors(app: FastAPI) -> None:
    """Give every error the one shape, whoever raises it."""

    @app.exception_handler(SyncSDEError)
    async def ours(_: Request, error: SyncSDEError) -> JSONResponse:
        headers = {"Retry-After": "5"} if status_of(error) == HTTPStatus.TOO_MANY_REQUESTS else {}
        # The body may not have been read to its end: nothing else can come over this connection.
        headers["Connection"] = "close"
        return JSONResponse(error.as_dict(), status_of(error), headers)

    @app.exception_handler(RequestValidationError)
    async def parameter(request: Request, error: RequestValidationError) -> JSONResponse:
        return await ours(
            request, invalid({**error.errors()[0], "loc": error.errors()[0]["loc"][1:]})
        )

    @app.exception_handler(HTTPException)
    async def framework(request: Request, error: HTTPException) -> JSONResponse:
        status = HTTPStatus(error.status_code)
        code = status.phrase.lower().replace(" ", "_")
        answer = await ours(request, Refused(status, code, f"{request.method}: {status.phrase}."))
        answer.headers.update(error.headers or {})
        return answer

    @app.exception_handler(ClientDisconnect)
    async def gone(_: Request, __: ClientDisconnect) -> Response:
        return Response(status_code=400)  # nobody reads it

    @app.exception_handler(OSError)
    @app.exception_handler(sqlite3.OperationalError)
    async def system(request: Request, error: Exception) -> JSONResponse:
        if is_disk_full(error):
            return await ours(request, disk_full())
        log.error("%s failed", request.scope["path"], exc_info=error)
        return await ours(request, _unexpected())

    @app.exception_handler(Exception)
    async def unexpected(request: Request, _: Exception) -> JSONResponse:
        return await ours(request, _unexpected())  # the server logs it


def _unexpected() -> SyncSDEError:
    return SyncSDEError("The engine made a mistake.", hint="Its log has the details.")
