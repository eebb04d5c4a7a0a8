# SPDX-License-Identifier: GPL-3.0-or-later
"""The HTTP interface, once the guard has let a request in: its parts, and what they are like."""

from __future__ import annotations

from typing import Annotated

from fastapi import Body, FastAPI, Response

from syncsde_client import protocol
from syncsde_engine import __version__
from syncsde_engine.config import CONFIGS
from syncsde_engine.request import schema

from .blobs import add_blobs
from .bodies import Nothing
from .engine import Content, Engine
from .errors import add_errors, errors
from .jobs import add_jobs


def create_app(engine: Engine) -> FastAPI:
    app = FastAPI(
        title="SyncSDE engine",
        version=__version__,
        openapi_url="/v1/openapi.json",
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
    )
    add_errors(app)
    _add_status(app, engine)
    add_blobs(app, engine)
    add_jobs(app, engine)
    return app


def _add_status(app: FastAPI, engine: Engine) -> None:
    @app.get("/healthz", responses=errors())
    def healthz() -> Content:
        """How many seconds ago each part gave a sign of life. Without the token: only alive."""
        state = engine.supervisor.state()
        return {
            "instance": engine.instance,
            "protocol": protocol.PROTOCOL,
            "version": __version__,
            "supervisor_age": state["supervisor_age"],
            "worker_age": state["worker_age"],
        }

    @app.get("/v1/status", responses=errors())
    def status() -> Content:
        """Worker, memory, queue, models and disk."""
        return {
            "instance": engine.instance,
            "version": __version__,
            "device": engine.device,
            **engine.supervisor.state(),
            "jobs": engine.jobs.counts(),
            "trouble": engine.jobs.trouble,
            "models": sorted(engine.models.folders()),
            "clients": engine.leases.count(),
            "stored_bytes": engine.store.used_bytes(),
            "quota_bytes": engine.store.quota,
            "free_bytes": engine.store.free_bytes(),
        }

    @app.get("/v1/tasks", responses=errors())
    def tasks() -> Content:
        """For each task the inputs it needs and takes, and the schema of its parameters."""
        return {
            task: {
                "inputs": list(config.inputs),
                "optional_inputs": list(config.optional_inputs),
                "schema": schema(task),
            }
            for task, config in CONFIGS.items()
        }

    @app.post("/v1/lease", responses=errors(422))
    def lease(_: Annotated[Nothing | None, Body()] = None) -> Content:
        """The client is still there; each of its other requests says so, too."""
        return {"seconds": protocol.LEASE}

    if engine.metrics is not None:
        metrics = engine.metrics

        @app.get("/metrics", response_class=Response, responses=errors())
        def measured() -> Response:
            content, kind = metrics.text(engine.jobs.counts(), engine.supervisor.state())
            return Response(content, media_type=kind)
