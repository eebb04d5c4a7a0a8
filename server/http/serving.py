# SPDX-License-Identifier: GPL-3.0-or-later
"""Run the HTTP interface on a socket until it is told to leave."""

from __future__ import annotations

import json
import socket
from collections.abc import Callable
from typing import Any, cast

import h11
import uvicorn
from fastapi import FastAPI
from starlette.routing import Route
from uvicorn.protocols.http.h11_impl import H11Protocol

from syncsde_client.protocol import JSON_TYPE

from ..launch.address import Door
from .app import create_app
from .engine import Engine
from .guard import Guard


def methods_of(app: FastAPI) -> Callable[[str], set[str]]:
    """Make what tells the methods that a path takes."""
    routes = [route for route in app.routes if isinstance(route, Route)]

    def methods(path: str) -> set[str]:
        found = [route.methods or set() for route in routes if route.path_regex.match(path)]
        return set().union(*found)

    return methods


class Server(uvicorn.Server):
    """Says when it listens and when it stops; `leave` may be called from any thread."""

    def __init__(
        self,
        engine: Engine,
        token: str,
        port: int,
        door: Door,
        *,
        on_ready: Callable[[], None],
        on_leave: Callable[[], None],
    ) -> None:
        app = create_app(engine)
        guard = Guard(app, methods_of(app), token, door.hosts(port), engine.leases)
        super().__init__(
            uvicorn.Config(
                cast(Any, guard),
                ssl_certfile=door.certificate,
                ssl_keyfile=door.key,
                http=Protocol,
                ws="none",
                loop="asyncio",
                lifespan="off",
                log_config=None,
                log_level="warning",
                access_log=False,
                proxy_headers=False,
                server_header=False,
                timeout_graceful_shutdown=1,
            )
        )
        self._engine = engine
        self._on_ready = on_ready
        self._on_leave = on_leave

    def leave(self) -> None:
        self.should_exit = True

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self._on_ready()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        # Here rather than after `run`, because a signal ends the process before `run` returns.
        self._engine.changes.close()
        self._on_leave()
        await super().shutdown(sockets)


class Protocol(H11Protocol):
    def send_400_response(self, msg: str) -> None:
        """Refuse what is not even HTTP in the shape of every other error."""
        error = {"code": "bad_request", "message": msg, "hint": "", "field": None}
        body = json.dumps(error).encode()
        headers = [
            (b"content-type", JSON_TYPE.encode()),
            (b"content-length", str(len(body)).encode()),
            (b"connection", b"close"),
        ]
        for event in (
            h11.Response(status_code=400, headers=headers, reason=b"Bad Request"),
            h11.Data(data=body),
            h11.EndOfMessage(),
        ):
            self.transport.write(self.conn.send(event) or b"")
        self.transport.close()
