# SPDX-License-Identifier: GPL-3.0-or-later
"""What knocks at the door and must stay outside: one status and one code each."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from syncsde_client import protocol
from syncsde_server.http import guard
from tests.server.running import exchange

HASH = "0" * 64
DEFAULT = ["Host: {host}", "Authorization: Bearer {token}"]

# name: (request line, headers, body, status, code)
ATTACKS = {
    "no token": ("GET /v1/status", ["Host: {host}"], b"", 401, "unauthorized"),
    "wrong token": ("GET /v1/status", ["Host: {host}", "Authorization: Bearer x"], b"", 401, ""),
    "cut token": ("GET /v1/status", ["Host: {host}", "Authorization: Bearer {cut}"], b"", 401, ""),
    "bare token": ("GET /v1/status", ["Host: {host}", "Authorization: {token}"], b"", 401, ""),
    "two tokens": ("GET /v1/status", [*DEFAULT, "Authorization: Bearer {token}"], b"", 401, ""),
    "token in the path": ("GET /v1/status?token={token}", ["Host: {host}"], b"", 401, ""),
    "unknown path, no token": ("GET /etc/passwd", ["Host: {host}"], b"", 401, "unauthorized"),
    "openapi, no token": ("GET /v1/openapi.json", ["Host: {host}"], b"", 401, "unauthorized"),
    "rebound name": ("GET /healthz", ["Host: evil.example"], b"", 403, "forbidden"),
    "rebound name and port": ("GET /healthz", ["Host: evil.example:{port}"], b"", 403, "forbidden"),
    "all interfaces": ("GET /healthz", ["Host: 0.0.0.0:{port}"], b"", 403, "forbidden"),
    "host without port": ("GET /healthz", ["Host: 127.0.0.1"], b"", 403, "forbidden"),
    "host with user": ("GET /healthz", ["Host: a@127.0.0.1:{port}"], b"", 403, "forbidden"),
    "no host": ("GET /healthz", [], b"", 400, "bad_request"),
    "two hosts": ("GET /healthz", ["Host: {host}", "Host: {host}"], b"", 400, "bad_request"),
    "foreign page": ("GET /v1/status", [*DEFAULT, "Origin: https://evil.example"], b"", 403, ""),
    "sandboxed page": ("GET /v1/status", [*DEFAULT, "Origin: null"], b"", 403, "forbidden"),
    "own page": ("GET /v1/status", [*DEFAULT, "Origin: http://{host}"], b"", 403, "forbidden"),
    "empty origin": ("GET /v1/status", [*DEFAULT, "Origin: "], b"", 403, "forbidden"),
    "cross site": ("GET /healthz", ["Host: {host}", "Sec-Fetch-Site: cross-site"], b"", 403, ""),
    "same site": ("GET /healthz", ["Host: {host}", "Sec-Fetch-Site: same-site"], b"", 403, ""),
    "preflight": ("OPTIONS /v1/jobs", ["Host: {host}", "Origin: https://a.b"], b"", 403, ""),
    "form post": (
        "POST /v1/jobs",
        [*DEFAULT, "Content-Type: text/plain", "Content-Length: 2"],
        b"{}",
        415,
        "unsupported_media_type",
    ),
    "multipart post": (
        "POST /v1/jobs",
        [*DEFAULT, "Content-Type: multipart/form-data; boundary=x", "Content-Length: 2"],
        b"{}",
        415,
        "",
    ),
    "blob without type": (f"PUT /v1/blobs/{HASH}", [*DEFAULT, "Content-Length: 1"], b"x", 415, ""),
    "smuggled": (
        "POST /v1/jobs",
        [*DEFAULT, "Content-Length: 4", "Transfer-Encoding: chunked"],
        b"0\r\n\r\n",
        411,
        "length_required",
    ),
    "chunked": (
        f"PUT /v1/blobs/{HASH}",
        [*DEFAULT, "Content-Type: application/octet-stream", "Transfer-Encoding: chunked"],
        b"1\r\nx\r\n0\r\n\r\n",
        411,
        "length_required",
    ),
    "two lengths": (
        "POST /v1/jobs",
        [*DEFAULT, "Content-Length: 2", "Content-Length: 3"],
        b"{}",
        400,
        "bad_request",
    ),
    "job too large": (
        "POST /v1/jobs",
        [*DEFAULT, "Content-Type: application/json", f"Content-Length: {(1 << 20) + 1}"],
        b"{",
        413,
        "too_large",
    ),
    "blob too large": (
        f"PUT /v1/blobs/{HASH}",
        [*DEFAULT, "Content-Type: application/octet-stream", f"Content-Length: {5 << 30}"],
        b"x",
        413,
        "too_large",
    ),
    "get with a body": ("GET /v1/status", [*DEFAULT, "Content-Length: 1"], b"x", 413, "too_large"),
    "large header": ("GET /healthz", ["Host: {host}", "X: " + "x" * 20000], b"", 431, ""),
    "many headers": ("GET /healthz", ["Host: {host}", *["X: y"] * 100], b"", 431, ""),
    "long path": ("GET /healthz?" + "x" * 5000, ["Host: {host}"], b"", 414, "path_too_long"),
    "delete": (f"DELETE /v1/blobs/{HASH}", DEFAULT, b"", 405, "method_not_allowed"),
    "trace": ("TRACE /healthz", ["Host: {host}"], b"", 405, "method_not_allowed"),
    "newer add-on": ("GET /healthz", ["Host: {host}", "SyncSDE-Protocol: 999"], b"", 426, ""),
    "traversal": ("GET /v1/blobs/../../engine.json", DEFAULT, b"", 404, "not_found"),
    "encoded traversal": ("GET /v1/blobs/..%2F..%2Fengine.json", DEFAULT, b"", 404, "not_found"),
    "absolute path": ("GET /v1/blobs//etc/passwd", DEFAULT, b"", 404, "not_found"),
    "file name": ("GET /v1/blobs/engine.json", DEFAULT, b"", 422, "invalid_request"),
    "newline after hash": (f"GET /v1/blobs/{HASH}%0A", DEFAULT, b"", 422, "invalid_request"),
    "upper case hash": (f"GET /v1/blobs/{'A' * 64}", DEFAULT, b"", 422, "invalid_request"),
    "not http": ("\x16\x03\x01", [], b"", 400, "bad_request"),
    "basic instead of bearer": (
        "GET /v1/status",
        ["Host: {host}", "Authorization: Basic {token}"],
        b"",
        401,
        "",
    ),
    "lower case bearer": (
        "GET /v1/status",
        ["Host: {host}", "Authorization: bearer {token}"],
        b"",
        401,
        "",
    ),
    "token and more": (
        "GET /v1/status",
        ["Host: {host}", "Authorization: Bearer {token} x"],
        b"",
        401,
        "",
    ),
    "token as a cookie": ("GET /v1/status", ["Host: {host}", "Cookie: {token}"], b"", 401, ""),
    "metrics, no token": ("GET /metrics", ["Host: {host}"], b"", 401, "unauthorized"),
    "lease, no token": ("POST /v1/lease", ["Host: {host}"], b"", 401, "unauthorized"),
    "health as a double path": ("GET //healthz", ["Host: {host}"], b"", 401, "unauthorized"),
    "health with an encoded path": ("GET /healthz%2F..%2Fv1", ["Host: {host}"], b"", 401, ""),
    "private name of the network": ("GET /healthz", ["Host: 192.168.1.2:{port}"], b"", 403, ""),
    "other port": ("GET /healthz", ["Host: 127.0.0.1:1"], b"", 403, "forbidden"),
    "number for the address": ("GET /healthz", ["Host: 2130706433:{port}"], b"", 403, ""),
    "address of version six": ("GET /healthz", ["Host: [::1]:{port}"], b"", 403, "forbidden"),
    "name with a dot": ("GET /healthz", ["Host: localhost.:{port}"], b"", 403, "forbidden"),
    "name that begins as ours": ("GET /healthz", ["Host: localhost.evil:{port}"], b"", 403, ""),
    "forwarded name": (
        "GET /v1/status",
        ["Host: evil.example", "X-Forwarded-Host: {host}"],
        b"",
        403,
        "",
    ),
    "absolute target": ("GET http://evil.example/healthz", ["Host: evil.example"], b"", 403, ""),
    "extension of a browser": (
        "GET /v1/status",
        [*DEFAULT, "Origin: chrome-extension://abc"],
        b"",
        403,
        "",
    ),
    "page from a file": ("GET /v1/status", [*DEFAULT, "Origin: file://"], b"", 403, "forbidden"),
    "same origin": ("GET /healthz", ["Host: {host}", "Sec-Fetch-Site: same-origin"], b"", 403, ""),
    "two origins": (
        "GET /v1/status",
        [*DEFAULT, "Origin: null", "Origin: http://{host}"],
        b"",
        403,
        "",
    ),
    "compressed body": (
        f"PUT /v1/blobs/{HASH}",
        [
            *DEFAULT,
            "Content-Type: application/octet-stream",
            "Content-Encoding: gzip",
            "Content-Length: 1",
        ],
        b"x",
        415,
        "",
    ),
    "two types": (
        "POST /v1/jobs",
        [
            *DEFAULT,
            "Content-Type: application/json",
            "Content-Type: text/plain",
            "Content-Length: 2",
        ],
        b"{}",
        415,
        "",
    ),
    "json as a blob": (
        f"PUT /v1/blobs/{HASH}",
        [*DEFAULT, "Content-Type: application/json", "Content-Length: 2"],
        b"{}",
        415,
        "",
    ),
    "negative length": (
        "POST /v1/jobs",
        [*DEFAULT, "Content-Type: application/json", "Content-Length: -1"],
        b"{}",
        400,
        "bad_request",
    ),
    "length in words": (
        "POST /v1/jobs",
        [*DEFAULT, "Content-Type: application/json", "Content-Length: two"],
        b"{}",
        400,
        "bad_request",
    ),
    "header without a name": ("GET /healthz", ["Host: {host}", ": x"], b"", 400, "bad_request"),
    "zero byte in a header": ("GET /healthz", ["Host: {host}", "X: \0"], b"", 400, "bad_request"),
    "bad client": ("GET /v1/status", [*DEFAULT, "SyncSDE-Client: a/b"], b"", 400, "bad_client"),
    "two clients": (
        "GET /v1/status",
        [*DEFAULT, "SyncSDE-Client: a", "SyncSDE-Client: b"],
        b"",
        400,
        "bad_client",
    ),
    "long client": ("GET /v1/status", [*DEFAULT, "SyncSDE-Client: " + "a" * 99], b"", 400, ""),
    "put of a job": (
        "PUT /v1/jobs",
        [*DEFAULT, "Content-Type: application/octet-stream", "Content-Length: 1"],
        b"x",
        405,
        "",
    ),
    "connect": ("CONNECT /healthz", ["Host: {host}"], b"", 405, "method_not_allowed"),
    "patch": ("PATCH /v1/jobs", DEFAULT, b"", 405, "method_not_allowed"),
    "path of windows": ("GET /v1/blobs/C:%5CWindows", DEFAULT, b"", 422, "invalid_request"),
    "zero byte in the path": (f"GET /v1/blobs/{HASH}%00", DEFAULT, b"", 422, "invalid_request"),
    "job that is a path": ("GET /v1/jobs/..%2F..%2Fengine.json", DEFAULT, b"", 404, "not_found"),
    "events from below zero": (
        "GET /v1/jobs/" + "0" * 32 + "/events?after=-1",
        DEFAULT,
        b"",
        422,
        "invalid_request",
    ),
    "last event that is text": (
        "GET /v1/jobs/" + "0" * 32 + "/events",
        [*DEFAULT, "Accept: text/event-stream", "Last-Event-ID: x"],
        b"",
        422,
        "",
    ),
    "lease with a body": (
        "POST /v1/lease",
        [*DEFAULT, "Content-Type: application/json", "Content-Length: 13"],
        b'{"path": "/"}',
        422,
        "invalid_request",
    ),
}


def knock(engine, line, headers, body=b""):
    """Send a request as it is written, with this engine's names in it."""
    token = engine.client.connection.token
    values = {"host": f"127.0.0.1:{engine.port}", "port": engine.port, "token": token}
    text = "\r\n".join([f"{line} HTTP/1.1", *headers, "", ""])
    for key, value in (*values.items(), ("cut", token[:-1])):
        text = text.replace("{" + key + "}", str(value))
    return exchange(engine.port, text.encode("latin-1") + body)


def test_whatever_the_guard_refuses_is_attacked():
    """What is in its source, so that a new refusal needs an attack."""
    source = Path(guard.__file__).read_text(encoding="utf-8")
    refused = {int(status) for status in re.findall(r"Refused\(\s*(\d+)", source)}
    assert refused >= {411, 413, 415}
    assert refused - {status for _, _, _, status, _ in ATTACKS.values()} == set()


def test_every_published_path_wants_the_token(engine):
    token = engine.client.connection.token
    answer = knock(engine, "GET /v1/openapi.json", DEFAULT)
    paths = json.loads(answer.body)["paths"]
    assert "/v1/jobs/{job_id}/cancel" in paths
    for path, methods in paths.items():
        for method in methods:
            line = f"{method.upper()} " + re.sub(r"{.*?}", "0" * 32, path)
            answer = knock(engine, line, ["Host: {host}"])
            assert answer.status == (200 if path == "/healthz" else 401), line
            assert token not in answer.body.decode()


@pytest.mark.parametrize("name", ATTACKS)
def test_attack(engine, name):
    line, headers, body, status, code = ATTACKS[name]
    token = engine.client.connection.token
    answer = knock(engine, line, headers, body)
    assert answer.status == status
    error = json.loads(answer.body)
    assert set(error) == {"code", "message", "hint", "field"}
    assert not code or error["code"] == code
    assert not any(name.startswith("access-control") for name in answer.headers)
    assert token not in answer.body.decode()
    assert engine.client.healthz()


def test_local_name_is_accepted(engine):
    request = f"GET /healthz HTTP/1.1\r\nHost: localhost:{engine.port}\r\n\r\n"
    answer = exchange(engine.port, request.encode())
    assert answer.status == 200
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers[protocol.PROTOCOL_HEADER.lower()] == str(protocol.PROTOCOL)


def test_wrong_method_of_a_known_path(engine):
    token = engine.client.connection.token
    request = (
        f"POST /v1/status HTTP/1.1\r\nHost: 127.0.0.1:{engine.port}\r\n"
        f"Authorization: Bearer {token}\r\n\r\n"
    )
    answer = exchange(engine.port, request.encode())
    assert answer.status == 405
    assert answer.headers["allow"] == "get"
    assert json.loads(answer.body)["code"] == "method_not_allowed"
