# SPDX-License-Identifier: GPL-3.0-or-later
"""Run the HTTP interface on a socket until it is told to leave."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import Callable
from functools import partial
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

MOST_STRANGERS = 64  # connections that have not shown the token
STRANGERS_STAY = 10.0  # seconds
MOST_AT_ONCE = 100  # connections taken in one turn: before the oldest strangers are pushed out


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
                http=cast(Any, partial(Protocol, Strangers())),
                ws="none",
                loop="asyncio",
                lifespan="off",
                log_config=None,
                log_level="warning",
                access_log=False,
                proxy_headers=False,
                server_header=False,
                timeout_graceful_shutdown=1,
                backlog=MOST_AT_ONCE,
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


class Strangers:
    """The connections that have not shown the token: there is room for some, and not for long.

    Who opens more than MOST_STRANGERS pushes the oldest out, so that a client, which shows it in
    its first milliseconds, always gets in.
    """

    def __init__(self) -> None:
        self._waiting: dict[Protocol, asyncio.TimerHandle] = {}

    def add(self, connection: Protocol) -> None:
        if len(self._waiting) >= MOST_STRANGERS:
            oldest = next(iter(self._waiting))
            self.remove(oldest)
            oldest.transport.abort()
        self._waiting[connection] = connection.loop.call_later(
            STRANGERS_STAY, connection.transport.abort
        )

    def remove(self, connection: Protocol) -> None:
        timer = self._waiting.pop(connection, None)
        if timer is not None:
            timer.cancel()


class Protocol(H11Protocol):
    """A connection; it is a stranger's until the guard calls its scope's state `known`."""

    def __init__(self, strangers: Strangers, **given: Any) -> None:
        given["app_state"] = {**given["app_state"], "known": lambda: strangers.remove(self)}
        super().__init__(**given)
        self._strangers = strangers

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._strangers.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self._strangers.remove(self)
        super().connection_lost(exc)

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
