# SPDX-License-Identifier: GPL-3.0-or-later
"""Run the HTTP interface on a socket until it is told to leave."""

from __future__ import annotations

import ipaddress
import json
import socket
import ssl
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import h11
import uvicorn
from fastapi import FastAPI
from starlette.routing import Route
from uvicorn.protocols.http.h11_impl import H11Protocol

from blender_addon.protocol import JSON_TYPE
from syncsde_engine.errors import InvalidRequest

from .app import create_app
from .engine import Engine
from .guard import Guard


@dataclass(frozen=True)
class Door:
    """Where the engine listens, and by which names it may be called."""

    host: str
    names: Sequence[str] = ()  # further ones
    certificate: Path | None = None  # PEM files
    key: Path | None = None

    def check(self) -> None:
        """Refuse to be reachable from other machines in the clear. Raises InvalidRequest."""
        try:
            address = ipaddress.ip_address(self.host)
        except ValueError:
            raise InvalidRequest(
                f"{self.host!r} is not an IP address.",
                hint="Give that of one network.",
                field="host",
            ) from None
        if (self.certificate is None) != (self.key is None):
            raise InvalidRequest("--certificate and --key belong together.", field="certificate")
        if address.is_unspecified:
            raise InvalidRequest(
                f"{self.host} is every network of this machine.",
                hint="Give the address of one.",
                field="host",
            )
        if self.certificate is None and not address.is_loopback:
            raise InvalidRequest(
                f"Other machines can reach {self.host}: there the engine speaks TLS only.",
                hint="Give --certificate and --key, or leave --host out.",
                field="host",
            )
        if self.certificate is not None:
            try:
                ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(self.certificate, self.key)
            except (OSError, ssl.SSLError) as error:
                raise InvalidRequest(
                    f"The certificate or its key cannot be used: {error}.", field="certificate"
                ) from None

    def hosts(self, port: int) -> set[str]:
        """What the header Host may say."""
        address = ipaddress.ip_address(self.host)
        own = [f"[{self.host}]" if address.version == 6 else self.host]
        local = ["localhost"] if address.is_loopback else []
        return {f"{name}:{port}" for name in (*own, *local, *self.names)}

    @property
    def pem(self) -> str | None:
        return None if self.certificate is None else self.certificate.read_text(encoding="ascii")


def bind(host: str, port: int) -> socket.socket:
    """Bind a listening socket; port 0 takes a free one. Raises OSError."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # asyncio sets TCP_NODELAY only where the protocol is named; without, each answer waits 40 ms.
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
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
