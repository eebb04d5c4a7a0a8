# SPDX-License-Identifier: GPL-3.0-or-later
"""Run the HTTP interface on a socket until it is told to leave."""

from __future__ import annotations

import json
import socket
import sys
from collections.abc import Callable
from typing import Any, cast

import h11
import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from blender_addon.protocol import JSON_TYPE

from .app import Engine, create_app
from .guard import Guard


def bind(host: str, port: int) -> socket.socket:
    """Bind a listening socket; port 0 takes a free one. Raises OSError."""
    # asyncio sets TCP_NODELAY only where the protocol is named; without, each answer waits 40 ms.
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        if sys.platform == "win32":  # there REUSEADDR lets another process take the port over
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_EXCLUSIVEADDRUSE, 1)
        else:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
    except OSError:
        listener.close()
        raise
    return listener


class Server(uvicorn.Server):
    """Says when it listens and when it stops; `leave` may be called from any thread."""

    def __init__(
        self,
        engine: Engine,
        token: str,
        port: int,
        *,
        on_ready: Callable[[], None],
        on_leave: Callable[[], None],
    ) -> None:
        super().__init__(
            uvicorn.Config(
                cast(Any, Guard(create_app(engine), token, port)),
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
