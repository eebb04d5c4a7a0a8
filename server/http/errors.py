# SPDX-License-Identifier: GPL-3.0-or-later
"""Every error in the one shape, whoever raises it, and what the published schema says of it."""

from __future__ import annotations

import logging
import sqlite3
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from syncsde_engine.errors import InvalidRequest, SyncSDEError
from syncsde_engine.explain import place_of, said

from ..errors import Refused, disk_full, is_disk_full, status_of

log = logging.getLogger(__name__)

DOOR = (400, 401, 403, 405, 411, 413, 414, 415, 426, 431)  # what the guard may answer anywhere


class Error(BaseModel):
    """The one shape of an error."""

    code: str
    message: str
    hint: str
    field: str | None


def errors(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Document the statuses that a route refuses with, beside those of the door."""
    return {
        status: {"model": Error, "description": HTTPStatus(status).phrase}
        for status in sorted({*DOOR, *statuses, 500})
    }


def add_errors(app: FastAPI) -> None:
    @app.exception_handler(SyncSDEError)
    async def ours(_: Request, error: SyncSDEError) -> JSONResponse:
        headers = {"Retry-After": "5"} if status_of(error) == HTTPStatus.TOO_MANY_REQUESTS else {}
        # The body may not have been read to its end: nothing else can come over this connection.
        headers["Connection"] = "close"
        return JSONResponse(error.as_dict(), status_of(error), headers)

    @app.exception_handler(RequestValidationError)
    async def parameter(request: Request, error: RequestValidationError) -> JSONResponse:
        first = {**error.errors()[0], "loc": error.errors()[0]["loc"][1:]}  # without its place
        sentence, hint = said(first, place_of(first), "")
        return await ours(request, InvalidRequest(sentence, hint=hint, field=place_of(first)))

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
    @app.exception_handler(sqlite3.DatabaseError)
    async def system(request: Request, error: Exception) -> JSONResponse:
        if is_disk_full(error):
            return await ours(request, disk_full())
        log.error("%s failed", request.scope["path"], exc_info=error)
        return await ours(request, _unexpected())

    @app.exception_handler(Exception)
    async def unexpected(request: Request, _: Exception) -> JSONResponse:
        return await ours(request, _unexpected())  # the server logs it


def _unexpected() -> SyncSDEError:
    return SyncSDEError("Internal engine error.", hint="Its log has the details.")
