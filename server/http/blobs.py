# SPDX-License-Identifier: GPL-3.0-or-later
"""Content-addressed files over HTTP."""

from __future__ import annotations

from typing import Annotated

from fastapi import FastAPI, Path, Request, Response
from fastapi.responses import FileResponse
from starlette.concurrency import run_in_threadpool

from syncsde_client import protocol

from ..errors import NotFound
from . import uploads as envelope
from .engine import Content, Engine
from .errors import errors

Sha256 = Annotated[str, Path(pattern=protocol.SHA256_PATTERN)]

_BODY = {
    "requestBody": {
        "required": True,
        "content": {protocol.BLOB_TYPE: {"schema": {"type": "string", "format": "binary"}}},
    }
}
_CONTENT = {
    200: {
        "description": "The blob",
        "content": {protocol.BLOB_TYPE: {"schema": {"type": "string", "format": "binary"}}},
    }
}


def add_blobs(app: FastAPI, engine: Engine) -> None:
    @app.put(
        "/v1/blobs/{sha256}", status_code=201, openapi_extra=_BODY, responses=errors(409, 422, 507)
    )
    async def put_blob(sha256: Sha256, request: Request) -> Content:
        """Store a picture or a safetensors file under the SHA-256 of its content."""
        size = int(request.headers.get("content-length", 0))
        await run_in_threadpool(engine.room.require, size)
        with engine.store.writing(sha256, envelope.check) as incoming:
            async for chunk in request.stream():
                await run_in_threadpool(incoming.write, chunk)
            await run_in_threadpool(incoming.commit)
        return {"sha256": sha256, "size": incoming.size}

    @app.head("/v1/blobs/{sha256}", response_class=Response, responses=errors(404, 422))
    @app.get(
        "/v1/blobs/{sha256}", response_class=Response, responses={**_CONTENT, **errors(404, 422)}
    )
    def get_blob(sha256: Sha256) -> Response:
        """Fetch a blob, or (HEAD) ask whether it is here, which also keeps it for a while."""
        if not engine.store.touch(sha256):
            raise NotFound(
                f"There is no blob {sha256}.",
                hint="A result that was forgotten, or damaged on the disk, is made again by the "
                "same request.",
            )
        return FileResponse(
            engine.store.folder / sha256,
            media_type=protocol.BLOB_TYPE,
            headers={"Content-Disposition": "attachment", "ETag": f'"{sha256}"'},
        )
