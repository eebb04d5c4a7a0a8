# SPDX-License-Identifier: GPL-3.0-or-later
"""The door: what a request must show before anything of it is parsed.

Plain ASGI and outermost. Host stops DNS rebinding, Origin and Sec-Fetch-Site stop every web page,
the token stops other users, who are told nothing; sizes and types stop what would only cost work.
"""

from __future__ import annotations

import json
import re
import secrets
from collections.abc import Callable, Collection

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from syncsde_client import protocol
from syncsde_engine.errors import SyncSDEError

from ..errors import Forbidden, Refused, Unauthorized, status_of
from ..store.leases import Leases

MAX_HEADERS = 64
MAX_HEADER_BYTES = 16 << 10
MAX_TARGET_BYTES = 4 << 10
GREETING = "/healthz"  # all that is answered without the token

_ANSWER_HEADERS = [
    (protocol.PROTOCOL_HEADER.lower().encode(), str(protocol.PROTOCOL).encode()),
    (b"x-content-type-options", b"nosniff"),
    (b"content-security-policy", b"default-src 'none'; sandbox"),
    (b"cache-control", b"no-store"),
]


class Guard:
    """Wraps an application that then sees only requests of clients who hold the token."""

    def __init__(
        self,
        app: ASGIApp,
        methods: Callable[[str], set[str]],
        token: str,
        hosts: Collection[str],
        leases: Leases,
    ) -> None:
        """`methods` tells what a path takes, nothing for one that is not there; `hosts` are all
        values that the header Host may have, with the port."""
        self._app = app
        self._methods = methods
        self._token = token
        self._hosts = {host.encode() for host in hosts}
        self._leases = leases

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            return await self._app(scope, receive, send)
        if scope["type"] != "http":
            raise RuntimeError(f"no {scope['type']} here")

        async def send_marked(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message.get("headers", []), *_ANSWER_HEADERS]
            await send(message)

        try:
            is_known = self._check(scope)
        except SyncSDEError as error:
            return await refuse(error, scope, send_marked)
        if not is_known:
            return await self._greet(scope["headers"], send_marked)
        scope["state"]["known"]()
        # Whole files only: a part would be answered in other shapes than all else.
        kept = [each for each in scope["headers"] if each[0] not in (b"range", b"if-range")]
        await self._app({**scope, "headers": kept}, receive, send_marked)

    def _check(self, scope: Scope) -> bool:
        """Whether the request shows the token; without it there is only GREETING. Or it raises."""
        headers: list[tuple[bytes, bytes]] = scope["headers"]
        size = sum(len(name) + len(value) for name, value in headers)
        if len(headers) > MAX_HEADERS or size > MAX_HEADER_BYTES:
            raise Refused(431, "headers_too_large", "The request's headers are too large.")
        if len(scope["raw_path"]) + len(scope["query_string"]) > MAX_TARGET_BYTES:
            raise Refused(414, "path_too_long", "The request's path is too long.")

        hosts = _all(headers, b"host")
        if len(hosts) != 1 or hosts[0] not in self._hosts:
            raise Forbidden("This engine answers only to its own address.")
        fetched = [value for name, value in headers if name.startswith(b"sec-fetch-site")]
        if _all(headers, b"origin") or fetched not in ([], [b"none"]):
            raise Forbidden("Web pages may not use this engine.")

        given = _all(headers, b"authorization")
        right = len(given) == 1 and secrets.compare_digest(
            given[0], f"Bearer {self._token}".encode()
        )
        if not right and scope["path"] != GREETING:
            raise Unauthorized(
                "The token is missing or wrong.", hint="It is in the engine's connection file."
            )
        spoken = _all(headers, protocol.PROTOCOL_HEADER.lower().encode())
        if spoken not in ([], [str(protocol.PROTOCOL).encode()]):
            raise Refused(
                426,
                "protocol_mismatch",
                f"This engine speaks protocol {protocol.PROTOCOL}.",
                hint="Update the add-on or the engine, whichever is older.",
            )
        allowed = self._methods(scope["path"])
        if allowed and scope["method"] not in allowed:
            raise WrongMethod(scope["method"], allowed)
        _check_body(scope["method"], headers)
        clients = _all(headers, protocol.CLIENT_HEADER.lower().encode())
        if clients:
            client = clients[0].decode("latin-1")
            if len(clients) > 1 or not re.match(protocol.KEY_PATTERN, client):
                raise Refused(400, "bad_client", f"The {protocol.CLIENT_HEADER} makes no sense.")
            if right:
                self._leases.renew(client)
        return right

    async def _greet(self, headers: list[tuple[bytes, bytes]], send: Send) -> None:
        """Tell a stranger nothing, and a client, before it shows the token, that we have it too."""
        body = b'{"alive": true}'
        answer = [
            (b"content-type", protocol.JSON_TYPE.encode()),
            (b"content-length", str(len(body)).encode()),
        ]
        challenges = _all(headers, protocol.CHALLENGE_HEADER.lower().encode())
        challenge = challenges[0].decode("latin-1") if len(challenges) == 1 else ""
        if re.fullmatch(protocol.CHALLENGE_PATTERN, challenge):
            (address,) = _all(headers, b"host")
            shown = protocol.proof(self._token, challenge, address.decode())
            answer.append((protocol.PROOF_HEADER.lower().encode(), shown.encode()))
        await send({"type": "http.response.start", "status": 200, "headers": answer})
        await send({"type": "http.response.body", "body": body})


class WrongMethod(Refused):
    def __init__(self, method: str, allowed: Collection[str]) -> None:
        super().__init__(405, "method_not_allowed", f"The method {method} is not used here.")
        self.allowed = allowed


def _check_body(method: str, headers: list[tuple[bytes, bytes]]) -> None:
    if _all(headers, b"transfer-encoding"):
        # Also where Content-Length is given too, which is how requests are smuggled.
        raise Refused(411, "length_required", "A body must come with its Content-Length.")
    # A length that is repeated or not a number does not get past the HTTP parser.
    length = int((_all(headers, b"content-length") or [b"0"])[0])
    if method == "PUT":
        wanted, limit = protocol.BLOB_TYPE, protocol.MAX_BLOB_BYTES
    elif method == "POST":
        wanted, limit = protocol.JSON_TYPE, protocol.MAX_JSON_BYTES
    else:
        wanted, limit = "", 0
    if length > limit:
        raise Refused(413, "too_large", f"A body of {length} bytes; at most {limit} are taken.")
    kinds = [kind.decode("latin-1").lower() for kind in _all(headers, b"content-type")]
    plain = len(kinds) == 1 and kinds[0].partition(";")[0].strip() == wanted
    if (length or method == "PUT") and not (plain and not _all(headers, b"content-encoding")):
        raise Refused(415, "unsupported_media_type", f"The Content-Type must be {wanted}.")


def _all(headers: list[tuple[bytes, bytes]], name: bytes) -> list[bytes]:
    return [value for each, value in headers if each == name]


async def refuse(error: SyncSDEError, scope: Scope, send: Send) -> None:
    """Answer with the error and close the connection, since the body was not read."""
    body = json.dumps(error.as_dict()).encode()
    headers = [
        (b"content-type", protocol.JSON_TYPE.encode()),
        (b"content-length", str(len(body)).encode()),
        (b"connection", b"close"),
    ]
    if isinstance(error, Unauthorized):
        headers.append((b"www-authenticate", b"Bearer"))
    if isinstance(error, WrongMethod):
        headers.append((b"allow", ", ".join(sorted(error.allowed)).encode()))
    await send({"type": "http.response.start", "status": status_of(error), "headers": headers})
    await send({"type": "http.response.body", "body": b"" if scope["method"] == "HEAD" else body})
